"""What every state of a residual stream is the sum of: embeddings, then in each layer heads, feed-forward block and biases.

The stream is a sum, so the parts of a state add up to it. A norm after an addition (post-norm models, such as BERT) is a linear
map with the size by which it divided in this run, and every part is carried through it; what it adds itself is a bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured, UnknownName
from atlas.ids import HeadId, stream_of
from atlas.metrics.influence import closeness
from atlas.tracing.record import ALL
from atlas.tracing.stream_writes import FEED_FORWARD
from atlas.tracing.vectors import heads_read
from atlas.tracing.writers import BIASES, EMBEDDING, EMBEDDINGS, TOKEN, HeldNorm, held_norm

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

Array = np.ndarray

RESIDUAL = "residual stream"
"""What a token was before the layer, or before the block."""


class Parts(NamedTuple):
    """What the states of one level are the sum of."""

    vectors: Mapping[str, Array]
    """Name of a part -> (token, width); their sum is `whole`."""
    whole: Array
    """(token, width)"""


class BlockShares(NamedTuple):
    """Shares of what is no attention in the tokens of all levels, by ALTI's measure of closeness."""

    inputs: Mapping[str, Mapping[str, Array]]
    """Stream -> part of its embeddings -> (token,); the parts of a token sum to 1."""
    feed_forward: Mapping[tuple[str, int], Array]
    """(stream, layer) -> (token,): share of the feed-forward block in the token after the layer; the rest is what entered it."""


def input_parts(trace: Trace, stream: str, rows: slice = ALL) -> Parts:
    """The embeddings that the states before the first layer are the sum of; one part where they cannot be told apart."""
    entering = _state(trace, "hidden", stream, 0, rows)
    known = {part: _known(trace, name, stream, 0, rows) for part, name in EMBEDDINGS.items()}
    parts = {
        part: np.broadcast_to(vectors, entering.shape)
        for part, vectors in known.items()
        if vectors is not None and vectors.shape[-1] == entering.shape[-1]
    }
    total = _Sum(trace, stream, 0, parts)
    if TOKEN in parts and total.passes("embedding_norm", entering):
        return Parts(total.parts, entering)
    return Parts({EMBEDDING: entering}, entering)


def layer_parts(trace: Trace, stream: str, layer: int, rows: slice = ALL) -> Parts:
    """What the states after a layer are the sum of: the states before it, every head, the feed-forward block, and biases."""
    entering, leaving = (_state(trace, "hidden", stream, level, rows) for level in (layer, layer + 1))
    total = _Sum(trace, stream, layer, {RESIDUAL: entering})
    crosses = stream == "decoder" and "cross" in trace.kinds
    ffn = _state(trace, "ffn_out", stream, layer, rows)
    middle = _known(trace, "residual_mid", stream, layer, rows)
    _add_heads(total, "attention", rows)
    if middle is not None:
        total.must_pass("attention_norm", middle)
        if crosses:
            _add_heads(total, "cross", rows)
            total.must_pass("cross_norm", _state(trace, "residual_cross", stream, layer, rows))
    total.add(FEED_FORWARD, ffn)
    total.must_pass("ffn_norm", leaving)
    return Parts(total.parts, leaving)


def block_shares(trace: Trace, streams: tuple[str, ...]) -> BlockShares:
    """The shares of embeddings and feed-forward blocks in the tokens of all levels; kept on the trace."""

    def measured() -> BlockShares:
        inputs = {stream: _input_shares(input_parts(trace, stream)) for stream in streams}
        places = [(stream, layer) for stream in streams for layer in range(trace.n_layers(stream))]
        return BlockShares(inputs, {place: _feed_forward_share(trace, *place) for place in places})

    made: BlockShares = trace.once(f"shares of blocks {streams}", measured)
    return made


def state_parts(trace: Trace, token: int, layer: int = -1, kind: str | None = None) -> pd.DataFrame:
    """What one state of the residual stream is the sum of: part, length, share.

    Parameters
    ----------
    trace
        One run of a model.
    token
        Position of the token; negative positions count from the end.
    layer
        After which layer: 0 is before the first one, 1 after it; negative numbers count from the last.
    kind
        'encoder' or 'decoder'; it may be left out where there is one.

    The parts are the embeddings before the first layer; after a layer the state before it, every head, the feed-forward block
    and the biases. They add up to the state. `share` is the part's length along the state, divided by the state's: it is
    negative where a part points away from the state, and the column sums to 1.
    """
    import pandas as pd

    stream = stream_of(trace.attention_of(kind).kind)
    levels, n_tokens = trace.n_layers(stream) + 1, trace.attention_of(stream).n_queries
    for what, number, there in (("token", token, n_tokens), ("level", layer, levels)):
        if not -there <= number < there:
            msg = f"There is no {what} {number!r}: there are {there}, counted from 0."
            raise UnknownName(msg)
    level = layer % levels
    row = slice(token % n_tokens, token % n_tokens + 1)
    parts = layer_parts(trace, stream, level - 1, row) if level else input_parts(trace, stream, row)
    (whole,) = parts.whole
    size = float(whole @ whole)
    found = [
        (part, float(np.linalg.norm(vector)), float(vector @ whole) / size if size else np.nan)
        for part, (vector,) in parts.vectors.items()
    ]
    return pd.DataFrame(found, columns=["part", "length", "share"])


