"""What the views of queries, keys and values show: those of the head in focus."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
import param

from atlas.ids import HeadId
from atlas.state.plane import Cell, Thresholded, TokenPlane, TokenPlaneLens
from atlas.state.words import shown_token
from atlas.tracing.qkv import (
    ATTENTION,
    COSINE,
    KEY,
    QUERY,
    SCALED,
    VALUE,
    JointMap,
    compared,
    joint_map,
    lengths,
    token_types,
    vectors_of,
)

ROLE, POSITION, TYPE = "role", "position", "type"
"""What colours a vector on the map of queries and keys."""

READINGS = {COSINE: "cosine", SCALED: "q·k × scaling", ATTENTION: "attention"}


class QKVChoices(Thresholded):
    """Choices of the views of queries, keys and values."""

    show = param.Selector[str](objects=[COSINE, SCALED, ATTENTION], default=COSINE, doc="What queries and keys are compared by.")
    colour = param.Selector[str](objects=[ROLE, POSITION, TYPE], default=ROLE, doc="What colours a vector on the map.")


class Vectors(NamedTuple):
    """The vectors of a head by token."""

    lengths: dict[str, np.ndarray]
    """'query', 'key', 'value' where known -> length by position of their tokens"""
    names: dict[str, tuple[str, ...]]
    """The same -> names of the tokens"""
    types: dict[str, tuple[str, ...]]
    """'query', 'key' -> types of the tokens"""
    joint: JointMap


class QKVLens(TokenPlaneLens):
    """Queries and keys of the head in focus."""

    key: ClassVar = "qkv"
    choices_type: ClassVar = QKVChoices
    reads: ClassVar = {"selection": ("focus",)}

    _vectors: Vectors | None = None

    def depends(self) -> Hashable:
        """On the head in focus alone: tokens are marked."""
        return self.workspace.selection.focus, self.choices.show, self.choices.colour

    def forget(self) -> None:
        """Drop the plane and the vectors."""
        super().forget()
        self._vectors = None

    def head(self) -> HeadId:
        """The head in focus."""
        focus = self.workspace.selection.focus
        assert focus is not None  # there is one once there is a trace
        return focus

    @property
    def signed(self) -> bool:
        """Whether the values have two signs: all but attention."""
        return bool(self.choices.show != ATTENTION)

    def reading(self) -> str:
        """What the value of a cell is called."""
        return READINGS[self.choices.show]

    def whose(self) -> str:
        """The head."""
        return str(self.head())

    def _highest(self) -> float:
        """Cosines have one scale for all heads."""
        return 1.0 if self.choices.show == COSINE else super()._highest()

    def _build_plane(self) -> TokenPlane:
        head, show = self.head(), self.choices.show
        values = compared(self.trace, head, show)
        self.line = self._describe(head)
        return TokenPlane(self._names("query"), self._names("key"), values)

    def _numbers(self, row: int, column: int) -> Cell:
        """The value, and what else is known of the pair."""
        head, trace, show = self.head(), self.trace, self.choices.show
        attention, found = trace.attention_of(head.kind), super()._numbers(row, column)
        if not np.isfinite(float(found["value"])):
            return found
        rows, columns = slice(row, row + 1), slice(column, column + 1)
        vectors = vectors_of(trace, head)
        query, key = vectors.query[row].astype(np.float64), vectors.key[column].astype(np.float64)
        product = float(np.linalg.norm(query) * np.linalg.norm(key))
        others = {
            COSINE: float(query @ key) / product if product > 0 else np.nan,
            SCALED: float(attention.scores(head.layer, head.head, rows, columns)["scaled"][0, 0]),
            ATTENTION: float(attention.block(head.layer, head.head, rows, columns)[0, 0]),
        }
        found |= {READINGS[name]: value for name, value in others.items() if name != show}
        return found | {"‖q‖": float(np.linalg.norm(query)), "‖k‖": float(np.linalg.norm(key))}

    # -- the vectors ---------------------------------------------------------------------------------------------------

    def vectors(self) -> Vectors | None:
        """The vectors of the head in focus; None where there are none."""
        if self._vectors is None:
            self._vectors = self.attempt(self._take_vectors, None)
        return self._vectors

    def _take_vectors(self) -> Vectors:
        head, trace = self.head(), self.trace
        found = vectors_of(trace, head)
        self.line = self._describe(head)
        names = {QUERY: self._names("query"), KEY: self._names("key"), VALUE: self._names("key")}
        long = {QUERY: lengths(found.query), KEY: lengths(found.key)}
        if found.value is not None:
            long[VALUE] = lengths(found.value)
        types = {part: token_types(trace, trace.side(head.kind, part)) for part in (QUERY, KEY)}
        return Vectors(long, names, types, joint_map(found))

    def vectors_table(self) -> pd.DataFrame:
        """One row a vector: what it is, its token, its length, and where it stands on the map."""
        found = self.vectors()
        if found is None:
            return pd.DataFrame(columns=["vector", "position", "token", "length", "x", "y"])
        places = {QUERY: found.joint.query, KEY: found.joint.key}
        parts = []
        for part, long in found.lengths.items():
            place = places.get(part, np.full((len(long), 2), np.nan))
            parts.append(
                pd.DataFrame({"vector": part, "position": np.arange(len(long)), "token": list(found.names[part]), "length": long,
                              "x": place[:, 0], "y": place[:, 1]})
            )  # fmt: skip
        return pd.concat(parts, ignore_index=True)

    def select_vectors(self, queries: frozenset[int], keys: frozenset[int], origin: str) -> None:
        """Select tokens by their vectors."""
        self.workspace.selection.select_pairs(queries, keys, origin=origin)

    def _names(self, axis: str) -> tuple[str, ...]:
        trace = self.trace
        return tuple(shown_token(str(token)) for token in trace.token_tables[trace.side(self.head().kind, axis)]["token"])

    def _describe(self, head: HeadId) -> str:
        trace = self.trace
        found = vectors_of(trace, head)
        shared = f"; its keys and values serve {found.sharing} heads" if found.sharing > 1 else ""
        return f"{head.label(trace.kinds)}, the head in focus: queries and keys of width {found.query.shape[-1]}{shared}"
