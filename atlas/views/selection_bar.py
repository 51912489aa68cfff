"""The selection bar: what is selected, in words, and how to let go of it."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from atlas.components.selection_chips import SelectionChips
from atlas.state.selection_bar import BarLens
from atlas.state.workspace import Workspace
from atlas.views.plain import plain

WRAPPED = """
:host { display: flex; flex-flow: row wrap; align-items: center; min-height: 44px; height: auto !important; }
:host > :is(.aa-bar-chosen, :first-child) { min-width: 0; }
:host > .aa-bar-chosen { flex: 1 1 210px; width: auto !important; }
:host > .aa-bar-choice { flex: none; width: auto !important; }
"""
"""One row where the window is wide enough, else two. Its height never hangs on what is selected: the page below would jump."""


class SelectionBar(pn.viewable.Viewer):
    """One row under the text."""

    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(**params)
        self.workspace = workspace
        self.lens = BarLens(workspace)

    def __panel__(self) -> Any:
        lens, display = self.lens, self.workspace.display
        own = lens.param
        chosen = SelectionChips(
            heads=own.heads,
            tokens=own.tokens,
            changes=own.changes,
            nothing=own.nothing,
            switch_off=own.off,
            cut=own.cut,
            dark=self.param.dark,
            css_classes=["aa-bar-chosen"],
        )
        chosen.on_let_go(lens.let_go)
        chosen.on_switch_off(lens.switch_off)
        chosen.on_cut(lens.cut_edges)
        axis = pmui.RadioButtonGroup.from_param(display.param.axis, label="", size="small", margin=(2, 6))
        paint = pmui.RadioButtonGroup.from_param(display.param.paint, label="", size="small", margin=(2, 6))
        kind = pmui.RadioButtonGroup.from_param(
            lens.param.chosen, label="", size="small", margin=(2, 6), visible=lens.param.several
        )
        return pn.Row(
            kind, chosen, _choice("a click selects", axis), _choice("painted by attention", paint),
            sizing_mode="stretch_width", margin=0, css_classes=["aa-bar"], stylesheets=[WRAPPED],
        )  # fmt: skip


def _choice(words: str, buttons: Any) -> pn.Row:
    """Buttons with their name before them, on one line whatever wraps."""
    return pn.Row(plain(words, sizing_mode=None, align="center"), buttons, margin=0, css_classes=["aa-bar-choice"])
