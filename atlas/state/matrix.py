"""What the matrix shows: one head large, or the selected heads together, in one of the readings of a weight."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pandas as pd

from atlas.errors import NotCaptured, TooLarge
from atlas.ids import HeadId
from atlas.state.ceilings import colour_ceiling, sample_of, spread_of
from atlas.state.lens import Lens, counted
from atlas.state.words import row_names, shown_token
from atlas.tracing import windows
from atlas.tracing.token_scores import sinks

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

Axis = Literal["query", "key"]

READINGS = {
    "weight": "attention weight",
    "column": "share of what the key receives",
    "rollout": "rollout from the first layer to layer {layer}",
    "moved": "length of what is moved, weight × ‖v Wₒ‖",
}


@dataclass(frozen=True)
class Plane:
    """The matrix as a plane of cells: its names on both axes, and how to get any window of it."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    whole: Array | None
    """All of it, where it had to be worked out as a whole (words, rollout); None: window by window."""
    row_of: Array | None = None
    column_of: Array | None = None
    """The row and the column of every token, where they are words; None: a token has a row and a column of its own."""

    def tokens(self, axis: Axis, at: int) -> frozenset[int]:
        """The tokens that a row or a column stands for."""
        of = self._of(axis)
        return frozenset({at}) if of is None else frozenset(np.flatnonzero(of == at).tolist())

    def name(self, axis: Axis, at: int) -> str:
        """A row or a column by its name, and its position: a text has many a token more than once."""
        names = self.rows if axis == "query" else self.columns
        return names[at] if self._of(axis) is not None else f"{names[at]} ({at})"

    def places(self, axis: Axis, tokens: Collection[int]) -> frozenset[int]:
        """The rows or columns that some tokens are in."""
        of = self._of(axis)
        return frozenset(tokens) if of is None else frozenset(of[sorted(tokens)].tolist())

    def _of(self, axis: Axis) -> Array | None:
        return self.row_of if axis == "query" else self.column_of


@dataclass(frozen=True)
class Picture:
    """A window of the plane: values, and the rows and columns they are of. `step` cells of the plane are one of the values."""

    values: Array
    row0: float
    row1: float
    column0: float
    column1: float
    exact: bool


EMPTY_PLANE = Plane((), (), None)


