"""The selection bar: what is selected, in words, and how to let go of it."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from atlas.components.chosen import Chosen
from atlas.state.bar import BarLens
from atlas.state.workspace import Workspace
from atlas.views.plain import plain

ORIGIN = "bar"

HEIGHT = 44
"""Pixels: the same with and without something selected, so that the page below does not jump."""


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
        chosen = Chosen(heads=own.heads, tokens=own.tokens, nothing=own.nothing, dark=self.param.dark)
        chosen.on_let_go(lambda part: self.workspace.selection.clear(part, origin=ORIGIN))
        axis = pmui.RadioButtonGroup.from_param(display.param.axis, label="", size="small", margin=(2, 6))
        paint = pmui.RadioButtonGroup.from_param(display.param.paint, label="", size="small", margin=(2, 6))
        kind = pmui.RadioButtonGroup.from_param(
            lens.param.chosen, label="", size="small", margin=(2, 6), visible=lens.param.several
        )
        return pn.Row(
            kind, chosen,
            plain("a click selects", sizing_mode=None, align="center"), axis,
            plain("painted by attention", sizing_mode=None, align="center"), paint,
            sizing_mode="stretch_width", margin=0, height=HEIGHT, css_classes=["aa-bar"],
        )  # fmt: skip
