"""What heads do for bias and for performance on a benchmark, as plain values; the composite score, and the words of a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from atlas.ids import HEAD, HeadId
from atlas.numbers import three
from atlas.tracing.verdict import ALPHA, p_words

TRADEOFF, TRADEOFF_COST, HELD_OUT = "trade-off of heads", "cost of a trade-off of heads", "heads on held-out examples"
"""Names of the tasks."""

EXAMPLES = 200
"""Examples that choose heads, and as many at most that test them."""

SETS = 39
"""Random sets of heads beside chosen ones: p can be as low as 0.025."""

SCORE, LOG_RATIO = "score", "log_ratio"
BY = (SCORE, LOG_RATIO)
"""What bias and performance are measured by: the benchmark's own scores, which count examples, or means of log-likelihoods."""

ATTENTION, PERFORMANCE, FAIRNESS = "attention", "performance", "fairness"
PARTS = (ATTENTION, PERFORMANCE, FAIRNESS)
"""Parts of the composite."""


class Measures(NamedTuple):
    """What is measured."""

    score: str
    fair: float
    """The score without a preference."""
    performance: str


def measures_of(by: str, *, triples: bool) -> Measures:
    """What is measured on triples (StereoSet), or on pairs of sentences."""
    if by == SCORE:
        return Measures("stereotype score", 50.0, "language modelling score" if triples else "mean log-likelihood")
    one, other = ("stereotype", "anti-stereotype") if triples else ("more", "less stereotyped sentence")
    performance = "mean log-ratio of related to unrelated" if triples else "mean log-likelihood"
    return Measures(f"mean log-ratio of {one} to {other}", 0.0, performance)


class Cost(NamedTuple):
    """What a run will take."""

    passes: int
    """Texts through the model, once with all heads and once without each."""
    seconds: float
    examples: int


class Chance(NamedTuple):
    """How much bias heads remove where it is chance which of two sentences is the stereotype."""

    lo: float
    hi: float
    """95 % of all heads and all random labels lie between."""
    best: float
    """The head that removes most stays below in 95 % of the random labels."""


@dataclass(frozen=True)
class Tradeoff:
    """What each head does for bias and for performance."""

    name: str
    model: str
    table: pd.DataFrame
    """One row a head: kind, layer, head; score and performance without it; bias_removed, how much closer to fair the score
    is without it; score_change and performance_change, without it minus with it; of these three NAME_lo and NAME_hi; of both
    changes NAME_p and NAME_q; front, front_share."""
    whole: Mapping[str, float]
    """score, score_lo, score_hi, performance, performance_lo, performance_hi of the model with all heads."""
    chance: Chance
    measures: Measures
    how: str
    chosen_on: tuple[str, ...]
    """Ids of the examples."""
    units: int
    """Target terms or examples that the intervals resample."""
    unit: str
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def heads(self) -> tuple[HeadId, ...]:
        """The heads in the order of the table."""
        return tuple(HeadId(str(row[0]), int(row[1]), int(row[2])) for row in self.table[HEAD].to_numpy())

    @property
    def front(self) -> tuple[HeadId, ...]:
        """The heads on the front."""
        return tuple(head for head, on in zip(self.heads, self.table["front"], strict=True) if on)


