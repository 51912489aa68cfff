"""What the view of drift shows: how far every head's figure in another corpus is from the one on screen."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from atlas.errors import NotCaptured, NothingYet
from atlas.ids import HEAD
from atlas.state.corpora import KEY, CorpusChoices, choices_of, chosen, name_of
from atlas.state.corpus_heads import READS
from atlas.state.head_plane import HeadPlaneLens
from atlas.state.heads import title_of
from atlas.state.lens import counted
from atlas.state.plane import Cell, Plane
from atlas.tracing.corpus import Corpus
from atlas.tracing.corpus_groups import are_disjoint, groups_of, whole_of
from atlas.tracing.corpus_heads import measured
from atlas.tracing.drift import Drift, drift

if TYPE_CHECKING:
    import pandas as pd

    from atlas.state.workspace import Workspace

SECOND = "a second corpus of a model with the same layers and heads is not open here"

CHOOSE_GROUP = "Choose a group of texts under 'Corpus': it is then compared with each of the other groups."

NUMBERS = {"value": "effect", "first": "a", "second": "b", "difference": "difference", "q": "q"}
"""What a cell says -> column of the differences."""

_COMPARED: WeakKeyDictionary[Corpus, WeakKeyDictionary[Corpus, Drift]] = WeakKeyDictionary()
"""Comparisons of two corpora: neither ever changes."""


def others(workspace: Workspace) -> list[str]:
    """Names of the corpora that can be compared with the one on screen: first other groups of it, then those of its model."""
    name, every = name_of(workspace), workspace.corpora.every()
    if not name:
        return []
    own, heads, model = every[name], measured(whole_of(every[name]))[HEAD], every[name].provenance["model"]
    alike = {id(corpus) for corpus in workspace.corpora.opened.values() if measured(corpus)[HEAD].equals(heads)}
    found = [other for other, corpus in every.items() if id(whole_of(corpus)) in alike and are_disjoint(own, corpus)]
    is_far = {each: (whole_of(every[each]) is not whole_of(own), every[each].provenance["model"] != model) for each in found}
    return sorted(found, key=is_far.__getitem__)


def can_compare(workspace: Workspace) -> bool:
    """Whether there are two sets of texts, be it only two groups of the corpus on screen."""
    name = name_of(workspace)
    return bool(name) and bool(others(workspace) or groups_of(workspace.corpora.every()[name]))


def against(workspace: Workspace) -> str:
    """The name of the other corpus; empty where there is none."""
    found, wanted = others(workspace), choices_of(workspace).against
    return wanted if wanted in found else next(iter(found), "")


class DriftLens(HeadPlaneLens):
    """The difference of one figure of every head, in standard deviations between texts."""

    key: ClassVar = KEY
    choices_type: ClassVar = CorpusChoices
    reads: ClassVar = {"selection": ("focus",), "display": ("metric",), **READS}
    missing: ClassVar = "too few texts, or not known"

    def depends(self) -> Hashable:
        """On the kind, both corpora, the metric and what is hidden."""
        space = self.workspace
        return self.kind, name_of(space), against(space), space.display.metric, self.choices.threshold

    @property
    def signed(self) -> bool:
        """A head does more of it, or less."""
        return True

    def reading(self) -> str:
        """What the value of a cell is."""
        return "effect"

    def found(self) -> Drift:
        """All differences between both corpora."""
        (_, first), other = chosen(self.workspace), against(self.workspace)
        if not other:
            raise NothingYet(CHOOSE_GROUP if groups_of(first) else f"There is nothing to compare: {SECOND}.")
        second = self.workspace.corpora.every()[other]
        known = _COMPARED.setdefault(first, WeakKeyDictionary())
        if second not in known:
            known[second] = drift(first, second)
        return known[second]

    def said(self) -> str:
        """What differs, over all metrics."""
        return self.attempt(lambda: self.found().sentence, "")

    def _build_plane(self) -> Plane:
        table, metric = self._table(), self.workspace.display.metric
        n = int(table["drift"].sum())
        names = against(self.workspace), name_of(self.workspace)
        every = self.workspace.corpora.every()
        models = [str(every[name].provenance["model"]) for name in names]
        one, own = names if models[0] == models[1] else [f"{name} ({of})" for name, of in zip(names, models, strict=True)]
        self.line = (
            f"{title_of(metric)} in {one} minus {own}, in standard deviations between texts: {counted(n, 'head')} of "
            f"{len(table):,} {'differs' if n == 1 else 'differ'} (q ≤ 0.05)"
        )
        return self.of_heads(table["effect"].to_numpy(float))

    def _table(self) -> pd.DataFrame:
        """The differences of the metric, in the order of the heads of the kind on screen."""
        table = self.found().table
        here = table[(table["kind"] == self.kind) & (table["metric"] == self.workspace.display.metric)]
        if here.empty:
            msg = f"{title_of(self.workspace.display.metric)} is not known over both corpora. Choose another metric."
            raise NotCaptured(msg)
        return here.sort_values(["layer", "head"], ignore_index=True)

    def _numbers(self, row: int, column: int) -> Cell:
        found = self._table().iloc[row * self.trace.n_heads(self.kind) + column]
        return {name: float(found[column]) for name, column in NUMBERS.items()}
