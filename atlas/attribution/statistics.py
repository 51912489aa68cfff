"""Rank statistics of many rows against one vector at once: scipy's numbers, without a Python loop over rows and permutations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import false_discovery_control, norm, rankdata

Floats = npt.NDArray[np.float64]

LEAST = 4
"""Fewest pairs of which a correlation has an interval."""

PAIRS_AT_ONCE = 4_000_000
"""Signs of pairs held at once, 32 MB: of 2,000 tokens there are two million pairs."""

RESAMPLES = 2_000
"""Samples that the interval of a mean is made of."""

PERSISTENCE = 0.9
"""Of rank-biased overlap: how likely a reader who looked at one rank looks at the next."""

ROUNDING = 1e-12
"""Correlations closer than this are equal: the same ranks in another order may differ in the last digit of their sum."""


FLOAT32 = 1e-6
"""The same of numbers that a model computed, relative to the largest."""


class Correlation(NamedTuple):
    """Spearman's correlation of each row, (row,) each; NaN where a row or the vector does not vary."""

    rho: Floats
    lo: Floats
    hi: Floats
    p: Floats


def standard_ranks(values: npt.ArrayLike) -> Floats:
    """Ranks along the last axis, ties averaged, with mean 0 and length 1; NaN where all are equal."""
    ranks = rankdata(np.asarray(values, dtype=float), axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    length = np.sqrt((ranks**2).sum(axis=-1, keepdims=True))
    return np.divide(ranks, length, out=np.full_like(ranks, np.nan), where=length > 0)


def spearman(rows: npt.ArrayLike, vector: npt.ArrayLike, *, permutations: int = 999, seed: int = 0) -> Correlation:
    """Spearman's correlation of every row with a vector, its 95 % interval, and a two-sided permutation p.

    The interval is Fisher's z with the variance (1 + rho² / 2) / (n - 3) (Bonett & Wright 2000). The null permutes the vector,
    with the same permutations for every row.
    """
    ranks, other = standard_ranks(rows), standard_ranks(vector)
    rho = np.clip(ranks @ other, -1, 1)
    count = len(other)
    beyond = (np.abs(_null(ranks, other, permutations, seed)) >= np.abs(rho)[:, None] - ROUNDING).sum(axis=1)
    p = np.where(np.isnan(rho), np.nan, (1 + beyond) / (1 + permutations))
    if count < LEAST:
        unknown = np.full(len(rho), np.nan)
        return Correlation(rho, unknown, unknown, p)
    with np.errstate(divide="ignore"):
        z, half = np.arctanh(rho), norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / (count - 3))
    return Correlation(rho, np.tanh(z - half), np.tanh(z + half), p)


def chance_of_spearman(row: npt.ArrayLike, vector: npt.ArrayLike, *, permutations: int = 999, seed: int = 0) -> float:
    """The |rho| that one permutation in twenty exceeds, by the permutations of `spearman`; NaN where one does not vary."""
    null = np.abs(_null(standard_ranks(row), standard_ranks(vector), permutations, seed))
    return float(np.quantile(null, 0.95)) if len(null) else float("nan")


def chance_of_mean(
    rows: npt.ArrayLike, vector: npt.ArrayLike, *, permutations: int = 999, seed: int = 0
) -> tuple[float, float, float]:
    """(low, high, p) of the mean of the rows' correlations with a vector, by the permutations of `spearman`.

    95 % of the means with the shuffled vector lie between low and high, and p is two-sided. One shuffle serves all rows, because
    rows that are alike must not count as so many witnesses. Rows that do not vary are left out; NaN where none is left.
    """
    ranks, other = standard_ranks(rows), standard_ranks(vector)
    ranks = ranks[np.isfinite(ranks @ other)]
    if not len(ranks):
        return float("nan"), float("nan"), float("nan")
    null = _null(ranks, other, permutations, seed).mean(axis=0)
    low, high = np.percentile(null, [2.5, 97.5])
    mean = float((ranks @ other).mean())
    beyond = int((np.abs(null) >= abs(mean) - ROUNDING).sum())
    return float(low), float(high), (1 + beyond) / (1 + permutations)


def _null(ranks: Floats, other: Floats, permutations: int, seed: int) -> Floats:
    """(row, permutation) correlations of standard ranks with permuted ones."""
    shuffled = np.random.default_rng(seed).permuted(np.tile(other, (permutations, 1)), axis=1)
    return np.asarray(ranks @ shuffled.T)


