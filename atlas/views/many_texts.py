"""What views share that go through many texts: the choice of these, a file, pasted texts, and the press."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.state.many_texts import FILE, LISTED, MOST_LETTERS, PASTED, ManyTextsLens, without_model
from atlas.state.readers_file import MOST_BYTES, TEXT_ENDINGS
from atlas.state.validate import LONGEST_NAME
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.many_texts import TEMPLATES
from atlas.views.base import TIGHT, View, gesture
from atlas.views.plain import plain
from atlas.views.shows import Shows
from atlas.views.upload import file_input

LOOK: dict[str, Any] = {"size": "small", "margin": TIGHT}

SOURCES = {f"{name} ({about})": name for name, about in TEMPLATES.items()} | {
    "pasted": PASTED, "the list 'Texts of a file'": LISTED, "a file": FILE,
}  # fmt: skip


class ManyTextsView(View):
    """A view with texts of its own, which are gone through at a press."""

    many = Shows(ManyTextsLens)
    css: ClassVar[str] = ""
    """How the classes of its parts begin."""
    before: ClassVar[str] = ""
    """What is said before the press."""

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.upload = file_input(TEXT_ENDINGS, MOST_BYTES, f"{self.css}-file")
        self.start = pmui.Button(label="Run", color="primary", variant="contained", css_classes=[f"{self.css}-run"], **LOOK)
        self.pasted = pmui.TextAreaInput(
            label="Texts, one a line", max_length=MOST_LETTERS, rows=3, max_rows=8, auto_grow=True,
            sizing_mode="stretch_width", css_classes=[f"{self.css}-pasted"], margin=(4, 4),
        )  # fmt: skip
        self.column = pmui.TextInput.from_param(
            self.many.choices.param.column, label="Column of texts", width=150, max_length=LONGEST_NAME, **LOOK
        )
        self.invitation = plain(self.before, f"{self.css}-hint")
        self.results = pn.Column(sizing_mode="stretch_width", margin=0)
        self.upload.param.watch(lambda _: self._taken(), "value")
        self.pasted.param.watch(lambda _: self._typed(), "value")
        self.start.on_click(lambda _: self._run())
        self._show_fields()

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Other texts are run."""
        return without_model(trace)

    def texts_tools(self) -> list[Any]:
        """Which texts."""
        source = self.many.choices.param.source
        return [pmui.Select.from_param(source, label="Texts", options=SOURCES, width=300, **LOOK), self.upload, self.column]

    def free(self) -> None:
        """Whether the button can be pressed, what it does, and which fields are of use."""
        lens = self.many
        there = self.workspace.trace is not None
        found = lens.found() if there else None
        self.results.visible, self.invitation.visible = found is not None, found is None
        goes_on = found is not None and not found.complete
        self.start.param.update(disabled=not (there and lens.can_run), label="Go on" if goes_on else "Run")
        self._show_fields()
        if self.pasted.value != lens.pasted:
            self.pasted.value = lens.pasted

    def follow_run(self) -> None:
        """Keep the button up to date."""
        self.many.param.watch(lambda _: self.many.attempt_drawing(self.free), ["busy", "problem"])

    def _show_fields(self) -> None:
        source = self.many.choices.source
        self.column.visible, self.pasted.visible = source == FILE, source == PASTED

    @gesture
    def _taken(self) -> None:
        if isinstance(self.upload.value, bytes):
            self.many.take(str(self.upload.filename), self.upload.value)

    @gesture
    def _typed(self) -> None:
        self.many.paste(str(self.pasted.value or ""))

    @gesture
    def _run(self) -> None:
        self.many.run()
