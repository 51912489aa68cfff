"""Announces changes to screen readers, and handles the keys that work anywhere on the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from atlas.components.assets import script, style

ACTIONS = ("clear", "head-left", "head-right", "head-up", "head-down")
"""Actions of the keys."""

SHORTCUTS = {
    "Escape": "Clear the selection",
    "Shift + arrow": "Go to the head beside, above or below",
    "/": "Go to the text box",
    "?": "Show these keys",
}


class Announcer(JSComponent):
    """A live region and the keys of the page.

    Escape gives the action 'clear'; Shift and an arrow give 'head-left', 'head-right', 'head-up' or 'head-down', and so does an
    arrow alone while the keyboard focus is inside an element of the class `aa-heads`. '/' moves the keyboard focus to the element
    of the class `aa-text`, '?' shows the list of keys. Keys are ignored while the reader types, and where another element
    handled them.
    """

    message = param.String(default="", doc="Text that a screen reader reads out after the previous message.")
    shown = param.Boolean(default=False, doc="Whether the message is on screen as well.")
    letters = param.Boolean(
        default=True, doc="Whether '/' and '?' are active; users of speech input need to switch single letters off."
    )
    shortcuts = param.Dict(default=SHORTCUTS, doc="The list that '?' shows: key -> what it does.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    _esm = script("announcer")
    _stylesheets: ClassVar[list[str]] = [style("announcer")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, **params})
        self._key_callbacks: list[Callable[[str], object]] = []

    def on_key(self, callback: Callable[[str], object]) -> None:
        """Call `callback` with the action of every key, one of ACTIONS."""
        self._key_callbacks.append(callback)

    def _handle_msg(self, data: Any) -> None:
        """Handle a key message from the browser."""
        if data.get("key") in ACTIONS:
            for callback in self._key_callbacks:
                callback(data["key"])
