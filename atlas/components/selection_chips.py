"""The selection in words. Each part is a button that clears it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from atlas.components.assets import script, style

PARTS = ("heads", "tokens", "changes")

OFF = "off"


class SelectionChips(JSComponent):
    """Buttons that appear and disappear inside one component.

    Not Panel's own buttons, because after a change of their `visible` Bokeh lays out the whole page and measures every plot,
    which took 0.3 seconds at the first selection.
    """

    heads = param.String(default="", doc="The selected heads; empty: none.")
    tokens = param.String(default="", doc="The selected tokens; empty: none.")
    changes = param.String(default="", doc="What is switched off in the run on screen; empty: nothing.")
    nothing = param.String(default="", doc="Shown where nothing is selected.")
    switch_off = param.String(default="", doc="On the button that switches the selected heads off; empty: there is none.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    _esm = script("selection_chips")
    _stylesheets: ClassVar[list[str]] = [style("selection_chips")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", "margin": 0, **params})
        self._callbacks: list[Callable[[str], object]] = []
        self._switches: list[Callable[[], object]] = []

    def on_let_go(self, callback: Callable[[str], object]) -> None:
        """Call `callback` with the name of a part when its button is pressed to clear it."""
        self._callbacks.append(callback)

    def on_switch_off(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the selected heads are to be switched off."""
        self._switches.append(callback)

    def _handle_msg(self, data: Any) -> None:
        part = data.get("part")
        if part == OFF:
            for switch in self._switches:
                switch()
        if part in PARTS:
            for callback in self._callbacks:
                callback(part)
