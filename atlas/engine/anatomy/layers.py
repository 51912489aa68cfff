"""A model's layers within a recorded pass: which call is which layer, and which calls in it are its attention."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch

from atlas.engine.anatomy.probe_recording import Attended, Event, Recording, Seen, is_norm

STREAMS = ("encoder", "decoder")
BATCH_FIRST = 3
"""Axes of a state: (batch, position, width). XLNet's, position first, are not read."""

ATTENTION_WORDS = ("attention", "attn")
"""In a family that does not use the attention interface, a module named so is taken for the attention: the arithmetic decides."""


@dataclass(eq=False, slots=True)
class Layer:
    """One layer's call: what went in, what came out, and what happened within."""

    kind: str
    index: int
    event: Event
    entering: Seen
    leaving: Seen
    events: list[Event]
    attended: dict[str, Attended] = field(default_factory=dict)
    """'attention' and 'cross', where the model uses the attention interface."""
    attention_events: list[Event] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Width of the stream."""
        return int(self.leaving.value.shape[-1])

    def is_state(self, seen: Seen) -> bool:
        """Whether a tensor has the stream's shape (perhaps flattened)."""
        value = seen.value
        return value.is_floating_point() and value.shape[-1] == self.width and value.numel() == self.leaving.value.numel()

    def in_attention(self, event: Event) -> bool:
        """Whether a call is part of an attention module's call."""
        return any(event.within(outer) for outer in self.attention_events)


def find_layers(recording: Recording, other: Recording | None = None) -> dict[str, list[Layer]]:
    """The layers of every stream; empty where none can be told apart.

    `other` is a pass with another last token, needed only where nothing was seen to attend.
    """
    by_attention = {kind: _by_attention(recording, kind) for kind in STREAMS}
    found = by_attention if recording.attended else _by_sequence(recording, other)
    return {kind: layers for kind, layers in found.items() if layers}


def broken_between(layers: list[Layer]) -> str | None:
    """Why the layers do not form one stream, None where each goes on with what the one before left."""
    for first, second in itertools.pairwise(layers):
        if first.leaving.key != second.entering.key:
            return f"something outside the layers changes the stream between layer {first.index} and layer {second.index}"
    return None


def _by_attention(recording: Recording, kind: str) -> list[Layer]:
    layers: list[Layer] = []
    while (site := recording.attended.get((kind, len(layers)))) is not None:
        index = len(layers)
        mine = {"attention": site}
        if kind == "decoder" and ("cross", index) in recording.attended:
            mine["cross"] = recording.attended["cross", index]
        others = [other.event for other in recording.attended.values() if other not in mine.values()]
        layer = _layer(recording, kind, index, _outermost(list(mine.values()), others))
        if layer is None:
            return []
        layer.attended = mine
        layer.attention_events = [one.event for one in mine.values()]
        layers.append(layer)
    return layers


def _outermost(mine: list[Attended], others: list[Event]) -> Event:
    """The largest call with this layer's attention and no other's; of a one-layer model the largest that is one of a list."""
    event: Event | None = mine[0].event
    covering = []
    while event is not None and not any(other.within(event) for other in others):
        if all(one.event.within(event) for one in mine):
            covering.append(event)
        event = event.parent
    listed = [one for one in covering if one.name.rpartition(".")[2].isdigit()]
    return (listed or covering or [mine[0].event])[-1]


def _layer(recording: Recording, kind: str, index: int, event: Event) -> Layer | None:
    leaving = next((seen for seen in event.outputs if seen.value.is_floating_point()), None)
    batch = next(iter(recording.probe.values())).shape[0]
    if leaving is None or leaving.value.dim() != BATCH_FIRST or leaving.value.shape[0] != batch:
        return None
    shape = leaving.value.shape
    entering = next((seen for seen in event.inputs if seen.value.is_floating_point() and seen.value.shape == shape), None)
    if entering is None:
        return None
    return Layer(kind, index, event, entering, leaving, recording.events[event.start + 1 : event.end + 1])


def _by_sequence(recording: Recording, other: Recording | None) -> dict[str, list[Layer]]:
    """Layers of a family outside the attention interface: members of one list, each going on where the one before ended."""
    lists: dict[str, list[Event]] = {}
    for event in recording.events:
        parent, _, last = event.name.rpartition(".")
        if last.isdigit():
            lists.setdefault(parent, []).append(event)
    outer = [members for name, members in lists.items() if not any(name.startswith(f"{other}.") for other in lists)]
    found: dict[str, list[Layer]] = {}
    for members in outer:
        layers = [_layer(recording, "", index, event) for index, event in enumerate(members)]
        complete = [layer for layer in layers if layer is not None]
        if len(complete) != len(layers) or broken_between(complete):
            continue
        kind = "encoder" if "decoder_input_ids" in recording.probe and "encoder" not in found else _causality(complete, other)
        if kind in found:  # several stretches of layers, with something between them (Funnel): not one stream
            return {}
        for layer in complete:
            layer.kind = kind
            layer.attention_events = _named_attention(layer)
        found[kind] = complete
    return found


def _named_attention(layer: Layer) -> list[Event]:
    found: list[Event] = []
    for event in layer.events:
        name = event.name[len(layer.event.name) :].lower()
        attends = any(word in name for word in ATTENTION_WORDS) and not is_norm(event.module)
        if attends and not any(event.within(outer) for outer in found):
            found.append(event)
    return found


def _causality(layers: list[Layer], other: Recording | None) -> str:
    """Whether the first position's state depends on the last token; `other` is a pass in which that was another."""
    last = layers[-1]
    twin = (
        next((one for one in other.events if (one.name, one.use) == (last.event.name, last.event.use)), None) if other else None
    )
    output = next((seen for seen in twin.outputs if seen.value.is_floating_point()), None) if twin is not None else None
    if output is None:
        return "encoder"
    before, after = last.leaving.value[:, 0], output.value[:, 0]
    return "decoder" if torch.allclose(before, after, rtol=1e-3, atol=1e-5) else "encoder"
