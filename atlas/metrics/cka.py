"""Centred kernel alignment: how alike two layers place the same words, whatever their widths and axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Array = np.ndarray

PERMUTATIONS = 99
SEED = 0

LEAST_WORDS = 3
"""Two centred words lie on a line in every layer, so that all layers would be the same."""


class Alignment(NamedTuple):
    """(layer of one, layer of the other)."""

    values: Array
    """Linear CKA; NaN where all words have one state."""
    chance: Array
    """The mean where the words of the other side are shuffled."""
    p: Array
    """Share of the shuffles, and of what was found, that are as high."""


def cka(
    one: Sequence[Array],
    other: Sequence[Array],
    permutations: int = PERMUTATIONS,
    seed: int = SEED,
    report: Callable[[float], None] = lambda _: None,
) -> Alignment:
    """Linear CKA of every layer of one side with every layer of the other; layers are (word, width) states of the same words."""
    n = len(one[0])
    grams, others = (np.stack([_gram(layer) for layer in side]) for side in (one, other))
    flat = grams.reshape(len(grams), -1)
    values = flat @ others.reshape(len(others), -1).T
    rng = np.random.default_rng(seed)
    total, as_high = np.zeros(values.shape), np.ones(values.shape)
    for at in range(permutations):
        report(at / permutations)
        order = rng.permutation(n)
        shuffled = flat @ others[:, order][:, :, order].reshape(len(others), -1).T
        total += shuffled
        as_high += shuffled >= values
    known = np.isfinite(values)
    nothing = np.full(values.shape, np.nan)
    chance = total / permutations if permutations else nothing
    return Alignment(values, np.where(known, chance, np.nan), np.where(known, as_high / (1 + permutations), np.nan))


def _gram(states: Array) -> Array:
    """Products of all pairs of centred states, scaled to length 1; NaN where nothing differs."""
    centred = states.astype(np.float64)
    centred = centred - centred.mean(axis=0)
    gram = centred @ centred.T
    length = np.linalg.norm(gram)
    size = max(float(np.abs(states).max()) ** 2, np.finfo(float).tiny)
    return np.asarray(gram / length) if length > 1e-12 * size else np.full_like(gram, np.nan)
