"""What every layer adds to the residual stream: how long it is, where it points, and how much of the state it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured
from atlas.tracing.token_scores import sinks

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

ATTENTION, CROSS, FEED_FORWARD, STREAM = "attention", "cross-attention", "feed-forward", "residual stream"
"""What writes into the stream, in the order in which it does; and the stream itself."""

WRITES = {
    ATTENTION: ("attention_output", "residual_mid"),
    CROSS: ("cross_output", "residual_cross"),
    FEED_FORWARD: ("ffn_out", ""),
}
"""Block -> names of what it writes, and of the state after that; after the feed-forward block it is the layer's own end."""


class StreamWrites(NamedTuple):
    """Means over some positions, by layer; NaN where a part of this model is not known."""

    kind: str
    positions: tuple[int, ...]
    stream: Array
    """(layer + 1,) length of the state that enters each layer; the last entry is of the one that leaves the last layer"""
    lengths: Mapping[str, Array]
    """Block -> (layer,) length of what it writes"""
    cosines: Mapping[str, Array]
    """Block -> (layer,) cosine of what it writes to the state it is added to"""
    changes: Mapping[str, Array]
    """Block, or `STREAM` for the whole layer -> (layer,) ‖out − in‖ / ‖in‖ of the addition and the norm that may follow it"""
    notes: tuple[str, ...] = ()


def without_stream(trace: Trace) -> str:
    """Why nothing is known of the stream; empty: it is."""
    if "hidden" in trace.held_arrays():
        return ""
    if trace.live is None:
        return "it holds no states of the residual stream, and its model is not here to make them."
    return "" if trace.live.group_of("hidden") is not None else trace.live.reason("hidden")


def ordinary_positions(trace: Trace, stream: str) -> tuple[int, ...]:
    """Positions without special tokens and, in a decoder, without the first: its state is often a hundred times longer."""
    ordinary = np.flatnonzero(~sinks(trace, stream))
    n = trace.attention_of(stream).n_queries
    return tuple(int(at) for at in ordinary) or tuple(range(n))


def stream_writes(trace: Trace, stream: str, positions: Sequence[int]) -> StreamWrites:
    """Lengths, cosines and changes of a stream ('encoder' or 'decoder') at some positions."""
    reason = without_stream(trace)
    if reason:
        msg = f"There is no residual stream to show: {reason}"
        raise NotCaptured(msg)
    n_layers, here = trace.n_layers(stream), list(positions)
    states = _array(trace, "hidden", stream, n_layers + 1, here)
    if states is None:
        msg = f"The states of the {stream} are not known, so it cannot be said what its layers add."
        raise NotCaptured(msg)
    entering, leaving = states[:-1], states[1:]
    blocks = [ATTENTION, *([CROSS] if stream == "decoder" and "cross" in trace.kinds else []), FEED_FORWARD]
    written = {block: _array(trace, WRITES[block][0], stream, n_layers, here) for block in blocks}
    after = {block: _array(trace, WRITES[block][1], stream, n_layers, here) for block in blocks[:-1]}
    # Attention and feed-forward of a parallel layer read one state and are added at once: there is no state between them.
    at_once = written[FEED_FORWARD] is not None and any(state is None for state in after.values())
    unknown = np.full(n_layers, np.nan)
    lengths, cosines, changes = {}, {}, {}
    before: Array | None = entering
    for block in blocks:
        added = written[block]
        out = leaving if block == FEED_FORWARD else after[block]
        known = entering if at_once else before
        lengths[block] = unknown if added is None else _length(added).mean(-1)
        cosines[block] = unknown if added is None or known is None else _cosine(added, known)
        changes[block] = unknown if at_once or out is None or before is None else _change(before, out)
        before = out
    changes[STREAM] = _change(entering, leaving)
    notes = [f"What {block} writes was not found in this model." for block in blocks if written[block] is None]
    if at_once:
        notes.append("Attention and feed-forward are added at once, so only the whole layer has a change.")
    return StreamWrites(stream, tuple(here), _length(states).mean(-1), lengths, cosines, changes, tuple(notes))


def _array(trace: Trace, name: str, stream: str, layers: int, positions: list[int]) -> Array | None:
    """(layer, position, width) of a captured array; None where this model has none."""
    if not name:
        return None
    known = name in trace.held_arrays() or (trace.live is not None and trace.live.group_of(name) is not None)
    places = trace.captured(name) if known else {}
    if any((stream, layer) not in places for layer in range(layers)):
        return None
    return np.stack([places[stream, layer][positions] for layer in range(layers)]).astype(np.float64)


def _length(vectors: Array) -> Array:
    return np.asarray(np.linalg.norm(vectors, axis=-1))


def _cosine(added: Array, state: Array) -> Array:
    product = _length(added) * _length(state)
    found = np.divide((added * state).sum(-1), product, out=np.full(product.shape, np.nan), where=product > 0)
    return _mean(found)


def _change(before: Array, after: Array) -> Array:
    length = _length(before)
    return _mean(np.divide(_length(after - before), length, out=np.full(length.shape, np.nan), where=length > 0))


def _mean(values: Array) -> Array:
    """Mean over the positions where it is known; NaN where it is nowhere."""
    known = np.isfinite(values)
    count = known.sum(-1)
    total = np.where(known, values, 0.0).sum(-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
