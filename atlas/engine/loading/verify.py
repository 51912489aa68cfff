"""Holds, once at load, the weights we capture against the weights the model itself computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from atlas.engine.anatomy.attention_sites import layers_of
from atlas.engine.loading.probe import outputs_by_kind
from atlas.engine.running.context import AttentionSite, AttentionSites, Call, Terms, Watcher, running

if TYPE_CHECKING:
    from atlas.engine.loading.borrow import Attending

TOLERANCES = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
"""What "equal" means in each precision: 1e-5 in float32, two units in the last place of a weight near 1 in the halves."""


class _Weights(Watcher):
    """Keeps every layer's weights."""

    keep_graph = True

    def __init__(self) -> None:
        self.found: dict[tuple[str, int], torch.Tensor] = {}

    def saw_weights(self, site: AttentionSite, terms: Terms, heads: slice, scores: torch.Tensor, weights: torch.Tensor) -> None:  # noqa: ARG002
        self.found[site.kind, site.layer] = weights.detach()


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far captured weights are from the model's own."""

    worst: float | None
    """Largest difference; None where the model would not say what its own weights are."""
    problem: str | None
    """Why the captured weights cannot be trusted; None where they can."""


def compare(
    hf: Any, forward: Any, attending: Attending, sites: AttentionSites, kinds: tuple[str, ...], probe: Mapping[str, torch.Tensor]
) -> Verdict:
    """Run the probe twice, watched and with the model's own eager attention, and compare every weight.

    The caller holds the model (`Borrowed.held`): the attention implementation is switched to eager and back here.
    """
    watcher = _Weights()
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
