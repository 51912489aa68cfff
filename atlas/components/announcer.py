"""Says aloud what changed, and hears the keys that work anywhere on the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from atlas.components.assets import script, style

ACTIONS = ("clear", "head-left", "head-right", "head-up", "head-down")
"""What a key can ask for."""

SHORTCUTS = {
    "Escape": "Clear the selection",
    "Shift + arrow": "Go to the head beside, above or below",
    "/": "Go to the text box",
    "?": "Show these keys",
}


class Announcer(JSComponent):
    """A live region and the keys of the page.

    Escape asks for 'clear'; Shift and an arrow for 'head-left', 'head-right', 'head-up' or 'head-down', and so does an arrow
    alone where the focus is inside something of the class `aa-heads`. '/' puts the focus into what has the class `aa-text`,
    '?' shows the list of keys. Keys are left alone while somebody types, and where something else has dealt with them.
    """

    message = param.String(default="", doc="What is read out as soon as the reader is done with what came before.")
    shown = param.Boolean(default=False, doc="Whether the message is on screen as well.")
    letters = param.Boolean(
        default=True, doc="Whether '/' and '?' do anything; speech input needs a way to switch single letters off."
    )
    shortcuts = param.Dict(default=SHORTCUTS, doc="What '?' lists: a key and what it does.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    _esm = script("announcer")
    _stylesheets: ClassVar[list[str]] = [style("announcer")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, **params})
        self._key_callbacks: list[Callable[[str], object]] = []

    def on_key(self, callback: Callable[[str], object]) -> None:
        """Call back with what a key asks for, one of ACTIONS."""
        self._key_callbacks.append(callback)

    def _handle_msg(self, data: Any) -> None:
        """Take a key from the browser."""
        if data.get("key") in ACTIONS:
            for callback in self._key_callbacks:
                callback(data["key"])
