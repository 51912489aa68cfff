"""Finds a model's layers in a recorded pass: the call of each layer, and the calls in it that are its attention."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch

from atlas.engine.anatomy.probe_recording import Attended, Event, Recording, Seen, is_norm

STREAMS = ("encoder", "decoder")
BATCH_FIRST = 3
"""Number of axes of a state, (batch, position, width). XLNet's states have the position first and are not read."""

ATTENTION_WORDS = ("attention", "attn")
"""Outside the attention interface a module with such a name is tried as the attention; the arithmetic decides whether it is."""


@dataclass(eq=False, slots=True)
class Layer:
    """One layer's call: its input, its output, and the calls inside it."""

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
    """The layers of every stream; empty where none were found.

    `other` is a pass with another last token. It is needed only where no module was seen to attend.
    """
    by_attention = {kind: _by_attention(recording, kind) for kind in STREAMS}
    found = by_attention if recording.attended else _by_sequence(recording, other)
    return {kind: layers for kind, layers in found.items() if layers}


def broken_between(layers: list[Layer]) -> str | None:
    """Why the layers do not form one stream; None where each layer reads the output of the layer before it."""
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
    """The largest call that contains this layer's attention and no other's.

    A member of a list is preferred, because the largest call of a one-layer model is the whole model.
    """
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
    """Layers of a model outside the attention interface: members of one list, each reading the output of the one before it."""
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
    """'encoder' if the first position's state depends on the last token, else 'decoder'; in `other` that token differs."""
    last = layers[-1]
    twin = (
        next((one for one in other.events if (one.name, one.use) == (last.event.name, last.event.use)), None) if other else None
    )
    output = next((seen for seen in twin.outputs if seen.value.is_floating_point()), None) if twin is not None else None
    if output is None:
        return "encoder"
    before, after = last.leaving.value[:, 0], output.value[:, 0]
    return "decoder" if torch.allclose(before, after, rtol=1e-3, atol=1e-5) else "encoder"
