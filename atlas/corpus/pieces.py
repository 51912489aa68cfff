"""What is kept of many texts, as pieces that are merged: pure functions of arrays. The order of the parts is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CELLS = 1 << 25
"""Numbers of a table head x token at most, 256 MB: of a vocabulary that is larger the tokens that occur most are kept."""

NONE = -1
"""Where no text had a value."""


class Top(NamedTuple):
    """For every (head, role) the largest value and the text that had it."""

    value: Floats
    """−inf where there is none."""
    text: Ints

    @classmethod
    def of(cls, values: Floats, texts: npt.ArrayLike) -> Top:
        """Of values (text, head, role); the first of equals."""
        numbers = np.asarray(texts, dtype=np.int64)
        if not len(values):
            return cls(np.full(values.shape[1:], -np.inf), np.full(values.shape[1:], NONE, dtype=np.int64))
        filled = np.where(np.isnan(values), -np.inf, values)
        best = filled.argmax(axis=0)
        largest = np.take_along_axis(filled, best[None], axis=0)[0]
        return cls(largest, np.where(np.isinf(largest), NONE, numbers[best]))

    def merged(self, later: Top) -> Top:
        """Of both; the earlier one of equals."""
        better = later.value > self.value
        return Top(np.where(better, later.value, self.value), np.where(better, later.text, self.text))


class TokenSums(NamedTuple):
    """What every head gives to, or gets by, every token of a vocabulary."""

    ids: Ints
    """(token,), ascending."""
    mass: Floats
    """(head, token)"""
    occurrences: Ints
    """(token,)"""
    dropped: int = 0
    """Occurrences of tokens that were left out for memory."""

    @classmethod
    def of(cls, ids: npt.ArrayLike, mass: Floats, count: npt.ArrayLike | None = None, dropped: int = 0) -> TokenSums:
        """Of occurrences: their ids, (head, occurrence) masses, and how often each one counts (None: once)."""
        given = np.asarray(ids, dtype=np.int64)
        often = np.ones(len(given), dtype=np.int64) if count is None else np.asarray(count, dtype=np.int64)
        if not len(given):
            return cls(given, np.zeros((len(mass), 0)), often, dropped)
        order = np.argsort(given, kind="stable")
        starts = np.flatnonzero(np.diff(given[order], prepend=-1))
        summed = np.add.reduceat(np.asarray(mass, dtype=np.float64)[:, order], starts, axis=1)
        return _fitting(cls(given[order][starts], summed, np.add.reduceat(often[order], starts), dropped))

    def merged(self, other: TokenSums) -> TokenSums:
        """Of both."""
        return TokenSums.of(
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.mass, other.mass], axis=1),
            np.concatenate([self.occurrences, other.occurrences]),
            self.dropped + other.dropped,
        )

    def top(self, most: int, least_count: int) -> list[Ints]:
        """For every head the places of the tokens with the largest mass, and with the largest mean of those that occur often."""
        mean = np.where(self.occurrences >= least_count, self.mass / np.maximum(self.occurrences, 1), -1.0)
        found = []
        for mass, own in zip(self.mass, mean, strict=True):
            best = np.union1d(_largest(mass, most), _largest(own, most))
            best = best[mass[best] > 0]
            found.append(best[np.argsort(-mass[best], kind="stable")])
        return found


def _fitting(sums: TokenSums) -> TokenSums:
    most = max(1, CELLS // max(len(sums.mass), 1))
    if len(sums.ids) <= most:
        return sums
    kept = np.sort(np.argsort(-sums.occurrences, kind="stable")[:most])
    lost = sums.dropped + int(sums.occurrences.sum() - sums.occurrences[kept].sum())
    return TokenSums(sums.ids[kept], sums.mass[:, kept], sums.occurrences[kept], lost)


def _largest(values: Floats, most: int) -> Ints:
    places = np.argsort(-values, kind="stable")[:most]
    return np.asarray(places[values[places] > 0])


def priorities(count: int, seed: int) -> npt.NDArray[np.uint64]:
    """A random number for each of the first `count` texts; the one of a text does not depend on how many follow it."""
    return np.random.default_rng(seed).integers(0, 2**63, size=count, dtype=np.uint64)


def sampled(count: int, most: int, seed: int) -> Ints:
    """A uniform sample of texts: those with the smallest priorities, as a reservoir keeps them, in their order."""
    return np.sort(np.argsort(priorities(count, seed), kind="stable")[:most]).astype(np.int64)


def by_decile(values: Floats, counts: npt.NDArray[np.int64], edges: Sequence[Floats]) -> Ints:
    """(text, head, role) the tenth of all texts that a value belongs to, by the counts (head, role, bin) of all; NONE for NaN.

    A text is in the middle of those in its bin: where most texts have one value, most tenths have no text.
    """
    found = np.full(values.shape, NONE, dtype=np.int64)
    total = counts.sum(axis=-1)
    below = np.cumsum(counts, axis=-1) - counts
    for role, bounds in enumerate(edges):
        own = values[:, :, role]
        bins = np.clip(np.searchsorted(bounds, own, side="right") - 1, 0, len(bounds) - 2)
        heads = np.arange(own.shape[1])
        middle = below[heads, role, bins] + counts[heads, role, bins] / 2
        tenth = np.floor(10 * middle / np.maximum(total[:, role], 1)).astype(np.int64)
        found[:, :, role] = np.where(np.isnan(own), NONE, np.clip(tenth, 0, 9))
    return found
