"""What the Map shows: every head of a kind on one plane, in a chosen order, as its attention or as one number."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar, NamedTuple
from weakref import ref

import numpy as np
import pandas as pd
import param

from atlas import definitions
from atlas.errors import NotCaptured, TooLarge
from atlas.ids import HeadId
from atlas.state.asking import Progress
from atlas.state.attribution import explained_target
from atlas.state.ceilings import Ceiling, ceiling_of, sample_of, spread_of
from atlas.state.display import IMPORTANCES, METRICS, SELECTED
from atlas.state.heads import title_of
from atlas.state.importances import SHORT, importances
from atlas.state.lens import Lens, counted
from atlas.state.map_layout import NO_LAYOUT, Layout, by_number, ranked
from atlas.state.plane import CellsRead
from atlas.state.selected_table import selected_table
from atlas.state.words import shown_token, tokens_in_words
from atlas.tracing.explained import LOGIT
from atlas.tracing.groups import Division, are_divided, clusters
from atlas.tracing.restricted import restrict_to, restricted_thumbnails
from atlas.tracing.token_scores import sinks

Array = np.ndarray

FINE = 96
"""Pixels along the side of a head from which its own weights are worked out instead of its thumbnail."""

FINE_CELLS = 24_000_000
"""Weights worked out for one picture of the Map; beyond it thumbnails are shown a little longer."""


EXPORTED = 4_000_000
"""Numbers in one exported table: a hundred megabytes as text, which a spreadsheet no longer opens."""


THUMBNAILS, NUMBER, AUTO = "thumbnails", "number", "auto"
"""What is shown of a head: its attention; one number; the number as soon as tokens are selected, else its attention."""

SHOWS = (AUTO, THUMBNAILS, NUMBER)

BY_CLUSTER = "cluster"


class MapChoices(param.Parameterized):
    """Choices of the Map."""

    show = param.Selector[str](
        objects=list(SHOWS),
        default=AUTO,
        doc="What is shown of every head. 'auto': its attention, and one number as soon as tokens are selected.",
    )
    number = param.Selector[str](
        objects=["", *METRICS, SELECTED, *IMPORTANCES],
        default="",
        doc="The number shown of every head. Automatic: the weight on the selected keys, else the metric of the ranking.",
    )


class Numbers(NamedTuple):
    """One number of every head, and the same of uniform attention; (row, column) of the layout, NaN where not known."""

    values: Array
    chance: Array


class MapLens(Lens):
    """The Map of the kind on screen."""

    key: ClassVar = "map"
    choices_type: ClassVar = MapChoices
    reads: ClassVar = {
        "display": ("order", "sinks", "metric"),
        "selection": ("focus", "queries", "keys"),
        "target": ("position", "outcome", "against"),
    }
    marked_by: ClassVar = ("focus", "heads")

    _layout: Layout | None = None
    _numbers: Numbers | None = None
    _scaled_for: Hashable = None
    _ceiling: Ceiling | None = None

    @staticmethod
    def metrics() -> dict[str, str]:
        """Metrics and importances heads can be ordered by: name -> title."""
        return {name: SHORT.get(name) or definitions.DEFINITIONS[name].title for name in (*METRICS, *IMPORTANCES)}

    @property
    def shows_numbers(self) -> bool:
        """Whether one number is shown of every head, instead of its attention."""
        selection, show = self.workspace.selection, self.choices.show
        return bool(show == NUMBER or (show == AUTO and (selection.queries or selection.keys)))

    @property
    def metric(self) -> str:
        """Which number that is."""
        if self.choices.number:
            return str(self.choices.number)
        return SELECTED if self.workspace.selection.keys else str(self.workspace.display.metric)

    def depends(self) -> Hashable:
        """Not on which head is in focus: that is a frame of its own."""
        selection, display = self.workspace.selection, self.workspace.display
        number = self.metric if self.shows_numbers else None
        target = explained_target(self.workspace, LOGIT) if self._weighed() else None
        return self.kind, selection.queries, selection.keys, display.order, display.sinks, number, target

    def forget(self) -> None:
        """The sheet of another kind, order or text is another sheet; selected tokens leave its colours as they are."""
        self._layout = self._numbers = None
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
        return layout.arranged(small)

    def thumbnails_of(self) -> Hashable:
        """What the thumbnails hang on: selected tokens show numbers, and once they are let go the thumbnails are as before."""
        return ref(self.trace), self.layout(), self.workspace.selection.queries, self.workspace.selection.keys

    def numbers(self) -> Numbers:
        """One number of every head and its chance value, in the order of the layout."""
        if self._numbers is None:
            layout = self.layout()
            nothing = np.full((layout.n_rows, layout.n_columns), np.nan)
            self._numbers = self.attempt(self._measured, Numbers(nothing, nothing))
        return self._numbers

    def number_of(self, head: HeadId) -> tuple[float, float]:
        """The number of a head, and its chance value."""
        place, numbers = self.layout().places[head], self.numbers()
        return float(numbers.values[place]), float(numbers.chance[place])

    def _measured(self) -> Numbers:
        layout, metric = self.layout(), self.metric
        table = self._table_of(metric)
        rows = table["layer"].to_numpy(dtype=int), table["head"].to_numpy(dtype=int)
        found = []
        for name in (metric, f"{metric}_uniform"):
            by_head = np.full((layout.n_rows, layout.n_columns), np.nan)
            if name in table:
                by_head[rows] = table[name].to_numpy(dtype=float, na_value=np.nan)
            found.append(layout.arranged(by_head))
        return Numbers(*found)

    def _weighed(self) -> frozenset[str]:
        """The importances that order the heads or are shown of them."""
        shown = {self.metric} if self.shows_numbers else set()
        return frozenset(shown | {self.workspace.display.order}) & frozenset(IMPORTANCES)

    def _importance(self) -> pd.DataFrame:
        """layer, head and the importances of each; without rows until they are there."""
        wanted = self._weighed()
        if self.workspace.display.order == BY_CLUSTER and not are_divided(self.trace, self.kind):
            return pd.DataFrame({name: [] for name in ("layer", "head", *wanted)})  # the order is waited for, and comes first
        return importances(self, wanted)

    def read_cells(self, most: int) -> CellsRead | None:
        """The heads of the sheet, with their numbers where each has one; None where there are more than `most`."""
        layout = self.layout()
        if not 0 < layout.n_rows * layout.n_columns <= most:
            return None
        unknown = np.full((layout.n_rows, layout.n_columns), np.nan)
        values = self.numbers().values if self.shows_numbers else unknown
        return CellsRead(values, {"head": [str(head) for head in layout.ids]}, title_of(self.metric))

    def table(self) -> pd.DataFrame:
        """The numbers as a table; or the thumbnails, with the largest weight of every block of queries and keys of every head."""
        layout = self.layout()
        if self.shows_numbers:
            numbers, ids = self.numbers(), layout.ids
            return pd.DataFrame({
                "kind": layout.kind, "layer": [head.layer for head in ids], "head": [head.head for head in ids],
                self.metric: numbers.values.ravel(), f"{self.metric}_uniform": numbers.chance.ravel(),
            })  # fmt: skip
        values = self.thumbnails()
        if values.size > EXPORTED:
            msg = (
                f"{values.size:,} numbers are more than the {EXPORTED:,} that are exported at once. Export the matrix of a head."
            )
            raise TooLarge(msg)
        rows, columns = max(1, values.shape[2]), max(1, values.shape[3])
        step_q, step_k = -(-layout.n_queries // rows), -(-layout.n_keys // columns)
        place, row, key = np.indices((len(layout.ids), *values.shape[2:])).reshape(3, -1)
        layers, heads = (np.array([getattr(head, name) for head in layout.ids], dtype=int) for name in ("layer", "head"))
        return pd.DataFrame({
            "kind": layout.kind, "layer": layers[place], "head": heads[place],
            "from_query": row * step_q, "from_key": key * step_k, "largest_weight": values.ravel(),
        })  # fmt: skip

    def exact(self, head: HeadId, rows: slice, columns: slice) -> Array:
        """The weights of one head in a window; those of rows and columns that are not selected are `OUTSIDE`."""
        block = self.trace.attention_of(head.kind).block(head.layer, head.head, rows, columns)
        return restrict_to(block, rows, columns, self.workspace.selection.queries, self.workspace.selection.keys)

    def ceiling(self) -> float:
        """From where on the strongest colour is shown."""
        if not self.shows_numbers:
            return self._ceilings().shown
        # Chance is on the same scale, so that heads which all do little are not painted as if they did much.
        known = np.concatenate([part[np.isfinite(part)] for part in self.numbers()])
        return float(known.max()) if known.size and known.max() > 0 else 1.0

    def _ceilings(self) -> Ceiling:
        if self._ceiling is None:
            marks = sinks(self.trace, self.kind)
            self._ceiling = ceiling_of(sample_of(self.trace, self.kind), marks, self.workspace.display.sinks, self.kind)
        return self._ceiling

    def sinks_note(self) -> str:
        """What hiding the sinks changes in the colours, or why it changes nothing; empty where they are not hidden."""
        return "" if self.shows_numbers else self._ceilings().note

    def chance(self) -> tuple[float, float]:
        """The smallest and the largest chance value of a head; NaN where none is known."""
        known = self.numbers().chance[np.isfinite(self.numbers().chance)]
        return (float(known.min()), float(known.max())) if known.size else (np.nan, np.nan)

    def unknown(self) -> str:
        """Why the number is known of no head; empty where it is known of one."""
        if np.isfinite(self.numbers().values).any():
            return ""
        if self.metric in IMPORTANCES:
            return "being worked out" if self.busy else "not known here"
        if self.metric == SELECTED:
            return "known once tokens are selected as 'to'"
        return f"not known of any head on {tokens_in_words(self.workspace) or 'this text'}"

    def spread(self) -> Array:
        """Values for a scale that gives each colour its share: the numbers, or some of the weights of this kind."""
        return self.numbers().values if self.shows_numbers else spread_of(self.trace, self.kind)

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
        attention = trace.attention_of(kind)
        whose = str(trace.provenance.get("model") or "recorded attention")
        tokens = f"{attention.n_queries:,} × {attention.n_keys:,} tokens"
        shown = f"{title_of(self.metric)} of every head" if self.shows_numbers else tokens
        parts = [f"{whose}: {counted(layers, 'layer')} × {counted(heads, 'head')}, {shown}"]
        chosen = "" if self.shows_numbers and self.metric in IMPORTANCES else tokens_in_words(self.workspace)
        parts += [f"only {chosen}"] if chosen else []
        rows, ranked_by, why = self._ordered(heads)
        parts += [why] if why else []
        self.line = " · ".join(parts)
        return Layout(kind, rows, attention.n_queries, attention.n_keys, ranked_by)

    def _ordered(self, heads: int) -> tuple[tuple[tuple[HeadId, ...], ...], str, str]:
        """The heads in their order, what ranks them, and what the line says of it."""
        order = self.workspace.display.order
        every = [head for head in self.trace.head_ids if head.kind == self.kind]
        numbered = by_number(every, heads)
        if order == "index":
            return numbered, "", ""
        if order == BY_CLUSTER:
            division = self._division()
            if division is None:
                return numbered, "", "in the order of their numbers until they are divided into clusters"
            labels, rows = np.asarray(division.labels, dtype=float), selected_table(self.workspace, self.trace)
            return ranked(self._ids(rows), labels, heads, largest_first=False), "cluster", "heads of a cluster lie together"
        title = title_of(order)
        try:
            table = self._table_of(order)
        except (NotCaptured, TooLarge) as error:  # the Map itself needs no importance
            return numbered, "", f"in the order of their numbers. {error}"
        values = table[order].to_numpy(dtype=float, na_value=np.nan) if order in table else np.full(len(table), np.nan)
        if not np.isfinite(values).any():
            waits = f" until {title} is worked out" if self.busy else f": {title} is not known of any head here"
            return numbered, "", f"in the order of their numbers{waits}"
        return ranked(self._ids(table), values, heads, largest_first=True), title, f"all heads by {title}, the largest first"

    def _ids(self, table: pd.DataFrame) -> list[HeadId]:
        """The heads of the rows of a table."""
        return [HeadId(self.kind, int(layer), int(head)) for layer, head in zip(table["layer"], table["head"], strict=True)]

    def _table_of(self, number: str) -> pd.DataFrame:
        """A table of the heads that has this number, where it is known."""
        return self._importance() if number in IMPORTANCES else selected_table(self.workspace, self.trace)

    def _division(self) -> Division | None:
        """The clusters of the heads; None until they are there."""
        trace, kind = self.trace, self.kind
        if are_divided(trace, kind):
            return clusters(trace, kind)

        def divided(progress: Progress) -> Division:
            progress.tell("Dividing the heads into clusters")
            return clusters(trace, kind)

        return self.ask(f"clusters {kind}", divided, None)
