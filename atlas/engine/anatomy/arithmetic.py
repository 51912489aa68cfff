"""Finds how a layer's parts add up by trying which two tensors of the probe pass sum to a third.

A sum is kept only if it holds on the probe at every position, so a wrong guess loses a capture but never gives a wrong one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch

from atlas.engine.anatomy.layers import Layer
from atlas.engine.anatomy.probe_recording import Event, Seen, is_linear, is_norm, key_of

TOLERANCE = 1e-4
"""Largest error of a sum, as a share of its size, position by position (float32; in half precision its own rounding)."""

PART_TOLERANCE = 1e-3
"""Largest error as a share of the part itself: in an untrained model a part may be smaller than 1e-4 of the stream."""

ROUNDINGS = 2
"""Rounding errors of the sum that are allowed where a part is even smaller: one for the factor, one for the sum."""

DIGITS = 4
"""Significant digits of a multiplier in a configuration."""

AS_WELL = 1.1
"""A rounded multiplier is used if its error is at most this many times that of the best one."""

PAIR = ("attention", "ffn")
"""Blocks that some models run in parallel and add at once."""


@dataclass(eq=False, slots=True)
class Write:
    """One block's contribution to the stream."""

    block: str
    source: Seen
    factor: float
    total: Seen
    """The stream right after the addition."""
    norm: Event | None
    """The norm that the stream passes through after the addition (BERT)."""
    state: Seen
    """The stream after the addition and the norm, if any."""


@dataclass(eq=False, slots=True)
class Chain:
    """All writes of one layer, in order; or those found, with `reason` for why the others were not."""

    writes: list[Write] = field(default_factory=list)
    parallel: bool = False
    reason: str | None = None
    error: float = 0.0


def size(rows: torch.Tensor) -> torch.Tensor:
    """Length of every row."""
    return torch.linalg.vector_norm(rows, dim=-1)


def mismatch(total: torch.Tensor, parts: torch.Tensor) -> float:
    """Largest error of a sum as a share of its size, position by position."""
    return float((size(total - parts) / size(total).clamp_min(torch.finfo(total.dtype).tiny)).max())


def tolerance_of(seen: Seen) -> float:
    """`TOLERANCE`, or the dtype's rounding error where that is larger."""
    return max(TOLERANCE, ROUNDINGS * torch.finfo(seen.value.dtype).eps)


def factor_of(total: Seen, base: torch.Tensor | None, part: Seen, *, free: bool) -> float | None:
    """The number c for which total = base + c * part; None where there is none. Unless `free`, only c = 1 is tried."""
    whole, rows = total.rows, part.rows
    difference = whole if base is None else whole - base
    factor = _fitted(difference.double(), rows.double()) if free else 1.0
    error = size(difference - factor * rows)
    rounding = ROUNDINGS * torch.finfo(total.value.dtype).eps * size(whole)
    allowed = torch.minimum(tolerance_of(total) * size(whole), torch.maximum(PART_TOLERANCE * size(factor * rows), rounding))
    return factor if bool((error <= allowed).all()) and factor != 0.0 else None


def _fitted(whole: torch.Tensor, part: torch.Tensor) -> float:
    """The number by which a part is multiplied: the best, or a near round number (a model's 0.22) that fits about as well."""
    exact = float((whole * part).sum() / part.square().sum().clamp_min(torch.finfo(part.dtype).tiny))
    short = float(f"{exact:.{DIGITS}g}")
    errors = [float(torch.linalg.vector_norm(whole - number * part)) for number in (exact, short)]
    return short if errors[1] <= AS_WELL * errors[0] else exact


def distinct(seen: Iterable[Seen]) -> list[Seen]:
    """Each tensor once, at the first place it was seen."""
    found: dict[bytes, Seen] = {}
    for one in seen:
        found.setdefault(one.key, one)
    return list(found.values())


def find_writes(layer: Layer) -> Chain:
    """The writes of one layer."""
    blocks = ["attention", *(["cross"] if "cross" in layer.attended else []), "ffn"]
    candidates = {block: candidates_of(layer, block) for block in blocks}
    best = Chain()
    for free in (False, True):
        chain = _sequential(layer, layer.entering, blocks, candidates, free=free)
        if chain.reason is None:
            return chain
        if not free and len(blocks) == len(PAIR) and (together := _parallel(layer, candidates)) is not None:
            return together
        best = chain if len(chain.writes) > len(best.writes) or best.reason is None else best
    return best


