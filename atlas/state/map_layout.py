"""Where heads lie on the Map: layer by layer, or as one ranking of all heads that is read row by row."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.ids import HeadId

Array = np.ndarray


@dataclass(frozen=True)
class Layout:
    """The head in every row and column of the Map."""

    kind: str
    rows: tuple[tuple[HeadId, ...], ...]
    n_queries: int
    n_keys: int
    ranked_by: str = ""
    """What the heads are ranked by, as the screen calls it; empty: rows are layers and columns are numbers of heads."""

    @property
    def n_rows(self) -> int:
        """Rows of the Map: as many as layers."""
        return len(self.rows)

    @property
    def n_columns(self) -> int:
        """Columns of the Map: as many as a layer has heads."""
        return len(self.rows[0]) if self.rows else 0

    @functools.cached_property
    def places(self) -> dict[HeadId, tuple[int, int]]:
        """(row, column) of every head."""
        return {head: (row, column) for row, heads in enumerate(self.rows) for column, head in enumerate(heads)}

    @property
    def ids(self) -> list[HeadId]:
        """The heads in the order in which the Map is read."""
        return [head for row in self.rows for head in row]

    def rank(self, head: HeadId) -> int:
        """The place of a head in the ranking, from 1 on."""
        row, column = self.places[head]
        return row * self.n_columns + column + 1

    def arranged(self, values: Array) -> Array:
        """Values by (layer, head, ...) as (row, column, ...) of the Map."""
        layers, heads = (np.array([[getattr(head, name) for head in row] for row in self.rows]) for name in ("layer", "head"))
        return values[layers, heads]

    def head_at(self, x: float, y: float) -> HeadId | None:
        """The head whose square holds a point, in squares."""
        row, column = int(np.floor(y)), int(np.floor(x))
        if not (0 <= row < self.n_rows and 0 <= column < self.n_columns):
            return None
        return self.rows[row][column]

    def cell_at(self, x: float, y: float, across_gap: float, down_gap: float) -> tuple[HeadId, int, int] | None:
        """(head, query, key) under a point; None in a gap, whose share of the square on each side is given."""
        head = self.head_at(x, y)
        across, down = (x % 1 - across_gap) / (1 - 2 * across_gap), (y % 1 - down_gap) / (1 - 2 * down_gap)
        if head is None or not (0 <= across < 1 and 0 <= down < 1):
            return None
        return head, int(down * self.n_queries), int(across * self.n_keys)


NO_LAYOUT = Layout("encoder", (), 0, 0)


def by_number(heads: Iterable[HeadId], n_heads: int) -> tuple[tuple[HeadId, ...], ...]:
    """Layers downwards, heads across."""
    return _rows(sorted(heads), n_heads)


def ranked(heads: Sequence[HeadId], values: Array, n_heads: int, *, largest_first: bool) -> tuple[tuple[HeadId, ...], ...]:
    """All heads in the order of their values, row by row; unknown values come last, equal ones in the order given."""
    order = np.argsort(-values if largest_first else values, kind="stable")
    return _rows([heads[at] for at in order], n_heads)


def _rows(heads: Sequence[HeadId], n_heads: int) -> tuple[tuple[HeadId, ...], ...]:
    return tuple(tuple(heads[start : start + n_heads]) for start in range(0, len(heads), n_heads))
