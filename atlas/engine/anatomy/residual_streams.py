"""Turns the sums found in the layers of a stream into named taps, equations and words."""

from __future__ import annotations

from collections.abc import Iterator

from atlas.engine.anatomy.arithmetic import Chain, Write, find_writes, projection_of
from atlas.engine.anatomy.captures import Captures
from atlas.engine.anatomy.feedforward import FeedForward, find_feedforward
from atlas.engine.anatomy.layers import Layer, broken_between
from atlas.engine.anatomy.probe_recording import Event, Seen, is_linear, is_norm
from atlas.engine.anatomy.records import Sum

WRITES = {"attention": "attention_output", "cross": "cross_output", "ffn": "ffn_out"}
STATES = {"attention": "residual_mid", "cross": "residual_cross"}
"""The name of the stream after a block wrote into it; after the last block it is `hidden` of the next layer."""

INSIDE_FFN = ("ffn_in", "ffn_pre", "ffn_up", "ffn_act")
AT_ONCE = "attention and feed-forward read the same state and are added to it at once, so there is no state between them"


def describe_layers(taps: Captures, layers: list[Layer]) -> list[Chain]:
    """Find, name and record the parts of the layers of one stream; returns the chain of writes of each layer."""
    kind, anatomy = layers[0].kind, taps.anatomy
    taps.put("hidden", layers[0], layers[0].entering, index=0)
    for layer in layers:
        taps.put("hidden", layer, layer.leaving, index=layer.index + 1)
    chains = [find_writes(layer) for layer in layers]
    for layer, chain in zip(layers, chains, strict=True):
        _put_layer(taps, layer, chain)
    broken = broken_between(layers)
    if broken is not None:
        taps.found.pop((kind, "hidden"))
        taps.lack(kind, "hidden", broken)
    open_ends = [(layer.index, chain.reason) for layer, chain in zip(layers, chains, strict=True) if chain.reason is not None]
    complete = not open_ends
    if open_ends:
        anatomy.notes.append(f"{kind}: the parts of layer {open_ends[0][0]} do not add up to what leaves it: {open_ends[0][1]}.")
    forms = {_form(layer, chain) for layer, chain in zip(layers, chains, strict=True)} if complete else set()
    anatomy.schema[kind] = " / ".join(sorted(forms)) or "not found"
    if len({_shape(chain) for chain in chains}) == 1 and complete and broken is None:
        anatomy.sums += _sums(kind, chains[0])
        anatomy.errors[kind, "layers"] = max(chain.error for chain in chains)
    return chains


def _put_layer(taps: Captures, layer: Layer, chain: Chain) -> None:
    for block in ("attention", "cross") if "cross" in layer.attended else ("attention",):
        projection = projection_of(layer, block)
        if projection is not None:
            taps.put("attention_projection", layer, projection.outputs[0], kind="cross" if block == "cross" else "")
    for write in chain.writes:
        taps.put(WRITES[write.block], layer, write.source, factor=write.factor)
        if write.block == "cross":  # the same tensor is also recorded under the kind of the heads that write it
            taps.put("attention_output", layer, write.source, kind="cross", factor=write.factor)
        # Whether the stream continues with the sum or with its norm is known only if the next write adds up too.
        certain = chain.reason is None or write is not chain.writes[-1]
        if write.block in STATES and not chain.parallel and certain:
            taps.put(STATES[write.block], layer, write.state)
    if chain.parallel:
        taps.lack(layer.kind, "residual_mid", AT_ONCE)
    for block in ("attention", "cross", "ffn") if "cross" in layer.attended else ("attention", "ffn"):
        if chain.reason is not None:
            for name in (WRITES[block], STATES.get(block, WRITES[block])):
                taps.lack(layer.kind, name, chain.reason)
    ffn = next((write for write in chain.writes if write.block == "ffn"), None)
    inside = find_feedforward(layer, ffn) if ffn is not None else FeedForward({}, chain.reason or "")
    _put_inside(taps, layer, inside)
    for role, event in _norms(layer, chain, inside):
        taps.put(f"{role}_norm_in", layer, event.inputs[0])
        taps.put(f"{role}_norm_out", layer, event.outputs[0])


