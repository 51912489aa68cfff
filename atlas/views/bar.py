"""The selection bar: what is selected, in words, and how to let go of it."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from atlas.state.bar import BarLens
from atlas.state.workspace import Workspace
from atlas.views.base import made_of
from atlas.views.icons import CLOSE
from atlas.views.plain import plain

ORIGIN = "bar"

HEIGHT = 44
"""Pixels: the same with and without something selected, so that the page below does not jump."""


class SelectionBar(pn.viewable.Viewer):
    """One row under the text."""

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(**params)
        self.workspace = workspace
        self.lens = BarLens(workspace)

    def __panel__(self) -> Any:
        lens, display = self.lens, self.workspace.display
        heads = self._chip(lens.param.heads, "heads", "aa-clear-heads")
        tokens = self._chip(lens.param.tokens, "tokens", "aa-clear-tokens")
        said = plain(lens.param.nothing, "aa-nothing", visible=made_of(lens.param.nothing, bool), sizing_mode=None)
        axis = pmui.RadioButtonGroup.from_param(display.param.axis, label="", size="small", margin=(2, 6))
        paint = pmui.RadioButtonGroup.from_param(display.param.paint, label="", size="small", margin=(2, 6))
        kind = pmui.RadioButtonGroup.from_param(
            lens.param.chosen, label="", size="small", margin=(2, 6), visible=lens.param.several
        )
        return pn.Row(
            kind,
            pn.Row(said, heads, tokens, margin=0, sizing_mode="stretch_width", styles={"overflow": "hidden"}),
            plain("a click selects", sizing_mode=None, align="center"), axis,
            plain("painted by attention", sizing_mode=None, align="center"), paint,
            sizing_mode="stretch_width", margin=0, height=HEIGHT, css_classes=["aa-bar"],
        )  # fmt: skip

    def _chip(self, words: Any, part: str, name: str) -> Any:
        """What is selected, as a button that lets go of it."""
        button = pmui.Button(
            label=words, end_icon=CLOSE, variant="outlined", size="small", css_classes=[name], visible=made_of(words, bool),
            description=f"Let go of the selected {part} (Escape)", margin=(2, 4),
        )  # fmt: skip
        button.on_click(lambda _: self.workspace.selection.clear(part, origin=ORIGIN))
        return button
