"""The logit lens: finds the model's own path from its last state to the logits, and applies it to any state of the stream."""

from __future__ import annotations

from typing import Any

import torch

from atlas.engine.anatomy.arithmetic import factor_of, mismatch, tolerance_of
from atlas.engine.anatomy.endings import as_rows, find_ending, finished, logits_of
from atlas.engine.anatomy.layers import Layer
from atlas.engine.anatomy.probe_recording import Event, Recording, Seen, is_norm
from atlas.engine.anatomy.records import Anatomy, Stage
from atlas.engine.running.context import Call, running
from atlas.errors import NotCaptured


def find_unembedding(recording: Recording, layers: list[Layer], anatomy: Anatomy, model: torch.nn.Module) -> str | None:
    """Fill in `anatomy.unembedding`; returns the reason if there is none, else None."""
    logits = logits_of(recording.output)
    last = layers[-1].leaving
    if logits is None:
        return "this model was loaded without a head that turns states into predictions"
    if logits.dim() != last.value.dim() or logits.shape[:2] != last.value.shape[:2]:
        one_number = logits.shape == last.value.shape[:2]
        what = "one number for every position" if one_number else "one answer for the whole input"
        return f"this model's head gives {what}, not one for every outcome at every position"
    events = [event for event in recording.events if event.start > layers[-1].event.end]
    chain = _search(events, last, tuple(logits.shape))
    if chain is None:
        return "no chain of modules leads from the last state of the stream to the logits"
    ending, error = find_ending(model, recording, chain, logits)
    if ending is not None:
        anatomy.unembedding = (*chain, *ending)
        with torch.no_grad():
            error = mismatch(as_rows(logits), as_rows(unembed(model, anatomy, last.value)))
        if error <= tolerance_of(last):
            anatomy.errors[layers[-1].kind, "logits"] = error
            return None
        anatomy.unembedding = ()
    return f"the logits made from the last state differ from the model's own by {error:.1e} of their size"


def unembed(hf: torch.nn.Module, anatomy: Anatomy, hidden: torch.Tensor) -> torch.Tensor:
    """Logits of a state of the stream, (..., width) -> (..., vocabulary), computed as the model does from its last state."""
    if not anatomy.unembedding:
        msg = f"No logit lens for this model: {anatomy.missing.get(('', 'unembed'), 'it was not looked for')}."
        raise NotCaptured(msg)
    with running(Call(sites={})):  # a call of its own, so that the taps of a pass in progress do not record the lens
        for stage in anatomy.unembedding:
            hidden = _applied(hf, stage, hidden)
    return hidden


def _applied(hf: torch.nn.Module, stage: Stage, hidden: torch.Tensor) -> torch.Tensor:
    if stage.what == "apply":
        output: Any = hf.get_submodule(stage.module)(hidden)
        return output if isinstance(output, torch.Tensor) else output[0]
    return finished(hf, stage, hidden)


def _search(events: list[Event], state: Seen, shape: tuple[int, ...]) -> list[Stage] | None:
    """Depth-first search for modules that read only the state (perhaps scaled), the outermost first, until one gives logits."""
    for free in (False, True):
        for event in events:
            factor = _reads(event, state, free=free)
            if factor is None:
                continue
            output = event.outputs[0]
            later = [one for one in events if one.start > event.end]
            rest = _search(later, output, shape)
            if rest is None and tuple(output.value.shape) == shape:
                rest = []
            if rest is not None:
                scale = [] if factor == 1.0 else [Stage("scale", number=factor)]
                return [*scale, Stage("apply", event.name), *rest]
    return None


def _reads(event: Event, state: Seen, *, free: bool) -> float | None:
    """The number by which the state is multiplied before this call reads it; None where the call does not read it."""
    if len(event.inputs) != 1 or not event.outputs or _reads_more(event):
        return None
    argument = event.inputs[0]
    if argument.value.shape[-1] != state.value.shape[-1] or argument.value.numel() != state.value.numel():
        return None
    if event.outputs[0].key == argument.key or (argument.key == state.key) == free:
        return None
    return factor_of(argument, None, state, free=True) if free else 1.0


def _reads_more(event: Event) -> bool:
    """Whether the call's one tensor is not its first argument, so that calling the module with it alone would be wrong."""
    return event.inputs[0].place.item not in (0, "hidden_states", "input", "hidden_state", "x")


def final_norm(recording: Recording, layers: list[Layer], before: int) -> Event | None:
    """The norm that reads the last state, if any; calls from number `before` on belong to another stream."""
    state = layers[-1].leaving.key
    for event in recording.events[layers[-1].event.end + 1 : before]:
        if is_norm(event.module) and event.leaf and event.inputs and event.inputs[0].key == state:
            return event
    return None