class MatrixLens(Lens):
    """The matrix on screen."""

    reads: ClassVar = {"selection": ("focus", "heads"), "display": ("aggregate", "level", "mode", "sinks")}
    marked_by: ClassVar = ("queries", "keys")

    _plane: Plane | None = None
    _ceiling: float | None = None
    _known_names: tuple[Trace, str, tuple[str, ...], tuple[str, ...]] | None = None

    def depends(self) -> Hashable:
        """Not on the tokens: they are frames of their own."""
        display = self.workspace.display
        return self.kind, self.heads(), display.aggregate, display.level, display.mode, display.sinks

    def forget(self) -> None:
        """The plane is made anew when it is looked at."""
        self._plane = self._ceiling = None

    def heads(self) -> tuple[HeadId, ...]:
        """The selected heads of the kind on screen, else the focused one: the matrix of all heads at once says little."""
        selection = self.workspace.selection
        chosen = selection.heads_of(self.kind)
        if chosen or selection.focus is None:
            return chosen
        return (selection.focus,)

    def plane(self) -> Plane:
        """Names of rows and columns, and the matrix itself where it comes as a whole."""
        if self._plane is None:
            self._plane = self.attempt(self._build_plane, EMPTY_PLANE)
        return self._plane

    def picture(self, row0: float, row1: float, column0: float, column1: float) -> Picture:
        """The values in a window of the plane, given in cells; thumbnails where it holds more than can be worked out at once."""
        plane = self.plane()
        rows = slice(max(0, int(np.floor(row0))), min(len(plane.rows), int(np.ceil(row1))))
        columns = slice(max(0, int(np.floor(column0))), min(len(plane.columns), int(np.ceil(column1))))
        bounds = (float(rows.start), float(rows.stop), float(columns.start), float(columns.stop))
        if plane.whole is not None:
            return Picture(plane.whole[rows, columns], *bounds, exact=True)
        display = self.workspace.display
        try:
            values = windows.window(self.trace, self.heads(), rows, columns, mode=display.mode, aggregate=display.aggregate)
        except TooLarge:
            if display.mode != "weight":
                raise
            values = windows.overview(self.trace, self.heads(), display.aggregate)
            # The last cell of a thumbnail may stand for fewer tokens than the others: it reaches beyond the plane.
            rows_of, columns_of = -(-len(plane.rows) // values.shape[0]), -(-len(plane.columns) // values.shape[1])
            down, across = float(rows_of * values.shape[0]), float(columns_of * values.shape[1])
            return Picture(values, 0.0, down, 0.0, across, exact=False)
        return Picture(values, *bounds, exact=True)

    def table(self) -> pd.DataFrame:
        """The whole matrix: a row a query, a column a key, named as on the axes."""
        plane = self.plane()
        n_rows, n_columns = len(plane.rows), len(plane.columns)
        values = plane.whole
        if values is None:
            display = self.workspace.display
            values = windows.window(
                self.trace, self.heads(), slice(0, n_rows), slice(0, n_columns), mode=display.mode, aggregate=display.aggregate
            )
        rows = [plane.name("query", at) for at in range(n_rows)]
        columns = [plane.name("key", at) for at in range(n_columns)]
        return pd.DataFrame(values, index=pd.Index(rows, name="from"), columns=pd.Index(columns, name="to"))

    def ceiling(self) -> float:
        """From where on the strongest colour is shown."""
        if self._ceiling is None:
            self._ceiling = self._highest()
        return self._ceiling

    def spread(self) -> Array:
        """Some of the weights of this kind, for a scale that gives each colour its share."""
        return spread_of(self.trace, self.kind)

    def whose(self) -> str:
        """Whose numbers they are, shortly."""
        heads, display = self.heads(), self.workspace.display
        if display.mode == "rollout":
            return f"to layer {max(head.layer for head in heads)}"
        return str(heads[0]) if len(heads) == 1 else f"{display.aggregate} of {len(heads)} heads"

    def cell(self, row: int, column: int) -> dict[str, float | int | str]:
        """The exact numbers of one cell: q·k, scaled, masked, softmax, and its rank in its row; for one head of tokens only."""
        plane = self.plane()
        if not (0 <= row < len(plane.rows) and 0 <= column < len(plane.columns)):
            return {}
        here: dict[str, float | int | str] = {"row": plane.name("query", row), "column": plane.name("key", column)}
        if plane.whole is not None:
            return here | {"value": float(plane.whole[row, column])}
        heads, display = self.heads(), self.workspace.display
        value = windows.window(
            self.trace, heads, slice(row, row + 1), slice(column, column + 1), mode=display.mode, aggregate=display.aggregate
        )
        here["value"] = float(value[0, 0])
        return here | (self._steps(heads[0], row, column) if len(heads) == 1 else {})

    # -- inside --------------------------------------------------------------------------------------------------------

    def _steps(self, head: HeadId, row: int, column: int) -> dict[str, float | int | str]:
        attention = self.trace.attention_of(head.kind)
        weights = attention.block(head.layer, head.head, slice(row, row + 1))[0]
        weight = weights[column]
        found: dict[str, float | int | str] = {"softmax": float(weight)}
        if np.isfinite(weight):
            found |= {"rank": int((weights > weight).sum()) + 1, "of": int(np.isfinite(weights).sum())}
        try:
            scores = attention.scores(head.layer, head.head, slice(row, row + 1), slice(column, column + 1))
        except NotCaptured:
            return found  # recorded attention: there never was a q and k to show
        return {"q·k": float(scores["dot"][0, 0]), "scaled": float(scores["scaled"][0, 0]),
                "masked": float(scores["masked"][0, 0]), **found}  # fmt: skip

    def _build_plane(self) -> Plane:
        display, trace, heads = self.workspace.display, self.trace, self.heads()
        self.line = self._describe(heads)
        if display.level == "word" and display.mode == "weight":
            found = windows.words(trace, heads, display.aggregate)
            return Plane(tuple(found.queries), tuple(found.keys), found.weights, found.query_of, found.key_of)
        rows, columns = self._names()
        rolled = display.mode == "rollout"
        flow = windows.rollout(trace, self.kind, max(head.layer for head in heads)) if rolled else None
        if display.mode in ("column", "moved"):
            # Refused now and in words, not at every window.
            windows.window(trace, heads[:1], slice(0, 1), slice(0, 1), mode=display.mode)
        return Plane(rows, columns, flow)

    def _names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Of rows and columns; the same for all heads of a kind."""
        trace, kind = self.trace, self.kind
        known = self._known_names
        if known is None or known[0] is not trace or known[1] != kind:
            rows = row_names(trace, kind)
            columns = tuple(shown_token(str(token)) for token in trace.reading(trace.side(kind, "key")).table["token"])
            known = self._known_names = (trace, kind, rows, columns)
        return known[2], known[3]

    def _describe(self, heads: tuple[HeadId, ...]) -> str:
        display = self.workspace.display
        reading = READINGS[display.mode].format(layer=max(head.layer for head in heads))
        if display.level == "word" and display.mode != "weight":
            reading += ", tokens (this reading has no words)"
        if display.mode == "rollout":
            return reading
        level = ", words" if display.level == "word" and display.mode == "weight" else ""
        if len(heads) == 1:
            return f"{heads[0].label(self.trace.kinds)}: {reading}{level}"
        return f"{'mean' if display.aggregate == 'mean' else 'largest'} of {counted(len(heads), 'head')}: {reading}{level}"

    def _highest(self) -> float:
        display, plane = self.workspace.display, self.plane()
        if not plane.rows:
            return 1.0
        marks = sinks(self.trace, self.kind)
        if plane.column_of is not None:
            marks = np.isin(np.arange(len(plane.columns)), plane.column_of[marks])
        if plane.whole is not None:
            values = plane.whole
        else:
            # One head has the scale of all of them, so that going from head to head shows which looks harder.
            alone = display.mode == "weight" and len(self.heads()) == 1
            values = sample_of(self.trace, self.kind) if alone else self._sample_rows()
        return colour_ceiling(values, marks, display.sinks, self.kind)

    def _sample_rows(self) -> Array:
        """A few rows of what is shown, all columns: the ceiling of a scale needs no more."""
        rows = len(self.plane().rows)
        step = max(1, rows // 16)
        display = self.workspace.display
        parts = [
            windows.window(
                self.trace, self.heads(), slice(row, row + 1), slice(None), mode=display.mode, aggregate=display.aggregate
            )
            for row in range(0, rows, step)
        ]
        return np.concatenate(parts)
