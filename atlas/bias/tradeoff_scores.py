"""Scores of a benchmark with heads switched off, held against the scores with all heads: paired intervals, p, and chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from atlas.bias.files import Item
from atlas.bias.scores import EDGES, RESAMPLES
from atlas.metrics.front import on_front
from atlas.tracing.tradeoff import SCORE, Chance, Measures, measures_of

Floats = npt.NDArray[np.float64]

LEAST_PERMUTATIONS = 9_999
"""So many random labels or signs that p of one of 48 heads can survive the correction."""

PER_TEST = 50
"""Permutations for each head beyond that: of n heads the lowest q is then under 0.05 still."""

AT_ONCE = 500
"""Permutations held at once."""

ROUNDING, DECIMALS = 1e-9, 10
"""How far two equal sums may be apart, and what they are rounded to."""


TINY = 1e-300
"""A likelihood that underflows counts as this: its logarithm is still a number."""


class Marks(NamedTuple):
    """Of each run, the first with all heads, what each example adds to the scores, which are means of it."""

    prefers: Floats
    """(run, example) of the score: how far the stereotype is preferred."""
    opposite: Floats
    """The same where the other sentence counts as the stereotype."""
    performance: Floats
    """(run, example)"""
    unit: npt.NDArray[np.int64]
    """(example,) the target term that its score is averaged in first, or the example itself."""
    measures: Measures

    @property
    def units(self) -> int:
        """How many terms or examples there are."""
        return int(self.unit.max()) + 1

    @property
    def weights(self) -> Floats:
        """(unit, example) of a mean over the examples of each unit."""
        weights = np.zeros((self.units, len(self.unit)))
        weights[self.unit, np.arange(len(self.unit))] = 1
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def marks_of(items: Sequence[Item], values: Floats, by: str, *, triples: bool, digits: int | None) -> Marks:
    """What each example adds; `values` has the number of each sentence, (run, example, sentence).

    By scores a preferred stereotype adds 100; of StereoSet performance is the share of related sentences above the unrelated one.
    By log-ratios each adds the difference of logarithms. Of pairs performance is the mean of the two log-likelihoods. StereoSet's
    scores are averaged over the examples of a term first.
    """
    measures = measures_of(by, triples=triples)
    names = np.array([item.target if triples else item.id for item in items], dtype=str)
    unit = np.unique(names, return_inverse=True)[1].reshape(-1)
    logs = np.log(np.maximum(values, TINY)) if triples else values
    if by == SCORE:
        numbers = values if triples or digits is None else values.round(digits)
        prefers = 100.0 * (numbers[..., 0] > numbers[..., 1]).astype(np.float64)
        opposite = 100.0 * (numbers[..., 1] > numbers[..., 0]).astype(np.float64)
        related = 50.0 * (values[..., :2] > values[..., 2:]).sum(axis=-1) if triples else None
    else:
        prefers = logs[..., 0] - logs[..., 1]
        opposite = -prefers
        related = (logs[..., :2] - logs[..., 2:]).mean(axis=-1) if triples else None
    return Marks(prefers, opposite, logs.mean(axis=-1) if related is None else related, unit, measures)


class Scored(NamedTuple):
    """Numbers of every run but the first, (run,) each, and of the first."""

    score: Floats
    """(1 + run,)"""
    performance: Floats
    bias_removed: Floats
    score_change: Floats
    performance_change: Floats
    intervals: dict[str, Floats]
    """name -> (2, 1 + run) for score and performance, (2, run) for the others."""
    front_share: Floats


def scored(marks: Marks, *, seed: int = 0, resamples: int = RESAMPLES) -> Scored:
    """Scores, their changes, and a bootstrap over units that draws the same ones for every run."""
    weights = marks.weights
    score, performance = marks.prefers @ weights.T, marks.performance @ weights.T
    units = score.shape[1]
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=resamples) / units
    # Rounded, because a product of matrices may give two equal runs scores that differ in the last digit: no tie would be one.
    fair = marks.measures.fair
    sampled = _differences(fair, (drawn @ score.T).round(DECIMALS), (drawn @ performance.T).round(DECIMALS))
    intervals = {
        name: np.percentile(values, EDGES, axis=0) if units > 1 else np.full((2, values.shape[1]), np.nan)
        for name, values in sampled.items()
    }
    found = {
        name: values[0]
        for name, values in _differences(
            fair, score.mean(1)[None].round(DECIMALS), performance.mean(1)[None].round(DECIMALS)
        ).items()
    }
    front = front_with_whole(sampled["performance_change"], sampled["bias_removed"]).mean(axis=0)
    return Scored(**found, intervals=intervals, front_share=front if units > 1 else np.full(len(front), np.nan))


def _differences(fair: float, score: Floats, performance: Floats) -> dict[str, Floats]:
    """Of (draw, 1 + run) scores what is shown."""
    away = np.abs(score - fair)
    return {
        "score": score,
        "performance": performance,
        "bias_removed": away[:, :1] - away[:, 1:],
        "score_change": score[:, 1:] - score[:, :1],
        "performance_change": performance[:, 1:] - performance[:, :1],
    }


def front_with_whole(across: Floats, upwards: Floats) -> npt.NDArray[np.bool_]:
    """(..., run) which are on the front, where the model with all heads, at (0, 0), is one of the points.

    A head that changes nothing is not, although nothing beats it: it is the model as it is.
    """
    origin = np.zeros((*across.shape[:-1], 1))
    points = np.concatenate([origin, across], axis=-1), np.concatenate([origin, upwards], axis=-1)
    return on_front(*points)[..., 1:] & ((across != 0) | (upwards != 0))


class Chances(NamedTuple):
    """(run,) two-sided p of both changes, and what random labels give."""

    score_p: Floats
    performance_p: Floats
    chance: Chance


def by_chance(marks: Marks, *, seed: int = 0) -> Chances:
    """P of the change of the score under random labels, and of the change of performance under random signs.

    Where it is chance which of two sentences is the stereotype, an example whose labels are exchanged is as likely: the same
    exchange is made in all runs. Where a head does nothing for performance, a unit in which the runs with and without it are
    exchanged is as likely.
    """
    weights = marks.weights
    runs = len(marks.prefers) - 1
    each = weights.mean(axis=0)
    random = np.random.default_rng(seed)
    own, turned = marks.prefers * each, marks.opposite * each
    observed = np.abs((own[1:] - own[:1]).sum(axis=1))
    units = marks.performance @ weights.T
    lost = (units[1:] - units[:1]) / units.shape[1]
    observed_loss = np.abs(lost.sum(axis=1))
    beyond, beyond_loss = np.zeros(runs), np.zeros(runs)
    removed: list[Floats] = []
    count = max(LEAST_PERMUTATIONS, PER_TEST * runs)
    for size in _parts(count):
        swap = random.integers(2, size=(size, own.shape[1])).astype(float)
        score = turned.sum(axis=1) + swap @ (own - turned).T
        beyond += (np.abs(score[:, 1:] - score[:, :1]) >= observed - ROUNDING).sum(axis=0)
        sign = random.integers(2, size=(size, lost.shape[1])) * 2.0 - 1
        beyond_loss += (np.abs(sign @ lost.T) >= observed_loss - ROUNDING).sum(axis=0)
        if len(removed) * AT_ONCE < RESAMPLES:
            away = np.abs(score - marks.measures.fair)
            removed.append(away[:, :1] - away[:, 1:])
    drawn = np.concatenate(removed)
    lo, hi = np.percentile(drawn, EDGES)
    best = np.percentile(drawn.max(axis=1), 95)
    p, p_loss = (1 + beyond) / (1 + count), (1 + beyond_loss) / (1 + count)
    return Chances(p, p_loss, Chance(float(lo), float(hi), float(best)))


def _parts(count: int) -> Iterator[int]:
    for start in range(0, count, AT_ONCE):
        yield min(AT_ONCE, count - start)