def _put_inside(taps: Captures, layer: Layer, inside: FeedForward) -> None:
    for name in INSIDE_FFN:
        if name in inside.parts:
            taps.put(name, layer, inside.parts[name].seen, columns=inside.parts[name].columns)
        elif inside.reason:
            taps.lack(layer.kind, name, inside.reason)
        else:
            taps.lack(layer.kind, name, "the feed-forward block is not gated: one linear map goes in, and it is ffn_pre")


def _norms(layer: Layer, chain: Chain, inside: FeedForward) -> Iterator[tuple[str, Event]]:
    """Every norm of the layer that touches the stream, with its role."""
    for write in chain.writes:
        if write.norm is not None:
            yield write.block, write.norm
        if is_norm(write.source.event.module):
            yield f"{write.block}_post", write.source.event
    for event in layer.events:
        if not is_norm(event.module) or not event.leaf or layer.in_attention(event) or not event.outputs:
            continue
        for block in _readers(layer, event.outputs[0], inside):
            if not any(write.norm is event for write in chain.writes):
                yield block, event


def _readers(layer: Layer, seen: Seen, inside: FeedForward) -> Iterator[str]:
    """The blocks whose first module reads a norm's output."""
    calls = {block: [attended.event] for block, attended in layer.attended.items()} or {"attention": layer.attention_events}
    # A mixture of experts has no first linear map, so the reader is the block as a whole.
    calls["ffn"] = [] if "ffn_in" in inside.parts else _other_blocks(layer)
    for block, events in calls.items():
        first = block == "ffn" and "ffn_in" in inside.parts and inside.parts["ffn_in"].seen.key == seen.key
        if first or any(_reads(layer, event, seen) for event in events):
            yield block


def _other_blocks(layer: Layer) -> list[Event]:
    """Calls of blocks directly under the layer that are not attention."""
    return [event for event in layer.events if event.parent is layer.event and not event.leaf and not layer.in_attention(event)]


def _reads(layer: Layer, event: Event, seen: Seen) -> bool:
    """Whether a call, or a linear map in it, reads a tensor as its first input (not as the states that cross-attention reads)."""
    inner = (one for one in layer.events if one.within(event) and (one is event or is_linear(one.module)))
    return any(one.inputs and one.inputs[0].key == seen.key for one in inner)


def _shape(chain: Chain) -> tuple[object, ...]:
    return chain.parallel, *((write.block, write.norm is None) for write in chain.writes)


def _form(layer: Layer, chain: Chain) -> str:
    writes = f"{len(chain.writes)} additions a layer"
    if chain.parallel:
        return f"parallel: attention and feed-forward added at once, {writes}"
    if any(write.norm is not None for write in chain.writes):
        return f"post-norm: the sum after each block is normalised, {writes}"
    if any(is_norm(write.source.event.module) for write in chain.writes):
        before = any(
            is_norm(event.module) and event.inputs and event.inputs[0].key == layer.entering.key for event in layer.events
        )
        style = "sandwich: a norm before each block and one after it" if before else "a norm after each block"
        return f"{style}, inside the addition, {writes}"
    factors = {round(write.factor, 6) for write in chain.writes}
    scaled = "" if factors == {1.0} else f", each multiplied by {', '.join(map(str, sorted(factors)))}"
    return f"pre-norm: a norm before each block, {writes}{scaled}"


def _sums(kind: str, chain: Chain) -> list[Sum]:
    if chain.parallel:
        return [Sum(kind, "hidden", ("hidden", *(WRITES[write.block] for write in chain.writes)), leaves=True)]
    found, state = [], "hidden"
    for write in chain.writes:
        last = write.block == "ffn"
        total = f"{write.block}_norm_in" if write.norm is not None else _state(write)
        found.append(Sum(kind, total, (state, WRITES[write.block]), leaves=last and write.norm is None))
        state = _state(write)
    return found


def _state(write: Write) -> str:
    return STATES.get(write.block, "hidden")
