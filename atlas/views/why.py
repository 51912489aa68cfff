"""Why a head looks where it does: the score of one edge by who wrote its query and its key."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import panel as pn
import panel_material_ui as pmui

from atlas.plots.frame import number
from atlas.plots.signed_bars import Bar
from atlas.state.why import KEY, PAIR, PAIRS, QUERY, WRITERS, Row, WhyLens
from atlas.trace import Trace
from atlas.tracing.why import without_parts
from atlas.views.base import TIGHT, Export, gesture
from atlas.views.plain import plain
from atlas.views.shows import Shows
from atlas.views.signed_lists import SignedLists

ORIGIN = "why"


class WhyView(SignedLists):
    """The writers of one query and one key."""

    key: ClassVar = "why"
    title: ClassVar = "Why there"
    question: ClassVar = "Why does this head look there?"
    help: ClassVar = (
        "The score of one edge of the head in focus: the first selected query and key, else the last token and the key it looks "
        "at most. Its query and its key are sums of what the embeddings and the heads and feed-forward blocks before it wrote, "
        "so the score is a sum over pairs of writers. Left: all pairs of a writer of the query; right: of a writer of the key; "
        "below: the strongest pairs. Orange adds to the score, purple takes away; the axes of all lists end at the same value. "
        "Every norm is held at the size it divided by in this run. What a writer gives to all keys alike changes no weight: "
        "beside each writer stands the weight that would remain if it had not written to the query, or to any key. Click a head "
        "to focus it. Shift+click a writer, or choose it above, to run the block without it and see whether that is so."
    )
    defines: ClassVar = ("score_part", "weight_without")
    lens_type: ClassVar = WhyLens
    why = Shows(WhyLens)
    wide: ClassVar = True
    rows: ClassVar = {QUERY: WRITERS + 1, KEY: WRITERS + 1, PAIR: PAIRS + 1}
    quiet: ClassVar = frozenset({PAIR})
    label: ClassVar = "part of the score"

    def __init__(self, *given: Any, **params: Any) -> None:
        super().__init__(*given, **params)
        self._cut = pmui.Select(label="Run without", options={"nothing": ""}, value="", size="small", margin=TIGHT, width=230)
        self._cut.param.watch(self._chosen, "value")

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A trace with queries, keys and its model."""
        return without_parts(trace, trace.kinds[0])

    def tools(self) -> list[Any]:
        """The writer that is cut."""
        return [self._cut]

    def body(self) -> Any:
        """The two sides beside each other, the pairs under them, what a run without a writer gave, and what is held."""
        lists, changes = self.listed(), self.visibility.param.revision
        notes = plain(self.bound(lambda _: self.why.notes(), changes), "aa-why-notes")
        cut = plain(self.bound(lambda _: self.why.cut_in_words(), changes), "aa-why-cut")
        sides = pn.Row(lists[QUERY], lists[KEY], sizing_mode="stretch_width", margin=0)
        self._offer()
        self.visibility.follow_revision(self._offer)
        return pn.Column(cut, sides, lists[PAIR], notes, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """Every row on screen, and the three plots."""
        return Export("why", self.why.table(), self.picture())

    def bars(self, name: str) -> list[Bar]:
        """The rows of one list as bars."""
        shown = self.why.shown()
        if shown is None:
            return []
        rows: tuple[Row, ...] = {QUERY: shown.query, KEY: shown.key, PAIR: shown.pair}[name]
        return [bar_of(row, np.nan if name == PAIR else shown.found.weight) for row in rows]

    def heading(self, name: str) -> str:
        """Whose writers a list has."""
        shown = self.why.shown()
        if shown is None:
            return ""
        weight = f"weight {number(shown.found.weight)} → without the writer"
        if name == QUERY:
            return f"Who wrote the query at {shown.query_name}; {weight}"
        if name == KEY:
            return f"Who wrote the key at {shown.key_name}; {weight}"
        return "The strongest pairs: writer of the query × writer of the key"

    def focus(self, name: str, place: int) -> None:
        """Focus the head of a row."""
        self.why.focus(name, place, ORIGIN)

    def press(self, name: str, place: int) -> None:
        """Run the block without the writer of a row."""
        self.why.cut(name, place)

    def _offer(self) -> None:
        """The writers of the edge on screen."""
        options = self.why.cuts()
        chosen = self.why.choices.cut
        self._cut.param.update(options=options, value=chosen if chosen in options.values() else "")

    @gesture
    def _chosen(self, event: Any) -> None:
        # An edge that has not this writer leaves the choice as it is: the next edge may have it.
        if event.new or self.why.choices.cut in self.why.cuts().values():
            self.why.choices.cut = event.new or ""


def bar_of(row: Row, weight: float) -> Bar:
    """A row with its number and, for a writer of one side, the weight without it."""
    signed = ("+" if row.part > 0 else "") + number(row.part)
    if np.isnan(row.without):
        return Bar(row.name, row.part, signed, f"adds {signed} to the score")
    about = f"adds {signed} to the score\nweight {number(weight)}, without this writer {number(row.without)}"
    return Bar(row.name, row.part, f"{signed} → {number(row.without)}", about)
