"""The selection in words. Each part is a button that clears it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from atlas.components.assets import script, style

PARTS = ("heads", "tokens", "changes")

OFF, CUT = "off", "cut"


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
    cut = param.String(default="", doc="On the button that cuts the edges between the selected tokens; empty: there is none.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    _esm = script("selection_chips")
    _stylesheets: ClassVar[list[str]] = [style("selection_chips")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", "margin": 0, **params})
        self._callbacks: list[Callable[[str], object]] = []
        self._actions: dict[str, list[Callable[[], object]]] = {OFF: [], CUT: []}

    def on_let_go(self, callback: Callable[[str], object]) -> None:
        """Call `callback` with the name of a part when its button is pressed to clear it."""
        self._callbacks.append(callback)

    def on_switch_off(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the selected heads are to be switched off."""
        self._actions[OFF].append(callback)

    def on_cut(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the edges between the selected tokens are to be cut."""
        self._actions[CUT].append(callback)

    def _handle_msg(self, data: Any) -> None:
        part = data.get("part")
        if part in (OFF, CUT):
            for act in self._actions[part]:
                act()
        if part in PARTS:
            for callback in self._callbacks:
                callback(part)
