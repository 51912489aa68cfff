"""Messages of a card or page: a problem, what to do, what was left out, what is in progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from atlas.components.assets import script, style


class Notice(JSComponent):
    """Messages as plain text; an empty one takes no space.

    Not pmui.Alert or pmui.Typography, because both put their text on the page as HTML, and a message may quote a user's text.
    """

    problem = param.String(default="", doc="What happened and what to do; read out at once, and the only thing shown.")
    empty = param.String(default="", doc="What to do to see something here.")
    note = param.String(default="", doc="What was left out, and how to get it.")
    waiting = param.String(default="", doc="What is in progress, and how long it may take; floats over the content below.")
    can_cancel = param.Boolean(default=False, doc="Whether there is a button that cancels what is in progress.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    _esm = script("notice")
    _stylesheets: ClassVar[list[str]] = [style("notice")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", "margin": 0, **params})
        self._cancel: Callable[[], object] | None = None

    def on_cancel(self, cancel: Callable[[], object]) -> None:
        """Call `cancel` when the reader presses the cancel button."""
        self._cancel = cancel

    def _handle_msg(self, data: Any) -> None:
        if data == "cancel" and self.can_cancel and self._cancel is not None:
            self._cancel()
