"""The inside of a layer's feed-forward block: its input, its pre-activation, its activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from atlas.engine.anatomy.arithmetic import PART_TOLERANCE, Write, downstream, mismatch, tolerance_of
from atlas.engine.anatomy.layers import Layer
from atlas.engine.anatomy.probe_recording import Event, Seen, is_linear, is_norm, key_of
from atlas.engine.anatomy.records import Anatomy
from atlas.engine.running.context import Call, running

MIXTURE = "a mixture of experts: every token goes through a few feed-forward blocks of its own, so there is no one inside to show"
EXPERT_WORDS = ("expert", "moe", "router")


@dataclass(frozen=True, slots=True)
class Located:
    """A tensor, or a range of its columns."""

    seen: Seen
    columns: tuple[int, int] | None = None

    @property
    def width(self) -> int:
        """Numbers per position."""
        return self.seen.value.shape[-1] if self.columns is None else self.columns[1] - self.columns[0]

    @property
    def rows(self) -> torch.Tensor:
        """The numbers as (row, width)."""
        return self.seen.rows if self.columns is None else self.seen.rows[:, self.columns[0] : self.columns[1]]


@dataclass(slots=True)
class FeedForward:
    """The parts found of one feed-forward block, by name, and the reason why others are missing."""

    parts: dict[str, Located]
    reason: str = ""


def find_feedforward(layer: Layer, write: Write) -> FeedForward:
    """Find the parts of the feed-forward block that makes `write`."""
    down = _down(layer, write)
    if down is None:
        return FeedForward({}, _why_whole(layer))
    act = down.inputs[0]
    ups = [event for event in _linears(layer) if event.end < down.start and _feeds(event, act)]
    if not ups:
        return FeedForward({"ffn_act": Located(act)}, "no linear map into the feed-forward block was found")
    ups = [event for event in ups if event.inputs[0].key == ups[-1].inputs[0].key]
    parts = {"ffn_in": Located(ups[0].inputs[0]), "ffn_act": Located(act)}
    halves = _halves(ups, act.value.shape[-1])
    activation = _activation(layer, halves, ups[-1], down)
    if len(halves) > 1:
        return _gated(parts, act, halves, activation)
    if activation is not None and activation.outputs[0].key != act.key:
        return FeedForward(parts, "something stands between the activation function and the second linear map")
    return FeedForward({**parts, "ffn_pre": halves[0]})


def _gated(parts: dict[str, Located], act: Seen, halves: list[Located], activation: Event | None) -> FeedForward:
    """Tell the gate from the other pre-activation: the activation function reads the gate."""
    if activation is None:
        return FeedForward(parts, "this block is gated, and which half is the gate cannot be seen: its activation is no module")
    read = key_of(activation.inputs[0].rows)
    gate, up = halves if key_of(halves[0].rows) == read else halves[::-1]
    if mismatch(act.rows, activation.outputs[0].rows * up.rows) > max(PART_TOLERANCE, tolerance_of(act)):
        return FeedForward(parts, "activation(gate) * up is not what the second linear map reads")
    return FeedForward({**parts, "ffn_pre": gate, "ffn_up": up})


def _linears(layer: Layer) -> list[Event]:
    rows = layer.leaving.rows.shape[0]
    return [
        event
        for event in layer.events
        if is_linear(event.module) and not layer.in_attention(event) and event.inputs and event.inputs[0].rows.shape[0] == rows
    ]


def _down(layer: Layer, write: Write) -> Event | None:
    """The linear map whose output, perhaps normalised, the block writes into the stream."""
    for event in reversed(_linears(layer)):
        if any(seen.key == write.source.key for seen in downstream(layer, event.outputs[0])):
            return event
    return None


def _feeds(event: Event, act: Seen) -> bool:
    """Whether a linear map's output has the width of the activation, or twice that (gate and value in one)."""
    return event.outputs[0].value.shape[-1] in (act.value.shape[-1], 2 * act.value.shape[-1]) and event.outputs[0].key != act.key


def _halves(ups: list[Event], width: int) -> list[Located]:
    if len(ups) == 1 and ups[0].outputs[0].value.shape[-1] == 2 * width:
        return [Located(ups[0].outputs[0], (0, width)), Located(ups[0].outputs[0], (width, 2 * width))]
    return [Located(event.outputs[0]) for event in ups[-2:]]


def _activation(layer: Layer, halves: list[Located], up: Event, down: Event) -> Event | None:
    """The call between the linear maps that reads one of the pre-activations."""
    keys = {key_of(half.rows) for half in halves}
    for event in layer.events:
        between = event.end < down.start and event.start >= halves[0].seen.event.start and event is not up
        function = event.leaf and not is_linear(event.module) and not is_norm(event.module) and event.inputs and event.outputs
        if between and function and key_of(event.inputs[0].rows) in keys:
            return event
    return None


def _why_whole(layer: Layer) -> str:
    names = {word for event in layer.events for word in (event.name.lower(), type(event.module).__name__.lower())}
    if any(word in name for name in names for word in EXPERT_WORDS):
        return MIXTURE
    return "what the feed-forward block writes is not the output of one linear map"


def unit_writes(hf: torch.nn.Module, anatomy: Anatomy, kind: str, layer: int, units: Sequence[int]) -> torch.Tensor:
    """(unit, width) what each unit of a layer writes at activation 1, by the model's own second linear map, in float32."""
    tap = next(tap for tap in anatomy.taps if (tap.name, tap.kind, tap.layer) == ("ffn_act", kind, layer))
    down, like = hf.get_submodule(tap.module), next(hf.parameters())
    alone = torch.zeros(len(units) + 1, anatomy.tap_widths[kind, "ffn_act"], device=like.device, dtype=like.dtype)
    alone[range(len(units)), list(units)] = 1.0
    with torch.no_grad(), running(Call(sites={})):  # a call of its own, so that the taps do not record it
        found = down(alone).float()
    # The last row is without any unit: the bias is nobody's.
    return found[:-1] - found[-1]
