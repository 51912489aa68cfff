"""What the view of shared traits shows: what the selected heads have in common that other heads of their layers have not."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

import numpy as np
import pandas as pd

from atlas.errors import TextError
from atlas.ids import HeadId
from atlas.numbers import listed
from atlas.state.heads import title_of
from atlas.state.lens import Lens, counted
from atlas.state.selected_table import selected_table
from atlas.state.words import heads_in_words, tokens_in_words
from atlas.tracing.shared_traits import COLUMNS, traits_of

SHOWN = 12
"""Metrics on screen, those with the largest differences; the table that is taken away has all of them."""

REAL = 0.05
"""Share of false differences let through among all those called real."""

ALIKE = "No metric tells the heads apart on these tokens. Select other tokens, or analyse a longer text."

NAMED = 3
"""Traits that the words name."""

NONE = pd.DataFrame({name: pd.Series(dtype=object if name == "metric" else float) for name in COLUMNS})


class SharedTraitsLens(Lens):
    """The traits of the selected heads."""

    key: ClassVar = "traits"
    reads: ClassVar = {"selection": ("focus", "heads", "queries", "keys")}

    _found: pd.DataFrame | None = None

    def depends(self) -> Hashable:
        """On the selected heads of the kind on screen, and on the tokens that they are measured over."""
        selection = self.workspace.selection
        return self.kind, self.shown_heads(), selection.queries, selection.keys

    def forget(self) -> None:
        """Other heads or other tokens."""
        self._found = None

    def table(self) -> pd.DataFrame:
        """One row a metric, the largest difference first."""
        if self._found is None:
            self._found = self.attempt(self._traits, NONE)
        return self._found

    def shown(self) -> pd.DataFrame:
        """The rows on screen."""
        return self.table().head(SHOWN)

    def reach(self) -> float:
        """How far the axis goes on both sides of 0."""
        ends = self.shown()[["z", "z_lo", "z_hi", "chance_lo", "chance_hi"]].abs().to_numpy(float)
        return max(1.0, float(np.nanmax(ends))) if ends.size else 1.0

    def strongest(self, row: int) -> list[HeadId]:
        """As many heads as are selected, those with most of a metric; with least of it where the selected ones have little."""
        trait = self.shown().iloc[row]
        table = selected_table(self.workspace, self.trace).dropna(subset=trait["metric"])
        ordered = table.sort_values(trait["metric"], ascending=bool(trait["z"] < 0), kind="stable")
        count = len(self.shown_heads())
        most = ordered.head(count)
        return [HeadId(self.kind, int(layer), int(head)) for layer, head in zip(most["layer"], most["head"], strict=True)]

    def words(self) -> str:
        """What to do, or what the heads have in common."""
        if self.workspace.trace is None:
            return ""
        table = self.table()
        if self.problem:
            return ""
        if table["q"].isna().all():
            return "All heads of these layers are selected: there are no others to compare them with."
        real = table[table["q"] <= REAL]
        if not len(real):
            return "Nothing sets them apart: random heads of the same layers differ as much (no q ≤ 0.05)."
        first = real.head(NAMED)
        ups, metrics = (first["z"] > 0).tolist(), first["metric"].astype(str).tolist()
        names = [f"{'more' if up else 'less'} {title_of(metric).lower()}" for up, metric in zip(ups, metrics, strict=True)]
        more = f" and {counted(len(real) - NAMED, 'more trait')}" if len(real) > NAMED else ""
        return f"Beyond random heads of the same layers (q ≤ 0.05): {listed(names)}{more}."

    def _traits(self) -> pd.DataFrame:
        table, over = selected_table(self.workspace, self.trace), tokens_in_words(self.workspace)
        self.line = f"{heads_in_words(self.workspace)}, beside {counted(len(table), 'head')}" + (f" · {over}" if over else "")
        found = traits_of(table, self.shown_heads())
        if not len(found):
            raise TextError(ALIKE)
        return found
