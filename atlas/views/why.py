"""Why a head looks where it does: the score of one edge by who wrote its query and its key."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn

from atlas.plots.frame import number
from atlas.plots.signed_bars import Bar, height_of, signed_bars
from atlas.state.why import KEY, PAIR, PAIRS, QUERY, WRITERS, Row, WhyLens
from atlas.trace import Trace
from atlas.tracing.why import without_parts
from atlas.views.base import Export, View, gesture
from atlas.views.events import on_tap
from atlas.views.plain import plain

ORIGIN = "why"

ROWS = {QUERY: WRITERS + 1, KEY: WRITERS + 1, PAIR: PAIRS + 1}
"""Rows that each list has room for."""

LABEL = "part of the score"


class WhyView(View):
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
        "beside each writer of the key stands the weight that would remain if it had written to no key. Click a head to focus it."
    )
    defines: ClassVar = ("score_part", "weight_without")
    lens_type: ClassVar = WhyLens
    wide: ClassVar = True

    def __init__(self, *given: Any, **params: Any) -> None:
        super().__init__(*given, **params)
        self._hears = {QUERY: [on_tap(self._tapped_query)], KEY: [on_tap(self._tapped_key)], PAIR: []}

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A trace with queries, keys and its model."""
        return without_parts(trace, trace.kinds[0])

    @property
    def why(self) -> WhyLens:
        """What is shown."""
        assert isinstance(self.lens, WhyLens)
        return self.lens

    def body(self) -> Any:
        """The two sides beside each other, the pairs under them, and what is held."""
        changes = self.visibility.param.revision
        lists = {}
        for name, rows in ROWS.items():
            streams = [self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])]
            drawn = hv.DynamicMap(self.drawing(self._drawer(name), partial(no_bars, rows)), streams=streams)
            pane = self.plot_pane(drawn, sizing_mode="stretch_width", height=height_of(rows), css_classes=[f"aa-why-{name}"])
            words = plain(self.bound(lambda _, name=name: self._heading(name), changes), f"aa-why-{name}-words")
            lists[name] = pn.Column(words, pane, sizing_mode="stretch_width", margin=0)
        notes = plain(self.bound(lambda _: self.why.notes(), changes), "aa-why-notes")
        sides = pn.Row(lists[QUERY], lists[KEY], sizing_mode="stretch_width", margin=0)
        return pn.Column(sides, lists[PAIR], notes, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """Every row on screen, and the three plots."""
        pictures = [self._drawer(name)() for name in ROWS]
        return Export("why", self.why.table(), hv.Layout(pictures).cols(1))

    def bars(self, name: str) -> list[Bar]:
        """The rows of one list as bars."""
        shown = self.why.shown()
        rows: tuple[Row, ...] = () if shown is None else {QUERY: shown.query, KEY: shown.key, PAIR: shown.pair}[name]
        return [bar_of(row, shown.found.weight if shown is not None and name == KEY else np.nan) for row in rows]

    def _drawer(self, name: str) -> Any:
        def draw(**_: Any) -> hv.Overlay:
            largest = max((abs(bar.part) for each in ROWS for bar in self.bars(each)), default=1.0)
            return signed_bars(
                self.bars(name), rows=ROWS[name], largest=largest, label=LABEL, dark=self.dark,
                hooks=self.faults.hooks(self._hears[name]),
            )  # fmt: skip

        return draw

    def _heading(self, name: str) -> str:
        shown = self.why.shown() if self.workspace.trace is not None else None
        if shown is None:
            return ""
        if name == QUERY:
            return f"Who wrote the query at {shown.query_name}"
        if name == KEY:
            return f"Who wrote the key at {shown.key_name}; weight {number(shown.found.weight)} → without the writer"
        return "The strongest pairs: writer of the query × writer of the key"

    @gesture
    def _tapped_query(self, _: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002  (an event's signature)
        self.why.focus(QUERY, round(y), ORIGIN)

    @gesture
    def _tapped_key(self, _: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002  (an event's signature)
        self.why.focus(KEY, round(y), ORIGIN)


def bar_of(row: Row, weight: float) -> Bar:
    """A row with its number and, for a writer of the key, the weight without it."""
    signed = ("+" if row.part > 0 else "") + number(row.part)
    if np.isnan(row.without):
        return Bar(row.name, row.part, signed, f"adds {signed} to the score")
    about = f"adds {signed} to the score\nweight {number(weight)}, without this writer {number(row.without)}"
    return Bar(row.name, row.part, f"{signed} → {number(row.without)}", about)


def no_bars(rows: int) -> hv.Overlay:
    """No bars at all."""
    return signed_bars([], rows=rows, largest=1.0, label=LABEL)
