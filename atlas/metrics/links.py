"""The strongest links of attention: few of them carry most of the mass, and a screen has room for few."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]

ROUNDING = 1e-6
"""Share of the mass by which a sum of single-precision weights may miss its end."""


def strongest(weights: Floats, most: int) -> tuple[Places, ...]:
    """Indices along every axis of the largest weights, at most so many, the largest first; equal ones in the order of cells.

    Weights that are 0 or NaN are no links.
    """
    flat = np.nan_to_num(weights.ravel())
    found = np.argpartition(flat, len(flat) - most)[len(flat) - most :] if 0 < most < len(flat) else np.arange(len(flat))
    found = found[flat[found] > 0][:most] if most > 0 else found[:0]
    ordered = found[np.lexsort((found, -flat[found]))]
    return np.unravel_index(ordered, weights.shape)


def needed(weights: Floats, mass: float, share: float) -> int:
    """How many of the weights, taken in their order, carry a share of the mass: the fewest; all where all carry less."""
    if mass <= 0:
        return 0
    reached = np.cumsum(weights, dtype=np.float64)
    return min(int(np.searchsorted(reached, (share - ROUNDING) * mass)) + 1, len(weights))
