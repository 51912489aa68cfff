"""Token vectors as a cloud: the directions in which they differ most, and how much they point the same way."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.floating[Any]]

AXES = 2
"""Principal components that are shown."""

ROUNDING = 1e-12
"""Variance along an axis, as a share of all of it, that is nothing but rounding."""


class Projection(NamedTuple):
    """Vectors on the two directions in which they differ most."""

    positions: Values
    """(vector, 2); NaN for a vector that is not finite."""
    explained: tuple[float, float]
    """Share of the variance along each axis; NaN where all vectors are equal."""


def project(vectors: Vectors, *, unit: bool = False) -> Projection:
    """Principal components of vectors (vector, width), as they are or scaled to length 1.

    The vector farthest from the middle along an axis stands on its positive side, because the sign of a component is arbitrary.
    """
    found = np.full((len(vectors), AXES), np.nan)
    finite = np.isfinite(vectors).all(1)
    values = np.asarray(vectors[finite], dtype=np.float64)
    if not len(values):
        return Projection(found, (float("nan"), float("nan")))
    values = scaled(values) if unit else values
    values = values - values.mean(0)
    total = float((values**2).sum())
    positions, variances = _components(values)
    far = np.abs(positions).argmax(0)
    positions = positions * np.where(positions[far, np.arange(AXES)] < 0, -1.0, 1.0)
    found[finite] = positions
    shares = variances / total if total > 0 else np.full(AXES, np.nan)
    return Projection(found, (float(shares[0]), float(shares[1])))


def _components(values: Values) -> tuple[Values, Values]:
    """Positions (vector, 2) and sums of squares along the two axes, from the smaller of the two matrices of products."""
    wide = values.shape[1] > len(values)
    squares, directions = np.linalg.eigh(values @ values.T if wide else values.T @ values)
    order = np.argsort(squares)[::-1][:AXES]
    variances = np.maximum(squares[order], 0.0)
    variances[variances < ROUNDING * max(float(variances.max(initial=0.0)), 0.0)] = 0.0
    positions = directions[:, order] * np.sqrt(variances) if wide else (values @ directions[:, order]) * (variances > 0)
    missing = AXES - positions.shape[1]
    return np.pad(positions, ((0, 0), (0, missing))), np.pad(variances, (0, missing))


def scaled(vectors: Vectors) -> Values:
    """The same directions with length 1; a vector of zeros stays one."""
    values = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)


def mean_cosine(vectors: Vectors, *, centred: bool = False) -> float:
    """Mean cosine over all pairs of different vectors; centred: after their mean is taken away. NaN under two vectors.

    From the sum of the unit vectors: |sum|^2 is the sum of all cosines, those of a vector with itself among them.
    """
    values = np.asarray(vectors, dtype=np.float64)
    values = values[np.isfinite(values).all(1)]
    directions = scaled(values - values.mean(0) if centred and len(values) else values)
    directions = directions[np.abs(directions).any(1)]
    n = len(directions)
    return float(((directions.sum(0) ** 2).sum() - n) / (n * (n - 1))) if n > 1 else float("nan")


def cosines_with(vectors: Vectors, at: int) -> Values:
    """(vector,) cosines with one of them, after the mean of all is taken away."""
    values = np.asarray(vectors, dtype=np.float64)
    finite = np.isfinite(values).all(1)
    directions = scaled(values - values[finite].mean(0)) if finite.any() else values
    return np.asarray(directions @ directions[at])
