"""What the Map shows: every head of a kind on one plane, layers downwards, heads in a chosen order across."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from atlas import definitions
from atlas.errors import TooLarge
from atlas.ids import HeadId
from atlas.state.asking import Progress
from atlas.state.ceilings import colour_ceiling, sample_of, spread_of
from atlas.state.display import METRICS
from atlas.state.lens import Lens, counted
from atlas.state.words import shown_token, tokens_in_words
from atlas.tracing.groups import Division, are_divided, clusters
from atlas.tracing.restricted import restrict_to, restricted_thumbnails
from atlas.tracing.selected_heads import selected_heads
from atlas.tracing.token_scores import sinks

Array = np.ndarray

FINE = 96
"""Pixels along the side of a head from which its own weights are worked out instead of its thumbnail."""

FINE_CELLS = 24_000_000
"""Weights worked out for one picture of the Map; beyond it thumbnails are shown a little longer."""


EXPORTED = 4_000_000
"""Numbers in one exported table: a hundred megabytes as text, which a spreadsheet no longer opens."""


@dataclass(frozen=True)
class Layout:
    """Where heads lie: the head in every column of every layer."""

    kind: str
    columns: tuple[tuple[int, ...], ...]
    n_queries: int
    n_keys: int

    @property
    def n_layers(self) -> int:
        """Rows of the Map."""
        return len(self.columns)

    @property
    def n_heads(self) -> int:
        """Columns of the Map."""
        return len(self.columns[0]) if self.columns else 0

    def column_of(self, head: HeadId) -> int:
        """The column a head lies in."""
        return self.columns[head.layer].index(head.head)

    def head_at(self, x: float, y: float) -> HeadId | None:
        """The head whose square holds a point."""
        layer, column = int(np.floor(y)), int(np.floor(x))
        if not (0 <= layer < self.n_layers and 0 <= column < self.n_heads):
            return None
        return HeadId(self.kind, layer, self.columns[layer][column])

    def cell_at(self, x: float, y: float, across_gap: float, down_gap: float) -> tuple[HeadId, int, int] | None:
        """(head, query, key) under a point; None in a gap, whose share of the square on each side is given."""
        head = self.head_at(x, y)
        across, down = (x % 1 - across_gap) / (1 - 2 * across_gap), (y % 1 - down_gap) / (1 - 2 * down_gap)
        if head is None or not (0 <= across < 1 and 0 <= down < 1):
            return None
        return head, int(down * self.n_queries), int(across * self.n_keys)


NO_LAYOUT = Layout("encoder", (), 0, 0)


class MapLens(Lens):
    """The Map of the kind on screen."""

    key: ClassVar = "map"
    reads: ClassVar = {"display": ("order", "sinks"), "selection": ("focus", "queries", "keys")}
    marked_by: ClassVar = ("focus", "heads")

    _layout: Layout | None = None
    _scaled_for: Hashable = None
    _ceiling: float | None = None

    @staticmethod
    def metrics() -> dict[str, str]:
        """Metrics heads can be ordered by: name -> title."""
        return {name: definitions.DEFINITIONS[name].title for name in METRICS}

    def depends(self) -> Hashable:
        """Not on which head is in focus: that is a frame of its own."""
        selection, display = self.workspace.selection, self.workspace.display
        return self.kind, selection.queries, selection.keys, display.order, display.sinks

    def forget(self) -> None:
        """The sheet of another kind, order or text is another sheet; selected tokens leave its colours as they are."""
        self._layout = None
        wanted = (self.workspace.trace, self.kind, self.workspace.display.sinks)
        if wanted != self._scaled_for:
            self._scaled_for = wanted
            self._ceiling = None  # a tenth of a second at 2,000 tokens, which no gesture may cost

    def layout(self) -> Layout:
        """Where the heads lie."""
        if self._layout is None:
            self._layout = self.attempt(self._arranged, NO_LAYOUT)
        return self._layout

    def thumbnails(self) -> Array:
        """(layer, column, row, column) overview of every head, in the order of the layout."""
        layout, trace = self.layout(), self.trace
        queries, keys = self.workspace.selection.queries, self.workspace.selection.keys
        small = (
            trace.attention_of(layout.kind).thumbnails
            if not (queries or keys)
            else restricted_thumbnails(trace, layout.kind, queries, keys)
        )
        if small is None:
            return np.empty((0, 0, 0, 0), np.float32)
        return small[np.arange(layout.n_layers)[:, None], np.array(layout.columns, dtype=int)]

    def table(self) -> pd.DataFrame:
        """The thumbnails as a table: the largest weight of every block of queries and keys of every head."""
        layout, values = self.layout(), self.thumbnails()
        if values.size > EXPORTED:
            msg = (
                f"{values.size:,} numbers are more than the {EXPORTED:,} that are exported at once. Export the matrix of a head."
            )
            raise TooLarge(msg)
        rows, columns = max(1, values.shape[2]), max(1, values.shape[3])
        step_q, step_k = -(-layout.n_queries // rows), -(-layout.n_keys // columns)
        layer, column, row, key = np.indices(values.shape).reshape(4, -1)
        heads = np.array(layout.columns, dtype=int).reshape(layout.n_layers, -1)
        return pd.DataFrame({
            "kind": layout.kind, "layer": layer, "head": heads[layer, column] if values.size else layer,
            "from_query": row * step_q, "from_key": key * step_k, "largest_weight": values.ravel(),
        })  # fmt: skip

    def exact(self, head: HeadId, rows: slice, columns: slice) -> Array:
        """The weights of one head in a window; those of rows and columns that are not selected are `OUTSIDE`."""
        block = self.trace.attention_of(head.kind).block(head.layer, head.head, rows, columns)
        return restrict_to(block, rows, columns, self.workspace.selection.queries, self.workspace.selection.keys)

    def ceiling(self) -> float:
        """From where on the strongest colour is shown."""
        if self._ceiling is None:
            marks = sinks(self.trace, self.kind)
            self._ceiling = colour_ceiling(sample_of(self.trace, self.kind), marks, self.workspace.display.sinks, self.kind)
        return self._ceiling

    def spread(self) -> Array:
        """Some of the weights of this kind, for a scale that gives each colour its share."""
        return spread_of(self.trace, self.kind)

    def names(self, axis: str) -> list[str]:
        """The tokens of an axis, as a reader knows them."""
        table = self.trace.reading(self.trace.side(self.kind, axis)).table
        return [shown_token(str(token)) for token in table["token"]]

    def weight(self, head: HeadId, query: int, key: int) -> float:
        """The exact weight of one cell; NaN where the query may not look."""
        block = self.trace.attention_of(head.kind).block(head.layer, head.head, slice(query, query + 1), slice(key, key + 1))
        return float(block[0, 0])

    def _arranged(self) -> Layout:
        trace, kind = self.trace, self.kind
        layers, heads = trace.n_layers(kind), trace.n_heads(kind)
        order = self.workspace.display.order
        attention = trace.attention_of(kind)
        columns = [tuple(range(heads))] * layers
        if order != "index":
            columns = self._sorted(order, layers)
        chosen = tokens_in_words(self.workspace)
        whose = str(trace.provenance.get("model") or "recorded attention")
        tokens = f"{attention.n_queries:,} × {attention.n_keys:,} tokens"
        size = f"{whose}: {counted(layers, 'layer')} × {counted(heads, 'head')}, {tokens}"
        self.line = f"{size} · only {chosen}" if chosen else size
        return Layout(kind, tuple(columns), attention.n_queries, attention.n_keys)

    def _sorted(self, order: str, layers: int) -> list[tuple[int, ...]]:
        """Columns by a metric, the largest first; unknown values last, and equal ones by their number."""
        selection = self.workspace.selection
        table = selected_heads(self.trace, self.kind, selection.queries, selection.keys)
        if order == "cluster":
            division = self._division()
            if division is not None:
                table = table.assign(cluster=division.labels)
        if order not in table:
            return [tuple(range(self.trace.n_heads(self.kind)))] * layers
        sign = 1 if order == "cluster" else -1
        found = []
        for layer in range(layers):
            part = table[table["layer"] == layer]
            values = sign * part[order].to_numpy(dtype=float, na_value=np.nan)
            found.append(tuple(int(head) for head in part["head"].to_numpy()[np.argsort(values, kind="stable")]))
        return found

    def _division(self) -> Division | None:
        """The clusters of the heads; None until they are there."""
        trace, kind = self.trace, self.kind
        if are_divided(trace, kind):
            return clusters(trace, kind)

        def divided(progress: Progress) -> Division:
            progress.tell("Dividing the heads into clusters")
            return clusters(trace, kind)

        return self.ask(f"clusters {kind}", divided, None)
