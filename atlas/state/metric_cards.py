"""What the metric cards show: each metric of the heads looked at, among all heads of their kind."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import param

from atlas.errors import TooLarge
from atlas.ids import HeadId
from atlas.state.asking import Progress
from atlas.state.corpora import choices_of, chosen, name_of
from atlas.state.corpus_heads import READS, over
from atlas.state.heads import title_of
from atlas.state.lens import Lens, counted
from atlas.state.words import heads_in_words, tokens_in_words
from atlas.tracing.corpus import Corpus
from atlas.tracing.corpus_groups import whole_of
from atlas.tracing.corpus_heads import measured, of_head, quantiles
from atlas.tracing.metric_cards import WholeMetrics, cells_of, check_size, whole_metrics
from atlas.tracing.selected_heads import selected_heads

SHOWN = (
    "confidence_max",
    "confidence_mean",
    "entropy",
    "sparsity",
    "uniformity",
    "median",
    "balance",
)
"""Metrics with a card, in their order; `DEPTH` follows."""

DEPTH = "depth_change"

FROM_WHOLE = ("median", DEPTH)
"""Metrics that read every weight."""

QUICK_CELLS = 1_000_000
"""Weights read while the page waits, some 20 ms; for more of them the lens asks."""

QUICK_HEADS = 400
"""Heads read while the page waits: each takes 30 microseconds, however few its weights are."""

ROUNDING = 1e-9
"""Values nearer than this, as a share, are equal: the mean of equal values may differ from them in its last digit."""

SELECTED, ALL = "selected", "all"
"""The heads looked at: the selected ones (without any, the focused one), or all of the kind."""

Array = np.ndarray


class MetricCardsChoices(param.Parameterized):
    """Choices of the metric cards."""

    show = param.Selector[str](objects=[SELECTED, ALL], default=SELECTED, doc="Selected or focused heads, or all heads.")


class OverTexts(NamedTuple):
    """The same metric of the same heads over the texts of a corpus."""

    values: Array
    """Of every head its mean; NaN where it is not known."""
    value: float
    """The mean of those of the heads looked at."""
    low: float
    high: float
    """Nine of ten texts lie between these; NaN unless one head is looked at."""


@dataclass(frozen=True, eq=False)
class MetricCard:
    """One metric: every head of the kind, or for the change across depth every step from a layer to the next."""

    metric: str
    title: str
    values: Array
    """Of every head, or of every step; NaN where it is not known."""
    uniform: Array
    """The same for uniform attention under the same mask."""
    layers: Array
    heads: Array
    """Of every value; empty for steps, which end at the layer."""
    shown: Array
    """Which of the values are of the heads looked at."""
    reason: str
    """Why there is no value, where there is none."""
    over_texts: OverTexts | None = None
    """None where no corpus of the model is open, or where it does not have the metric."""

    @property
    def value(self) -> float:
        """The mean of the values looked at."""
        return _mean(self.values[self.shown])

    @property
    def value_uniform(self) -> float:
        """The mean of their values for uniform attention."""
        return _mean(self.uniform[self.shown])

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest of all values, those for uniform attention and over texts, whichever heads are looked at."""
        known = np.concatenate([self.values, self.uniform, *([] if self.over_texts is None else [self.over_texts.values])])
        known = known[np.isfinite(known)]
        return (float(known.min()), float(known.max())) if len(known) else (math.nan, math.nan)

    @property
    def known(self) -> int:
        """How many heads or steps have a value."""
        return int(np.isfinite(self.values).sum())

    @property
    def lower(self) -> int:
        """How many of these are lower than the value."""
        value = self.value
        return int((self.values < value - ROUNDING * abs(value)).sum())

    def standing(self) -> str:
        """Where the value stands, in words."""
        noun = "step" if self.metric == DEPTH else "head"
        if math.isnan(self.value):
            return self.reason
        if self.known == 1:
            return f"the only {noun}"
        if self.shown[np.isfinite(self.values)].all():
            return f"mean of all {counted(self.known, noun)}"
        return f"higher than {self.lower:,} of {counted(self.known, noun)}"


