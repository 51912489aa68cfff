"""Whether means differ between two samples of texts: Welch's test, corrected for the number of means compared."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from atlas.metrics.moments import Moments
from atlas.metrics.standard import ROUNDING

Values = npt.NDArray[np.float64]

LEAST_TEXTS = 10
"""Texts of each sample under which a mean is not tested: Welch's test takes the means of texts for normal, and metrics of heads
are skewed shares."""

LEVEL = 0.05
"""Share of false ones among the differences that are called drift; without any drift, the chance that one is called so."""


class Comparison(NamedTuple):
    """Two samples of texts, number by number; NaN where it is not tested."""

    difference: Values
    """Second minus first."""
    lo: Values
    hi: Values
    """Interval of the difference at 1 − level, each by itself."""
    effect: Values
    """The difference in standard deviations between texts, those of both samples pooled."""
    p: Values
    """Chance of a difference as large, by Welch's test, two-sided."""


def welch(first: Moments, second: Moments, level: float = LEVEL) -> Comparison:
    """Compare the means of two samples of texts.

    Differences within the rounding of single precision are none, whatever their variance: a head whose number is 0 on every text
    would else drift from one machine to the next.
    """
    n = np.asarray(first.n, dtype=float), np.asarray(second.n, dtype=float)
    known = (n[0] >= LEAST_TEXTS) & (n[1] >= LEAST_TEXTS)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = first.m2 / (n[0] - 1), second.m2 / (n[1] - 1)
        parts = variance[0] / n[0], variance[1] / n[1]
        error = np.sqrt(parts[0] + parts[1])
        difference = np.where(known, second.mean - first.mean, np.nan)
        freedom = (parts[0] + parts[1]) ** 2 / (parts[0] ** 2 / (n[0] - 1) + parts[1] ** 2 / (n[1] - 1))
        # Without any variance there are no degrees of freedom, and none are needed.
        freedom = np.where(np.isfinite(freedom), freedom, np.maximum(np.minimum(*n) - 1, 1))
        same = np.abs(difference) <= ROUNDING
        p = np.where(same, 1.0, 2 * stats.t.sf(np.abs(difference) / error, freedom))
        spread = np.sqrt((first.m2 + second.m2) / (n[0] + n[1] - 2))
        effect = np.where(same, 0.0, difference / spread)
        reach = stats.t.ppf(1 - level / 2, freedom) * error
    p, effect = (np.where(known, each, np.nan) for each in (p, effect))
    return Comparison(difference, difference - reach, difference + reach, effect, p)


def above(samples: Moments, number: Values | float = 0.0) -> Values:
    """p: chance of means as far above a number as these, by Student's t, one-sided; NaN under `LEAST_TEXTS` texts.

    What is the same on every text has no spread: then any difference is beyond chance.
    """
    n = np.asarray(samples.n, dtype=float)
    away = samples.known_mean() - number
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(samples.m2 / (n - 1)) / np.sqrt(n)
        p = np.where(away == 0, 1.0, stats.t.sf(away / error, np.maximum(n - 1, 1)))
    return np.where(n >= LEAST_TEXTS, p, np.nan)


def corrected(p: npt.ArrayLike) -> Values:
    """q-values of all p-values that are known (Benjamini & Hochberg); NaN where one is not."""
    given = np.asarray(p, dtype=float)
    found, tested = np.full(given.shape, np.nan), np.isfinite(given)
    if tested.any():
        found[tested] = stats.false_discovery_control(given[tested], method="bh")
    return found
