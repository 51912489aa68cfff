"""Queries, keys and values of the head in focus: compared pair by pair, and as vectors of a length and a direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import panel_material_ui as pmui

from atlas.plots.lines import Line, key_of_marks, key_of_parts
from atlas.plots.vectors import TYPES, Points
from atlas.state.qkv import POSITION, ROLE, TYPE, QKVLens
from atlas.trace import Trace
from atlas.tracing.qkv import ATTENTION, COSINE, KEY, QUERY, SCALED, without_qk
from atlas.views.base import TIGHT
from atlas.views.plane import PlaneView
from atlas.views.shows import Shows
from atlas.views.token_vectors import POSITIONS, TokenVectorsView

if TYPE_CHECKING:
    import pandas as pd

SHOWN = {"cosine": COSINE, "q·k × scaling": SCALED, "attention": ATTENTION}

COLOURED = {"query or key": ROLE, "position": POSITION, "type of token": TYPE}

LENGTHS, MAP = 200, 270
"""Pixels of the two plots of vectors."""


class QKView(PlaneView):
    """Every query with every key."""

    key: ClassVar = "qkv"
    title: ClassVar = "Queries and keys"
    question: ClassVar = "How well do queries and keys match?"
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


class VectorsView(TokenVectorsView):
    """Lengths of queries, keys and values, and queries and keys on one map."""

    key: ClassVar = "vectors"
    title: ClassVar = "Queries, keys, values"
    question: ClassVar = "How long are queries, keys and values, and where do they lie?"
    help: ClassVar = (
        "The head in focus. Above: the length of each token's query, key and value. A token whose value is short passes little "
        "on, however much attention it gets. Below: queries and keys together on the two axes along which they differ most (PCA "
        "of both at once); the axes say which share of the variance they show, and what lies close here may be far apart along "
        "the others. Click a mark, or draw a box around some, to select their tokens."
    )
    defines: ClassVar = ("vector_length", "joint_map")
    lens_type: ClassVar = QKVLens
    qkv = Shows(QKVLens)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A trace with queries and keys."""
        return without_qk(trace)

    def tools(self) -> list[Any]:
        """What colours the marks."""
        colour = self.qkv.choices.param.colour
        return [pmui.Select.from_param(colour, label="Colour", options=COLOURED, size="small", margin=TIGHT, width=170)]

    def lines(self) -> list[Line] | None:
        """Lengths of queries, keys and values."""
        found = self.qkv.vectors()
        if found is None:
            return None
        return [
            Line(part, np.arange(float(len(long))), long, [f"{name} ({at}): {part}" for at, name in enumerate(found.names[part])])
            for part, long in found.lengths.items()
        ]

    def points(self) -> Points | None:
        """Queries before keys."""
        found = self.qkv.vectors()
        if found is None:
            return None
        n_queries, n_keys = len(found.joint.query), len(found.joint.key)
        names = [f"{name} ({at})" for part in (QUERY, KEY) for at, name in enumerate(found.names[part])]
        selection = self.workspace.selection
        return Points(
            np.concatenate([found.joint.query, found.joint.key]),
            [QUERY] * n_queries + [KEY] * n_keys,
            np.concatenate([np.arange(n_queries), np.arange(n_keys)]),
            names,
            [*found.types[QUERY], *found.types[KEY]],
            [*sorted(selection.queries), *(n_queries + at for at in sorted(selection.keys))],
        )

    def shares(self) -> tuple[float, float]:
        """Of both together."""
        found = self.qkv.vectors()
        return (np.nan, np.nan) if found is None else found.joint.shares

    def coloured_by(self) -> str:
        """Part, position or type."""
        return str(self.qkv.choices.colour)

    def key_of_colours(self) -> str:
        """What the colours mean."""
        found = self.qkv.vectors()
        if found is None:
            return ""
        key, colour = key_of_parts({part: part for part in found.lengths}), self.coloured_by()
        if colour == TYPE:
            key += key_of_marks({name: TYPES[name] for name in sorted({*found.types[QUERY], *found.types[KEY]})})
        words = f"<div style='font-size:0.8rem'>{POSITIONS.format('query or key')}</div>"
        return key + (words if colour == POSITION else "")

    def pick(self, points: Points, rows: list[int]) -> None:
        """Select tokens by their vectors."""
        chosen = {
            part: frozenset(int(points.positions[row]) for row in rows if points.roles[row] == part) for part in (QUERY, KEY)
        }
        self.qkv.select_vectors(chosen[QUERY], chosen[KEY], self.key)

    def table(self) -> pd.DataFrame:
        """Every vector's length and place."""
        return self.qkv.vectors_table()