class _Sum:
    """Parts of a stream that are added up, block by block."""

    def __init__(self, trace: Trace, stream: str, layer: int, parts: dict[str, Array]) -> None:
        self.trace, self.stream, self.layer = trace, stream, layer
        self.parts = parts

    def add(self, part: str, vectors: Array) -> None:
        """Add what a part writes."""
        self.parts[part] = self.parts[part] + vectors if part in self.parts else vectors

    def total(self) -> Array:
        """The sum."""
        return np.asarray(sum(self.parts.values()))

    def passes(self, role: str, after: Array) -> bool:
        """Carry all parts to the states `after`: there is nothing between, or a norm; False where it is something else."""
        before = self.total()
        if before.shape != after.shape:
            return False  # a linear map widens the embeddings (ELECTRA, ALBERT)
        fixed = held_norm(self.trace, role, self.stream, self.layer, before, after)
        if fixed is None:
            return False
        if isinstance(fixed, HeldNorm):
            self.parts = {part: fixed.carried(vectors) for part, vectors in self.parts.items()}
            if fixed.norm.offset.any():
                self.add(BIASES, np.broadcast_to(fixed.norm.offset, after.shape))
        return True

    def must_pass(self, role: str, after: Array) -> None:
        """The same, where the parts would not add up otherwise."""
        if not self.passes(role, after):
            msg = (
                f"The states of {self.stream} layer {self.layer} are not the sum of what its blocks write, through a norm or "
                "without one, so they cannot be taken apart."
            )
            raise NotCaptured(msg)


def _add_heads(total: _Sum, block: str, rows: slice) -> None:
    """Add what the heads of a block write, each by itself, and the bias of their projection."""
    trace, stream, layer = total.trace, total.stream, total.layer
    kind = "cross" if block == "cross" else stream
    written = _state(trace, "attention_output", kind, layer, rows)
    projection = _known(trace, "output_projection", kind, layer)
    if projection is None:
        total.add(block, written)
        return
    attention = trace.attention_of(kind)
    reads = heads_read(trace, attention, layer, range(attention.n_heads), rows).astype(np.float64)
    heads = {HeadId(kind, layer, head).label(trace.kinds): reads[head] @ projection[head] for head in range(attention.n_heads)}
    here = _Sum(trace, stream, layer, heads)
    bias = _known(trace, "output_bias", kind, layer)
    if bias is not None:
        here.add(BIASES, np.broadcast_to(bias, written.shape))
    if not here.passes(f"{block}_post_norm", written):
        here.parts = {block: written}
    for part, vectors in here.parts.items():
        total.add(part, vectors)


def _input_shares(parts: Parts) -> dict[str, Array]:
    """Share of every part in the states, by closeness."""
    close = {part: closeness(parts.whole, parts.whole - vectors) for part, vectors in parts.vectors.items()}
    every = np.asarray(sum(close.values()))
    none = every <= 0
    return {part: np.where(none, 1 / len(close), each / np.where(none, 1, every)) for part, each in close.items()}


def _feed_forward_share(trace: Trace, stream: str, layer: int) -> Array:
    leaving, ffn = _state(trace, "hidden", stream, layer + 1), _state(trace, "ffn_out", stream, layer)
    crosses = stream == "decoder" and "cross" in trace.kinds
    late = _known(trace, "residual_cross" if crosses else "residual_mid", stream, layer)
    if late is None:  # attention and feed-forward are added at once
        late = _state(trace, "hidden", stream, layer) + _state(trace, "attention_output", stream, layer)
    total = _Sum(trace, stream, layer, {RESIDUAL: late, FEED_FORWARD: ffn})
    total.must_pass("ffn_norm", leaving)
    own = total.parts[FEED_FORWARD]
    # The biases belong to the token, as they do where attention's shares are measured.
    block, rest = closeness(leaving, leaving - own), closeness(leaving, own)
    every = block + rest
    return np.asarray(np.where(every > 0, block / np.where(every > 0, every, 1), 0.0))


def _state(trace: Trace, name: str, stream: str, layer: int, rows: slice = ALL) -> Array:
    found = _known(trace, name, stream, layer, rows)
    if found is None:
        msg = f"There is no {name!r} of {stream} layer {layer}, so its states cannot be taken apart."
        raise NotCaptured(msg)
    return found


def _known(trace: Trace, name: str, stream: str, layer: int, rows: slice = ALL) -> Array | None:
    """Some rows of a captured array; None where this model has none."""
    try:
        found = trace.captured(name).get((stream, layer))
    except (NotCaptured, UnknownName):
        return None
    return None if found is None else np.asarray(found[rows], dtype=np.float64)
