"""What every token is made of after each layer of a trace: shares by contribution (ALTI), attention rollout or value zeroing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.ids import stream_of
from atlas.metrics.influence import Step, contribution_shares, written_by
from atlas.tracing.windows import ROLLOUT_TOKENS, halved_mean
from atlas.tracing.writers import HALF, HeldNorm, apart, held_norm
from atlas.tracing.zeroing import VALUE_ZEROING, distances, refuse_too_long, shares, without_zeroing

if TYPE_CHECKING:
    from atlas.trace import Trace
    from atlas.tracing.record import Attention

Array = np.ndarray

CONTRIBUTION, ROLLOUT = "contribution", "rollout"
METHODS = (CONTRIBUTION, ROLLOUT, VALUE_ZEROING)

CONTRIBUTION_PRODUCTS = 400_000_000_000
"""Products of layers x heads x queries x keys x width: a GPT-2 of 512 tokens has 29 billion, which take a second."""

Report = Callable[[int, int], None]
"""(layers done, all layers); of value zeroing (keys done, all keys)."""


@dataclass(frozen=True, eq=False)
class Block:
    """One attention block as a sum of vectors: y_i = sum_j T_i(x_j), as `contribution_shares` takes it."""

    weights: Array
    """(head, query, key)."""
    values: Array
    projection: Array
    output: Array
    seen: Array
    """(query, key) whether any head may look there."""


def streams_of(trace: Trace, stream: str) -> tuple[str, ...]:
    """The streams that influence passes through, from the first: a decoder with cross-attention reads the encoder."""
    return ("encoder", "decoder") if stream == "decoder" and "cross" in trace.kinds else (stream,)


def tokens_of(trace: Trace, stream: str) -> int:
    """Tokens of a stream."""
    return trace.attention_of(stream).n_queries


def without_method(trace: Trace, method: str, stream: str) -> str:
    """Why a trace cannot be read by a method, as far as it is known before the work; empty: it can."""
    if method not in METHODS:
        return f"Influence is measured by one of {', '.join(METHODS)}, not by {method!r}."
    streams = streams_of(trace, stream)
    for kind in (*streams, *(("cross",) if len(streams) > 1 else ())):
        if kind not in trace.kinds:
            return f"This trace has no {kind} attention to follow; it has {', '.join(trace.kinds)}."
        layers = trace.attention_of(kind).layers
        if method == CONTRIBUTION and any(layer.value is None for layer in layers):
            return (
                "Contributions need values and the output projection, and this trace holds weights only (recorded attention, or "
                "a model outside the attention interface)."
            )
    return without_zeroing(trace) if method == VALUE_ZEROING else ""


def offered(trace: Trace, stream: str) -> tuple[str, ...]:
    """The methods that a trace can be read by."""
    return tuple(method for method in METHODS if not without_method(trace, method, stream))


def measured(trace: Trace, method: str, stream: str) -> bool:
    """Whether the shares of a method are on the trace already."""
    return trace.holds(f"mixing {method} {stream}")


def steps(trace: Trace, method: str, stream: str, report: Report | None = None) -> tuple[Step, ...]:
    """The shares of every layer, from the first layer of the first stream to the last one of `stream`; kept on the trace."""
    reason = without_method(trace, method, stream)
    if reason and method in METHODS:
        other = f" Use method={ROLLOUT!r}." if method != ROLLOUT and not without_method(trace, ROLLOUT, stream) else ""
        raise NotCaptured(reason + other)
    if reason:
        raise UnknownName(reason)
    streams = streams_of(trace, stream)
    _refuse_too_large(trace, method, streams)
    made: tuple[Step, ...] = trace.once(f"mixing {method} {stream}", lambda: tuple(_made(trace, method, streams, report)))
    return made


def _refuse_too_large(trace: Trace, method: str, streams: tuple[str, ...]) -> None:
    kinds = [trace.attention_of(kind) for kind in (*streams, *(("cross",) if len(streams) > 1 else ()))]
    longest = max(max(each.n_queries, each.n_keys) for each in kinds)
    if method == ROLLOUT and longest > ROLLOUT_TOKENS:
        msg = f"Influence multiplies whole matrices, and {longest:,} tokens are more than {ROLLOUT_TOKENS:,}. Use a shorter text."
        raise TooLarge(msg)
    if method == VALUE_ZEROING:
        refuse_too_long(longest)
    if method == CONTRIBUTION:
        size = sum(len(each.layers) * each.n_heads**2 * each.n_queries * each.n_keys * _width_of(each) for each in kinds)
        if size > CONTRIBUTION_PRODUCTS:
            msg = (
                f"Contributions of {longest:,} tokens are {size / 1e9:,.0f} billion products here, and "
                f"{CONTRIBUTION_PRODUCTS / 1e9:,.0f} billion are the most. Use a shorter text or method={ROLLOUT!r}."
            )
            raise TooLarge(msg)


def _width_of(attention: Attention) -> int:
    """Numbers of a value vector; heads times this are about the width of the stream."""
    value = attention.layers[0].value
    return 0 if value is None else int(value.shape[2])


def _made(trace: Trace, method: str, streams: tuple[str, ...], report: Report | None) -> Iterator[Step]:
    if method == VALUE_ZEROING:
        yield from _zeroed(trace, streams, report)
        return
    n_all, done, start = sum(trace.n_layers(stream) for stream in streams), 0, 0
    one = _contributions if method == CONTRIBUTION else _rolled
    for stream in streams:
        crosses = stream == streams[-1] and len(streams) > 1
        for layer in range(trace.n_layers(stream)):
            if report is not None:
                report(done, n_all)
            step = one(trace, stream, layer, start)
            yield _with_cross(trace, method, step) if crosses else step
            done += 1
        start += tokens_of(trace, stream)


def _zeroed(trace: Trace, streams: tuple[str, ...], report: Report | None) -> Iterator[Step]:
    """The shares by value zeroing; those of a decoder layer and of its cross-attention sum to 1 together."""
    start = 0
    for stream in streams:
        crosses = stream == streams[-1] and len(streams) > 1
        for layer in range(trace.n_layers(stream)):
            seen = _seen(trace.attention_of(stream), layer)
            source = _seen(trace.attention_of("cross"), layer) if crosses else None
            read = distances(trace, "cross", layer, report) if crosses else None
            own, cross = shares(distances(trace, stream, layer, report), seen, read, source)
            yield Step(stream, layer, start, own, _with_diagonal(seen), cross=cross, cross_seen=source)
        start += tokens_of(trace, stream)


def _contributions(trace: Trace, stream: str, layer: int, start: int) -> Step:
    block = attention_block(trace, stream, layer)
    shares, _ = contribution_shares(block.weights, block.values, block.projection, block.output, own=True)
    return Step(stream, layer, start, shares, _with_diagonal(block.seen))


def _rolled(trace: Trace, stream: str, layer: int, start: int) -> Step:
    attention = trace.attention_of(stream)
    mixed, seen = halved_mean(attention, layer), _seen(attention, layer)
    given, n_seen = mixed.sum(axis=1), np.maximum(seen.sum(axis=1), 1)
    even = 1 - given + np.where(seen.diagonal(), given / n_seen, 0)
    mixed[np.diag_indices_from(mixed)] += 1 - given
    return Step(stream, layer, start, mixed, _with_diagonal(seen), even_diagonal=even.astype(np.float32))


def _with_cross(trace: Trace, method: str, step: Step) -> Step:
    """A decoder layer with its cross-attention, which comes after its self-attention and takes a share of what that made."""
    if method == CONTRIBUTION:
        block = attention_block(trace, "cross", step.layer)
        cross, residual = contribution_shares(block.weights, block.values, block.projection, block.output, own=False)
        seen = block.seen
    else:
        attention = trace.attention_of("cross")
        cross, seen = halved_mean(attention, step.layer), _seen(attention, step.layer)
        residual = 1 - cross.sum(axis=1)
    even = None if step.even_diagonal is None else step.even_diagonal * residual
    return step._replace(own=step.own * residual[:, None], cross=cross, cross_seen=seen, even_diagonal=even)


def attention_block(trace: Trace, kind: str, layer: int) -> Block:
    """One attention block of a run as a sum of vectors that the tokens wrote, in the units of the stream after it.

    Where heads write, through a norm between them and the stream (Gemma 2), into a stream that may be normalised after the
    addition (post-norm models, such as BERT), y is the stream after both, and the norms are linear maps with the size that they
    divided by in this run. Elsewhere y is the stream before the next norm. Biases and offsets belong to the residual stream.
    """
    attention, stream = trace.attention_of(kind), stream_of(kind)
    here = attention.layers[layer]
    projection = _captured(trace, "output_projection", kind, layer).astype(np.float32, copy=False)
    entering, written, leaving = _around(trace, kind, layer)
    assert here.value is not None  # `without_method` has looked
    values = here.value.astype(np.float32, copy=False)
    weights = np.empty((attention.n_heads, attention.n_queries, attention.n_keys), dtype=np.float32)
    seen = np.zeros(weights.shape[1:], dtype=bool)
    for head in range(attention.n_heads):
        one = attention.block(layer, head)
        known = ~np.isnan(one)
        seen |= known
        weights[head] = np.where(known, one, 0)
    # Where the run changed what heads read, the stream holds what they wrote then; it is no other token's.
    reads = trace.arrays.get("head_read", {}).get((kind, layer))
    if reads is None:
        reads = np.stack([weights[head] @ values[here.key_head(head)] for head in range(attention.n_heads)])
    heads_sum: Array = written_by(reads, projection)
    bias = trace.captured("output_bias").get((kind, layer)) if "output_bias" in trace.held_arrays() else None
    heads_sum = heads_sum if bias is None else heads_sum + bias
    weights[list(here.replaced)] = 0
    block = "cross" if kind == "cross" else "attention"
    through = _Norms(trace, stream, layer, weights, projection)
    through.follow(heads_sum, written, f"{block}_post_norm")
    through.follow(entering + written, leaving, f"{block}_norm")
    return Block(through.weights, values, np.ascontiguousarray(through.projection), leaving, seen)


class _Norms:
    """Weights and output projection of a layer, followed through the norms behind them."""

    def __init__(self, trace: Trace, stream: str, layer: int, weights: Array, projection: Array) -> None:
        self.trace, self.place = trace, (stream, layer)
        self.weights, self.projection = weights, projection

    def follow(self, before: Array, after: Array, role: str) -> None:
        """Follow a norm of a role, if there is one: if what is before it differs from what is after it."""
        fixed = held_norm(self.trace, role, *self.place, before, after)
        if fixed is None:
            msg = f"What is between attention and the stream of {self.place[0]} layer {self.place[1]} is not known to be a norm."
            raise NotCaptured(msg)
        if isinstance(fixed, HeldNorm):
            centres = fixed.norm.centres
            own = self.projection - self.projection.mean(axis=2, keepdims=True) if centres else self.projection
            self.projection = own * fixed.norm.scale
            self.weights /= fixed.size[:, None].astype(np.float32)


def _around(trace: Trace, kind: str, layer: int) -> tuple[Array, Array, Array]:
    """The stream before an attention block, what the block adds to it, and the stream after it."""
    stream = stream_of(kind)
    written = _captured(trace, "attention_output", kind, layer)
    entering = _captured(trace, "residual_mid" if kind == "cross" else "hidden", stream, layer)
    try:
        leaving = _captured(trace, "residual_cross" if kind == "cross" else "residual_mid", stream, layer)
    except (NotCaptured, UnknownName):
        ffn, after = _captured(trace, "ffn_out", stream, layer), _captured(trace, "hidden", stream, layer + 1)
        if apart(entering + written + ffn, after) > HALF:
            raise
        leaving = entering + written  # attention and feed-forward are added at once
    return tuple(each.astype(np.float32, copy=False) for each in (entering, written, leaving))  # type: ignore[return-value]


def _captured(trace: Trace, name: str, kind: str, layer: int) -> Array:
    found = trace.captured(name).get((kind, layer))
    if found is None:
        msg = f"There is no {name!r} of {kind} layer {layer} in this trace, so contributions to it are not known."
        raise NotCaptured(msg)
    return found


def _seen(attention: Attention, layer: int) -> Array:
    """(query, key) whether any head may look there."""
    here = attention.layers[layer]
    seen = np.zeros((attention.n_queries, attention.n_keys), dtype=bool)
    for head in range(attention.n_heads):
        visible = here.visible(head, attention.n_queries, attention.n_keys)
        if visible is None:
            return np.ones_like(seen)
        seen |= visible
    return seen


def _with_diagonal(seen: Array) -> Array:
    """What a token may be made of: itself, always."""
    seen = seen.copy()
    np.fill_diagonal(seen, val=True)
    return seen
