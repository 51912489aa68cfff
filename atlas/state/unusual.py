"""What the view of a text among many shows: how far every head's figure here is from those over the corpus."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.asking import Progress
from atlas.state.corpora import KEY, CorpusChoices, chosen_whole, whole_name_of
from atlas.state.corpus_heads import READS, over
from atlas.state.head_plane import HeadPlaneLens
from atlas.state.heads import title_of
from atlas.state.lens import counted
from atlas.state.plane import Cell, Plane
from atlas.tracing.corpus import Corpus
from atlas.tracing.unusual import LEVEL, USUAL, Unusual, unusual

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

FARTHEST = 8
"""Heads that are named with the figure that is farthest out."""

NUMBERS = {
    "value": "effect", "here": "value", "mean over texts": "mean", "by chance here": "uniform", "over texts": "uniform_mean",
    "q": "q",
}  # fmt: skip
"""What a cell says -> column of the table."""

_FOUND: WeakKeyDictionary[Trace, WeakKeyDictionary[Corpus, Unusual]] = WeakKeyDictionary()
"""Traces among the texts of corpora: neither ever changes."""


class UnusualLens(HeadPlaneLens):
    """How far one figure of every head on this text is from its mean over a corpus, in standard deviations between texts."""

    key: ClassVar = KEY
    choices_type: ClassVar = CorpusChoices
    reads: ClassVar = {"selection": ("focus",), "display": ("metric",), **READS}
    missing: ClassVar = "not known, or the same in every text"

    def depends(self) -> Hashable:
        """On the kind, the corpus, the metric and what is hidden."""
        return self.kind, whole_name_of(self.workspace), self.workspace.display.metric, self.choices.threshold

    @property
    def signed(self) -> bool:
        """A head does more of it here, or less."""
        return True

    def reading(self) -> str:
        """What the value of a cell is."""
        return "standard deviations from the mean over texts"

    def found(self) -> Unusual | None:
        """All figures of this text among those of the corpus; None while they are ranked, which takes 0.1 s of a small model."""
        trace, (name, corpus) = self.trace, chosen_whole(self.workspace)
        known = _FOUND.setdefault(trace, WeakKeyDictionary())
        if corpus in known:
            return known[corpus]

        def work(progress: Progress) -> Unusual:
            progress.tell("Ranking this text among those of the corpus")
            return unusual(trace, corpus)

        nothing: Unusual | None = None
        found = self.ask(f"beside {name} {id(corpus)}", work, nothing, keep=False)
        if found is not None:
            known[corpus] = found
        return found

    def beyond(self) -> frozenset[HeadId]:
        """Heads of the kind on screen that are unusual here."""
        found = self.found() if self.plane().rows else None
        if found is None:
            return frozenset()
        own = self._table(found)
        rows = own[own["q"] <= LEVEL]
        return frozenset(HeadId(self.kind, layer, head) for layer, head in zip(rows["layer"], rows["head"], strict=True))

    def said(self) -> str:
        """How much is unusual, over all figures."""
        return self.attempt(self._said, "")

    def groups(self) -> list[dict[str, Any]]:
        """The unusual heads of the metric, and the heads with the figures that are farthest out, as chips."""
        nothing: list[dict[str, Any]] = []
        return self.attempt(self._groups, nothing)

    def press(self, key: str, origin: str) -> None:
        """Select the unusual heads, or show a head with the figure that is farthest out."""
        selection = self.workspace.selection
        if key == "all":
            heads = self.beyond()
            if heads == selection.heads:
                selection.clear("heads", origin=origin)
            else:
                selection.select_heads(heads, origin=origin, label=f"unusual {title_of(self.workspace.display.metric).lower()}")
            return
        kind, layer, head, metric = key.split(".")
        self.workspace.display.metric = metric
        selection.pick(HeadId(kind, int(layer), int(head)), origin=origin)

    # -- made ----------------------------------------------------------------------------------------------------------

    def _build_plane(self) -> Plane:
        found = self.found()
        if found is None:
            return Plane()
        table, metric, (name, corpus) = self._table(found), self.workspace.display.metric, chosen_whole(self.workspace)
        n = int(np.count_nonzero(table["q"] <= LEVEL))
        self.line = (
            f"{title_of(metric)} on this text beside {over(self.workspace, name, corpus)}: {counted(n, 'head')} of "
            f"{len(table):,} {'is' if n == 1 else 'are'} unusual (q ≤ {LEVEL:g})"
        )
        return self.of_heads(table["effect"].to_numpy(float))

    def _table(self, found: Unusual) -> pd.DataFrame:
        """The rows of the metric, in the order of the heads of the kind on screen."""
        metric = self.workspace.display.metric
        table = found.of(metric)
        here = table[table["kind"] == self.kind]
        if here.empty or here["p"].isna().all():
            msg = f"{title_of(metric)} is not known on this text, or over the corpus. Choose another metric."
            raise NotCaptured(msg)
        return here.sort_values(["layer", "head"], ignore_index=True)

    def _numbers(self, row: int, column: int) -> Cell:
        found = self.found()
        if found is None:
            return super()._numbers(row, column)
        own = self._table(found).iloc[row * self.trace.n_heads(self.kind) + column]
        return {name: float(own[of]) for name, of in NUMBERS.items()}

    def _said(self) -> str:
        found = self.found()
        n, of = (0, 0) if found is None else found.outside
        if found is None or not of:
            return ""
        every = (
            f"Over all metrics: {share(n / of)} of {of:,} figures are outside what {share(USUAL)} of the texts show; of a text "
            f"like them it would be about {share(1 - USUAL)}."
        )
        return f"{every}\n{few}" if (few := self._too_few(found)) else every

    def _too_few(self, found: Unusual) -> str:
        """Why no single head can have a dot; empty where one can."""
        table = found.of(self.workspace.display.metric)
        heads, texts = int(table["p"].notna().sum()), int(table["n"].max()) if len(table) else 0
        least, enough = 2 * heads / (texts + 1), math.ceil(round(2 * heads / LEVEL, 6)) - 1
        if not heads or least <= LEVEL:
            return ""
        return (
            f"Among {counted(texts, 'text')} a single head of {heads:,} cannot be told to be unusual (its q is "
            f"{three(min(least, 1))} at least), only several together; from {enough:,} texts on it can."
        )

    def _groups(self) -> list[dict[str, Any]]:
        found, groups = self.found(), []
        if found is None:
            return []
        unusual_here, selection = self.beyond(), self.workspace.selection
        if unusual_here:
            title = "Select them; every other view follows"
            active = unusual_here == selection.heads
            chip = {"key": "all", "label": "all", "count": len(unusual_here), "active": active, "title": title}
            groups.append({"name": f"Unusual by {title_of(self.workspace.display.metric).lower()}", "chips": [chip]})
        kinds = self.trace.kinds
        chips = [_chip(row, kinds) for row in found.farthest(FARTHEST).itertuples()]
        return [*groups, {"name": "Farthest out, by any metric", "chips": chips}] if chips else groups


def share(part: float) -> str:
    """A share in hundredths."""
    return f"{100 * part:.0f} %"


def _chip(row: Any, kinds: Sequence[str]) -> dict[str, Any]:
    beaten, side = (row.lower, "higher") if row.effect > 0 else (row.higher, "lower")
    head = HeadId(row.kind, int(row.layer), int(row.head))
    return {
        "key": f"{row.kind}.{row.layer}.{row.head}.{row.metric}",
        "label": f"{head.label(kinds)} {title_of(row.metric)} {three(row.value)}",
        "active": False,
        "title": f"{three(row.mean)} on average, {side} than in {100 * beaten:.1f} % of {row.n:,} texts",
    }
