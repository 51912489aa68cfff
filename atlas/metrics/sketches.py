"""Quantiles of more numbers than can be kept: counts in fixed bins. Sketches of the same bins are merged by adding them up."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

BINS = 500
"""A share of attention is told to 0.0016 about one half, and to 0.00001 at 0 and at 1, where most heads are."""

LONGEST = 131_072
"""Tokens of the longest text that the bins have room for; what is longer is counted in the last bin."""

LOGARITHMIC = frozenset({"distance"})
"""Metrics whose bins grow with the value: a distance of 300 need not be told from one of 301."""

LINEAR = frozenset({"entropy"})

LARGEST = {"entropy": float(np.log(LONGEST)), "uniformity": 0.5, "distance": float(LONGEST)}
"""Largest value of the metrics that do not end at 1."""


def edges_of(metric: str) -> Values:
    """The (BINS + 1,) edges of the bins of a metric of the head table."""
    most = LARGEST.get(metric, 1.0)
    if metric in LOGARITHMIC:
        return np.expm1(np.linspace(0.0, np.log1p(most), BINS + 1))
    if metric in LINEAR:
        return np.linspace(0.0, most, BINS + 1)
    # Even steps of the arcsine of the root, by which shares vary alike wherever they are.
    return most * np.sin(np.linspace(0.0, np.pi / 2, BINS + 1)) ** 2


def counts_of(values: npt.ArrayLike, edges: Values) -> npt.NDArray[np.int64]:
    """(..., bin) how many of the numbers along the first axis are in each bin; NaN is in none."""
    given = np.asarray(values, dtype=np.float64)
    flat = given.reshape(len(given), -1)
    n_bins = len(edges) - 1
    places = np.clip(np.searchsorted(edges, flat, side="right") - 1, 0, n_bins - 1)
    places += np.arange(flat.shape[1]) * n_bins
    counts = np.bincount(places[~np.isnan(flat)], minlength=flat.shape[1] * n_bins)
    return counts.reshape(*given.shape[1:], n_bins)


def quantiles(counts: npt.NDArray[Any], edges: Values, shares: npt.ArrayLike) -> tuple[Values, Values]:
    """(values, errors), both (..., share): no quantile is farther from its value than its error.

    A quantile is the smallest number that at least this share of the numbers does not exceed. Its value is the middle of its
    bin and its error half the bin's width. NaN where there is no number.
    """
    wanted = np.asarray(shares, dtype=np.float64)
    upto = np.cumsum(np.asarray(counts, dtype=np.int64), axis=-1)
    total = upto[..., -1:]
    # At least the first number: a share of 0 is the smallest one.
    ranks = np.maximum(np.ceil(wanted * total - 1e-9), 1)
    bins = (upto[..., None, :] < ranks[..., :, None]).sum(axis=-1)
    bins = np.minimum(bins, len(edges) - 2)
    low, high = edges[bins], edges[bins + 1]
    known = np.broadcast_to(total > 0, bins.shape)
    return np.where(known, (low + high) / 2, np.nan), np.where(known, (high - low) / 2, np.nan)
