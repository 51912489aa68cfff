"""What the head page shows: one head over many texts, in words and numbers, and texts in which it did it more or less."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from atlas.ids import HeadId
from atlas.numbers import listed, three
from atlas.state.corpora import KEY, CorpusChoices, chosen_whole, name_of
from atlas.state.corpus_heads import READS, over
from atlas.state.heads import title_of
from atlas.state.lens import Lens
from atlas.state.words import shown_token
from atlas.tracing.corpus import TOP, Corpus
from atlas.tracing.corpus_heads import ROLES, Link, drills, exemplars, links, measured, of_head, quantiles, roles, tokens

SPREADS = (*ROLES, "entropy_norm", "confidence_mean", "sparsity")
"""Metrics that are shares: they have one axis."""

QUANTILES = ("q05", "q25", "q50", "q75", "q95")

MENTIONED = 0.1
"""Excess under which a role that is not the head's own is not spoken of: over many texts hundredths are beyond chance too."""

TOKENS = 8
"""Tokens of a side."""

SIDES = {"query": "Tokens that look (not at special or first ones)", "key": "Tokens that are looked at"}


class Example(NamedTuple):
    """A text in which the head did more or less of a role."""

    key: str
    decile: int
    value: float
    text: str
    links: list[Link]


class Spread(NamedTuple):
    """One metric over the texts."""

    metric: str
    mean: float
    lo: float
    hi: float
    uniform: float
    quantiles: tuple[float, ...]
    n: int


