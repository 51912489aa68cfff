"""What every head scores on drills, with an interval, held against what the same head scores on the shuffled drills."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from atlas.metrics.drift import above, corrected
from atlas.metrics.moments import LEVEL, Moments
from atlas.metrics.roles import FALSE_DISCOVERIES, MAJORITY
from atlas.metrics.shared_keys import excess
from atlas.metrics.standard import ROUNDING

Values = npt.NDArray[np.float64]

RETRIEVAL_SCORE = 0.1
"""Retrieval score from which Wu et al. call a head a retrieval head."""


class Scores(NamedTuple):
    """One drill, head by head."""

    score: Values
    lo: Values
    hi: Values
    null: Values
    """Mean over the shuffled drills."""
    excess: Values
    """(score − null) / (1 − null)."""
    excess_lo: Values
    p: Values
    """Paired t-test by drill, one-sided: chance of scoring as much more on the drills than on the same drills shuffled."""
    q: Values
    """p, corrected for the number of heads (Benjamini & Hochberg)."""
    n: npt.NDArray[np.int64]
    """Drills."""
    has: npt.NDArray[np.bool_]
    """Whether the head has what the drill is for."""


def head_scores(drilled: npt.ArrayLike, shuffled: npt.ArrayLike, *, published: bool = False) -> Scores:
    """Scores of heads of one kind, from (drill, head) numbers of drills and of their shuffled twins.

    A head has it where q ≤ 0.05 and the lower end of its interval is more than half of the way from the shuffled drills to
    everything; with `published`, where q ≤ 0.05 and the lower end is a score of 0.1, the threshold of retrieval heads.
    """
    values, twins = np.asarray(drilled, dtype=float), np.asarray(shuffled, dtype=float)
    moments, null = Moments.of(values), Moments.of(twins).known_mean()
    lo, hi = (np.clip(end, 0.0, 1.0) for end in moments.interval(LEVEL))
    more = values - twins
    p = above(Moments.of(np.where(np.abs(more) <= ROUNDING, 0.0, more)))
    q = corrected(p)
    score, beyond = moments.known_mean(), excess(lo, null)
    far = (lo >= RETRIEVAL_SCORE) if published else (beyond > MAJORITY)
    return Scores(score, lo, hi, null, excess(score, null), beyond, p, q, moments.n, (q <= FALSE_DISCOVERIES) & far)