def projection_of(layer: Layer, block: str) -> Event | None:
    """The linear map that reads the merged output of the heads."""
    attended = layer.attended.get(block)
    if attended is None:
        return None
    merged = attended.value.transpose(1, 2).flatten(2)
    key = key_of(merged)
    return next((one for one in layer.events if is_linear(one.module) and any(seen.key == key for seen in one.inputs)), None)


def candidates_of(layer: Layer, block: str) -> list[Seen]:
    """The tensors that a block may write into the stream, the likeliest first."""
    if block == "ffn":
        known = {seen.key for one in ("attention", "cross") for seen in _projected(layer, one)}
        outputs = (
            seen for event in layer.events if not layer.in_attention(event) for seen in event.outputs if layer.is_state(seen)
        )
        return [seen for seen in distinct(outputs) if seen.key not in known][::-1]
    if layer.attended:
        return _projected(layer, block) or _attention_outputs(layer, block)
    return [seen for seen in distinct(_inside_attention(layer)) if seen.key != layer.entering.key][::-1]


def downstream(layer: Layer, source: Seen) -> list[Seen]:
    """A tensor and, step by step, the outputs of modules that read it alone (a norm, a layer scale)."""
    found = [source]
    for event in layer.events:
        if event.start > source.event.start and any(seen.key == one.key for one in found for seen in event.inputs[:1]):
            found += [seen for seen in event.outputs[:1] if layer.is_state(seen)]
    return distinct(found)


def _projected(layer: Layer, block: str) -> list[Seen]:
    projection = projection_of(layer, block)
    if projection is None or not layer.is_state(projection.outputs[0]):
        return []
    return downstream(layer, projection.outputs[0])


def _attention_outputs(layer: Layer, block: str) -> list[Seen]:
    """The outputs of the whole attention module, for models that change the heads' outputs before projecting them (gated)."""
    event = layer.attended[block].event
    return [found for seen in event.outputs if layer.is_state(seen) for found in downstream(layer, seen)]


def _inside_attention(layer: Layer) -> Iterator[Seen]:
    for event in layer.events:
        if layer.in_attention(event):
            yield from (seen for seen in event.outputs if layer.is_state(seen))


def _states(layer: Layer, after: int) -> list[Seen]:
    """Tensors of the stream's shape that some module reads after an event, and the layer's output."""
    read = [seen for event in layer.events if event.start > after for seen in event.inputs if layer.is_state(seen)]
    return distinct([*read, layer.leaving])


def _sequential(layer: Layer, state: Seen, blocks: list[str], candidates: dict[str, list[Seen]], *, free: bool) -> Chain:
    """Find the writes of blocks that write one after the other, with a norm after an addition where the model has one."""
    if not blocks:
        done = state.key == layer.leaving.key
        return Chain(reason=None if done else "something else is done to the stream before it leaves the layer")
    block, rest = blocks[0], blocks[1:]
    best = Chain(reason=f"no output of the {block} block accounts for what is added to the stream")
    for source in candidates[block]:
        for total in _states(layer, source.event.start):
            factor = factor_of(total, state.rows, source, free=free)
            if factor is None:
                continue
            for norm, following in _continuations(layer, total):
                tail = _sequential(layer, following, rest, candidates, free=free)
                write = Write(block, source, factor, total, norm, following)
                found = Chain([write, *tail.writes], reason=tail.reason)
                found.error = max(mismatch(total.rows, state.rows + factor * source.rows), tail.error)
                if found.reason is None:
                    return found
                best = found if len(found.writes) > len(best.writes) else best
    return best


def _continuations(layer: Layer, total: Seen) -> Iterator[tuple[Event | None, Seen]]:
    yield None, total
    for event in layer.events:
        if is_norm(event.module) and event.leaf and any(seen.key == total.key for seen in event.inputs):
            yield from ((event, seen) for seen in event.outputs if layer.is_state(seen))


def _parallel(layer: Layer, candidates: dict[str, list[Seen]]) -> Chain | None:
    """Find the writes where attention and feed-forward read the same state and are added at once (GPT-NeoX, GPT-J, Phi)."""
    entering, leaving = layer.entering.rows, layer.leaving
    for attention in candidates["attention"]:
        for ffn in candidates["ffn"]:
            alone = (
                factor_of(leaving, entering + ffn.rows, attention, free=False),
                factor_of(leaving, entering + attention.rows, ffn, free=False),
            )
            if None in alone:
                continue
            sources = ("attention", attention), ("ffn", ffn)
            writes = [Write(block, source, 1.0, leaving, None, leaving) for block, source in sources]
            return Chain(writes, parallel=True, error=mismatch(leaving.rows, entering + attention.rows + ffn.rows))
    return None
