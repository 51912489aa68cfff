"""What is on the page as a file, and back from one."""

from __future__ import annotations

import io
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from atlas.components.notice import Notice
from atlas.state.session_file import MOST_BYTES, NAME, opened, saved
from atlas.state.shared import SharedState
from atlas.views.base import TIGHT, gesture
from atlas.views.plain import plain
from atlas.views.upload import file_input

SESSION = "This session as a file"

HINT = (
    "The model's name, the texts, what is selected and chosen, and your findings: all that a link holds, however long the texts "
    "are. Results are worked out again when it is opened. With “without the text” on, the texts stay out of the file "
    "too, also those of findings; what you wrote about a finding is in it."
)


class SessionPanel(param.Parameterized):
    """Saves a session and opens one."""

    problem = param.String(default="", doc="Why a file cannot be opened.")

    def __init__(self, shared: SharedState, **params: Any) -> None:
        super().__init__(**params)
        self.shared = shared
        self.download = pmui.FileDownload(
            callback=lambda: io.BytesIO(saved(shared)), filename=NAME, label="Save", size="small", margin=TIGHT,
            css_classes=["aa-session-save"],
        )  # fmt: skip
        self.upload = file_input([".json"], MOST_BYTES, "aa-session-file")
        self.upload.param.watch(lambda _: self._taken(), "value")

    def body(self) -> Any:
        """What is in the fold."""
        notice = Notice(problem=self.param.problem)
        return pn.Column(
            plain(HINT, "aa-texts-hint", margin=(0, 10)), self.download, self.upload, notice, sizing_mode="stretch_width"
        )

    @gesture
    def _taken(self) -> None:
        if isinstance(self.upload.value, bytes):
            self.problem = opened(self.shared, self.upload.value)
