"""What the views of heads show: the table of the heads of the kind on screen, for the selected tokens."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import param

from atlas.definitions import DEFINITIONS
from atlas.ids import HeadId
from atlas.state.asking import Progress
from atlas.state.display import METRICS, SELECTED
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
    clusters,
    components,
    few_rows,
    neighbourhoods,
    roles,
)
from atlas.tracing.selected_heads import selected_heads

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
        rows = zip(self.table["kind"], self.table["layer"], self.table["head"], strict=True)
        return [HeadId(str(kind), int(layer), int(head)) for kind, layer, head in rows]

    @functools.cached_property
    def groups(self) -> list[Group]:
        """Clusters, roles and layers."""
        columns = [("cluster", "Clusters"), ("role", "Roles"), ("layer", "Layers")]
        if UNTOLD in set(self.table["cluster"]):  # not divided yet
            columns = columns[1:]
        return [(title, [self._chip(column, value) for value in self._values(column)]) for column, title in columns]

    def _values(self, column: str) -> list[Any]:
        values = self.table[column]
        return sorted(set(values)) if column == "layer" else list(values.value_counts().index)

    def _chip(self, column: str, value: object) -> tuple[Chip, frozenset[HeadId]]:
        members = frozenset(head for head, own in zip(self.ids, self.table[column], strict=True) if own == value)
        chip: Chip = {"key": f"{column}:{value}", "label": str(value), "count": len(members)}
        if column == "cluster":
            chip["title"] = self._about_cluster(str(value))
        return chip, members


class HeadsLens(Lens):
    """The heads of the kind on screen as a table: one for all views of heads."""

    key: ClassVar = "heads"
    reads: ClassVar = {"selection": ("focus", "queries", "keys")}
    marked_by: ClassVar = ("focus", "heads")

    kind_shown = param.String(default="", doc="The kind of the table at hand.")

    def depends(self) -> Hashable:
        """Not on which of the heads are selected or in focus: that is marked."""
        selection = self.workspace.selection
        return self.kind, selection.queries, selection.keys

    _made_for: Hashable = None
    _rows: Rows | None = None

    def forget(self) -> None:
        """The table is made anew only where other rows, columns or heads are asked for; a selected head changes no number."""
        selection = self.workspace.selection
        trace = self.workspace.trace
        divided = trace is not None and are_divided(trace, self.kind)
        wanted = (trace, self.kind, divided, selection.queries, selection.keys)
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
        return {title_of(name): name for name in (*METRICS, SELECTED)}

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
        data = pd.DataFrame({"kind": table["kind"], "layer": table["layer"], "head": table["head"]})
        data["x"], data["y"] = self._places(table)
        if display.colour in CATEGORIES:
            data["category"] = list(table[display.colour])
        elif display.colour in table:
            data["value"] = table[display.colour].to_numpy(dtype=float, na_value=np.nan)
        shown = {"value": display.colour, "size": display.size}
        if display.layout == "metrics":
            shown |= {"x": display.x, "y": display.y}
        for place, metric in shown.items():
            if f"{metric}_rows" in table:
                data[f"{place}_rows"] = table[f"{metric}_rows"].to_numpy(int)
        marked = self.marked()
        return data.assign(**{str(name): marked[name].to_numpy() for name in marked})

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
        trace = self.workspace.trace
        return self._places(EMPTY_TABLE if trace is None else selected_heads(trace, self.kind))

    def axes(self) -> tuple[str, str]:
        """What the axes of the scatter are."""
        display = self.workspace.display
        if display.layout == "metrics":
            return title_of(display.x), title_of(display.y)
        if display.layout == "tsne" or self.workspace.trace is None:
            return "", ""
        shares = components(self.trace, self.kind).explained
        return f"component 1 ({shares[0]:.0%} of the variance)", f"component 2 ({shares[1]:.0%} of the variance)"

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
        of = tokens_in_words(self.workspace) if column == "role" else ""
        return heads, f"{column} {value!r}" + (f" ({of})" if of else "")

    def unknown(self, metric: str) -> str:
        """Why no head has a value of a metric; empty where one has."""
        table = self.table()
        if self.workspace.trace is None or (metric in table and table[metric].notna().any()):
            return ""
        if metric == SELECTED:
            return "The weight on selected keys is known once tokens are selected as 'to'."
        return f"{title_of(metric)} is not known of any head on {tokens_in_words(self.workspace) or 'this text'}."

    def rows_of(self, metric: str) -> int | None:
        """On how many rows a metric rests, the fewest over the heads; None where every row with two keys or more counts."""
        table, column = self.table(), f"{metric}_rows"
        return int(table[column].min()) if len(table) and column in table else None

    def note(self) -> str:
        """What the division into clusters rests on."""
        trace, kind = self.workspace.trace, self.kind
        return clusters(trace, kind).note if trace is not None and are_divided(trace, kind) else ""

    def _about_cluster(self, name: str) -> str:
        found = clusters(self.trace, self.kind)
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
        display = self.workspace.display
        if table.empty:
            return np.empty(0), np.empty(0)
        if display.layout != "tsne" and are_divided(self.trace, self.kind):
            self.drop_asked()  # positions by t-SNE, which are not shown any more
        if display.layout == "metrics":
            unknown = np.full(len(table), np.nan)
            return (
                table[display.x].to_numpy(dtype=float, na_value=np.nan) if display.x in table else unknown,
                table[display.y].to_numpy(dtype=float, na_value=np.nan) if display.y in table else unknown,
            )
        # A map of neighbourhoods has no place for a head that changed: it is of the whole text, and the note says so.
        tsne = display.layout == "tsne"
        places = self._neighbourhoods(len(table)) if tsne else components(self.trace, self.kind).project(table)
        if not tsne and "role" in table:  # a head of which nothing is known would stand in the middle, as the most usual of all
            places = np.where((table["role"] == UNTOLD).to_numpy()[:, None], np.nan, places)
        return places[:, 0], places[:, 1]

    def _neighbourhoods(self, count: int) -> np.ndarray:
        """(head, 2) t-SNE positions; NaN until they are there."""
        trace, kind = self.trace, self.kind
        unknown = np.full((count, 2), np.nan)
        # One thing after the other: a lens waits for one key.
        if are_mapped(trace, kind):
            return neighbourhoods(trace, kind)
        if not are_divided(trace, kind):
            return unknown

        def placed(progress: Progress) -> np.ndarray:
            progress.tell(f"Placing {counted(count, 'head')} by t-SNE")
            return neighbourhoods(trace, kind)

        return self.ask(f"neighbourhoods {kind}", placed, unknown)

    def _clusters(self, count: int) -> Division | None:
        """The division of the heads; None until it is there."""
        trace, kind = self.trace, self.kind
        if are_divided(trace, kind):
            return clusters(trace, kind)

        def divided(progress: Progress) -> Division:
            progress.tell(f"Dividing {counted(count, 'head')} into clusters")
            return clusters(trace, kind)

        return self.ask(f"clusters {kind}", divided, None)

    def _measured(self) -> pd.DataFrame:
        trace, kind = self.trace, self.kind
        table = selected_table(self.workspace, trace)
        division = self._clusters(len(table))
        table["cluster"] = UNTOLD if division is None else [str(name) for name in division.name_of_rows]
        table["role"] = roles(table)
        said = tokens_in_words(self.workspace)
        self.line = f"{counted(len(table), 'head')}, measured on " + (said or "all tokens") + _about_rows(table)
        if said and not set(table["role"]) <= {UNTOLD}:
            self.line += "; clusters are of the whole text"
        self.kind_shown = kind
        return table


def _about_rows(table: pd.DataFrame) -> str:
    """What the number of rows forbids to say of the heads; empty where it forbids nothing."""
    roles_there = set(table["role"])
    if roles_there == {UNTOLD}:
        return ": where a row sees one token only, heads cannot differ"
    few = few_rows(table)
    if roles_there == {FEW_ROWS}:
        return f": too few rows for a role ({max(few.values())}; it takes {ROLE_ROWS})"
    if not few:
        return ""
    return f"; too few rows (under {ROLE_ROWS}) for a role: " + ", ".join(f"{title_of(name)} {n}" for name, n in few.items())
