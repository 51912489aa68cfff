"""The state of the app in the address bar, with the browser's back and forward buttons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from atlas.components.assets import script


class History(JSComponent):
    """One part of the query, `?s=...`, written from here and read back when the reader goes back or forward.

    Panel's own location can write the address but does not hear of those buttons. Everything else in the query stays as it is.
    Not for notebooks: there the address is the notebook's.
    """

    state = param.String(
        default="", doc="What the address says. Setting it makes an entry of the history; a step back or forward sets it too."
    )
    replace = param.Boolean(default=False, doc="Whether a new state overwrites the entry instead of making one.")
    key = param.String(default="s", constant=True, doc="Name of the part of the query.")

    _esm = script("history")
    _stylesheets: ClassVar[list[str]] = [":host { display: none; }"]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, **params})
        self._pop_callbacks: list[Callable[[str], object]] = []
        self._start_callbacks: list[Callable[[str], object]] = []

    def on_pop(self, callback: Callable[[str], object]) -> None:
        """Call back with the state the reader went to.

        Whatever the callbacks make of it belongs to that entry: a state set before they return overwrites it and never makes
        a new one, so that going forward stays possible.
        """
        self._pop_callbacks.append(callback)

    def on_start(self, callback: Callable[[str], object]) -> None:
        """Call back once with what the address said when the page opened; empty: nothing."""
        self._start_callbacks.append(callback)

    def _handle_msg(self, data: Any) -> None:
        """Take the reader's step; what the address says is a stranger's text."""
        if isinstance(data.get("start"), str):
            self._call(self._start_callbacks, data["start"])
        elif isinstance(data.get("pop"), str):
            try:
                self._call(self._pop_callbacks, data["pop"])
            finally:
                self._send_msg({"answered": data.get("step"), "state": self.state})

    @staticmethod
    def _call(callbacks: list[Callable[[str], object]], state: str) -> None:
        for callback in callbacks:
            callback(state)
