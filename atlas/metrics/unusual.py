"""How unusual one text is among many: where its number falls among theirs, of which counts in bins are kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from atlas.metrics.moments import Moments
from atlas.metrics.sketches import counts_of
from atlas.metrics.standard import ROUNDING

Values = npt.NDArray[np.float64]

MIDDLE = 0.95
"""Share of texts that are called usual: what falls outside has a p of at most 1 − MIDDLE."""


class Standing(NamedTuple):
    """Where numbers stand among those of many texts; NaN where one is not known, or no text has one."""

    effect: Values
    """The number minus the mean of the texts, in standard deviations between them; NaN where all texts have the same."""
    lower: Values
    """Share of the texts in a lower bin."""
    higher: Values
    """Share of the texts in a higher bin."""
    p: Values
    """Chance that a text like these is as far out, on either side."""


def standing(values: npt.ArrayLike, texts: Moments, counts: npt.ArrayLike, edges: Values) -> Standing:
    """Rank numbers of one metric among those of many texts.

    If the text comes from where the texts come from, its rank among them and itself is as likely to be any as any other, so p is
    exact for any distribution, and never too small: texts in the same bin count as if they were farther out (Vovk, Gammerman &
    Shafer 2005). It cannot be under 2 / (n + 1).

    Parameters
    ----------
    values
        (head,) numbers of the text.
    texts
        (head,) count, mean and sum of squares of the texts' numbers.
    counts, edges
        (head, bin) how many of these are in each bin.
    """
    given, held = np.asarray(values, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    own = counts_of(given[None], edges).astype(bool)  # of an unknown number no bin
    n = held.sum(axis=-1)
    known = ~np.isnan(given) & (n > 0)
    upto = np.where(own, np.cumsum(held, axis=-1), 0.0).sum(axis=-1)
    same = np.where(own, held, 0.0).sum(axis=-1)
    lower, higher = upto - same, n - upto
    nearer = np.minimum(lower, higher) + same + 1
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(texts.m2 / (np.asarray(texts.n, dtype=float) - 1))
        effect = (given - texts.mean) / np.where(spread > ROUNDING, spread, np.nan)
        parts = effect, lower / n, higher / n, np.minimum(2 * nearer / (n + 1), 1.0)
    return Standing(*(np.where(known, each, np.nan) for each in parts))