def share_at_least(value: float, others: npt.ArrayLike) -> float:
    """P of a value among others of which it is one by chance: the share of all, itself included, that are as large.

    Values that differ by less than the rounding of float32 are equal. NaN where it is unknown or there are no others.
    """
    rest = np.asarray(others, dtype=float)
    rest = rest[np.isfinite(rest)]
    if not np.isfinite(value) or not len(rest):
        return float("nan")
    close = FLOAT32 * max(abs(value), float(np.abs(rest).max()))
    return float((1 + (rest >= value - close).sum()) / (1 + len(rest)))


def kendall(rows: npt.ArrayLike, vector: npt.ArrayLike) -> Floats:
    """Kendall's tau-b of every row with a vector; NaN where a row or the vector does not vary."""
    values, other = np.asarray(rows, dtype=float), np.asarray(vector, dtype=float)
    first, second = np.triu_indices(len(other), 1)
    agree, untied, untied_other = np.zeros(len(values)), np.zeros(len(values)), 0.0
    size = max(1, PAIRS_AT_ONCE // max(1, len(values)))
    for start in range(0, len(first), size):
        one, two = first[start : start + size], second[start : start + size]
        signs = np.sign(values[:, one] - values[:, two])
        others = np.sign(other[one] - other[two])
        agree += signs @ others
        untied += np.abs(signs).sum(axis=1)
        untied_other += np.abs(others).sum()
    scale = np.sqrt(untied * untied_other)
    return np.divide(agree, scale, out=np.full(len(values), np.nan), where=scale > 0)


def order_of(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Places along the last axis by falling value; ties in the order of the text."""
    return np.argsort(-np.asarray(values, dtype=float), axis=-1, kind="stable")


def jaccard(rows: npt.ArrayLike, vector: npt.ArrayLike, k: int) -> Floats:
    """How much the k largest of every row and of the vector are the same: shared / all of both."""
    top, other = order_of(rows)[:, :k], order_of(vector)[:k]
    shared = np.isin(top, other).sum(axis=1)
    return np.asarray(shared / (2 * top.shape[1] - shared))


def rank_biased_overlap(rows: npt.ArrayLike, vector: npt.ArrayLike, persistence: float = PERSISTENCE) -> Floats:
    """Rank-biased overlap (Webber, Moffat & Zobel 2010), extrapolated from all ranks: 1 for equal orders.

    The sum over the ranks alone is a lower bound that cannot reach 1: of five ranks at p = .9 it is .41 at most.
    """
    places, other = np.argsort(order_of(rows), axis=1), np.argsort(order_of(vector))
    depth = len(other)
    # At depth d, shared are the tokens whose worse rank of the two is among the first d.
    worse = np.maximum(places, other)
    counts = np.apply_along_axis(np.bincount, 1, worse, minlength=depth)
    shared = counts.cumsum(axis=1)
    depths = np.arange(1, depth + 1)
    parts = (shared / depths * persistence**depths).sum(axis=1) * (1 - persistence) / persistence
    return np.asarray(parts + shared[:, -1] / depth * persistence**depth)


def false_discovery(p: npt.ArrayLike) -> Floats:
    """Benjamini & Hochberg's q of every p; NaN where p is unknown, which then counts as no test."""
    values = np.asarray(p, dtype=float)
    q, known = np.full(len(values), np.nan), np.isfinite(values)
    if known.any():
        q[known] = false_discovery_control(values[known])
    return q


def mean_intervals(values: Floats, seed: int = 0) -> dict[str, Floats]:
    """mean, lo, hi (95 %, percentile bootstrap) and n of each row; unknown values are left out."""
    known = np.isfinite(values)
    n = known.sum(axis=1)
    filled = np.where(known, values, 0.0)
    count = values.shape[1]
    with np.errstate(invalid="ignore"):
        mean = filled.sum(axis=1) / n
        if count < 2 or not len(n):  # one value has no interval
            return {"mean": mean, "lo": np.full(len(n), np.nan), "hi": np.full(len(n), np.nan), "n": n}
        times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES).T.astype(float)
        samples = (filled @ times) / (known @ times)
    low, high = np.nanpercentile(samples, [2.5, 97.5], axis=1)
    return {"mean": mean, "lo": low, "hi": high, "n": n}
