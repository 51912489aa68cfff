"""How far attention between the same words differs in two runs, and which head of one model does what a head of another does."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from atlas.metrics.similarity import BLOCK_NUMBERS, entropy_terms, similarity_of

Array = np.ndarray

NO_HEAD = -1


class Moved(NamedTuple):
    """(head,) of some heads."""

    distance: Array
    """Mean over the words of the total variation distance of their rows."""
    unpaired: Array
    """Mean mass on what has no partner, in the text and in the other one."""
    unpaired_new: Array


def moved(old: Array, new: Array, words: Array) -> Moved:
    """How far the rows of words differ between two pooled matrices (head, row, key + 1), the last column without partner."""
    one, other = old[:, words], new[:, words]
    paired = np.abs(one[..., :-1] - other[..., :-1]).sum(axis=-1)
    distance = (paired + one[..., -1] + other[..., -1]) / 2
    return Moved(
        *(part.mean(axis=1) if words.any() else np.full(len(old), np.nan) for part in (distance, one[..., -1], other[..., -1]))
    )


def similarity_between(one: Array, other: Array, report: Callable[[float], None] = lambda _: None) -> Array:
    """(head of one, head of the other) 1 − √ of the mean Jensen-Shannon divergence of their rows.

    Both are pooled matrices (head, row, key + 1) of the same words, whose rows sum to 1. What either puts on words without a
    partner, the last column, is nowhere in the other.
    """
    rows = one.shape[1]
    first, second = (np.ascontiguousarray(each[..., :-1].reshape(len(each), -1)) for each in (one, other))
    lost, lost_other = (each[..., -1].sum(axis=1) for each in (one, other))
    own, own_other = entropy_terms(first), entropy_terms(second)
    found = np.zeros((len(one), len(other)))
    step = max(1, BLOCK_NUMBERS // max(first.shape[1], 1))
    for at in range(len(one)):
        report(at / len(one))
        for start in range(0, len(other), step):
            some = slice(start, start + step)
            terms = entropy_terms((first[at] + second[some]) / 2) - (own[at] + own_other[some]) / 2
            found[at, some] = np.maximum(terms.sum(axis=1), 0.0) + (lost[at] + lost_other[some]) / 2
    return similarity_of(found, rows)


def matched(similarity: Array) -> Array:
    """(head of one,) the head of the other that it is paired with, -1: none.

    Each head has one partner at most, and all pairs together are as similar as can be (the Hungarian assignment).
    """
    partner = np.full(len(similarity), NO_HEAD)
    heads, others = linear_sum_assignment(similarity, maximize=True)
    partner[heads] = others
    return partner
