"""Which earlier writers a head reads through its queries, keys and values on a text: the shares of each path that they wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured
from atlas.tracing.writers import Norms

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace
    from atlas.tracing.record import Attention

Array = np.ndarray

COMPOSITION = "composition"
"""The name of the task."""

PATHS = ("q", "k", "v")
"""Through its queries, its keys, its values."""

COMPOSITION_PRODUCTS = 4_000_000_000
"""Products of tokens x width x heads of all layers below: 2,048 tokens of a GPT-2 have 0.2 thousand million."""


class Reader(NamedTuple):
    """A number that is linear in the states which a block reads: Σ over tokens of vectors · state + constant."""

    stream: str
    states: Array
    """(token, width): what the block reads."""
    vectors: Array
    """(token, width)"""
    constant: Array
    """(token,)"""


class Readers(NamedTuple):
    """The readers of one head."""

    paths: Mapping[str, Reader]
    norms: Norms
    norms_inside: bool
    """Whether queries and keys are normalised before their product (Qwen3): these norms are held too."""


@dataclass(frozen=True)
class Composition:
    """Who wrote what a head reads on a text."""

    kind: str
    layer: int
    head: int
    table: pd.DataFrame
    """path ('q', 'k', 'v'), writer, share; the shares of a path sum to 1, and a share may be negative."""
    chance: Mapping[str, float]
    """Path -> the mean size of the share of an earlier head: what a head drawn at random has."""
    approximate: str = ""
    """What is held or left out; empty: nothing."""
    notes: tuple[str, ...] = ()
    """What could not be taken apart further, or of which a path says nothing."""


class Weights(NamedTuple):
    """What the shares of a head are measured along, divided by what the parts of a path add up to."""

    on_scores: Array
    """(query, key): the scaled scores, each row less its mean over the keys it may see; 0 outside the selection."""
    on_values: Array
    """(key, value width): Σ over queries of weight · what the head reads there."""
    score_size: float
    value_size: float
    """1, or 0 where nothing is read: squared scores, and squared lengths of what the head reads, are one unit.

    A weight may be 1e-35, and of its square the float32 of a model knows nothing.
    """


def weights_of(attention: Attention, layer: int, head: int, queries: Array, keys: Array) -> Weights:
    """Measure a head at some queries and keys: what varies in its scores along a row, and what it reads."""
    here, size = attention.layers[layer], (attention.n_queries, attention.n_keys)
    if here.scaling is None or here.value is None:
        msg = "This trace holds no queries, keys and values, so what its heads read is not known."
        raise NotCaptured(msg)
    on_scores = np.zeros(size)
    visible = here.visible(head, *size, queries)
    seen = np.ones((len(queries), size[1]), dtype=bool) if visible is None else np.broadcast_to(visible, (len(queries), size[1]))
    scores = attention.score_steps(layer, head, queries)["dot"].astype(np.float64) * here.scaling
    chosen = np.zeros(size[1], dtype=bool)
    chosen[keys] = True
    varying = _centred(scores, seen)
    on_scores[queries] = _centred(np.where(chosen, varying, 0.0), seen)
    weights = np.nan_to_num(attention.block(layer, head, queries)).astype(np.float64) * chosen
    read = weights @ here.value[here.key_head(head)].astype(np.float64)
    score_size, value_size = float((varying[:, chosen] ** 2).sum()), float((read**2).sum())
    on_scores, on_values = on_scores / (score_size or 1.0), weights.T @ read / (value_size or 1.0)
    return Weights(on_scores, on_values, float(score_size > 0), float(value_size > 0))


def _centred(values: Array, seen: Array) -> Array:
    """Each row less its mean over what it may see; 0 elsewhere."""
    counts = np.maximum(seen.sum(1, keepdims=True), 1)
    values = np.where(seen, values, 0.0)
    return np.where(seen, values - values.sum(1, keepdims=True) / counts, 0.0)


def without_composition(trace: Trace) -> str:
    """Why no head has earlier ones to read, beside what `without_parts` says; empty: some head has."""
    layers = max(trace.n_layers(kind) for kind in trace.kinds)
    return "" if layers > 1 or "cross" in trace.kinds else "it has one layer, so no head has an earlier one to read."
