"""How easily chance gives a head its share of attention on some keys: probabilities, or upper bounds of them.

Two things can be the sample. Where every row has a target of its own (the previous token), the rows are: with attention
unrelated to the targets, each row gives them its uniform share on average. Where all rows share their targets (the full
stops), rows say the same thing over and over, because a head that likes one key likes it in every row: there the keys are
the sample, and the question is whether other keys of this text would have got as much.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

Values = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

STEEPNESS = 2.0 ** np.arange(-2, 9)
"""Exponents tried in `label_bound`, per unit of the largest deviation: each gives a bound that holds, the smallest is taken."""

EXACT_CELLS = 2048
"""Members times keys up to which `label_bound` draws without replacement: 144 heads take 10 ms there, and above it classes have
members enough for the looser bound."""

HEADS_AT_ONCE = 128
"""Heads whose sums are added up together: they stay in the processor's cache, which makes 1,200 heads five times as quick."""

MAX_CONTROLS = 64
"""Stretches of keys that a resting place is held against, at most: with the heads of a small model they are thousands of
comparisons already, and at 4,096 tokens all of them would take longer than the metrics."""


def row_bound(value: npt.ArrayLike, uniform: npt.ArrayLike, rows: npt.ArrayLike) -> Values:
    """Bound of the probability that rows give their targets this mean share or more; NaN where a number is unknown.

    Hoeffding 1963, theorem 1, for independent numbers between 0 and 1: exp(-rows KL(value || uniform)). It holds whatever
    the shape of the attention.
    """
    share, even, n = (np.asarray(given, dtype=float) for given in (value, uniform, rows))
    inside = np.clip(share, 0.0, 1.0)
    divergence = special.rel_entr(inside, even) + special.rel_entr(1.0 - inside, 1.0 - even)
    bound = np.minimum(np.exp(-n * divergence), 1.0)  # a divergence of 0 may come out as less, by rounding
    return np.where(np.isnan(share) | np.isnan(even), np.nan, np.where(share > even, bound, 1.0))


def label_bound(surplus: Values, members: BoolArray) -> Values:
    """(head,) bound of the probability that as many keys drawn at random get as much as the members do.

    Parameters
    ----------
    surplus
        (head, key) mass received beyond that of uniform attention, of the keys that could be members.
    members
        (key,), at least one True.

    Notes
    -----
    Chernoff's bound of the permutation test: it needs no random numbers, and has no smallest value as a sample of permutations
    has. In a short text the moments are those of drawing without replacement, so that members that get all of it have a bound
    of 1 / (n over m); in a long one, those of drawing with replacement, which are larger (Hoeffding 1963, theorem 4).
    """
    n_keys, n_members = members.size, int(members.sum())
    if n_members == n_keys:
        return np.ones(len(surplus))
    centred = surplus - surplus.mean(1, keepdims=True)
    largest = np.abs(centred).max(1, keepdims=True)
    scaled = np.divide(centred, largest, out=np.zeros_like(centred), where=largest > 0)
    if 2 * n_members > n_keys:
        # That the members get much is the same as that the few others get little.
        scaled, members, n_members = -scaled, ~members, n_keys - n_members
    moment = _without_replacement if n_members * n_keys <= EXACT_CELLS else _with_replacement
    # Shifted so that the members' part is at the top and no exponential underflows.
    scaled = scaled - np.sort(scaled, axis=1)[:, -n_members, None]
    total = scaled[:, members].sum(1)
    log_bounds = moment(scaled, n_members) - STEEPNESS * total[:, None]
    return np.exp(np.minimum(log_bounds.min(1), 0.0))


def _without_replacement(values: Values, n_drawn: int) -> Values:
    """(head, steepness) log of the mean of exp(steepness * sum) over all ways to draw so many keys, each once."""
    parts = [_log_symmetric(values[start : start + HEADS_AT_ONCE], n_drawn) for start in range(0, len(values), HEADS_AT_ONCE)]
    found = np.concatenate([np.empty((0, len(STEEPNESS))), *parts])
    n = values.shape[1]
    ways = special.gammaln(n + 1) - special.gammaln(n_drawn + 1) - special.gammaln(n - n_drawn + 1)
    return np.where(np.isnan(found), np.inf, found) - ways


def _log_symmetric(values: Values, n_drawn: int) -> Values:
    """(head, steepness) log of the sum over all ways; what overflows is infinite, a bound that says nothing.

    These are elementary symmetric polynomials of the exponentials, made key by key.
    """
    n_heads, n_keys = values.shape
    with np.errstate(over="ignore", invalid="ignore"):
        # Numbers of drawn keys first, so that numpy adds long rows.
        factors = np.exp(values.T[:, :, None] * STEEPNESS).reshape(n_keys, -1)
        sums = np.zeros((n_drawn + 1, factors.shape[1]))
        sums[0] = 1.0
        for key in range(n_keys):
            # Fewer drawn keys can no longer become as many as are wanted, and more than there were cannot be drawn.
            low, high = max(1, n_drawn - (n_keys - 1 - key)), min(key + 1, n_drawn)
            sums[low : high + 1] += sums[low - 1 : high] * factors[key]
        return np.log(sums[-1]).reshape(n_heads, -1)


def _with_replacement(values: Values, n_drawn: int) -> Values:
    """(head, steepness) the same for keys that may be drawn again."""
    top = values.max(1)
    below = values - top[:, None]
    # Not scipy's logsumexp: it takes three times as long, and everything here is finite.
    means = np.stack([np.exp(steepness * below).mean(1) for steepness in STEEPNESS], axis=1)
    return n_drawn * (STEEPNESS * top[:, None] + np.log(means))


def stretches(n_members: int, free: BoolArray) -> npt.NDArray[np.intp]:
    """First keys of stretches as long as a set has members, of keys that are all free; evenly spread where there are too many."""
    if not n_members or n_members > len(free):
        return np.empty(0, dtype=np.intp)
    starts = np.flatnonzero(np.lib.stride_tricks.sliding_window_view(free, n_members).all(1))
    if len(starts) > MAX_CONTROLS:
        starts = starts[np.linspace(0, len(starts) - 1, MAX_CONTROLS).round().astype(int)]
    return starts


def pooled(own: Values, controls: Values) -> Values:
    """Share of all heads' controls that reach each head's own number; itself counted among them, so it is never 0.

    Controls of all heads make one null (Tusher, Tibshirani & Chu 2001, Significance Analysis of Microarrays): one head has
    as many controls as a text has keys, too few for a small probability. NaN where there are no controls.
    """
    null = np.sort(controls[~np.isnan(controls)])
    if not len(null):
        return np.full(len(own), np.nan)
    reached = len(null) - np.searchsorted(null, own, side="left")
    return np.where(np.isnan(own), np.nan, (1 + reached) / (1 + len(null)))
