"""Finds how the first state of a stream is made: token, position and segment vectors, their sum, and the path to layer 0."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch

from atlas.engine.anatomy.arithmetic import factor_of, mismatch
from atlas.engine.anatomy.layers import Layer
from atlas.engine.anatomy.probe_recording import Event, Recording, Seen, is_linear, is_norm

PARTS = ("token_embedding", "position", "segment")

ALIKE = 0.999
"""Cosine between a token's vector and its row of the table above which they count as the same (perhaps scaled)."""

NOT_ADDED = {
    "position": "no position vectors are added to the embeddings; positions act inside the attention (rotary or relative)",
    "segment": "no segment vectors are added to the embeddings",
}


@dataclass(slots=True)
class Embedding:
    """The parts found of one stream's embedding."""

    parts: dict[str, tuple[Seen, float]] = field(default_factory=dict)
    total: Seen | None = None
    norm: Event | None = None
    missing: dict[str, str] = field(default_factory=dict)
    path: str = ""
    error: float = 0.0


def find_embedding(recording: Recording, layer: Layer, first: int, ids: torch.Tensor | None) -> Embedding:
    """Find the parts of the input of `layer`, the first of its stream. Calls before event `first` belong to another stream."""
    events = [event for event in recording.events[first : layer.event.start] if event.end < layer.event.start]
    lookups = _lookups(recording, events, layer, ids)
    if "token_embedding" not in lookups:
        reason = "what enters this model is not looked up in a table of tokens"
        return Embedding(missing=dict.fromkeys((*PARTS, "embedding_sum"), reason))
    tokens = _reachable(events, lookups.pop("token_embedding"))
    for free in (False, True):
        for count in range(len(lookups), -1, -1):
            for chosen in itertools.combinations(lookups.items(), count):
                for token in tokens:
                    found = _as_sum(events, layer, token, dict(chosen), free=free)
                    if found is not None:
                        found.missing = {name: NOT_ADDED[name] for name in PARTS[1:] if name not in found.parts}
                        return found
    reason = "token, position and segment vectors do not add up to anything on the way into the first layer"
    return Embedding(missing=dict.fromkeys((*PARTS, "embedding_sum"), reason))


def _lookups(recording: Recording, events: list[Event], layer: Layer, ids: torch.Tensor | None) -> dict[str, Seen]:
    """The outputs of leaf modules that turn whole numbers, or no input, into vectors, by the name of the part."""
    found: dict[str, Seen] = {}
    segments = recording.probe.get("token_type_ids")
    rows = layer.leaving.rows.shape[0]
    for event in events:
        arguments = [seen.value for seen in event.inputs]
        numbers = not arguments or any(not value.is_floating_point() for value in arguments)
        # BART's position table is passed a float tensor and uses only its length.
        if not event.leaf or not event.outputs or not (numbers or isinstance(event.module, torch.nn.Embedding)):
            continue
        output = event.outputs[0]
        if not output.value.is_floating_point() or rows % output.rows.shape[0]:
            continue
        by_token = "token_embedding" not in found and ids is not None and any(_equal(value, ids) for value in arguments)
        if ids is not None and by_token and _looked_up(event, ids):
            found["token_embedding"] = output
        elif _same_everywhere(output) or (segments is not None and any(_equal(value, segments) for value in arguments)):
            found.setdefault("segment", output)
        elif output.rows.shape[0] > 1:
            found.setdefault("position", output)
    return found


def _looked_up(event: Event, ids: torch.Tensor) -> bool:
    """Whether a table's rows are looked up by token. BART passes tokens to its position table too, which only counts them."""
    table = getattr(event.module, "weight", None)
    if not isinstance(table, torch.Tensor):
        return True
    if table.shape[0] <= int(ids.max()):
        return False
    rows, output = table.detach()[ids].flatten(0, -2), event.outputs[0].rows
    if rows.shape != output.shape:
        return False
    empty = ~rows.any(dim=-1)  # the row of the padding token is often all zeros and has no direction
    return bool(((torch.cosine_similarity(rows.to(output), output) >= ALIKE) | empty).all())


def _equal(value: torch.Tensor, other: torch.Tensor) -> bool:
    return value.shape == other.shape and torch.equal(value, other)


def _same_everywhere(seen: Seen) -> bool:
    return bool((seen.rows == seen.rows[:1]).all())


def _reachable(events: list[Event], start: Seen) -> list[Seen]:
    """The token vectors, and the outputs of linear maps and norms that read them (OPT widens them before adding positions)."""
    found = [start]
    for event in events:
        if not (event.leaf and event.inputs and (is_linear(event.module) or is_norm(event.module))):
            continue
        if any(event.inputs[0].key == seen.key for seen in found):
            found += event.outputs[:1]
    return found


def _as_sum(events: list[Event], layer: Layer, token: Seen, others: dict[str, Seen], *, free: bool) -> Embedding | None:
    added = None
    for seen in others.values():
        spread = _spread(seen, token)
        if spread is None:
            return None
        added = spread if added is None else added + spread
    for total in (layer.entering, *(seen for event in events if event.leaf for seen in event.inputs)):
        if total.value.shape != token.value.shape or not total.value.is_floating_point():
            continue
        factor = factor_of(total, added, token, free=free)
        way = _way(events, total, layer.entering) if factor is not None else None
        if factor is None or way is None:
            continue
        whole = factor * token.rows if added is None else factor * token.rows + added
        parts = {"token_embedding": (token, factor), **{name: (seen, 1.0) for name, seen in others.items()}}
        norm = next((event for event in way if is_norm(event.module)), None)
        return Embedding(parts, total, norm, path=" > ".join(event.name for event in way), error=mismatch(total.rows, whole))
    return None


def _spread(seen: Seen, token: Seen) -> torch.Tensor | None:
    """A part repeated to the rows of the token vectors, because all rows of the batch may share position vectors."""
    rows, wanted = seen.rows, token.rows
    if rows.shape[-1] != wanted.shape[-1]:
        return None
    return rows.repeat(wanted.shape[0] // rows.shape[0], 1)


def _way(events: list[Event], start: Seen, goal: Seen) -> list[Event] | None:
    """The modules between the sum and the first layer; None where they do not lead from one to the other."""
    ways: dict[bytes, list[Event]] = {start.key: []}
    for event in events:
        if event.leaf and event.inputs and event.outputs and event.inputs[0].key in ways:
            ways.setdefault(event.outputs[0].key, [*ways[event.inputs[0].key], event])
    return ways.get(goal.key)
