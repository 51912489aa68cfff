"""Measure a corpus: the heads of the model on screen over many texts, from here."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.state.corpus_run import FILE, SAMPLE, CorpusRunLens
from atlas.state.readers_file import MOST_BYTES, TEXT_ENDINGS
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.plain import plain
from atlas.views.shows import Shows
from atlas.views.upload import file_input

HINT = (
    "Choose a file of texts (.csv or .json with a column of texts, .jsonl, or .txt with a text a line), or take the sample: "
    "little stories that come with Atlas. Then press Measure. At the end the cards of this tab show what every head does over "
    "these texts."
)

SOURCES = {"Sample of stories": SAMPLE, "A file": FILE}


class CorpusRunView(View):
    """A run over a file of the reader's, or over the sample."""

    key: ClassVar = "corpus_run"
    title: ClassVar = "Measure a corpus"
    question: ClassVar = "What do the heads do over your own texts?"
    help: ClassVar = (
        "The model on screen reads every text once, in padded batches, and what each head does is added up: the same figures as "
        "`atlas corpus` writes. Between two parts of a run other readers have their turn; where whoever runs the app lets them, "
        "other processes do it, one run at a time. A run that was stopped goes on from there. Rows that hold no text are listed "
        "and left out, texts that are too long are cut. Parts of speech and entities are not tagged here, so function words, "
        "content words and entities stay unknown. Texts with a column of labels or sources can be divided by it: each group is "
        "then listed beside the corpus in the other cards, and Drift compares two of them. The corpus is kept for this session "
        "alone, and the newest three of them; "
        "`atlas corpus` writes one to keep."
    )
    defines: ClassVar = ("corpus_mean", "corpus_role")
    lens_type: ClassVar = CorpusRunLens
    measuring = Shows(CorpusRunLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        look: dict[str, Any] = {"size": "small", "margin": TIGHT}
        self.upload = file_input(TEXT_ENDINGS, MOST_BYTES, "aa-corpus-file")
        self.start = pmui.Button(label="Measure", color="primary", variant="contained", css_classes=["aa-corpus-run"], **look)
        self.upload.param.watch(lambda _: self._taken(), "value")
        self.start.on_click(lambda _: self._run())
        self.hint = plain(HINT, "aa-corpus-hint")
        self.limits = plain(self.measuring.limits, "aa-corpus-limits")
        self.result = plain("", "aa-corpus-result")
        self.bad = plain("", "aa-corpus-bad")

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Without a model nothing is measured."""
        return "" if trace.live is not None else "its model is not here to read other texts."

    def tools(self) -> list[Any]:
        """The texts, how many of them, and the press."""
        choices, look = self.measuring.choices.param, {"size": "small", "margin": TIGHT}
        return [
            pmui.Select.from_param(choices.source, label="Texts", options=SOURCES, width=174, **look),
            self.upload,
            pmui.TextInput.from_param(choices.column, label="Column of texts", width=150, **look),
            pmui.TextInput.from_param(choices.group, label="Group by column", placeholder="none", width=150, **look),
            pmui.IntInput.from_param(choices.most, label="Texts at most", step=100, width=130, **look),
            # Here and not in the body, which is hidden while there is a problem: it is the way out of one.
            self.start,
        ]

    def body(self) -> Any:
        """What to do, what came of it, and the rows that cannot be used."""
        self._draw()
        self.visibility.follow_revision(self._draw)
        self.measuring.param.watch(lambda _: self.measuring.attempt_drawing(self._free), ["busy", "problem"])
        return pn.Column(self.hint, self.limits, self.result, self.bad, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """The texts that are measured, and the rows that cannot be."""
        return Export("corpus-texts", self.measuring.table(), None)

    def _draw(self) -> None:
        self.measuring.shown()
        result, bad = self.measuring.result(), self.measuring.bad()
        self.result.param.update(object=result, visible=bool(result))
        self.bad.param.update(object=bad, visible=bool(bad))
        self._free()

    def _free(self) -> None:
        """Whether the button can be pressed, and what it does."""
        go_on = self.measuring.is_begun and not self.measuring.corpus_name
        self.start.param.update(disabled=not self.measuring.can_run, label="Go on" if go_on else "Measure")

    @gesture
    def _taken(self) -> None:
        if isinstance(self.upload.value, bytes):
            self.measuring.take(str(self.upload.filename), self.upload.value)

    @gesture
    def _run(self) -> None:
        self.measuring.run()