class HeadPageLens(Lens):
    """The head in focus over a corpus."""

    key: ClassVar = KEY
    choices_type: ClassVar = CorpusChoices
    reads: ClassVar = {"selection": ("focus",), **READS}

    _found: list[Spread] | None = None

    def depends(self) -> Hashable:
        """On the head, the corpus and whose examples are shown."""
        return self.workspace.selection.focus, name_of(self.workspace), self.choices.exemplars

    def forget(self) -> None:
        """Drop the metrics of the head."""
        self._found = None

    @property
    def head(self) -> HeadId:
        """The head in focus."""
        found = self.workspace.selection.focus
        assert found is not None
        return found

    def words(self) -> str:
        """What the head does, as far as it is earned."""
        return self.attempt(self._in_words, "")

    def spreads(self) -> list[Spread]:
        """Its metrics that are shares, those that are not known left out."""
        if self._found is None:
            nothing: list[Spread] = []
            self._found = self.attempt(self._spreads, nothing)
        return self._found

    def distances(self) -> pd.DataFrame:
        """low, high, mass, mass_uniform, and a name for each range of distances."""
        return self.attempt(self._distances, pd.DataFrame(columns=["low", "high", "mass", "mass_uniform", "name"]))

    def tokens(self, side: str) -> pd.DataFrame:
        """The tokens of a side with the largest mass: token, mass, count, each."""
        return self.attempt(lambda: self._tokens(side), pd.DataFrame(columns=["token", "mass", "count", "each"]))

    def example_metrics(self) -> list[str]:
        """Roles of which the corpus has examples for this head."""
        return self.attempt(lambda: list(dict.fromkeys(of_head(exemplars(self._corpus()), self.head)["metric"])), [])

    def metric(self) -> str:
        """The role whose examples are shown: the chosen one, else what the head has most of beyond chance."""
        there = self.example_metrics()
        return self.choices.exemplars if self.choices.exemplars in there else self._most(there)

    def examples(self) -> list[Example]:
        """The top, then a text of every tenth, the highest first."""
        return self.attempt(self._examples, [])

    def open(self, key: str) -> None:
        """Make an example the text of the Atlas; the head stays in focus."""
        row = exemplars(self._corpus()).loc[int(key)]
        given = self.workspace.pipeline.input
        assert given is not None
        given.put(str(row["text"]), str(row["pair"] or ""), str(row["target"] or ""))
        self.workspace.selection.pick(self.head, origin="head_page")
        self.workspace.pipeline.run()

    def table(self) -> pd.DataFrame:
        """Every metric of the head, with its quantiles."""
        self._corpus()  # without one, why there is no table
        rows = [
            {name: getattr(row, name) for name in Spread._fields if name != "quantiles"}
            | dict(zip(QUANTILES, row.quantiles, strict=True))
            for row in self.spreads()
        ]
        return pd.DataFrame(rows)

    # -- made ----------------------------------------------------------------------------------------------------------

    def _corpus(self) -> Corpus:
        return chosen_whole(self.workspace)[1]

    def _in_words(self) -> str:
        name, corpus = chosen_whole(self.workspace)
        head, found = self.head, of_head(roles(corpus), self.head)
        self.line = f"{head.label(self.trace.kinds)} over {over(self.workspace, name, corpus)}"
        earned = found[found["earned"]].sort_values("uniform", kind="stable")
        beyond = found[found["beyond"] & ~found["earned"] & (found["excess"] >= MENTIONED)].sort_values(
            "excess", ascending=False, kind="stable"
        )
        said = [self._role(row) for row in earned.itertuples()]
        if not said:
            said = ["It has earned no role: none has its whole interval more than half of the way from chance to everything."]
        if len(beyond):
            numbers = beyond[["role", "value", "uniform"]].itertuples(index=False, name=None)
            parts = [f"{inside(title_of(str(role)))} {three(value)} (chance {three(even)})" for role, value, even in numbers]
            said.append("More than chance gives, but too little for a role: " + listed(parts) + ".")
        distance = of_head(measured(corpus), head).iloc[0]
        if np.isfinite(distance.get("distance", np.nan)):
            said.append(
                f"It looks {three(distance['distance'])} tokens away on average, where even attention would look "
                f"{three(distance['distance_uniform'])}."
            )
        return "\n".join([*said, *self._drilled(corpus)])

    def _drilled(self, corpus: Corpus) -> list[str]:
        """What the head scores on drills; the drills that were not possible are left out."""
        found = drills(corpus)
        rows: list[Any] = [] if found is None else list(of_head(found.table, self.head).itertuples())
        if not rows:
            return []
        has = [f"{title_of(row.drill)}: {_drill(row)}." for row in rows if row.has]
        rest = [f"{inside(title_of(row.drill))} {three(row.score)} (shuffled {three(row.null)})" for row in rows if not row.has]
        return [*has, *([f"Drilled, it has not: {', '.join(rest)}."] if rest else [])]

    @staticmethod
    def _role(row: Any) -> str:
        return (
            f"{title_of(row.role)}: {three(row.value)} of its attention (95 % interval {three(row.lo)} to {three(row.hi)}, "
            f"{row.n:,} texts), where even attention gives {three(row.uniform)}: {three(row.excess)} of the way from chance to "
            f"everything, {three(row.effect)} standard deviations between texts; "
            f"{_nth(int(row.rank))} of {int(row.known):,} heads."
        )

    def _spreads(self) -> list[Spread]:
        corpus, head = self._corpus(), self.head
        row = of_head(measured(corpus), head).iloc[0]
        found = []
        for metric in SPREADS:
            if metric in corpus.metrics and np.isfinite(row[metric]):
                five = of_head(quantiles(corpus, metric), head).iloc[0]
                mean, lo, hi, even = (float(row[f"{metric}{end}"]) for end in ("", "_lo", "_hi", "_uniform"))
                inside = tuple(float(five[name]) for name in QUANTILES)
                found.append(Spread(metric, mean, lo, hi, even, inside, int(row[f"{metric}_n"])))
        return found

    def _distances(self) -> pd.DataFrame:
        found = of_head(self._corpus().distances, self.head).reset_index(drop=True)
        names = [_range(int(low), int(high)) for low, high in zip(found["low"], found["high"], strict=True)]
        return found[["low", "high", "mass", "mass_uniform"]].assign(name=names)

    def _tokens(self, side: str) -> pd.DataFrame:
        found = of_head(tokens(self._corpus()), self.head)
        found = found[found["side"] == side].sort_values("mass", ascending=False, kind="stable").head(TOKENS)
        return found[["token", "mass", "count"]].assign(each=found["mass"] / found["count"]).reset_index(drop=True)

    def _most(self, there: list[str]) -> str:
        found = of_head(roles(self._corpus()), self.head)
        found = found[found["role"].isin(there)].sort_values(["earned", "excess"], ascending=False, kind="stable")
        return str(found["role"].iloc[0]) if len(found) else ""

    def _examples(self) -> list[Example]:
        corpus = self._corpus()
        found = of_head(exemplars(corpus), self.head)
        found = found[found["metric"] == self.metric()].sort_values("decile", ascending=False, kind="stable")
        found = pd.concat([found[found["decile"] == TOP], found[found["decile"] != TOP]])
        return [
            Example(str(at), int(row["decile"]), float(row["value"]), str(row["text"]), links(corpus.edges(row)))
            for at, row in found.iterrows()
        ]


def _drill(row: Any) -> str:
    """The numbers of a drill in words."""
    return (
        f"{three(row.score)} (95 % interval {three(row.lo)} to {three(row.hi)}, {row.n:,.0f} drills), where it has "
        f"{three(row.null)} on the same drills shuffled; q {three(row.q)}"
    )


def link_words(found: list[Link]) -> str:
    """'cat → the 0.93 · ...'."""
    return " · ".join(f"{shown_token(link.query)} → {shown_token(link.key)} {link.weight:.2f}" for link in found)


def inside(title: str) -> str:
    """A title within a sentence; [CLS] and BOS stay as they are."""
    return title[:1].lower() + title[1:]


def decile_words(decile: int) -> str:
    """What a text stands for."""
    return "the highest of all" if decile == TOP else f"tenth {decile + 1} of 10"


def _range(low: int, high: int) -> str:
    return str(low).replace("-", "−") if low == high else f"{low} to {high}".replace("-", "−")


def _nth(rank: int) -> str:
    end = "th" if rank % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank:,}{end}"
