"""Attention weights of a run with their gradients, and the positions from which a prediction is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from atlas.engine.gradients.subject import Subject
from atlas.engine.running.context import AttentionSite, Terms, Watcher
from atlas.engine.running.recorder import to_numpy
from atlas.tracing.predictions import WHOLE_TEXT


class Weighted(NamedTuple):
    """The weights of one layer, and the gradient of the target with respect to them."""

    weights: np.ndarray
    """(head, query, key); 0 where masked"""
    gradient: np.ndarray
    """(head, query, key); 0 where masked, and for a head whose output is replaced"""


class _Kept(Watcher):
    """Keeps the weights of every layer with their graph."""

    keep_graph = True

    def __init__(self) -> None:
        self.weights: dict[tuple[str, int], torch.Tensor] = {}

    def saw_weights(
        self,
        site: AttentionSite,
        terms: Terms,  # noqa: ARG002 - the signature of Watcher
        heads: slice,  # noqa: ARG002
        scores: torch.Tensor,  # noqa: ARG002
        weights: torch.Tensor,
    ) -> None:
        """Keep the weights of a layer."""
        self.weights[site.kind, site.layer] = weights


def weighted(subject: Subject) -> Mapping[tuple[str, int], Weighted]:
    """The weights of every layer with the gradient of the target: one forward and one backward pass."""
    return {
        place: Weighted(to_numpy(weights.float()), to_numpy(gradient.float()))
        for place, (weights, gradient) in _with_gradients(subject).items()
    }


def head_gradients(subject: Subject, of: Sequence[str] = ()) -> dict[str, dict[tuple[str, int], np.ndarray]]:
    """For each measure the (head,) sum of every layer's weights times the gradient of the target with respect to them.

    A head puts out its weights times its values, so this sum is the derivative of the target by a factor on the whole output of
    the head, at 1: to the first order, the target minus what it is without the head. One forward pass, and a backward pass for
    each measure; by default for the target's own.
    """
    measures = tuple(of) or (subject.target.of,)
    found = _with_gradients(subject, measures)
    sums: dict[str, dict[tuple[str, int], np.ndarray]] = {measure: {} for measure in measures}
    for place, (weights, *gradients) in found.items():
        for measure, gradient in zip(measures, gradients, strict=True):
            sums[measure][place] = to_numpy((weights.double() * gradient.double()).sum(dim=(1, 2)))
    return sums


def _with_gradients(subject: Subject, of: Sequence[str | None] = (None,)) -> dict[tuple[str, int], list[torch.Tensor]]:
    """(head, query, key) weights of every layer, and the gradient of each measure of the target with respect to them."""
    subject.graph_bytes()
    vectors = {side: values.requires_grad_() for side, values in subject.vectors().items()}
    kept = _Kept()
    with subject.held(gradients=True):
        logits = subject.logits(vectors=vectors, watcher=kept)
        places, weights = list(kept.weights), list(kept.weights.values())
        found = {place: [each[0].detach()] for place, each in kept.weights.items()}
        for at, measure in enumerate(of):
            value = subject.measured(logits, measure).sum()
            gradients = torch.autograd.grad(value, weights, materialize_grads=True, retain_graph=at + 1 < len(of))
            for place, gradient in zip(places, gradients, strict=True):
                found[place].append(gradient[0])
    return found


def rows_read(subject: Subject, found: Mapping[tuple[str, int], Weighted] | None = None) -> np.ndarray:
    """(query,) the share of the target that is read from each position of the last layer; sums to 1.

    All of it is the position of the target, except for a classifier of texts: which positions it reads (the first, the last, or
    all of them) shows in the gradient of its last layer's weights, whose row i acts on position i alone.
    """
    kind = subject.model.kinds[0] if len(subject.model.kinds) == 1 else "decoder"
    size = subject.sides["target" if kind == "decoder" and "target" in subject.sides else "source"]
    shares = np.zeros(size)
    if subject.target.position != WHOLE_TEXT:
        shares[subject.target.position] = 1.0
        return shares
    layers = weighted(subject) if found is None else found
    gradient = layers[kind, max(layer for at, layer in layers if at == kind)].gradient
    mass = np.abs(gradient).sum(axis=(0, 2))
    if not mass.sum():  # all heads of the last layer are switched off, so no gradient passes through its weights
        shares[:] = 1 / size
        return shares
    return np.asarray(mass / mass.sum())
