"""Integrated gradients on the attention weights of a layer, through the identity module that the weights pass.

The path leads from a layer whose attention says nothing (evenly spread, or none at all) to its own weights; the layers before it
stay as they are, and those after it compute with what they get. So the scores of all heads of a layer add up to the target minus
what it is with the weights of this layer replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from captum.attr import IntegratedGradients

from atlas.engine.gradients.completeness import GAP, until_complete
from atlas.engine.gradients.subject import Subject
from atlas.engine.running.context import AttentionSite, Terms, Watcher, current
from atlas.engine.running.recorder import to_numpy
from atlas.errors import UnknownName

Report = Callable[[int, int], None]
"""(layers done, all layers)"""

Place = tuple[str, int]
"""(kind, layer)"""

UNIFORM, NOTHING = "uniform", "zero"
BASELINES = (UNIFORM, NOTHING)
"""What stands for attention that says nothing: evenly spread over the keys a query may see, or no weight at all."""

STEPS, MOST_STEPS = 8, 64
"""Points on the path at first, and at most: captum's quadrature needs few where only one layer changes."""


class LayerScores(NamedTuple):
    """One layer."""

    heads: np.ndarray
    """(head,) what the weights of each head do for the target."""
    value: float
    """The target."""
    without: float
    """The target with the weights of this layer replaced by the baseline."""
    gap: float
    """How far the scores are from adding up to `value` minus `without`, as a share of it."""
    steps: int


class _Weights(Watcher):
    """Keeps the weights of every layer, and which of them a query may have."""

    keep_graph = True

    def __init__(self) -> None:
        self.weights: dict[Place, torch.Tensor] = {}
        self.allowed: dict[Place, torch.Tensor] = {}

    def saw_weights(
        self,
        site: AttentionSite,
        terms: Terms,  # noqa: ARG002 - the signature of Watcher
        heads: slice,  # noqa: ARG002
        scores: torch.Tensor,
        weights: torch.Tensor,
    ) -> None:
        """Keep the weights of a layer."""
        self.weights[site.kind, site.layer] = weights.detach()
        self.allowed[site.kind, site.layer] = scores > torch.finfo(scores.dtype).min


class _Replacing(Watcher):
    """Marks the runs in which the weights of a layer are replaced."""

    keep_graph = True


def weights_integrated(
    subject: Subject,
    baseline: str = UNIFORM,
    layers: Collection[Place] | None = None,
    report: Report | None = None,
    *,
    steps: int = STEPS,
    most_steps: int = MOST_STEPS,
    gap: float = GAP,
) -> dict[Place, LayerScores]:
    """Captum's integrated gradients on the weights of every layer, summed over the cells of each head."""
    if baseline not in BASELINES:
        msg = f"Attention that says nothing is {' or '.join(map(repr, BASELINES))}, not {baseline!r}."
        raise UnknownName(msg)
    limit, kept = subject.rows_at_once(gradients=True), _Weights()
    with subject.held(gradients=False):
        value = float(subject.value(watcher=kept)[0])
    sites = {(site.kind, site.layer): site for uses in subject.model.sites.values() for site in uses}
    wanted = [place for place in kept.weights if layers is None or place in layers]
    found = {}
    for number, place in enumerate(wanted):
        if report is not None:
            report(number, len(wanted))
        own = kept.weights[place]
        away = _evenly(own, kept.allowed[place]) if baseline == UNIFORM else torch.zeros_like(own)
        found[place] = _of_layer(subject, sites[place], own, away, value, limit, (steps, most_steps, gap))
    if report is not None:
        report(len(wanted), len(wanted))
    return found


def _of_layer(
    subject: Subject,
    site: AttentionSite,
    own: torch.Tensor,
    away: torch.Tensor,
    value: float,
    limit: int,
    path: tuple[int, int, float],
) -> LayerScores:
    with subject.held(gradients=False):
        without = float(value_with(subject, site, away)[0])

    def along(count: int, _: int) -> np.ndarray:
        with subject.held(gradients=True):
            scores = IntegratedGradients(lambda rows: value_with(subject, site, rows)).attribute(
                own, baselines=away, n_steps=count, internal_batch_size=min(limit, count)
            )
        return to_numpy(scores[0].detach().double().sum(dim=(1, 2)))

    steps, most_steps, gap = path
    made = until_complete(along, lambda heads: float(heads.sum()), value - without, steps, most_steps, gap)
    return LayerScores(made.found, value, without, made.share, made.steps)


def value_with(subject: Subject, site: AttentionSite, weights: torch.Tensor) -> torch.Tensor:
    """(row,) the target with the weights of one layer, (row, head, query, key), in place of its own; call it inside `held`."""
    mark = _Replacing()
    with _replaced(site.point, mark, weights):
        return subject.value(len(weights), watcher=mark)


@contextmanager
def _replaced(point: torch.nn.Module, mark: Watcher, weights: torch.Tensor) -> Iterator[None]:
    """Give out these weights at an identity module, in the runs of this watcher alone."""

    def after(module: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor | None:  # noqa: ARG001 - a hook's signature
        call = current()
        return weights.to(output.dtype) if call is not None and call.watcher is mark else None

    handle = point.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


def _evenly(weights: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Every row spread over the keys it may have; a row whose sink takes a share, or that has none left, keeps its sum."""
    count = allowed.sum(dim=-1, keepdim=True).clamp_min(1)
    return torch.where(
        allowed, weights.sum(dim=-1, keepdim=True) / count, torch.zeros((), dtype=weights.dtype, device=weights.device)
    )
