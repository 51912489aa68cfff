"""The button of the page's header that copies the link, and the switch that leaves the text out of it."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from atlas.state.shared import SharedState
from atlas.views.icons import LINK

COPY = """
const label = (words) => { source.data.label = words; setTimeout(() => { source.data.label = "Copy link" }, 1500) };
(navigator.clipboard?.writeText(window.location.href) ?? Promise.reject()).then(
  () => label("Copied"), () => label("Copy it from the address bar"));
"""
"""Copies the address. A browser may refuse, because it has no clipboard without a secure connection."""


def sharing(shared: SharedState, *beside: Any) -> Any:
    """The button that copies the link, the switch that leaves the text out of it, and what stands beside them."""
    copy = pmui.Button(
        label="Copy link",
        icon=LINK,
        variant="text",
        color="light",
        css_classes=["aa-copy"],
        align="center",
        # The library's light grey on the blue of the header has a contrast of 4.44, and 4.5 is the least that is easily read.
        stylesheets=[".MuiButton-root { color: #fff !important; }"],
    )
    copy.jscallback(clicks=COPY)
    private = pmui.Switch.from_param(
        shared.param.private,
        label="without the text",
        align="center",
        css_classes=["aa-private"],
        # Light text, because the header is dark in light mode too.
        stylesheets=[".MuiTypography-root, svg { color: #fff !important; }"],
    )
    return pn.Row(pn.Spacer(sizing_mode="stretch_width"), *beside, private, copy, sizing_mode="stretch_width", margin=0)
