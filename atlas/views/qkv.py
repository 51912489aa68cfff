"""Queries, keys and values of the head in focus: compared pair by pair, and as vectors of a length and a direction."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui

from atlas.patches.panes import Markup
from atlas.plots.frame import number
from atlas.plots.lines import Line, key_of_marks, key_of_parts, token_lines
from atlas.plots.vectors import TYPES, Points, vector_points
from atlas.state.qkv import POSITION, ROLE, TYPE, QKVLens
from atlas.trace import Trace
from atlas.tracing.qkv import ATTENTION, COSINE, KEY, QUERY, SCALED, without_qk
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.events import on_reset, on_select
from atlas.views.glyph import Glyph
from atlas.views.plane import PlaneView

SHOWN = {"cosine": COSINE, "q·k × scaling": SCALED, "attention": ATTENTION}

COLOURED = {"query or key": ROLE, "position": POSITION, "type of token": TYPE}

LENGTHS, MAP = 200, 270
"""Pixels of the two plots of vectors."""


class QKView(PlaneView):
    """Every query with every key."""

    key: ClassVar = "qkv"
    title: ClassVar = "q, k, v"
    question: ClassVar = "What do queries and keys have in common?"
    help: ClassVar = (
        "The head in focus: rows are queries, columns keys, as its attention compares them (after rotation, where the model "
        "rotates them; the key a group of heads shares, where they do). Cosine leaves out how long both are; q·k × scaling is "
        "what the softmax reads, before a position bias; attention is what comes of it. Hatched: the query may not look there. "
        "Click a cell, or a name, to select its tokens."
    )
    defines: ClassVar = ("qk_cosine", "qk_scaled")
    lens_type: ClassVar = QKVLens

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A trace with queries and keys."""
        return without_qk(trace)

    def tools(self) -> list[Any]:
        """What pairs are compared by."""
        show = self.plane.choices.param.show
        return [pmui.Select.from_param(show, label="Show", options=SHOWN, size="small", margin=TIGHT, width=150)]


class VectorsView(View):
    """Lengths of queries, keys and values, and queries and keys on one map."""

    key: ClassVar = "vectors"
    title: ClassVar = "Vectors"
    question: ClassVar = "How long are they, and where do they lie?"
    help: ClassVar = (
        "The head in focus. Above: the length of each token's query, key and value. A token whose value is short passes little "
        "on, however much attention it gets. Below: queries and keys together on the two axes along which they differ most (PCA "
        "of both at once); the axes say which share of the variance they show, and what lies close here may be far apart along "
        "the others. Click a mark, or draw a box around some, to select their tokens."
    )
    defines: ClassVar = ("vector_length", "joint_map")
    lens_type: ClassVar = QKVLens

    def __init__(self, *given: Any, **params: Any) -> None:
        super().__init__(*given, **params)
        self.marks = Glyph()
        self._hears = [on_select(self._picked), on_reset(self._show_selection)]

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A trace with queries and keys."""
        return without_qk(trace)

    @property
    def qkv(self) -> QKVLens:
        """What is shown."""
        assert isinstance(self.lens, QKVLens)
        return self.lens

    def tools(self) -> list[Any]:
        """What colours the marks."""
        colour = self.qkv.choices.param.colour
        return [pmui.Select.from_param(colour, label="Colour", options=COLOURED, size="small", margin=TIGHT, width=170)]

    def body(self) -> Any:
        """Lengths over tokens, and the map."""
        self.visibility.follow_marks(self._show_selection)
        panes = []
        for name, draw, blank, height in (("lengths", self._lengths, no_lengths, LENGTHS), ("map", self._map, no_map, MAP)):
            streams = [self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])]
            drawn = hv.DynamicMap(self.drawing(draw, blank), streams=streams)
            panes.append(self.plot_pane(drawn, sizing_mode="stretch_width", height=height, css_classes=[f"aa-vectors-{name}"]))
        key = self.bound(self._key, self.visibility.param.revision)
        return pn.Column(panes[0], Markup(key, sizing_mode="stretch_width", margin=(0, 8)), panes[1], sizing_mode="stretch_width")

    def export(self) -> Export:
        """Every vector's length and place, and both plots."""
        return Export("vectors", self.qkv.vectors_table(), hv.Layout([self._lengths(), self._map()]).cols(1))

    def _lengths(self, **_: Any) -> hv.Overlay:
        found = self.qkv.vectors()
        if found is None:
            return no_lengths()
        lines = [
            Line(part, np.arange(float(len(long))), long, [f"{name} ({at}): {part}" for at, name in enumerate(found.names[part])])
            for part, long in found.lengths.items()
        ]
        return token_lines(lines, n_tokens=max(len(line.x) for line in lines), label="length", dark=self.dark, height=LENGTHS)

    def points(self) -> Points | None:
        """The marks of the map."""
        found = self.qkv.vectors()
        if found is None:
            return None
        n_queries, n_keys = len(found.joint.query), len(found.joint.key)
        names = [f"{name} ({at})" for part in (QUERY, KEY) for at, name in enumerate(found.names[part])]
        return Points(
            np.concatenate([found.joint.query, found.joint.key]),
            [QUERY] * n_queries + [KEY] * n_keys,
            np.concatenate([np.arange(n_queries), np.arange(n_keys)]),
            names,
            [*found.types[QUERY], *found.types[KEY]],
            self._chosen(n_queries),
        )

    def _chosen(self, n_queries: int) -> list[int]:
        selection = self.workspace.selection
        return [*sorted(selection.queries), *(n_queries + at for at in sorted(selection.keys))]

    def _map(self, **_: Any) -> hv.Points:
        points, found = self.points(), self.qkv.vectors()
        if points is None or found is None:
            return no_map()
        first, second = (f"component {at + 1}: {number(100 * share)} %" for at, share in enumerate(found.joint.shares))
        return vector_points(
            points, colour=self.qkv.choices.colour, labels=(first, second), dark=self.dark, height=MAP,
            hooks=self.faults.hooks([self.marks.hook, *self._hears]),
        )  # fmt: skip

    def _key(self, _: object) -> str:
        """What the colours mean."""
        found = self.qkv.vectors() if self.workspace.trace is not None else None
        if found is None:
            return ""
        key, colour = key_of_parts({part: part for part in found.lengths}), self.qkv.choices.colour
        if colour == TYPE:
            key += key_of_marks({name: TYPES[name] for name in sorted({*found.types[QUERY], *found.types[KEY]})})
        return key + (f"<div style='font-size:0.8rem'>{POSITIONS}</div>" if colour == POSITION else "")

    @gesture
    def _picked(self, rows: list[int]) -> None:
        points = self.points()
        if points is None:
            return
        chosen = {
            part: frozenset(int(points.positions[row]) for row in rows if points.roles[row] == part) for part in (QUERY, KEY)
        }
        self.qkv.select_vectors(chosen[QUERY], chosen[KEY], self.key)

    @gesture
    def _show_selection(self) -> None:
        """Mark the vectors of the selected tokens; a reset of the plot lets go of none."""
        found = self.qkv.vectors()
        if found is not None:
            self.marks.mark({}, self._chosen(len(found.joint.query)))


POSITIONS = "On the map: the further a colour is from the background, the later the token stands; the shape says query or key."


def no_lengths() -> hv.Overlay:
    """No vectors at all."""
    return token_lines([], n_tokens=1, label="length", height=LENGTHS)


def no_map() -> hv.Points:
    """No vectors at all."""
    nothing = Points(np.empty((0, 2)), [], np.empty(0, dtype=np.int64), [], [])
    return vector_points(nothing, colour=ROLE, labels=("", ""), height=MAP)
