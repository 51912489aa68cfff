"""What the views of heads show: the table of the heads of the kind on screen, for the selected tokens."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import param

from atlas.definitions import DEFINITIONS
from atlas.ids import HeadId
from atlas.numbers import component
from atlas.state.asking import Progress
from atlas.state.display import IMPORTANCES, METRICS, SELECTED
from atlas.state.importances import SHORT, ImportanceColumns
from atlas.state.lens import Lens, counted
from atlas.state.selected_table import selected_table
from atlas.state.words import tokens_in_words
from atlas.tracing.groups import (
    FEW_ROWS,
    ROLE_ROWS,
    UNTOLD,
    Division,
    are_divided,
    are_mapped,
    are_told,
    clusters,
    components,
    few_rows,
    heads_of,
    neighbourhoods,
    roles,
)

if TYPE_CHECKING:
    from atlas.state.workspace import Workspace
    from atlas.tracing.groups import Source

CATEGORIES = ("cluster", "role")

EMPTY_TABLE = pd.DataFrame({name: [] for name in ("kind", "layer", "head", "cluster", "role")})


def title_of(metric: str) -> str:
    """What the screen calls a metric."""
    if metric == SELECTED:
        return "Weight on selected keys"
    found = DEFINITIONS.get(metric)
    return found.title if found is not None else metric


Chip = dict[str, Any]
Group = tuple[str, list[tuple[Chip, frozenset[HeadId]]]]
"""A title, and chips with the heads that each stands for."""


class Rows:
    """A table of heads, and what is made of it once, however often other heads are selected."""

    def __init__(self, table: pd.DataFrame, about: Callable[[str], str]) -> None:
        self.table = table
        self._about_cluster = about

    @functools.cached_property
    def ids(self) -> list[HeadId]:
        """The head of every row."""
        rows = zip(*(self.table[name].tolist() for name in ("kind", "layer", "head")), strict=True)
        return [HeadId(str(kind), int(layer), int(head)) for kind, layer, head in rows]

    @functools.cached_property
    def groups(self) -> list[Group]:
        """Clusters, roles and layers."""
        columns = [("cluster", "Clusters"), ("role", "Roles"), ("layer", "Layers")]
        if UNTOLD in self.table["cluster"].unique():  # not divided yet
            columns = columns[1:]
        return [(title, [self._chip(column, value) for value in self._values(column)]) for column, title in columns]

    def _values(self, column: str) -> list[Any]:
        values = self.table[column]
        return sorted(set(values)) if column == "layer" else list(values.value_counts().index)

    def _chip(self, column: str, value: object) -> tuple[Chip, frozenset[HeadId]]:
        members = frozenset(head for head, own in zip(self.ids, self.table[column].tolist(), strict=True) if own == value)
        chip: Chip = {"key": f"{column}:{value}", "label": str(value), "count": len(members)}
        if column == "cluster":
            chip["title"] = self._about_cluster(str(value))
        return chip, members


class HeadsLens(Lens):
    """The heads of the kind on screen as a table: one for all views of heads of a text."""

    key: ClassVar = "heads"
    reads: ClassVar = {
        "selection": ("focus", "queries", "keys"),
        "display": ("layout", "x", "y", "colour", "size", "metric"),
        "target": ("position", "outcome", "against"),
    }
    marked_by: ClassVar = ("focus", "heads")

    divides: ClassVar[bool] = True
    """Whether its views show clusters, which take long with many heads."""

    moved_by_tokens: ClassVar[bool] = True
    """Whether selected tokens are the rows and columns that heads are measured on."""

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        self._importances = ImportanceColumns(self)
        super().__init__(workspace, **params)

    kind_shown = param.String(default="", doc="The kind of the table at hand.")

    def depends(self) -> Hashable:
        """Not on which of the heads are selected or in focus: that is marked."""
        selection = self.workspace.selection
        return self.kind, selection.queries, selection.keys, self._importances.depends()

    _made_for: Hashable = None
    _rows: Rows | None = None

    @property
    def source(self) -> Source | None:
        """What the heads are measured on; None where there is nothing."""
        return self.workspace.trace

    @property
    def divided(self) -> bool:
        """Whether clusters are shown, and are there."""
        source = self.source
        return self.divides and source is not None and are_divided(source, self.kind)

    def forget(self) -> None:
        """The table is made anew only where other rows, columns or heads are asked for; a selected head changes no number."""
        wanted = self.source, self.divided, self.depends(), self._importances.known()
        if wanted != self._made_for:
            self._made_for, self._rows = wanted, None

    def rows(self) -> Rows:
        """The table and what is made of it."""
        if self.workspace.trace is None:
            return Rows(EMPTY_TABLE, self._about_cluster)
        if self._rows is None:
            self._rows = Rows(self.attempt(self._measured, EMPTY_TABLE), self._about_cluster)
        return self._rows

    def table(self) -> pd.DataFrame:
        """One row a head: ids, metrics for the selected tokens, cluster and role."""
        return self.rows().table

    @staticmethod
    def metrics() -> dict[str, str]:
        """Title -> name of what can be looked at. All of them, whatever the text: a choice must not change because a text did."""
        titles = {name: title_of(name) for name in (*METRICS, SELECTED)} | {
            name: SHORT[name].capitalize() for name in IMPORTANCES
        }
        return {title: name for name, title in titles.items()}

    def ids(self) -> list[HeadId]:
        """The head of every row."""
        return self.rows().ids

    def at(self, rows: Iterable[int]) -> list[HeadId]:
        """The heads of some rows; a row that was on screen before this table is none of it."""
        ids = self.ids()
        return [ids[row] for row in rows if 0 <= row < len(ids)]

    def points(self) -> pd.DataFrame:
        """Where each head stands, what colours and sizes it, whether it is selected: as the scatter takes it."""
        table, display = self.table(), self.workspace.display
        data = table[["kind", "layer", "head"]].copy()
        data["x"], data["y"] = self._places(table)
        for name, column in self.coloured().items():
            data[name] = column
        shown = {"value": display.colour, "size": display.size}
        if display.layout == "metrics":
            shown |= {"x": display.x, "y": display.y}
        for place, metric in shown.items():
            for name, column in self._behind(table, metric).items():
                data[f"{place}_{name}"] = column
        marked = self.marked()
        return data.assign(**{str(name): marked[name].to_numpy() for name in marked})

    def coloured(self) -> dict[str, Any]:
        """What colours each head: a category or a value."""
        table, colour = self.table(), self.workspace.display.colour
        return {"category": table[colour].tolist()} if colour in CATEGORIES else {"value": column_of(table, colour)}

    @staticmethod
    def _behind(table: pd.DataFrame, metric: str) -> dict[str, np.ndarray]:
        """What the values of a metric rest on."""
        return {"rows": table[f"{metric}_rows"].to_numpy(int)} if f"{metric}_rows" in table else {}

    def marked(self) -> pd.DataFrame:
        """What sizes each head, whether it is selected or in focus: all that selecting heads changes of the points."""
        table, display, selection = self.table(), self.workspace.display, self.workspace.selection
        ids = self.ids()
        data = pd.DataFrame({
            SELECTED: np.array([head in selection.heads for head in ids], dtype=bool),
            "focus": np.array([head == selection.focus for head in ids], dtype=bool),
        })  # fmt: skip
        if display.size in table:
            data["size"] = table[display.size].to_numpy(dtype=float, na_value=np.nan)
        return data

    def places_of_all(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the heads stand on the whole text, whatever tokens are selected."""
        source = self.source
        return self._places(EMPTY_TABLE if source is None else heads_of(source, self.kind))

    def axes(self) -> tuple[str, str]:
        """What the axes of the scatter are."""
        display = self.workspace.display
        if display.layout == "metrics":
            return title_of(display.x), title_of(display.y)
        source = self.source
        if display.layout == "tsne" or source is None:
            return "", ""
        shares = components(source, self.kind).explained
        return component(1, shares[0]), component(2, shares[1])

    def groups(self) -> list[dict[str, Any]]:
        """Clusters, roles and layers as things to press."""
        rows, chosen = self.rows(), self.workspace.selection.heads
        if rows.table.empty:
            return []
        return [
            {"name": title, "chips": [{**chip, "active": members == chosen} for chip, members in chips]}
            for title, chips in rows.groups
        ]

    def members(self, key: str) -> tuple[list[HeadId], str]:
        """The heads of a group by its key, and what they are called."""
        column, _, value = key.partition(":")
        heads = [head for head, own in zip(self.ids(), self.table()[column].astype(str), strict=True) if own == value]
        if column == "layer":
            return heads, f"layer {value}"
        # Roles are read from the selected rows; with others, other heads have them.
        of = tokens_in_words(self.workspace) if column == "role" and self.moved_by_tokens else ""
        return heads, f"{column} {value!r}" + (f" ({of})" if of else "")

    def unknown(self, metric: str) -> str:
        """Why no head has a value of a metric; empty where one has."""
        table = self.table()
        if self.workspace.trace is None or (metric in table and table[metric].notna().any()):
            return ""
        if metric == SELECTED:
            return "The weight on selected keys is known once tokens are selected as 'to'."
        if metric in IMPORTANCES:
            return self._importances.reason or f"{title_of(metric)} of every head is being worked out."
        return f"{title_of(metric)} is not known of any head on {tokens_in_words(self.workspace) or 'this text'}."

    def rows_of(self, metric: str) -> int | None:
        """On how many rows a metric rests, the fewest over the heads; None where every row with two keys or more counts."""
        table, column = self.table(), f"{metric}_rows"
        return int(table[column].min()) if len(table) and column in table else None

    def note(self) -> str:
        """What the division into clusters rests on."""
        source = self.source
        return clusters(source, self.kind).note if source is not None and self.divided else ""

    def _about_cluster(self, name: str) -> str:
        source = self.source
        if source is None:
            return ""
        found = clusters(source, self.kind)
        if found.k == 1:
            return found.note
        at = found.names.index(name)
        inside = found.silhouettes[found.labels == at]
        low, high = found.stability_low[at], found.stability_high[at]
        return (
            f"{counted(found.sizes[at], 'head')}, silhouette {inside.mean():.2f}, "
            f"stability {found.stability[at]:.2f} ({low:.2f} to {high:.2f})"
        )

    def _places(self, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        display, source = self.workspace.display, self.source
        if table.empty or source is None:
            return np.empty(0), np.empty(0)
        if display.layout != "tsne" and self.divided and not self._importances.waiting:
            self.drop_asked()  # positions by t-SNE, which are not shown any more
        if display.layout == "metrics":
            return column_of(table, display.x), column_of(table, display.y)
        # A map of neighbourhoods has no place for a head that changed: it is of the whole text, and the note says so.
        tsne = display.layout == "tsne"
        places = self._neighbourhoods(source, len(table)) if tsne else components(source, self.kind).project(table)
        if not tsne:  # a head of which nothing is known would stand in the middle, as the most usual of all
            places = np.where(are_told(table)[:, None], places, np.nan)
        return places[:, 0], places[:, 1]

    def _neighbourhoods(self, source: Source, count: int) -> np.ndarray:
        """(head, 2) t-SNE positions; NaN until they are there."""
        kind = self.kind
        unknown = np.full((count, 2), np.nan)
        # One thing after the other: a lens waits for one key.
        if are_mapped(source, kind):
            return neighbourhoods(source, kind)
        if not self.divided:
            return unknown

        def placed(progress: Progress) -> np.ndarray:
            progress.tell(f"Placing {counted(count, 'head')} by t-SNE")
            return neighbourhoods(source, kind)

        return self.ask(f"neighbourhoods {kind}{self._of()}", placed, unknown)

    def _of(self) -> str:
        """What tells results of other sources of the same trace apart."""
        return ""

    def _clusters(self, source: Source, count: int) -> list[str] | str:
        """The cluster of every head; `UNTOLD` until they are there."""
        kind = self.kind

        def divided(progress: Progress) -> Division:
            progress.tell(f"Dividing {counted(count, 'head')} into clusters")
            return clusters(source, kind)

        if not self.divides:
            return UNTOLD
        there = are_divided(source, kind)
        division = clusters(source, kind) if there else self.ask(f"clusters {kind}{self._of()}", divided, None)
        return UNTOLD if division is None else [str(name) for name in division.name_of_rows]

    def _measured(self) -> pd.DataFrame:
        trace = self.trace
        table = selected_table(self.workspace, trace)
        table["cluster"] = self._clusters(trace, len(table))
        table["role"] = roles(table)
        table = self._importances.added_to(table, ask=self.divided or not self.divides)  # clusters are asked for first
        said = tokens_in_words(self.workspace)
        self.line = (
            f"{counted(len(table), 'head')}, measured on "
            + (f"the selection ({said})" if said else "all tokens")
            + _about_rows(table)
        )
        if said and not set(table["role"].unique()) <= {UNTOLD}:
            self.line += "; clusters are of the whole text"
        if self._importances.target:
            self.line += f"; importance for {self._importances.target}"
        self.kind_shown = self.kind
        return table


def column_of(table: pd.DataFrame, name: str) -> np.ndarray:
    """The numbers of a column; NaN where the table has none."""
    return table[name].to_numpy(dtype=float, na_value=np.nan) if name in table else np.full(len(table), np.nan)


def _about_rows(table: pd.DataFrame) -> str:
    """What the number of rows forbids to say of the heads; empty where it forbids nothing."""
    roles_there = set(table["role"].unique())
    if roles_there == {UNTOLD}:
        return ": where a row sees one token only, heads cannot differ"
    few = few_rows(table)
    if roles_there == {FEW_ROWS}:
        return f": too few rows for a role ({max(few.values())}; it takes {ROLE_ROWS})"
    if not few:
        return ""
    return f"; too few rows (under {ROLE_ROWS}) for a role: " + ", ".join(f"{title_of(name)} {n}" for name, n in few.items())
