"""What the finder shows: the heads of a corpus that meet conditions, and those whose figures are most like the focused head's."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from atlas.errors import AtlasError
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.corpora import KEY, CorpusChoices, chosen, name_of
from atlas.state.corpus_heads import READS, over
from atlas.state.lens import Lens, counted
from atlas.tracing.corpus_groups import whole_of
from atlas.tracing.corpus_heads import EXAMPLE, matching, measured, near

if TYPE_CHECKING:
    import pandas as pd

FOUND, NEAR = "found", "near"
"""Keys of the two lists."""

MOST = 30
"""Heads of a list; a selection has all of them."""


class FinderLens(Lens):
    """The heads that are looked for."""

    key: ClassVar = KEY
    choices_type: ClassVar = CorpusChoices
    reads: ClassVar = {"selection": ("focus",), **READS}

    def depends(self) -> Hashable:
        """On the corpus, the conditions and the head in focus."""
        return self.workspace.selection.focus, name_of(self.workspace), self.choices.conditions

    def found(self) -> list[HeadId]:
        """The heads of the kind on screen that meet the conditions, in the order of layers."""
        return self.attempt(lambda: _ids(self._matching()), [])

    def said(self) -> str:
        """How many heads were found, or what is wrong with the conditions."""
        return self.attempt(self._said, "")

    def groups(self) -> list[dict[str, Any]]:
        """The lists, as `BarList` takes them."""
        return self.attempt(lambda: [*self._found_group(), *self._near_group()], [])

    def press(self, key: str, origin: str) -> None:
        """A head was pressed, or the heading of those found."""
        selection = self.workspace.selection
        if key == FOUND:
            self.select(origin)
        else:
            kind, layer, head = key.rpartition(":")[2].split(".")
            selection.pick(HeadId(kind, int(layer), int(head)), origin=origin)

    def look_for(self, conditions: str, origin: str) -> None:
        """Select the heads that meet conditions; ones that cannot be read select nothing and say why."""
        self.choices.conditions = conditions
        self.select(origin)

    def select(self, origin: str) -> None:
        """Select all heads that were found."""
        if self.found():
            self.workspace.selection.select_heads(self.found(), origin=origin, label=" ".join(self.choices.conditions.split()))

    def table(self) -> pd.DataFrame:
        """The heads that were found, with all their figures; all heads where nothing is looked for."""
        return self._matching() if self.choices.conditions.strip() else self._heads()

    # -- made ----------------------------------------------------------------------------------------------------------

    def _heads(self) -> pd.DataFrame:
        table = measured(chosen(self.workspace)[1])
        return table[table["kind"] == self.kind].reset_index(drop=True)

    def _matching(self) -> pd.DataFrame:
        table = self._heads()
        try:
            met = matching(table, self.choices.conditions)
        except AtlasError:  # `said` has it
            return table.iloc[:0]
        return table[met].reset_index(drop=True)

    def _said(self) -> str:
        name, corpus = chosen(self.workspace)
        self.line = f"Figures over {over(self.workspace, name, corpus)}"
        table = self._heads()
        if not self.choices.conditions.strip():
            return f"Write conditions on the figures of heads, like {EXAMPLE}, and press Enter."
        try:
            met = int(np.count_nonzero(matching(table, self.choices.conditions)))
        except AtlasError as error:
            return str(error)
        return f"{met:,} of {counted(len(table), 'head')} meet this."

    def _found_group(self) -> list[dict[str, Any]]:
        table = self._matching()
        if table.empty:
            return []
        names = [name for name in dict.fromkeys(re.findall(r"[a-z_]\w*", self.choices.conditions.lower())) if name in table]
        rows = [
            {"key": _key(FOUND, head), "label": str(head), "note": _figures(row, names)}
            for head, (_, row) in zip(_ids(table), table.iterrows(), strict=True)
        ]
        note = f"the first {MOST} of {len(rows):,}" if len(rows) > MOST else ""
        return [{"key": FOUND, "name": "Found: press for all", "note": note, "rows": rows[:MOST]}]

    def _near_group(self) -> list[dict[str, Any]]:
        head, (name, corpus) = self.workspace.selection.focus, chosen(self.workspace)
        if head is None:
            return []
        own, every = self.workspace.corpora.of(self.trace), self.workspace.corpora.every()
        # A group is a part of its corpus, in which each head is most like itself.
        apart = {each: found for each, found in self.workspace.corpora.opened.items() if found is not whole_of(corpus)}
        found = near({name: corpus, **apart}, name, head)
        rows = []
        for each in found:
            other = HeadId(*each.head)
            elsewhere = each.corpus not in own
            row = {
                "label": str(other), "number": three(each.distance),
                "note": "" if each.corpus == name else f"of {each.corpus}"
                + (f" ({every[each.corpus].provenance['model']})" if elsewhere else ""),
            }  # fmt: skip
            rows.append(row if elsewhere else row | {"key": f"{NEAR} {each.corpus}:{other.kind}.{other.layer}.{other.head}"})
        return [{"name": f"Most like {head}, by all figures", "note": "distance", "rows": rows}] if rows else []


def _ids(table: pd.DataFrame) -> list[HeadId]:
    rows = zip(table["kind"], table["layer"], table["head"], strict=True)
    return [HeadId(str(kind), int(layer), int(head)) for kind, layer, head in rows]


def _key(name: str, head: HeadId) -> str:
    return f"{name}:{head.kind}.{head.layer}.{head.head}"


def _figures(row: pd.Series[Any], names: list[str]) -> str:
    return " · ".join(f"{name} {row[name] if isinstance(row[name], str) else three(float(row[name]))}" for name in names)
