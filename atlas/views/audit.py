"""Flagged words over many texts: how much a detector flags, which heads look at it, and text by text."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import panel as pn
import panel_material_ui as pmui

from atlas.components.bar_list import BarList
from atlas.components.text_rows import TextRow, TextRows
from atlas.plots.frame import number
from atlas.state.audit import AuditLens, Line
from atlas.state.detection import TITLES
from atlas.state.lens import counted
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.chance import BEYOND
from atlas.tracing.labelled import without_text
from atlas.views.base import Export, gesture
from atlas.views.dotted import DottedPlaneView
from atlas.views.many_texts import LOOK, ManyTextsView
from atlas.views.plain import plain
from atlas.views.shows import Shows

HINT = (
    "Nothing is flagged yet. Choose texts that come with Atlas, paste your own (one a line), take the list at the side, or "
    "choose a file (.csv or .json with a column of texts, .jsonl, or .txt with a text a line), up to 500 texts; then press Run. "
    "`atlas audit` takes more."
)

LIST = "Texts with their flagged words"

SAID = (
    "Those with most flagged words first; behind each how many words are flagged, and the head that looks most at them with its "
    "ratio and p. Press a text to open it with that head in focus."
)


class AuditView(ManyTextsView, DottedPlaneView):
    """Shares of the labels, the plane of all heads, and the list of the texts."""

    key: ClassVar = "audit"
    title: ClassVar = "Flagged words over many texts"
    question: ClassVar = "What is flagged in many texts, and which heads look at it?"
    help: ClassVar = (
        "Every text is read by the detector (the model on screen where it is one, else gus-mini, at the thresholds of 'Biased "
        "words') and run through the model on screen. Above: how much of all words each label flags, with a 95 % interval (texts "
        "resampled) and in how many texts. The plane, layers by heads: the attention that flagged words get in all texts "
        "together, over what they would get if it were spread evenly under the same mask. The paper's colour is even attention "
        "(ratio 1); orange more, purple less, by the logarithm to the base 2: 1 is twice as much. A dot: beyond chance "
        f"(q ≤ {BEYOND}). For chance, stretches of the same lengths are flagged elsewhere in each text, 999 times; the pointer "
        "says the mean of these ratios. Click a head to focus and select it, the name of a layer or number to select its heads. "
        "Below: the texts with their flagged words marked, and of each the head that looks most at them; its p is held against "
        "the strongest of all heads under labels at random. Texts in which nothing or everything is flagged say nothing of "
        "heads, and say so. Which words are flagged is the opinion of a detector that is often wrong, and attention to a word is "
        "not yet an effect on what the model says."
    )
    defines: ClassVar = ("audit_ratio", "bias_label")
    css: ClassVar = "aa-audit"
    before: ClassVar = HINT
    lens_type: ClassVar = AuditLens
    audit = Shows(AuditLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.labels = BarList(dark=self.param.dark, width_of_group=400, letters=14, css_classes=["aa-audit-labels"])
        self.place = pn.Column(sizing_mode="stretch_width", margin=0)
        """Of the plane, which itself cannot be hidden."""
        self.notes = plain("", "aa-audit-notes")
        self.rows = TextRows(label=LIST, css_classes=["aa-audit-texts"])
        self.heads = pmui.Button(label="Select heads", variant="outlined", css_classes=["aa-audit-heads"], **LOOK)
        self.heads.on_click(lambda _: self._select())
        self.rows.on_press(lambda key: self._pressed(int(key)))
        self.rows.on_step(self._stepped)
        self.rows.on_turn(self._turned)
        self.audit.param.watch(lambda _: self.audit.attempt_drawing(self._list), "page")
        given = workspace.pipeline.input
        assert given is not None
        given.param.watch(lambda _: self._moved_on(), "text")

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Other texts are read by a detector, and run."""
        return super().fits(trace) or without_text(trace)

    def tools(self) -> list[Any]:
        """Which texts; run."""
        # Run is here and not in the body, which is hidden while there is a problem: it is the way out of one.
        return [*self.texts_tools(), self.start]

    def body(self) -> Any:
        """The texts typed, labels, plane, and the list."""
        self.place.objects = [DottedPlaneView.body(self)]
        beside = pn.Column(self.labels, self.heads, self.notes, sizing_mode="stretch_width", margin=0)
        self.results.objects = [
            pn.Row(self.place, beside, sizing_mode="stretch_width", margin=0),
            plain(SAID, "aa-audit-said"),
            self.rows,
        ]
        self._draw()
        self.visibility.follow_revision(self._draw)
        self.follow_run()
        return pn.Column(self.pasted, self.invitation, self.results, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """Texts, labels, heads and rows that could not be used, and the plane."""
        lens = self.audit
        picture = self.image[()] if self.image is not None and lens.plane().rows else None
        return Export("flagged-words", lens.table(), picture, lens.tables())

    def said_of_colours(self) -> str:
        """What a number and a dot say."""
        return f"log₂ of the ratio (0: even attention, ratio 1; 1: twice as much); dot: beyond chance, q ≤ {BEYOND}"

    def dotted(self) -> frozenset[tuple[int, int]]:
        """The heads whose ratio is beyond chance."""
        return self.audit.beyond()

    # -- drawing -------------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        lens = self.audit
        rows = [
            {
                "label": TITLES.get(each.label, each.label),
                "shares": [each.share],
                "number": f"{100 * each.share:.1f} %{_interval(each.lo, each.hi)}",
                "note": f"{counted(each.words, 'word')} in {counted(each.texts, 'text')}",
            }
            for each in lens.shares()
        ]
        self.labels.groups = [{"name": "Share of all words, and its 95 % interval", "rows": rows}] if rows else []
        notes = lens.notes() if self.workspace.trace is not None else ""
        self.notes.param.update(object=notes, visible=bool(notes))
        self.place.visible = bool(lens.plane().rows)
        heads = len(lens.heads())
        several = f"Select the {heads:,} heads beyond chance" if heads > 1 else "Select the head beyond chance"
        self.heads.param.update(label=several if heads else "No head is beyond chance", disabled=not heads)
        self._list()
        self.free()

    def _list(self) -> None:
        lens = self.audit
        lines = lens.lines()
        now = lines[lens.current()].at if lines and lens.current() >= 0 else -1
        rows = [
            TextRow(str(line.at), f"{line.row:,}", line.text, self._note(line), line.at == now, line.marks)
            for line in lens.on_page()
        ]
        where = lens.where() if lines else ""
        self.rows.param.update(rows=rows, where=where, page=min(lens.page, lens.pages()), pages=lens.pages())

    def _note(self, line: Line) -> str:
        flagged = f"{len(line.marks):,} of {counted(line.words, 'word')}"
        if line.head is None:
            return f"{flagged} · {line.note}" if line.marks else line.note
        kinds = self.workspace.trace.kinds if self.workspace.trace is not None else ()
        return f"{flagged} · {line.head.label(kinds)} {number(line.ratio)}, p {number(line.p)}"

    # -- gestures ------------------------------------------------------------------------------------------------------

    def _moved_on(self) -> None:
        """Mark the row of the text that is asked for now."""
        if self.visibility.active and self.rows.rows:
            self.audit.attempt_drawing(self._list)

    @gesture
    def _select(self) -> None:
        self.audit.select_heads(self.key)

    @gesture
    def _pressed(self, at: int) -> None:
        self.audit.open(at, self.key)

    @gesture
    def _stepped(self, by: int) -> None:
        self.audit.step(by, self.key)

    @gesture
    def _turned(self, by: int) -> None:
        self.audit.turn(by)


def _interval(lo: float, hi: float) -> str:
    return f" ({100 * lo:.1f} to {100 * hi:.1f})" if np.isfinite(lo) else ""
