"""The switch between tokens and whole words, beside the tabs, because views of several of them follow it."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from atlas.state.display import Display
from atlas.tracing.levels import TOKEN, WORD
from atlas.views.plain import plain

OPTIONS = {"tokens": TOKEN, "words": WORD}

SAID = {TOKEN: "shown as", WORD: "matrix, flow, lines, attribution as"}
"""What stands before the buttons: other views stay with tokens, and who chose words is told which follow."""

LOW = {"& .MuiToggleButton-root, & .MuiButton-root": {"paddingTop": "2px", "paddingBottom": "2px"}}
"""As high as the tabs beside it."""

BESIDE = """
:host { display: flex; flex-flow: row wrap; align-items: flex-end; height: auto !important; }
:host > .aa-tabs { flex: 1 1 570px; align-self: flex-end; width: auto !important; min-width: 0; }
:host > .aa-level { flex: 0 1 auto; width: auto !important; align-self: flex-end; align-items: center;
  margin-inline-start: auto; border-bottom: 1px solid rgb(128 128 128 / 30%); }
"""
"""The tabs, and at the right of them the switch; below them where the window has no room for both."""


def beside_tabs(tabs: Any, display: Display) -> pn.Row:
    """The bar of tabs and the switch in one row."""
    look: dict[str, Any] = {"label": "", "size": "small", "margin": (0, 6), "sx": LOW}
    buttons = pmui.RadioButtonGroup.from_param(display.param.level, options=OPTIONS, **look)
    switch = pn.Row(
        plain(pn.bind(SAID.__getitem__, display.param.level), sizing_mode=None, align="center"),
        buttons,
        margin=0,
        css_classes=["aa-level"],
    )
    return pn.Row(tabs, switch, sizing_mode="stretch_width", margin=0, css_classes=["aa-tab-row"], stylesheets=[BESIDE])
