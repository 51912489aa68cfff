"""Compares captured weights with the model's own, and a doubted device with the CPU, once when a model is loaded."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from atlas.engine.anatomy.attention_sites import layers_of
from atlas.engine.loading.probe import outputs_by_kind
from atlas.engine.running.context import AttentionSite, AttentionSites, Call, Terms, Watcher, running
from atlas.errors import UnsupportedModel

if TYPE_CHECKING:
    from atlas.engine.loading.borrow import Attending

TOLERANCES = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
"""Largest allowed difference: 1e-5 in float32, two units in the last place of a weight near 1 in the half precisions."""

DOUBTED = ("mps",)
"""Types of device whose results are compared with the CPU's, because PyTorch's MPS backend has silently given wrong results
(PyTorch issue 174861)."""

DEVICE_TOLERANCES = {torch.float64: 1e-3, torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}
"""How far a device may be from the CPU in float32, as a share of the largest number (of 1 for weights). Sums in another order
differ by 1e-5, and layers multiply that; the results of a wrong kernel differ by far more."""


class _WeightsKeeper(Watcher):
    """Keeps every layer's weights."""

    keep_graph = True

    def __init__(self) -> None:
        self.found: dict[tuple[str, int], torch.Tensor] = {}

    def saw_weights(self, site: AttentionSite, terms: Terms, heads: slice, scores: torch.Tensor, weights: torch.Tensor) -> None:  # noqa: ARG002
        self.found[site.kind, site.layer] = weights.detach()


@dataclass(frozen=True, slots=True)
class Verdict:
    """How much captured weights differ from the model's own."""

    worst: float | None
    """Largest difference; None where the model does not return its own weights."""
    problem: str | None
    """Why the captured weights are not exact; None where they are."""


def compare(
    hf: Any, forward: Any, attending: Attending, sites: AttentionSites, kinds: tuple[str, ...], probe: Mapping[str, torch.Tensor]
) -> Verdict:
    """Run the probe twice, with Atlas' attention and with the model's own eager attention, and compare every weight.

    The caller must hold the model (`Borrowed.held`), because this function switches its attention to eager and back.
    """
    watcher = _WeightsKeeper()
    with torch.no_grad(), running(Call(sites=sites, watcher=watcher)):
        forward(probe)
    attending.plain()
    try:
        with torch.no_grad():
            own = outputs_by_kind(forward(probe, output_attentions=True), kinds)
    finally:
        attending.watch()
    missing = [kind for kind in kinds if kind not in own]
    if missing:
        return Verdict(
            None, f"{type(hf).__name__} does not return its own {' and '.join(missing)} weights, so they could not be compared"
        )
    worst = 0.0
    for kind in kinds:
        sites_of_kind = layers_of(sites, kind)
        if len(own[kind]) != len(sites_of_kind):
            return Verdict(
                None, f"the model has {len(own[kind])} {kind} layers and {len(sites_of_kind)} of them were seen attending"
            )
        for site in sites_of_kind:
            ours, theirs = watcher.found[kind, site.layer], own[kind][site.layer]
            if ours.shape != theirs.shape:
                return Verdict(
                    None, f"{kind} layer {site.layer} has weights of shape {tuple(theirs.shape)}, captured {tuple(ours.shape)}"
                )
            worst = max(worst, float((ours.float() - theirs.float()).abs().max()))
    allowed = TOLERANCES.get(hf.dtype, max(TOLERANCES.values()))
    return Verdict(
        worst,
        None if worst <= allowed else f"captured weights differ from the model's own by {worst:.2g} (allowed: {allowed:.0e})",
    )


def check_against_cpu(hf: Any, sites: AttentionSites, kinds: tuple[str, ...], probe: Mapping[str, torch.Tensor]) -> None:
    """Refuse a model whose attention weights or outputs on a doubted device differ from those of a copy on the CPU.

    The caller must hold the model. The copy takes the memory of the whole model while the check runs.
    """
    if hf.get_input_embeddings().weight.device.type not in DOUBTED:
        return
    twin = copy.deepcopy(hf).to("cpu", torch.float32)
    twin.set_attn_implementation("eager")
    watcher = _WeightsKeeper()
    with torch.no_grad():
        theirs = _run(twin, {name: tensor.cpu() for name, tensor in probe.items()})
        with running(Call(sites=sites, watcher=watcher)):
            ours = _run(hf, probe)
    expected, found = outputs_by_kind(theirs, kinds), outputs_by_kind(ours, kinds)
    worst = 0.0
    for kind, layers in expected.items():
        for layer, weights in enumerate(layers):
            own = watcher.found[kind, layer] if sites else found[kind][layer]
            worst = max(worst, _difference(own, weights, 1.0))
    for name, tensor in theirs.items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
            worst = max(worst, _difference(ours[name], tensor, float(tensor.abs().max())))
    allowed = DEVICE_TOLERANCES.get(hf.dtype, max(DEVICE_TOLERANCES.values()))
    if worst > allowed:
        place = hf.get_input_embeddings().weight.device
        msg = (
            f"On {place} this model gives other results than on the CPU: the largest difference is {worst:.2g} of the "
            f"largest number, and {allowed:.0e} is allowed. Load it with device='cpu', or with a newer PyTorch."
        )
        raise UnsupportedModel(msg)


def _difference(ours: torch.Tensor, theirs: torch.Tensor, scale: float) -> float:
    """Largest difference as a share of `scale`; infinite where the two are not finite in the same cells."""
    ours = ours.detach().float().cpu()
    if not torch.equal(ours.isfinite(), theirs.isfinite()):
        return float("inf")
    difference = (ours - theirs)[theirs.isfinite()].abs()
    return float(difference.max()) / max(scale, torch.finfo(torch.float32).tiny) if difference.numel() else 0.0


def _run(hf: Any, inputs: Mapping[str, torch.Tensor]) -> Any:
    accepted = inspect.signature(hf.forward).parameters
    options = {"use_cache": False} if "use_cache" in accepted else {}
    return hf(**{name: tensor for name, tensor in inputs.items() if name in accepted}, output_attentions=True, **options)
