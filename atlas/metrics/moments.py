"""Count, mean and sum of squares of many numbers, kept so that two of them can be merged into those of both."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import t

Values = npt.NDArray[np.float64]

LEVEL = 0.95
"""How often an interval covers the true mean."""


class Moments(NamedTuple):
    """Of numbers one by one, in arrays of one shape."""

    n: npt.NDArray[np.int64]
    mean: Values
    """0 where n is 0."""
    m2: Values
    """Sum of the squared differences from the mean."""

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Moments:
        """Over the first axis; NaN is no number and does not count."""
        given = np.asarray(values, dtype=np.float64)
        known = ~np.isnan(given)
        n = known.sum(axis=0)
        mean = np.where(known, given, 0.0).sum(axis=0) / np.maximum(n, 1)
        m2 = np.where(known, given - mean, 0.0)
        return cls(n, mean, (m2**2).sum(axis=0))

    def merged(self, other: Moments) -> Moments:
        """Of the numbers of both: Chan, Golub & LeVeque (1983), which loses no digits where the means are alike."""
        n = self.n + other.n
        share = other.n / np.maximum(n, 1)
        step = other.mean - self.mean
        return Moments(n, self.mean + step * share, self.m2 + other.m2 + step**2 * self.n * share)

    def interval(self, level: float = LEVEL) -> tuple[Values, Values]:
        """(lo, hi) of the mean by Student's t; NaN under two numbers."""
        n = np.maximum(self.n, 2)
        half = t.ppf((1 + level) / 2, n - 1) * np.sqrt(self.m2 / (n - 1) / n)
        half = np.where(self.n > 1, half, np.nan)
        return self.mean - half, self.mean + half

    def known_mean(self) -> Values:
        """The mean; NaN where there is no number."""
        return np.where(self.n > 0, self.mean, np.nan)

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> Moments:
        """Of no numbers."""
        return cls(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape))


def stacked(moments: list[Moments]) -> Moments:
    """Several of one shape, along a new first axis."""
    parts: Any = zip(*moments, strict=True)
    return Moments(*(np.stack(part) for part in parts))
