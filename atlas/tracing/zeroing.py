"""Value zeroing (Mohebbi et al. 2023): what a layer makes of its tokens without the value vectors of one of them.

A share is the cosine distance of a token's state after the layer from the state it has when the value vectors of one key are zero
in all heads of this layer, divided by the sum over the keys. The shares of the layers are multiplied without an identity, as in
the authors' own program: the residual stream is in the states that are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from atlas.errors import NotCaptured, TooLarge

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

VALUE_ZEROING = "value_zeroing"

ZEROED_TOKENS = 256
"""Tokens of a side at most. Every key takes a run of the whole text, so twice the tokens take four times as long: 190 of gpt-mini
take 3.5 seconds on one core, and 256 of a GPT-2 are 5,600 billion products, which take minutes there."""


@runtime_checkable
class Zeroes(Protocol):
    """A model behind a trace whose value vectors can be set to zero."""

    def without_zeroing(self) -> str:
        """Why they cannot be; empty where they can."""

    def zeroed(self, kind: str, progress: Callable[[int, int], None] | None = None) -> tuple[Array, ...]:
        """(query, key) of each layer: cosine distance of the states from the plain ones, the values of a key being zero."""


def without_zeroing(trace: Trace) -> str:
    """Why a trace has no value zeroing, as far as it is known before the work; empty: it has."""
    if not isinstance(trace.live, Zeroes):
        return "Value zeroing runs the text again for every token, and the model of this trace is not here."
    return trace.live.without_zeroing()


def refuse_too_long(longest: int) -> None:
    """Refuse a text of too many tokens."""
    if longest > ZEROED_TOKENS:
        msg = (
            f"Value zeroing runs the text once for each of {longest:,} tokens, and {ZEROED_TOKENS} are the most. "
            "Take contributions, which need no run of their own, or a shorter text."
        )
        raise TooLarge(msg)


def distances(trace: Trace, kind: str, layer: int, report: Callable[[int, int], None] | None = None) -> Array:
    """(query, key) distances of one layer; those of all layers of a kind are found at once and kept on the trace."""
    live = trace.live
    if not isinstance(live, Zeroes):
        raise NotCaptured(without_zeroing(trace))
    made: tuple[Array, ...] = trace.once(f"zeroed values {kind}", lambda: live.zeroed(kind, report))
    return made[layer]


def shares(
    own: Array, own_seen: Array, cross: Array | None = None, cross_seen: Array | None = None
) -> tuple[Array, Array | None]:
    """Distances as shares: the keys of a query, in cross-attention also those of the source, sum to 1.

    What the masks hide moves nothing. A token that no key moves, because all heads are off, is its own.
    """
    own = np.where(own_seen, own, 0.0)
    cross = None if cross is None or cross_seen is None else np.where(cross_seen, cross, 0.0)
    total = own.sum(axis=1) + (0 if cross is None else cross.sum(axis=1))
    still = np.flatnonzero(total <= 0)
    own[still, still] = total[still] = 1.0
    scaled = (own / total[:, None]).astype(np.float32)
    return scaled, None if cross is None else (cross / total[:, None]).astype(np.float32)
