"""From attention weights to scores of tokens: the formulas of the attention methods, in plain numpy.

Self-attention is (query, key) of one stream. In an encoder-decoder the encoder's and the decoder's self-attention and the
cross-attention between them are separate, and every method here gives scores for the tokens of both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Place = tuple[str, int]
"""(kind, layer)"""


class TwoStreams(NamedTuple):
    """Maps from the positions of the stream that predicts to the tokens of both sides."""

    own: Floats
    """(query, key) to the tokens of its own side."""
    source: Floats | None
    """(query, key) to those of the source, where the predicting stream is a decoder that reads one."""


def rolled_out(own: Sequence[Floats], cross: Sequence[Floats] = (), encoder: Sequence[Floats] = ()) -> TwoStreams:
    """Attention rollout (Abnar & Zuidema 2020) over the mean weights of the layers; each row of both maps together sums to 1.

    A layer mixes half of its attention with half of what it had; a row of attention that sums to less than 1 leaves the rest
    with what it had. Cross-attention does the same: half of it comes from the source as the encoder has mixed it.
    """
    mixed = np.eye(len(own[0]))
    read: Floats | None = None
    mixed_source = rolled_out(encoder).own if encoder else None
    if mixed_source is not None:
        read = np.zeros((len(own[0]), len(mixed_source)))
    for layer, weights in enumerate(own):
        step = half(weights)
        mixed = step @ mixed
        if read is None or mixed_source is None:
            continue
        read = step @ read
        given = cross[layer] / 2
        kept = 1 - given.sum(axis=1, keepdims=True)
        mixed, read = kept * mixed, kept * read + given @ mixed_source
    return TwoStreams(mixed, read)


def half(weights: Floats) -> Floats:
    """What a layer mixes: half of its attention, the rest of each row from the position itself."""
    step = weights / 2
    step[np.diag_indices_from(step)] += 1 - step.sum(axis=1)
    return step


def gradient_rolled_out(own: Sequence[Floats], cross: Sequence[Floats] = (), encoder: Sequence[Floats] = ()) -> TwoStreams:
    """Relevance through the layers (Chefer, Gur & Wolf 2021), from mean positive weight x gradient of each layer.

    R starts as the identity and grows by A R in every layer, A = mean over heads of max(0, weight x gradient). Cross-attention
    adds N(R)ᵀ A N(R of the encoder), N(R) = the identity plus R - I with its rows scaled to 1. The identity, which says only that
    a position is relevant to itself, is taken off at the end.
    """
    relevance = np.eye(len(own[0]))
    read: Floats | None = None
    scaled: Floats | None = None
    if encoder:
        inside = gradient_rolled_out(encoder).own
        scaled = _scaled(inside)
        read = np.zeros((len(own[0]), len(inside)))
    for layer, weights in enumerate(own):
        relevance = relevance + weights @ relevance
        if read is None or scaled is None:
            continue
        read = read + weights @ read
        read = read + _scaled(relevance - np.eye(len(relevance))).T @ cross[layer] @ scaled
    return TwoStreams(relevance - np.eye(len(relevance)), read)


def _scaled(relevance: Floats) -> Floats:
    total = relevance.sum(axis=1, keepdims=True)
    shares = np.divide(relevance, total, out=np.zeros_like(relevance), where=total > 0)
    return shares + np.eye(len(relevance))


def positive(weights: Floats, gradient: Floats) -> Floats:
    """Mean over heads of max(0, weight x gradient), (query, key)."""
    return np.asarray(np.maximum(weights.astype(float) * gradient, 0).mean(axis=0))


def received(weights: Floats, gradient: Floats) -> Floats:
    """Sum over heads and queries of weight x gradient, (key,)."""
    return np.asarray((weights.astype(float) * gradient).sum(axis=(0, 1)))


def mean_weights(blocks: Mapping[int, Floats], n_heads: int) -> Floats:
    """Mean over the heads of a layer; a head that is not among `blocks` counts as zero, because nothing passes through it."""
    total = sum((np.nan_to_num(block).astype(float) for block in blocks.values()), start=np.zeros(()))
    return np.asarray(total / n_heads)