class MetricCardsLens(Lens):
    """The metrics of the heads looked at, among all heads of their kind."""

    key: ClassVar = "metric_cards"
    choices_type: ClassVar = MetricCardsChoices
    reads: ClassVar = {"selection": ("focus", "queries"), **READS}
    marked_by: ClassVar = ("focus", "heads")

    _made_for: Hashable = None
    _table: pd.DataFrame | None = None
    _whole: WholeMetrics | None = None
    _note: str = ""
    _cards_of: tuple[tuple[HeadId, ...], list[MetricCard]] | None = None

    def __init__(self, workspace: Any, **params: Any) -> None:
        super().__init__(workspace, **params)
        choices_of(workspace).param.watch(self._changed, "corpus")

    def depends(self) -> Hashable:
        """Not on the heads, which are only marked, nor on the tokens that are looked at."""
        corpus = self.workspace.corpora.every().get(name_of(self.workspace))
        return self.kind, self.workspace.selection.queries, self.choices.show, corpus

    def forget(self) -> None:
        """Weights are read again, where they were not yet; the table is made anew only for other rows or another kind."""
        wanted = (self.workspace.trace, self.kind, self.workspace.selection.queries)
        if wanted != self._made_for:
            self._made_for, self._table, self._whole = wanted, None, None
        self._cards_of = None

    def looked_at(self) -> tuple[HeadId, ...]:
        """The heads whose values are said."""
        selection, kind = self.workspace.selection, self.kind
        every = tuple(head for head in self.trace.head_ids if head.kind == kind)
        if self.choices.show == ALL:
            return every
        chosen = selection.heads_of(kind)
        focus = selection.focus
        return chosen or ((focus,) if focus is not None and focus.kind == kind else every)

    def cards(self) -> list[MetricCard]:
        """All metrics, in their order; none where there is no trace."""
        nobody: tuple[HeadId, ...] = ()
        heads = self.attempt(self.looked_at, nobody)
        if self._cards_of is None or self._cards_of[0] != heads:
            self._cards_of = heads, self.attempt(self._cards, [])
        return self._cards_of[1]

    def note(self) -> str:
        """What cannot be shown, and what to do."""
        self.cards()
        return self._note

    def over_texts(self) -> str:
        """Over which texts the triangles are, or why there are none; empty where no corpus is open."""
        if not name_of(self.workspace) or not self.cards():
            return ""
        if self.workspace.selection.queries:
            return "A corpus has no figures of single rows: clear the selected tokens to see its values."
        name, corpus = chosen(self.workspace)
        about = corpus.provenance
        own = "" if whole_of(corpus) is not corpus else f", {about['tokens'] / about['texts']:.0f} tokens each on average"
        return (
            f"Triangles: the same heads over {over(self.workspace, name, corpus)}{own}; in brackets, for one head, between which "
            "values nine of ten texts lie. Most of these metrics change with the length of the text."
        )

    def table(self) -> pd.DataFrame:
        """One row for each value of each card: what it is of, whether it is looked at, and the mean of those that are."""
        parts = [
            pd.DataFrame({
                "kind": self.kind,
                "metric": card.metric,
                "layer": card.layers,
                "head": pd.array(card.heads if card.metric != DEPTH else [pd.NA] * len(card.layers), dtype="Int64"),
                "value": card.values,
                "uniform": card.uniform,
                "over_texts": np.nan if card.over_texts is None else card.over_texts.values,
                "shown": card.shown,
                "mean_shown": card.value,
                "higher_than": pd.array([pd.NA if math.isnan(card.value) else card.lower] * len(card.values), dtype="Int64"),
                "of": card.known,
            })
            for card in self.cards()
        ]  # fmt: skip
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def head_at(self, card: MetricCard, item: int) -> list[HeadId]:
        """The heads that a value stands for: its own, or all of the layer at which a step ends."""
        layer = int(card.layers[item])
        if card.metric == DEPTH:
            return [head for head in self.trace.head_ids if head.kind == self.kind and head.layer == layer]
        return [HeadId(self.kind, layer, int(card.heads[item]))]

    def _cards(self) -> list[MetricCard]:
        trace, kind, rows = self.trace, self.kind, self.workspace.selection.queries
        if self._table is None:
            self._table = selected_heads(trace, kind, rows)
        if self._whole is None:
            self._note = ""
            self._whole = self._read(rows)
        table, whole, heads = self._table, self._whole, self.looked_at()
        self.line = self._describe(heads)
        layers, numbers = table["layer"].to_numpy(), table["head"].to_numpy()
        shown = np.isin(layers * trace.n_heads(kind) + numbers, [head.layer * trace.n_heads(kind) + head.head for head in heads])
        corpus = self._corpus()
        found = []
        for metric in SHOWN:
            values, uniform = (table[name].to_numpy(dtype=float, na_value=np.nan) for name in (metric, f"{metric}_uniform"))
            if metric == "median" and whole is not None:
                values = whole.median.reshape(-1)
            reason = self._reason(metric, values)
            beside = None if corpus is None else self._over_texts(corpus, metric, heads, shown)
            found.append(MetricCard(metric, title_of(metric), values, uniform, layers, numbers, shown, reason, beside))
        return [*found, self._depth(whole, heads)]

    def _corpus(self) -> tuple[Corpus, pd.DataFrame] | None:
        """The corpus on screen and its heads of the kind; None for single rows, of which a corpus has no figures."""
        if self.workspace.selection.queries or not name_of(self.workspace):
            return None
        _, corpus = chosen(self.workspace)
        table = measured(corpus)
        return corpus, table[table["kind"] == self.kind].sort_values(["layer", "head"])

    @staticmethod
    def _over_texts(of: tuple[Corpus, pd.DataFrame], metric: str, heads: Sequence[HeadId], shown: Array) -> OverTexts | None:
        """A metric over a corpus; None where it does not have it."""
        corpus, table = of
        if metric not in corpus.metrics:
            return None
        values = table[metric].to_numpy(float)
        alone = len(heads) == 1 and whole_of(corpus) is corpus
        low, high = _middle(corpus, metric, heads[0]) if alone else (math.nan, math.nan)
        return OverTexts(values, _mean(values[shown]), low, high)

    def _depth(self, whole: WholeMetrics | None, heads: Sequence[HeadId]) -> MetricCard:
        layers = np.arange(1, self.trace.n_layers(self.kind))
        unknown = np.full(len(layers), np.nan)
        values, uniform = (unknown, unknown) if whole is None else (whole.change, whole.change_uniform)
        shown = np.isin(layers, sorted({head.layer for head in heads}))
        reason = self._reason(DEPTH, values)
        return MetricCard(DEPTH, title_of(DEPTH), values, uniform, layers, np.empty(0, dtype=int), shown, reason)

    def _reason(self, metric: str, values: Array) -> str:
        """Why a metric has no value, should it have none."""
        if metric in FROM_WHOLE and self._whole is None:
            return "see below" if self._note else "not there yet"
        if metric == DEPTH:
            return "no layer before the first" if len(values) else "the only layer"
        if metric == "balance":
            return "no [CLS] or BOS among these tokens"
        return "a row that sees one token tells nothing"

    def _read(self, rows: frozenset[int]) -> WholeMetrics | None:
        """The metrics that read every weight; None until they are there, or where that is too much."""
        trace, kind = self.trace, self.kind
        name = f"whole metrics {kind}"
        if not rows and trace.holds(name):
            kept: WholeMetrics = trace.once(name, lambda: whole_metrics(trace, kind))
            return kept
        try:
            if cells_of(trace, kind, rows) <= QUICK_CELLS and trace.n_layers(kind) * trace.n_heads(kind) <= QUICK_HEADS:
                self.drop_asked()
                return whole_metrics(trace, kind, rows) if rows else trace.once(name, lambda: whole_metrics(trace, kind))
            return self._ask(name, rows)
        except TooLarge as error:  # the other cards are there all the same
            self._note = str(error)
            return None

    def _ask(self, name: str, rows: frozenset[int]) -> WholeMetrics | None:
        trace, kind = self.trace, self.kind
        check_size(trace, kind, rows)

        def work(progress: Progress) -> WholeMetrics:
            if rows:
                return whole_metrics(trace, kind, rows, progress.tell)
            made: WholeMetrics = trace.once(name, lambda: whole_metrics(trace, kind, tell=progress.tell))
            return made

        return self.ask(f"{name} {sorted(rows)}", work, None, keep=not rows)

    def _describe(self, heads: Sequence[HeadId]) -> str:
        every = self.trace.n_layers(self.kind) * self.trace.n_heads(self.kind)
        if len(heads) == every:
            who = f"Mean of all {counted(every, 'head')}"
        elif self.workspace.selection.heads_of(self.kind):
            who = ("Mean of " if len(heads) > 1 else "") + heads_in_words(self.workspace) + f" among {every:,} heads"
        else:
            who = f"Head in focus, {heads[0]}, among {every:,} heads"
        said = tokens_in_words(self.workspace) if self.workspace.selection.queries else ""
        return f"{who}; measured on the rows of the selection ({said})" if said else f"{who}; measured on all rows"


def _middle(corpus: Corpus, metric: str, head: HeadId) -> tuple[float, float]:
    """Between which values nine of ten texts lie."""
    row = of_head(quantiles(corpus, metric), head)
    return float(row["q05"].iloc[0]), float(row["q95"].iloc[0])


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan
