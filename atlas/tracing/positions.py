"""How a model knows where a token stands: vectors that are added, rotations of queries and keys, a bias by distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

MODEL_POSITIONS = "model positions"
"""Name of the task that reads how the model of a trace knows positions."""

VECTORS, ROTATION, BIAS = "vectors", "rotation", "bias"
"""What a model knows positions by."""

MOST_POSITIONS = 1_024
"""Position vectors compared: a million cosines, and more rows and columns than a screen has pixels."""

DISTANCES = 256
"""Distances over which rotations are shown: beyond them the fast pairs are finer than a pixel."""

HALVES, NEIGHBOURS = "halves", "neighbours"
"""Which numbers of a head make a pair: i and i + half of those that turn, or 2i and 2i + 1."""


class Rotation(NamedTuple):
    """How queries and keys of one layer turn with their position."""

    angles: Array
    """(pair,) radians by which a pair turns from one position to the next"""
    pairing: str
    """`HALVES` or `NEIGHBOURS`, as a run showed; empty: no run could show that the layer turns so"""
    first: int
    """The first of the numbers of a head that turn; the others keep still."""
    width: int
    """Numbers of a head; 0 where queries are not observed"""
    scaling: float
    """By which queries and keys are multiplied beside being turned."""


class Positions(NamedTuple):
    """What a stream of a model knows positions by."""

    stream: str
    vectors: Array | None
    """(position, width) vectors that are added to the embeddings, from the first token's on; None: none are"""
    n_vectors: int
    """Of how many the table holds; 0: they are those of the text, because no table was found"""
    rotations: tuple[Rotation | None, ...]
    """By layer; None: the layer turns nothing. Empty: no rotation was found in this model."""
    biases: tuple[Array | None, ...]
    """By layer (head, distance): the bias of key − query = −(n − 1) ... n − 1 against that of 0, as a run showed; NaN: hidden.
    Empty: not looked for, because the trace has it or the model knows positions otherwise."""
    notes: tuple[str, ...] = ()


class DistanceBias(NamedTuple):
    """What a layer adds to the scores of its heads by distance alone."""

    distances: Array
    """key − query, of every column"""
    values: Array
    """(head, distance)"""
    shared: bool
    """Whether it is the very bias of layer 0"""


def bias_of(trace: Trace, kind: str, layer: int) -> DistanceBias | None:
    """The bias that a layer added in this run, where it depends on the distance alone; None where it adds none."""
    attention = trace.attention_of(kind)
    here = attention.layers[layer]
    if here.bias is None or here.bias.diagonals is None:
        return None
    distances = np.arange(1 - attention.n_queries, attention.n_keys)
    values = np.broadcast_to(here.bias.diagonals, (attention.n_heads, len(distances)))
    visible = here.mask.visible(attention.n_queries, attention.n_keys)
    seen = np.ones(len(distances), dtype=bool) if visible is None else seen_distances(visible)
    shared = (
        layer > 0 and attention.layers[0].bias is not None and _equal(attention.layers[0].bias.diagonals, here.bias.diagonals)
    )
    return DistanceBias(distances[seen], values[:, seen].astype(np.float32), shared)


def seen_distances(visible: Array) -> Array:
    """Boolean (query + key - 1,): whether some query may look so far."""
    return np.array([visible.diagonal(at).any() for at in range(1 - visible.shape[0], visible.shape[1])])


def _equal(first: Array | None, other: Array) -> bool:
    return first is not None and np.array_equal(first, other)


def turned(angles: Array, n: int = DISTANCES) -> Array:
    """(pair, distance) cosine of the angle between a pair and itself so many positions on."""
    return np.cos(angles.astype(np.float64)[:, None] * np.arange(n)).astype(np.float32)


def by_distance(cosines: Array) -> Array:
    """(distance,) mean of a square plane of cosines along each diagonal, from 0 on."""
    return np.array([np.nanmean(cosines.diagonal(at)) for at in range(len(cosines))])


def is_sinusoidal(vectors: Array) -> bool:
    """Whether vectors are sines and cosines of the position: the squares of a row then add up to half its width."""
    width = vectors.shape[1]
    return bool(np.abs((vectors.astype(np.float64) ** 2).sum(-1) - width / 2).max() < 1e-2 * width)


def without_positions(trace: Trace) -> str:
    """Why nothing is known of positions; empty: something is."""
    if trace.live is not None or any(layer.bias is not None for one in trace.attentions.values() for layer in one.layers):
        return ""
    return "it needs the model, and the model of this trace is not here."
