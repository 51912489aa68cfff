"""Attention restricted to selected rows and columns: what the selected tokens do in every head."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from atlas.tracing.statistics import THUMBNAIL

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

OUTSIDE = np.float32(-0.5)
"""Stands for a cell of no selected row or column: below every weight, so that the largest of a block is a selected one."""


def restrict_to(block: Array, rows: slice, columns: slice, queries: Collection[int], keys: Collection[int]) -> Array:
    """A window of weights; outside the selected rows and columns it holds `OUTSIDE`. Nothing selected: all of the window."""
    if not queries and not keys:
        return block
    row = np.isin(np.arange(rows.start, rows.start + block.shape[-2]), list(queries))
    column = np.isin(np.arange(columns.start, columns.start + block.shape[-1]), list(keys))
    return np.where(row[:, None] | column[None, :], block, OUTSIDE)


def restricted_thumbnails(trace: Trace, kind: str, queries: Collection[int], keys: Collection[int]) -> Array:
    """Thumbnails of all heads from the selected rows and columns alone; only these are worked out, however long the text."""
    attention = trace.attention_of(kind)
    if attention.thumbnails is not None and max(attention.n_queries, attention.n_keys) <= THUMBNAIL:
        whole = attention.thumbnails  # of a short text they are the weights
        chosen = restrict_to(whole, slice(0, attention.n_queries), slice(0, attention.n_keys), queries, keys)
        return np.where(np.isnan(chosen), OUTSIDE, chosen)
    row_blocks, column_blocks = blocks(attention.n_queries), blocks(attention.n_keys)
    shape = (len(attention.layers), attention.n_heads, int(row_blocks[-1]) + 1, int(column_blocks[-1]) + 1)
    # NaN, where nothing may be seen, is below OUTSIDE: a block with unselected cells is drawn as unselected, not hatched.
    found = np.full(shape, OUTSIDE, np.float32)
    chosen_rows, chosen_columns = np.array(sorted(queries), dtype=int), np.array(sorted(keys), dtype=int)
    for layer in range(shape[0]):
        for head in range(shape[1]):
            place = found[layer, head]
            if len(chosen_rows):
                _raise(place, row_blocks[chosen_rows], column_blocks, attention.block(layer, head, chosen_rows))
            if len(chosen_columns):
                weights = attention.block(layer, head, slice(None), chosen_columns)
                _raise(place, row_blocks, column_blocks[chosen_columns], weights)
    return found


def blocks(count: int) -> Array:
    """The block of a thumbnail that each of so many tokens falls into."""
    return np.arange(count) // -(-count // THUMBNAIL)


def _raise(place: Array, rows: Array, columns: Array, weights: Array) -> None:
    """Put the largest weight of every block into its place, unless there is a larger one; blocks ascend on both axes."""
    seen = np.where(np.isnan(weights), OUTSIDE, weights)
    for axis, own in enumerate((rows, columns)):
        seen = np.maximum.reduceat(seen, np.flatnonzero(np.diff(own, prepend=-1)), axis=axis)
    where = np.ix_(np.unique(rows), np.unique(columns))
    place[where] = np.maximum(place[where], seen)
