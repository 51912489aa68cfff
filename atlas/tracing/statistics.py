"""The reductions a pass makes, for weights that are already there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from atlas.metrics.rows import row_statistics
from atlas.tracing.plans import plans_of
from atlas.tracing.record import Attention, Layer

if TYPE_CHECKING:
    import pandas as pd

THUMBNAIL = 64
"""Cells along the side of a head's thumbnail: what a head gets on a Map of 12 x 12 heads on a large screen."""


def statistics_of(attention: Attention, tables: Mapping[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """Row and key statistics of held weights, (layer, head, query) or (layer, head, key)."""
    plans = plans_of(attention.kind, tables)
    found = []
    for layer, about in enumerate(attention.layers):
        weights = np.stack([np.nan_to_num(attention.block(layer, head)) for head in range(attention.n_heads)])
        stats = row_statistics(weights, plans.of(about.mask))
        for head in about.cut_heads:
            # What was knocked out is masked for this head alone, so it has rows of its own that may see nothing.
            for name, values in row_statistics(weights[head : head + 1], plans.of_head(about, head)).items():
                stats[name][head] = values[0]
        found.append(stats)
    return stacked(found)


def stacked(layers: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The statistics of all layers; NaN in a layer that lacks one (a window may be too short to see any repetition)."""
    like = {name: values for stats in layers for name, values in stats.items()}
    return {
        name: np.stack([stats[name] if name in stats else np.full_like(values, np.nan) for stats in layers])
        for name, values in like.items()
    }


def value_norms(attention: Attention, grams: Sequence[np.ndarray | None]) -> dict[str, np.ndarray]:
    """||v_j W_O|| of every head and key: what a unit of attention really moves. `grams`: W_O W_O^T of every head, by layer.

    Through that matrix, since sqrt(v G v^T) takes a width of 64 where v W_O would take one of 768.
    """
    if any(gram is None for gram in grams):
        return {}
    return {"value_norm": np.stack([_layer_norms(layer, gram) for layer, gram in zip(attention.layers, grams, strict=True)])}


def _layer_norms(layer: Layer, gram: np.ndarray | None) -> np.ndarray:
    if layer.value is None or gram is None:
        msg = "The length of what is moved needs values and the output projection."
        raise ValueError(msg)
    value = layer.value[[layer.key_head(head) for head in range(layer.n_heads)]].astype(np.float32, copy=False)
    squared = ((value @ gram.astype(np.float32, copy=False)) * value).sum(axis=-1)
    return np.sqrt(np.maximum(squared, 0))


def thumbnails_of(attention: Attention) -> np.ndarray:
    """(layer, head, row, column) block maxima of the visible weights."""
    return np.stack(
        [
            np.stack([block_maxima(attention.block(layer, head)) for head in range(attention.n_heads)])
            for layer in range(len(attention.layers))
        ]
    )


def block_maxima(weights: np.ndarray) -> np.ndarray:
    """Maxima of the blocks of a (query, key) matrix on a grid of at most THUMBNAIL a side, NaN where nothing is visible."""
    filled = np.where(np.isnan(weights), -np.inf, weights)
    for axis in (0, 1):
        step = -(-filled.shape[axis] // THUMBNAIL)
        filled = np.maximum.reduceat(filled, np.arange(0, filled.shape[axis], step), axis=axis)
    return np.where(np.isinf(filled), np.nan, filled).astype(np.float32)
