"""The state of the app in the address bar, with the browser's back and forward buttons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from atlas.components.assets import script


class History(JSComponent):
    """One part of the query, `?s=...`, written by the server and read again when the reader goes back or forward.

    Panel's own location can write the address but gets no events of those buttons. Other parts of the query stay unchanged. It is
    not used in notebooks, because there the address is that of the notebook.
    """

    state = param.String(
        default="", doc="The state in the address. Setting it adds an entry to the history; a step back or forward sets it too."
    )
    replace = param.Boolean(default=False, doc="Whether a new state replaces the current entry instead of adding one.")
    key = param.String(default="s", constant=True, doc="Name of the part of the query.")

    _esm = script("history")
    _stylesheets: ClassVar[list[str]] = [":host { display: none; }"]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, **params})
        self._pop_callbacks: list[Callable[[str], object]] = []
        self._start_callbacks: list[Callable[[str], object]] = []

    def on_pop(self, callback: Callable[[str], object]) -> None:
        """Call `callback` with the state to which the reader went back or forward.

        A state that is set before the callbacks return replaces that entry and never adds one, so that the reader can still go
        forward.
        """
        self._pop_callbacks.append(callback)

    def on_start(self, callback: Callable[[str], object]) -> None:
        """Call `callback` once with the state in the address when the page opened; empty if there was none."""
        self._start_callbacks.append(callback)

    def _handle_msg(self, data: Any) -> None:
        """Handle the start or a step of the reader. The state comes from the address, so it is untrusted text."""
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
