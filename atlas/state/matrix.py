"""What the matrix shows: one head large, or the selected heads together, in one of the readings of a weight."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.state.asking import QUICK_CELLS, Progress
from atlas.state.ceilings import SAMPLED_CELLS, SAMPLED_ROWS, colour_ceiling, sample_of, spread_of
from atlas.state.lens import counted
from atlas.state.plane import Cell, TokenPlane, TokenPlaneLens, Window, edges
from atlas.state.words import row_names, shown_token
from atlas.tracing import windows
from atlas.tracing.token_scores import sinks

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

READINGS = {
    "weight": "attention weight",
    "column": "share of what the key receives",
    "rollout": "rollout from the first layer to layer {layer}",
    "moved": "length of what is moved, weight × ‖v Wₒ‖",
}

NAMES = {"weight": "weight", "column": "column share", "rollout": "rollout", "moved": "moved"}
"""The same in the readout of a cell."""


class MatrixLens(TokenPlaneLens):
    """The matrix on screen."""

    key: ClassVar = "matrix"
    reads: ClassVar = {"selection": ("focus", "heads"), "display": ("aggregate", "level", "mode", "sinks")}

    _known_names: tuple[Trace, str, tuple[str, ...], tuple[str, ...]] | None = None

    def depends(self) -> Hashable:
        """Not on the tokens: they are frames of their own."""
        display = self.workspace.display
        chosen = bool(self.workspace.selection.heads_of(self.kind))  # the line says where a head is shown because it is in focus
        return self.kind, self.heads(), chosen, display.aggregate, display.level, display.mode, display.sinks

    @property
    def thresholds(self) -> Any:
        """The display, whose threshold is that of weights."""
        return self.workspace.display

    def heads(self) -> tuple[HeadId, ...]:
        """The selected heads of the kind on screen, else the one in focus."""
        return self.shown_heads()

    def _windowed(self, rows: slice, columns: slice) -> Window:
        """Weights; thumbnails until they are there, or instead of them where they are too many altogether."""
        cells = (rows.stop - rows.start) * (columns.stop - columns.start) * len(self.heads())
        if self.plane().whole is not None or cells <= min(QUICK_CELLS, windows.WINDOW_CELLS):
            return super()._windowed(rows, columns)
        display, heads, trace, bounds = self.workspace.display, self.heads(), self.trace, edges(rows, columns)
        mode, aggregate = display.mode, display.aggregate
        too_many = cells > windows.WINDOW_CELLS
        if too_many and mode != "weight":
            return super()._windowed(rows, columns)  # says why it cannot be shown
        coarse = self._thumbnails() if mode == "weight" else Window(np.full((1, 1), np.nan, np.float32), *bounds, exact=False)
        if too_many:
            return coarse

        def read(progress: Progress) -> Window:
            progress.tell(f"Computing {counted((rows.stop - rows.start) * (columns.stop - columns.start), 'cell')}")
            return Window(windows.window(trace, heads, rows, columns, mode=mode, aggregate=aggregate), *bounds)

        of = ",".join(str(head) for head in heads)
        return self.ask(f"{mode} {aggregate} of {of} in {rows} {columns}", read, coarse, keep=False)

    def _thumbnails(self) -> Window:
        plane = self.plane()
        values = windows.overview(self.trace, self.heads(), self.workspace.display.aggregate)
        # The last cell of a thumbnail may stand for fewer tokens than the others: it reaches beyond the plane.
        rows_of, columns_of = -(-len(plane.rows) // values.shape[0]), -(-len(plane.columns) // values.shape[1])
        return Window(values, 0.0, float(rows_of * values.shape[0]), 0.0, float(columns_of * values.shape[1]), exact=False)

    def _values(self, rows: slice, columns: slice) -> Array:
        display = self.workspace.display
        if self.plane().whole is not None:
            return super()._values(rows, columns)
        return windows.window(self.trace, self.heads(), rows, columns, mode=display.mode, aggregate=display.aggregate)

    def scale_name(self) -> str:
        """As chosen; values that are no weights have no share of the weights' colours to be equal to."""
        display = self.workspace.display
        return display.scale if display.mode == "weight" or display.scale == "log" else "linear"

    def spread(self) -> Array:
        """Some of the weights of this kind, for a scale that gives each colour its share."""
        return spread_of(self.trace, self.kind)

    def whose(self) -> str:
        """Whose numbers they are, shortly."""
        heads, display = self.heads(), self.workspace.display
        if display.mode == "rollout":
            return f"to layer {max(head.layer for head in heads)}"
        return str(heads[0]) if len(heads) == 1 else f"{display.aggregate} of {len(heads)} heads"

    def reading(self) -> str:
        """The reading of a weight."""
        return NAMES[self.workspace.display.mode]

    def _numbers(self, row: int, column: int) -> Cell:
        """The exact value; for one head of tokens also q·k, scaled, masked, softmax, and its rank in its row."""
        heads, found = self.heads(), super()._numbers(row, column)
        return found | self._steps(heads[0], row, column) if len(heads) == 1 and self.plane().whole is None else found

    # -- inside --------------------------------------------------------------------------------------------------------

    def _steps(self, head: HeadId, row: int, column: int) -> Cell:
        attention = self.trace.attention_of(head.kind)
        weights = attention.block(head.layer, head.head, slice(row, row + 1))[0]
        weight = weights[column]
        found: Cell = {"softmax": float(weight)}
        if np.isfinite(weight):
            found |= {"rank": int((weights > weight).sum()) + 1, "of": int(np.isfinite(weights).sum())}
        try:
            scores = attention.scores(head.layer, head.head, slice(row, row + 1), slice(column, column + 1))
        except NotCaptured:
            return found  # recorded attention: there never was a q and k to show
        return {"q·k": float(scores["dot"][0, 0]), "scaled": float(scores["scaled"][0, 0]),
                "masked": float(scores["masked"][0, 0]), **found}  # fmt: skip

    def _build_plane(self) -> TokenPlane:
        display, trace, heads = self.workspace.display, self.trace, self.heads()
        self.line = self._describe(heads)
        if display.level == "word" and display.mode == "weight":
            found = windows.words(trace, heads, display.aggregate)
            names = tuple(map(shown_token, found.queries)), tuple(map(shown_token, found.keys))
            return TokenPlane(*names, found.weights, row_of=found.query_of, column_of=found.key_of)
        rows, columns = self._names()
        rolled = display.mode == "rollout"
        flow = windows.rollout(trace, self.kind, max(head.layer for head in heads)) if rolled else None
        if display.mode in ("column", "moved"):
            # Refused now and in words, not at every window.
            windows.window(trace, heads[:1], slice(0, 1), slice(0, 1), mode=display.mode)
        return TokenPlane(rows, columns, flow)

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
            focused = "" if self.workspace.selection.heads_of(self.kind) else ", the head in focus"
            return f"{heads[0].label(self.trace.kinds)}{focused}: {reading}{level}"
        return f"{'mean' if display.aggregate == 'mean' else 'largest'} of {counted(len(heads), 'head')}: {reading}{level}"

    def _highest(self) -> float:
        display, plane = self.workspace.display, self.tokens_plane()
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
        """A few rows of what is shown, all columns, the last row among them: the ceiling of a scale needs no more.

        Every head is read once: row by row, the blocks of hundreds of heads would cost a gesture a third of a second.
        """
        rows, columns = len(self.plane().rows), len(self.plane().columns)
        count = max(1, min(SAMPLED_ROWS, SAMPLED_CELLS // (columns * len(self.heads()))))
        step = -(-rows // count)
        return self._values(slice((rows - 1) % step, None, step), slice(None))