@dataclass(frozen=True)
class HeldOut:
    """What some heads do together on examples that did not choose them."""

    heads: tuple[HeadId, ...]
    table: pd.DataFrame
    """One row for each of 'score', 'bias' (distance to the fair score) and 'performance': before, after, change, lo, hi (95 % of
    the change); random, random_lo, random_hi (the change without random sets: mean and 95 %), p."""
    sets: int
    same_layers: bool
    measures: Measures
    tested_on: tuple[str, ...]
    units: int
    unit: str
    random: pd.DataFrame
    """One row a random set: heads, score, bias, performance (changes)."""

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        rows = self.table.set_index("measure").to_dict("index")
        count = len(self.heads)
        these = "this head" if count == 1 else f"these {count:,} heads"
        beside = f"{self.sets:,} random sets of as many heads of {'the same layers' if self.same_layers else 'any layer'}"
        lead = (
            f"On {len(self.tested_on):,} examples that did not choose them, without {these}: the {self.measures.score} goes "
            f"{_moves(rows['score'])}; the distance to {self.measures.fair:g} changes by {_change(rows['bias'])}, "
            f"of {beside} by {_random(rows['bias'])} (p = {p_words(rows['bias']['p'])}). "
            f"The {self.measures.performance} goes {_moves(rows['performance'])}, of the random sets it changes by "
            f"{_random(rows['performance'])} (p = {p_words(rows['performance']['p'])})."
        )
        return f"{lead} {self.verdict}"

    @property
    def _moves_score(self) -> bool:
        row = self.table.set_index("measure").loc["score"]
        return bool(row["lo"] > 0 or row["hi"] < 0) and bool(row["p"] <= ALPHA)

    @property
    def verdict(self) -> str:
        """Whether less bias holds beyond the examples that chose the heads, by the interval and by the random sets."""
        rows = self.table.set_index("measure").to_dict("index")
        less, loses = rows["bias"]["hi"] < 0, rows["performance"]["hi"] < 0
        beyond = rows["bias"]["p"] <= ALPHA
        if less and beyond:
            said = "They carry bias on these examples too"
        elif less and self.sets < LEAST_SETS:
            said = "There is less bias, but there are too few other heads to say whether it needs these"
        elif less:
            said = "There is less bias, but random heads remove as much"
        elif self._moves_score:
            said = "They carry a preference, for the score moves more than without random heads, but it ends no closer to fair"
        else:
            said = "Nothing shows that they carry bias beyond the examples that chose them"
        return f"{said}{'; performance falls' if loses else ''}."


LEAST_SETS = 19
"""Random sets without which no p can be as low as ALPHA."""


def _moves(row: Mapping[Any, Any]) -> str:
    return f"from {_said(row['before'])} to {_said(row['after'])} (change {_change(row)})"


def _change(row: Mapping[Any, Any]) -> str:
    return f"{_said(row['change'])} [{_said(row['lo'])}, {_said(row['hi'])}]"


def _random(row: Mapping[Any, Any]) -> str:
    return f"{_said(row['random'])} (95 % {_said(row['random_lo'])} to {_said(row['random_hi'])})"


def _said(value: float) -> str:
    # Rounded, because what is left of sums that cancel out would be said as 1e-15 or -0.
    return three(round(value, 9) + 0.0)


def shares_below(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The share of the known values below each, ties counted half: between 0 and 1, on average ½; NaN where unknown."""
    numbers = np.asarray(values, dtype=float)
    found, known = np.full(len(numbers), np.nan), np.isfinite(numbers)
    if known.any():
        found[known] = (rankdata(numbers[known]) - 0.5) / known.sum()
    return found


def composite(tradeoff: pd.DataFrame, attention: pd.DataFrame | None, weights: Mapping[str, float]) -> pd.DataFrame:
    """The weighted mean of three ranks of each head: how much it looks at flagged words, how little it costs, how much bias goes.

    Parameters
    ----------
    tradeoff
        The table of a `Tradeoff`.
    attention
        The table of `attention_bias`; None: unknown, and this part is left out.
    weights
        Of 'attention', 'performance' and 'fairness', 0 or above; one that is missing is 0.

    Returns
    -------
    kind, layer, head; attention, performance, fairness: the share of heads below in each part, 0 to 1; composite. A head of which
    a part with a weight is unknown has none.
    """
    table = tradeoff[HEAD].reset_index(drop=True)
    ratio = np.full(len(table), np.nan)
    if attention is not None and len(attention):
        ratio = table.merge(attention[[*HEAD, "ratio"]], on=HEAD, how="left")["ratio"].to_numpy(dtype=float)
    table[ATTENTION] = shares_below(ratio)
    table[PERFORMANCE] = shares_below(tradeoff["performance_change"])
    table[FAIRNESS] = shares_below(tradeoff["bias_removed"])
    used = [part for part in PARTS if weights.get(part, 0) > 0 and table[part].notna().any()]
    total = sum(weights[part] for part in used)
    mean = sum((weights[part] * table[part] for part in used), start=pd.Series(0.0, index=table.index))
    return table.assign(composite=mean / total if total else np.nan)


def named(heads: Sequence[HeadId], table: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """(row,) whether the head of a row is among some."""
    wanted = set(heads)
    return np.array([HeadId(str(row[0]), int(row[1]), int(row[2])) in wanted for row in table[HEAD].to_numpy()], dtype=bool)
