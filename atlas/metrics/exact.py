"""Statistics that need every weight sorted: computed when somebody asks, never during a pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from atlas.metrics.plan import RowPlan

Floats = npt.NDArray[np.floating[Any]]

QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def quantiles(weights: Floats, plan: RowPlan, levels: Sequence[float] = QUARTILES) -> npt.NDArray[np.float64]:
    """(level, ...) quantiles of the visible weights of the informative rows of each head.

    `weights` is (..., query, key); masked cells, NaN or 0, are left out: the zeros of a causal future would drag every
    median of a decoder to nothing.
    """
    cells = _cells(plan)
    shape = (len(levels), *weights.shape[:-2])
    if not cells.any():
        return np.full(shape, np.nan)
    heads = weights.reshape(-1, plan.n_queries, plan.n_keys)
    # Head by head: the selection copies, and all heads of a long text at once would be a second set of weights.
    found = [np.quantile(head[cells].astype(np.float64), levels) for head in heads]
    return np.asarray(found).reshape(*weights.shape[:-2], len(levels)).transpose(-1, *range(weights.ndim - 2)).reshape(shape)


def _cells(plan: RowPlan) -> npt.NDArray[np.bool_]:
    """The visible cells of the informative rows."""
    cells = np.broadcast_to(plan.informative[:, None], (plan.n_queries, plan.n_keys))
    return cells if plan.visible is None else cells & plan.visible


def median(weights: Floats, plan: RowPlan) -> npt.NDArray[np.float64]:
    """(...) median of the visible weights of each head."""
    cells = _cells(plan)
    if not cells.any():
        return np.full(weights.shape[:-2], np.nan)
    # Not `quantiles`: a partial sort in the weights' own precision takes half the time, and finds the same two middle cells.
    heads = weights.reshape(-1, plan.n_queries, plan.n_keys)
    return np.array([_middle(head[cells]) for head in heads]).reshape(weights.shape[:-2])


def _middle(values: Floats) -> float:
    """The median, in double precision between the two middle values."""
    low, high = (len(values) - 1) // 2, len(values) // 2
    ordered = np.partition(values, (low, high))
    return (float(ordered[low]) + float(ordered[high])) / 2


def uniform_median(plan: RowPlan) -> float:
    """The same for uniform attention, without its matrix: 1/n, n times over, for every informative row of n keys."""
    counts = np.sort(plan.n_visible[plan.informative])
    if not len(counts):
        return float("nan")
    # From the smallest weight (the longest row) up; the middle cell, or the mean of the two middle ones.
    counts = counts[::-1]
    upto = np.cumsum(counts)
    middle = np.searchsorted(upto, [(upto[-1] - 1) // 2, upto[-1] // 2], side="right")
    return float(np.mean(1.0 / counts[middle]))
