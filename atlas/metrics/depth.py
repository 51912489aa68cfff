"""How much attention changes from one layer to the next: the divergence of their mean patterns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from atlas.metrics.plan import RowPlan

Values = npt.NDArray[np.float64]

BLOCK_CELLS = 1 << 20
"""Weights compared at a time: with their logarithms in double precision they stay within some 40 MB."""


def jensen_shannon(first: npt.NDArray[np.floating[Any]], second: npt.NDArray[np.floating[Any]]) -> Values:
    """(query,) Jensen-Shannon divergence in bits between the rows of two patterns (query, key); 0 to 1.

    Rows are scaled to sum to 1, because heads with a learned sink give tokens less than that. NaN where one of the two rows
    gives nothing to any token.
    """
    step = max(1, BLOCK_CELLS // max(first.shape[1], 1))
    starts = range(0, len(first), step)
    parts = [_divergence(first[start : start + step], second[start : start + step]) for start in starts]
    return np.concatenate(parts) if parts else np.empty(0)


def uniform_pattern(plan: RowPlan) -> Values:
    """(query, key) attention spread evenly over the keys each row may see."""
    visible = np.ones((plan.n_queries, plan.n_keys)) if plan.visible is None else plan.visible.astype(np.float64)
    return visible / np.maximum(visible.sum(1, keepdims=True), 1.0)


def _divergence(first: npt.NDArray[np.floating[Any]], second: npt.NDArray[np.floating[Any]]) -> Values:
    rows, others = _scaled(first), _scaled(second)
    middle = (rows + others) / 2
    found = (_relative_entropy(rows, middle) + _relative_entropy(others, middle)) / 2
    return np.clip(found, 0.0, 1.0)  # rounding goes a little below 0; NaN stays


def _relative_entropy(rows: Values, middle: Values) -> Values:
    ratio = np.divide(rows, middle, out=np.ones_like(rows), where=rows > 0)
    found: Values = (rows * np.log2(ratio)).sum(1)
    return found


def _scaled(rows: npt.NDArray[np.floating[Any]]) -> Values:
    total = rows.sum(1, keepdims=True, dtype=np.float64)
    return np.divide(rows, total, out=np.full(rows.shape, np.nan), where=total > 0)
