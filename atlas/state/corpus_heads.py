"""What the views of all heads of a corpus show: a table of heads with intervals, and one number of every head as a plane."""

from __future__ import annotations

import uuid
from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar

from atlas.numbers import three
from atlas.state.corpora import KEY, CorpusChoices, chosen, name_of
from atlas.state.head_plane import HeadPlaneLens
from atlas.state.heads import HeadsLens, column_of, title_of
from atlas.state.lens import counted
from atlas.state.plane import Cell, Plane
from atlas.state.workspace import Workspace
from atlas.tracing.corpus import Corpus
from atlas.tracing.corpus_heads import METRIC_OF, measured
from atlas.tracing.groups import heads_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from atlas.tracing.groups import Source

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

    divides: ClassVar = False
    moved_by_tokens: ClassVar = False
    key: ClassVar = KEY
    choices_type: ClassVar = CorpusChoices
    reads: ClassVar = {"selection": ("focus",), **READS}

    def depends(self) -> Hashable:
        """On the kind and the corpus; selected heads are marked."""
        return self.kind, self.source

    @property
    def source(self) -> Source | None:
        """The corpus on screen."""
        return self.workspace.corpora.every().get(name_of(self.workspace))

    def unknown(self, metric: str) -> str:
        """Why no head has a value of a metric; empty where one has."""
        table = self.table()
        if table.empty or (metric in table and table[metric].notna().any()):
            return ""
        return f"{title_of(metric)} is not known of any head over this corpus."

    @staticmethod
    def _behind(table: pd.DataFrame, metric: str) -> dict[str, np.ndarray]:
        return {name: column_of(table, f"{metric}_{name}") for name in ("lo", "hi", "n")} if f"{metric}_n" in table else {}

    def _of(self) -> str:
        source = self.source
        return "" if source is None else f" {source.once('name among results', uuid.uuid4)}"

    def _measured(self) -> pd.DataFrame:
        name, corpus = chosen(self.workspace)
        table = heads_of(corpus, self.kind)
        table = table.assign(cluster=self._clusters(corpus, len(table)))
        self.line = f"{counted(len(table), 'head')}, means over {over(self.workspace, name, corpus)}; a text counts once"
        self.kind_shown = self.kind
        return table


class CorpusCloudLens(CorpusHeadsLens):
    """The heads of the kind on screen as points, by what they do over a corpus."""

    divides: ClassVar = True

    def points(self) -> pd.DataFrame:
        """Where each head stands; of a head with a role, what its role was earned by."""
        points, table = super().points(), self.table()
        said = [""] * len(table)
        for word, metric in METRIC_OF.items():
            own = table[table["role"] == word]
            for at, *row in own[[f"{metric}{end}" for end in ("", "_lo", "_hi", "_n")]].itertuples() if len(own) else ():
                value, low, high = map(three, row[:3])
                said[at] = f"{title_of(metric)}: {value} (95 % interval {low} to {high}, {counted(int(row[3]), 'text')})"
        return points.assign(more=said)


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
        plane = self.of_heads(column_of(table, metric))
        return Plane(plane.rows, plane.columns, plane.whole, self.of_heads(column_of(table, f"{metric}_uniform")).whole)

    def _numbers(self, row: int, column: int) -> Cell:
        found = super()._numbers(row, column)
        table, metric = self._heads(chosen(self.workspace)[1]), self.workspace.display.metric
        at = row * self.trace.n_heads(self.kind) + column
        low, high, n = (column_of(table, f"{metric}{end}")[at] for end in ("_lo", "_hi", "_n"))
        return found | {"from": float(low), "to": float(high), "texts": float(n)}

    def _heads(self, corpus: Corpus) -> pd.DataFrame:
        table = measured(corpus)
        return table[table["kind"] == self.kind]
