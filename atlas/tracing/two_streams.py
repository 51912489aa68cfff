"""Residual streams of two traces: how alike their layers place the same words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured
from atlas.ids import stream_of
from atlas.metrics.cka import LEAST_WORDS, Alignment, cka
from atlas.tracing.hidden import NAME, without_hidden

if TYPE_CHECKING:
    from atlas.trace import Trace
    from atlas.tracing.two_traces import TwoTraces

Array = np.ndarray

MOST_WORDS = 256
"""Words that are compared: their products with each other, of 30 layers and shuffled a hundred times, take seconds."""


class StreamAlignment(NamedTuple):
    """CKA of all layers of one side with all of the other."""

    found: Alignment
    words: int
    all_words: int


def stream_alignment(two: TwoTraces, kind: str, report: Callable[[float], None] = lambda _: None) -> StreamAlignment:
    """Linear CKA of the states of the same words: a row each state of the first side, a column each of the second.

    A word of several tokens is the mean of their states. Special tokens are left out.
    """
    made: StreamAlignment = two.once(("cka", kind), lambda: _aligned(two, kind, report))
    return made


def _aligned(two: TwoTraces, kind: str, report: Callable[[float], None]) -> StreamAlignment:
    beside = two.kind_beside(kind)
    units = two.units(kind, "query").units
    possible = np.flatnonzero(units.words)
    if len(possible) < LEAST_WORDS:
        msg = f"Comparing layers takes {LEAST_WORDS} words that stand for each other; these two texts have {len(possible)}."
        raise NotCaptured(msg)
    chosen = possible[np.unique(np.linspace(0, len(possible) - 1, min(MOST_WORDS, len(possible))).round().astype(int))]
    one, other = _of_words(two.a, kind, units.old, chosen), _of_words(two.b, beside, units.new, chosen)
    return StreamAlignment(cka(one, other, report=report), len(chosen), len(possible))


def _of_words(trace: Trace, kind: str, unit_of: Array, chosen: Array) -> list[Array]:
    """(word, width) states of each layer."""
    reason = without_hidden(trace)
    if reason:
        msg = f"One of the two sides cannot be compared: {reason}"
        raise NotCaptured(msg)
    places = trace.captured(NAME)
    own = sorted((place[1], place) for place in places if place is not None and place[0] == stream_of(kind))
    share = (unit_of[None] == chosen[:, None]).astype(np.float64)
    share /= share.sum(axis=1, keepdims=True)
    return [share @ places[place].astype(np.float64) for _, place in own]
