"""What is selected, in words, each part a button that lets go of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from atlas.components.assets import script, style

PARTS = ("heads", "tokens", "changes")


class SelectionChips(JSComponent):
    """Buttons that come and go inside one component.

    Panel's own buttons are shown and hidden by `visible`, after which Bokeh lays out the whole page and measures every plot: 0.3
    seconds at the first selection.
    """

    heads = param.String(default="", doc="The selected heads; empty: none is.")
    tokens = param.String(default="", doc="The selected tokens; empty: none is.")
    changes = param.String(default="", doc="What is switched off in the run on screen; empty: nothing is.")
    nothing = param.String(default="", doc="Said where nothing is selected.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    _esm = script("selection_chips")
    _stylesheets: ClassVar[list[str]] = [style("selection_chips")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", "margin": 0, **params})
        self._callbacks: list[Callable[[str], object]] = []

    def on_let_go(self, callback: Callable[[str], object]) -> None:
        """Call back with the name of a part when that is to be let go of."""
        self._callbacks.append(callback)

    def _handle_msg(self, data: Any) -> None:
        part = data.get("part")
        if part in PARTS:
            for callback in self._callbacks:
                callback(part)
