"""From any state of the stream to logits (the logit lens): the model's own way from its last state, found once and replayed."""

from __future__ import annotations

from typing import Any

import torch

from atlas.engine.anatomy import Anatomy, Stage
from atlas.engine.arithmetic import factor_of, mismatch, tolerance_of
from atlas.engine.context import Call, running
from atlas.engine.layers import Layer
from atlas.engine.recording import Event, Recording, Seen, is_norm
from atlas.errors import NotCaptured

CONSTANT = 1e-5
"""How far, as a share of the logits, the difference between two rows may vary to count as one vector added to all."""


def find_unembedding(recording: Recording, layers: list[Layer], anatomy: Anatomy, model: torch.nn.Module) -> str | None:
    """Fill in `anatomy.unembedding`; the reason where there is none."""
    logits = getattr(recording.output, "logits", None)
    last = layers[-1].leaving
    if logits is None:
        return "this model was loaded without a head that turns states into predictions"
    if logits.dim() != last.value.dim() or logits.shape[:2] != last.value.shape[:2]:
        return "this model's head gives one answer for the whole input, not one for every position"
    events = [event for event in recording.events if event.start > layers[-1].event.end]
    target = Seen(recording.events[0], last.place, logits, b"", logits, 0)
    stages = _search(events, last, target, model)
    if stages is None:
        return "no chain of modules leads from the last state of the stream to the logits"
    anatomy.unembedding = tuple(stages)
    with torch.no_grad():
        again = unembed(model, anatomy, last.value)
    wide = torch.promote_types(logits.dtype, torch.float32)
    error = mismatch(logits.flatten(0, -2).to(wide), again.flatten(0, -2).to(wide))
    if not error <= tolerance_of(last):
        anatomy.unembedding = ()
        return f"the logits made from the last state differ from the model's own by {error:.1e} of their size"
    anatomy.errors[layers[-1].kind, "logits"] = error
    return None


def unembed(hf: torch.nn.Module, anatomy: Anatomy, hidden: torch.Tensor) -> torch.Tensor:
    """Logits of a state of the stream, (..., width) -> (..., vocabulary), as the model would make them of its last state."""
    if not anatomy.unembedding:
        raise NotCaptured(f"No logit lens for this model: {anatomy.missing.get(('', 'unembed'), 'it was not looked for')}.")
    with running(Call(sites={})):  # the lens is no part of the pass that may be under way: its modules' taps must not see it
        for stage in anatomy.unembedding:
            hidden = _applied(hf, stage, hidden)
    return hidden


def _applied(hf: torch.nn.Module, stage: Stage, hidden: torch.Tensor) -> torch.Tensor:
    if stage.what == "apply":
        output: Any = hf.get_submodule(stage.module)(hidden)
        return output if isinstance(output, torch.Tensor) else output[0]
    if stage.what == "scale":
        return hidden * stage.number
    if stage.what == "cap":
        return torch.tanh(hidden / stage.number) * stage.number
    holder, _, name = stage.module.rpartition(".")
    vector = getattr(hf.get_submodule(holder), name)
    return hidden + vector.reshape(-1).to(hidden)


def _search(events: list[Event], state: Seen, target: Seen, model: torch.nn.Module) -> list[Stage] | None:
    """Depth first: the outermost module that reads the state as it is (or scaled) and nothing else, until the logits are there."""
    ending = _ending(state, target, model)
    if ending is not None:
        return ending
    for free in (False, True):
        for event in events:
            tensors = event.inputs
            if len(tensors) != 1 or not event.outputs or tensors[0].value.shape[-1] != state.value.shape[-1]:
                continue
            given, output = tensors[0], event.outputs[0]
            if given.value.numel() != state.value.numel() or output.key == given.key or _reads_more(event):
                continue
            factor = 1.0 if given.key == state.key else factor_of(given, None, state, free=True) if free else None
            if factor is None or (free and given.key == state.key):
                continue
            rest = _search([one for one in events if one.start > event.end], output, target, model)
            if rest is not None:
                scale = [] if factor == 1.0 else [Stage("scale", number=factor)]
                return [*scale, Stage("apply", event.name), *rest]
    return None


def _reads_more(event: Event) -> bool:
    """Whether the call's one tensor came with a name or place other than the first, so that calling it with one is not the same."""
    return event.inputs[0].place.item not in (0, "hidden_states", "input", "hidden_state", "x")


def _ending(state: Seen, target: Seen, model: torch.nn.Module) -> list[Stage] | None:
    """How the last module's output becomes the logits: as it is, scaled, with a vector added, softly capped."""
    if state.value.shape != target.value.shape:
        return None
    if torch.equal(state.value, target.value):
        return []
    difference = target.rows - state.rows
    if bool(((difference - difference[:1]).abs() <= CONSTANT * target.rows.abs().max()).all()):
        for name, vector in (*model.named_buffers(), *model.named_parameters()):
            if vector.numel() == difference.shape[-1] and torch.allclose(vector.reshape(-1).to(difference), difference[0], atol=1e-4):
                return [Stage("add", name)]
    # Small logits are hardly bent by a soft cap: what fits best counts, not what fits first.
    tried = [(mismatch(target.rows, torch.tanh(state.rows / cap) * cap), Stage("cap", number=cap)) for cap in _numbers(model)]
    factor = factor_of(target, None, state, free=True)
    if factor is not None:
        tried.append((mismatch(target.rows, state.rows * factor), Stage("scale", number=factor)))
    error, stage = min(tried, key=lambda one: one[0], default=(float("inf"), Stage("scale")))
    return [stage] if error <= tolerance_of(target) else None


def _numbers(model: torch.nn.Module) -> list[float]:
    """Every positive number of the configuration: a soft cap is one of them."""
    config = getattr(model, "config", None)
    values = config.to_dict().values() if config is not None else ()
    return sorted({float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool) and value > 0})


def final_norm(recording: Recording, layers: list[Layer], before: int) -> Event | None:
    """The normalisation that reads the last state, where there is one; calls from event number `before` on belong to another stream."""
    state = layers[-1].leaving.key
    for event in recording.events[layers[-1].event.end + 1 : before]:
        if is_norm(event.module) and event.leaf and event.inputs and event.inputs[0].key == state:
            return event
    return None
