"""Finds what a model does to its logits after its last module: nothing, a factor, an added vector, or a soft cap.

Small logits hardly change under a soft cap or a factor near 1. So a second pass enlarges the last module's output, and the
operation that explains both passes is the right one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from atlas.engine.anatomy.arithmetic import ROUNDINGS, TOLERANCE, mismatch
from atlas.engine.anatomy.probe_recording import Recording, evaluating, passed, unrecorded
from atlas.engine.anatomy.records import Stage
from atlas.engine.running.context import Call, current, running

LOUD = 100.0
"""The largest output of the last module in the second pass: above every soft cap in use (30 and 50), and within float16."""

CLOSE = 1e-2
"""A vector of the model is tried as the added vector if it differs from the difference of the logits by at most this share of
its largest number."""

LOGITS = ("logits", "prediction_logits")
"""Names of the logits in a model's outputs; the second is that of BERT's pretraining head."""

Pair = tuple[torch.Tensor, torch.Tensor]
"""The last module's output and the model's logits, as rows."""


def as_rows(values: torch.Tensor) -> torch.Tensor:
    """(row, width), in float32 or better."""
    return values.reshape(-1, values.shape[-1]).to(torch.promote_types(values.dtype, torch.float32))


def logits_of(output: Any) -> torch.Tensor | None:
    """The logits among a model's outputs."""
    return next((found for name in LOGITS if isinstance(found := getattr(output, name, None), torch.Tensor)), None)


def finished(model: torch.nn.Module, stage: Stage, values: torch.Tensor) -> torch.Tensor:
    """Apply a stage that has no module of its own."""
    if stage.what == "scale":
        return values * stage.number
    if stage.what == "cap":
        return torch.tanh(values / stage.number) * stage.number
    holder, _, name = stage.module.rpartition(".")
    vector = getattr(model.get_submodule(holder), name)
    return values + vector.reshape(-1).to(values)


def find_ending(
    model: torch.nn.Module, recording: Recording, chain: list[Stage], logits: torch.Tensor
) -> tuple[list[Stage] | None, float]:
    """The stages after the last module of `chain`, and the error they leave; None where nothing explains the logits."""
    last = chain[-1].module
    pairs = [_passed(model, recording, last, None), _passed(model, recording, last, LOUD)]
    tried = [(_error(model, ending, pairs), ending) for ending in _guesses(model, pairs)]
    error, ending = min(tried, key=lambda one: one[0])
    allowed = max(TOLERANCE, ROUNDINGS * torch.finfo(logits.dtype).eps)
    return (ending if error <= allowed else None), error


def _error(model: torch.nn.Module, ending: list[Stage], pairs: list[Pair]) -> float:
    worst = 0.0
    with torch.no_grad():
        for before, wanted in pairs:
            values = before
            for stage in ending:
                values = finished(model, stage, values)
            worst = max(worst, mismatch(wanted, values))
    return worst


def _guesses(model: torch.nn.Module, pairs: list[Pair]) -> Iterator[list[Stage]]:
    """Possible endings, the likeliest first, because the first of two that fit equally well is used."""
    before, wanted = pairs[1]
    yield []
    yield [Stage("scale", number=float((wanted.double() * before.double()).sum() / before.double().square().sum()))]
    added = (pairs[0][1] - pairs[0][0]).mean(dim=0)
    for name, vector in (*model.named_buffers(), *model.named_parameters()):
        if bool(added.any()) and vector.numel() == added.numel() and vector.is_floating_point():
            apart = (vector.detach().reshape(-1).to(added) - added).abs().amax()
            if apart <= CLOSE * added.abs().amax():
                yield [Stage("add", name)]
    for number in _numbers(model):
        yield [Stage("cap", number=number)]


def _passed(model: torch.nn.Module, recording: Recording, last: str, largest: float | None) -> Pair:
    """Run the probe with a module's output scaled to the maximum `largest` (None: not scaled); that output and the logits."""
    seen: list[torch.Tensor] = []
    call = Call(sites={})

    def louder(module: torch.nn.Module, args: Any, output: Any) -> Any:  # noqa: ARG001 - torch's signature
        if current() is not call:
            return None
        values = output if isinstance(output, torch.Tensor) else output[0]
        loud = values if largest is None else values * (largest / values.abs().amax().clamp_min(torch.finfo(values.dtype).tiny))
        seen.append(loud.detach().clone())
        return loud if isinstance(output, torch.Tensor) else (loud, *output[1:])

    handle = model.get_submodule(last).register_forward_hook(louder)
    try:
        with evaluating(model), unrecorded(), running(call):
            logits = logits_of(passed(model, recording.probe))
    finally:
        handle.remove()
    assert logits is not None
    return as_rows(seen[-1]), as_rows(logits)


def _numbers(model: torch.nn.Module) -> list[float]:
    """Every positive number of the configuration, because a soft cap is one of them."""
    config = getattr(model, "config", None)
    values = config.to_dict().values() if config is not None else ()
    return sorted(
        {float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool) and value > 0}
    )
