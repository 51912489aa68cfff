"""How far two groupings of the same heads agree, beside what chance gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Array = np.ndarray

SHUFFLES = 999
"""Shuffles of the second grouping: the smallest p is 0.001."""


class Agreement(NamedTuple):
    """Two groupings of the same heads."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: Array
    """(row, column) heads that are in both groups."""
    chance: Array
    """The mean of these counts where partners are shuffled within a layer."""
    rand: float
    """Adjusted Rand index; NaN where either grouping is one group or fewer than two heads are paired."""
    rand_by_chance: float
    p: float


def agreement(one: Sequence[str], other: Sequence[str], layers: Sequence[int], seed: int = 0) -> Agreement:
    """Hold two names of every head against each other; heads are shuffled within their layer only.

    Groups follow layers in most models. Shuffled over all layers, two groupings that know nothing but the layer would agree.
    """
    rows, first = _codes(one)
    columns, second = _codes(other)
    shape = len(rows), len(columns)
    rng = np.random.default_rng(seed)
    of_layer = [np.flatnonzero(np.asarray(layers) == layer) for layer in sorted(set(layers))]
    counts, total = _counts(first, second, shape), np.zeros(shape)
    divided = min(shape) > 1
    found = adjusted_rand_of(counts) if divided else float("nan")
    shuffled = np.full(SHUFFLES, np.nan)
    for at in range(SHUFFLES):
        drawn = second.copy()
        for places in of_layer:
            drawn[places] = second[rng.permutation(places)]
        by_chance = _counts(first, drawn, shape)
        total += by_chance
        if divided:
            shuffled[at] = adjusted_rand_of(by_chance)
    p = (1 + int((shuffled >= found).sum())) / (1 + SHUFFLES) if divided else float("nan")
    mean = float(shuffled.mean()) if divided else float("nan")
    return Agreement(rows, columns, counts, total / SHUFFLES, found, mean, p)


def adjusted_rand_of(counts: Array) -> float:
    """The adjusted Rand index of a table of counts: sklearn's needs the labels, and takes 30 times as long."""
    pairs, in_rows, in_columns = (_pairs(each) for each in (counts, counts.sum(axis=1), counts.sum(axis=0)))
    every = _pairs(np.array([counts.sum()]))
    expected = in_rows * in_columns / every if every else 0.0
    highest = (in_rows + in_columns) / 2
    return 1.0 if highest == expected else float((pairs - expected) / (highest - expected))


def _pairs(counts: Array) -> float:
    return float((counts * (counts - 1) / 2).sum())


def _counts(first: Array, second: Array, shape: tuple[int, ...]) -> Array:
    return np.bincount(first * shape[1] + second, minlength=shape[0] * shape[1]).reshape(shape).astype(float)


def _codes(names: Sequence[str]) -> tuple[tuple[str, ...], Array]:
    """Names by falling frequency, and the place of every head's among them."""
    often = Counter(names)
    order = sorted(often, key=lambda name: (-often[name], name))
    places = {name: at for at, name in enumerate(order)}
    return tuple(order), np.array([places[name] for name in names], dtype=int)
