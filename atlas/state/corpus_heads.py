"""What the views of all heads of a corpus show: a table of heads with intervals, and one number of every head as a plane."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from atlas.state.corpora import KEY, CorpusChoices, chosen, name_of
from atlas.state.head_plane import HeadPlaneLens
from atlas.state.heads import EMPTY_TABLE, HeadsLens, Rows, title_of
from atlas.state.lens import counted
from atlas.state.plane import Cell, Plane
from atlas.state.workspace import Workspace
from atlas.tracing.corpus import Corpus
from atlas.tracing.corpus_heads import measured
from atlas.tracing.groups import UNTOLD

if TYPE_CHECKING:
    import pandas as pd

READS = {"corpora": ("opened",)}


def over(workspace: Workspace, name: str, corpus: Corpus) -> str:
    """'300 texts of train (gpt-mini)', and what is missing or another version."""
    about = corpus.provenance
    said = f"{counted(about['texts'], 'text')} of {name}"
    if corpus.complete.shards != corpus.complete.expected:
        said += f" ({corpus.complete.shards} of {corpus.complete.expected} parts so far)"
    trace = workspace.trace
    revision = None if trace is None else trace.provenance.get("revision")
    if revision and about.get("revision") and about["revision"] != revision:
        said += ", with other weights than those of the trace on screen"
    return said


class CorpusHeadsLens(HeadsLens):
    """The heads of the kind on screen, measured over a corpus, as the views of heads take them."""

    key: ClassVar = KEY
    choices_type: ClassVar = CorpusChoices
    reads: ClassVar = {"selection": ("focus",), **READS}

    def depends(self) -> Hashable:
        """On the kind and the corpus; selected heads are marked."""
        return self.kind, name_of(self.workspace)

    def forget(self) -> None:
        """The table is made anew for another corpus or kind."""
        wanted = self.workspace.trace, self.depends()
        if wanted != self._made_for:
            self._made_for, self._rows = wanted, None

    def rows(self) -> Rows:
        """The table and what is made of it."""
        if self._rows is None and self.workspace.trace is not None:
            table = self.attempt(self._measured, EMPTY_TABLE)
            self._rows = Rows(table, str)
        return self._rows if self._rows is not None else Rows(EMPTY_TABLE, str)

    def unknown(self, metric: str) -> str:
        """Why no head has a value of a metric; empty where one has."""
        table = self.table()
        if table.empty or (metric in table and table[metric].notna().any()):
            return ""
        return f"{title_of(metric)} is not known of any head over this corpus."

    def note(self) -> str:
        """Nothing is divided into clusters."""
        return ""

    def _measured(self) -> pd.DataFrame:
        name, corpus = chosen(self.workspace)
        table = measured(corpus)
        table = table[table["kind"] == self.kind].reset_index(drop=True).assign(cluster=UNTOLD)
        self.line = f"{counted(len(table), 'head')}, means over {over(self.workspace, name, corpus)}; a text counts once"
        self.kind_shown = self.kind
        return table


class CorpusMapLens(HeadPlaneLens):
    """One number of every head over a corpus."""

    key: ClassVar = KEY
    choices_type: ClassVar = CorpusChoices
    reads: ClassVar = {"selection": ("focus",), "display": ("metric",), **READS}

    def depends(self) -> Hashable:
        """On the kind, the corpus, the metric and what is hidden."""
        return self.kind, name_of(self.workspace), self.workspace.display.metric, self.choices.threshold

    def reading(self) -> str:
        """The metric."""
        return title_of(self.workspace.display.metric)

    def _build_plane(self) -> Plane:
        (name, corpus), metric = chosen(self.workspace), self.workspace.display.metric
        table = self._heads(corpus)
        self.line = f"{self.reading()} of {self.of_kind()}: mean over {over(self.workspace, name, corpus)}"
        plane = self.of_heads(_column(table, metric))
        return Plane(plane.rows, plane.columns, plane.whole, self.of_heads(_column(table, f"{metric}_uniform")).whole)

    def _numbers(self, row: int, column: int) -> Cell:
        found = super()._numbers(row, column)
        table, metric = self._heads(chosen(self.workspace)[1]), self.workspace.display.metric
        at = row * self.trace.n_heads(self.kind) + column
        low, high, n = (_column(table, f"{metric}{end}")[at] for end in ("_lo", "_hi", "_n"))
        return found | {"from": float(low), "to": float(high), "texts": float(n)}

    def _heads(self, corpus: Corpus) -> pd.DataFrame:
        table = measured(corpus)
        return table[table["kind"] == self.kind]


def _column(table: pd.DataFrame, name: str) -> Any:
    return table[name].to_numpy(float) if name in table else np.full(len(table), np.nan)
