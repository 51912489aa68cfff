"""The text and what the model makes of it: what stays in sight above the tabs, whichever of them is open."""

from __future__ import annotations

from typing import Any

import panel as pn
import param

from atlas.state.workspace import Workspace
from atlas.views.outcome_line import OutcomeLine
from atlas.views.token_strip import StripView

UNDER = """
:host { display: flex; flex-flow: row nowrap; gap: 0 24px;
  min-height: 22px; height: auto !important; padding-inline-start: 26px; }
:host > * { flex: 0 1 auto; width: auto !important; min-width: 0; }
:host > .aa-outcome { flex: 0 1 auto; font-weight: 600; }
:host > .aa-strip-line { flex: 1 10 auto; text-align: end; }
@media (max-width: 900px) { :host { flex-wrap: wrap; } :host > .aa-strip-line { text-align: start; } }
"""
"""The output at the left, what the colours mean at the right; the latter gives way first."""


class TextView(pn.viewable.Viewer):
    """The strips of both sides, the output of the model, and what the colours of the text mean."""

    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(**params)
        self.strips = [StripView(workspace, side, dark=self.param.dark) for side in ("source", "target")]
        self.outcome = OutcomeLine(workspace)

    def __panel__(self) -> Any:
        strips = [strip.__panel__() for strip in self.strips]
        under = pn.Row(
            self.outcome.__panel__(), *(strip.painted_line() for strip in self.strips), sizing_mode="stretch_width", margin=0,
            css_classes=["aa-under"], stylesheets=[UNDER],
        )  # fmt: skip
        return pn.Column(*strips, under, sizing_mode="stretch_width", margin=0)
