"""The output of the model beside the text: one line, always in sight."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn

from atlas.state.outcome_line import OutcomeLens
from atlas.state.workspace import Workspace
from atlas.views.base import bind_rule
from atlas.views.plain import plain


class OutcomeLine(pn.viewable.Viewer):
    """What the model makes of the text."""

    key: ClassVar = "outcome"

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(**params)
        self.lens = workspace.lens(OutcomeLens)

    def __panel__(self) -> Any:
        line = self.lens.param.line
        return plain(line, "aa-outcome", one_line=True, visible=bind_rule(line, bool))
