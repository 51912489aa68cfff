"""The strongest edges of some heads for some texts: what an exemplar keeps of a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.engine.running.capture import tables

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.engine.running.encode import Encoded
    from atlas.ids import HeadId
    from atlas.trace import Trace

KEYS = 8
"""Keys kept for every query."""

EDGES = 4096
"""Edges kept of one matrix at most: the eight keys of 512 queries, 48 kB. Of a longer text the strongest are kept."""


class Edges(NamedTuple):
    """Sorted by query, the strongest first."""

    query: np.ndarray
    key: np.ndarray
    weight: np.ndarray


class Seen(NamedTuple):
    """One text."""

    tokens: dict[str, list[str]]
    """By side."""
    edges: list[Edges]
    """Of every head asked for."""


def strongest(model: Model, batch: Sequence[Encoded], heads: Sequence[Sequence[HeadId]]) -> list[Seen]:
    """The strongest edges of the heads that are asked for with each text."""
    traces = model.traced(batch, [None] * len(batch), "weights", ())
    return [
        Seen({side: table["token"].tolist() for side, table in tables(encoded).items()}, [_edges(trace, head) for head in own])
        for trace, encoded, own in zip(traces, batch, heads, strict=True)
    ]


def _edges(trace: Trace, head: HeadId) -> Edges:
    weights = trace.attention_of(head.kind).block(head.layer, head.head)
    return edges_of(np.nan_to_num(np.asarray(weights, dtype=np.float32)))


def edges_of(weights: np.ndarray) -> Edges:
    """The edges kept of a matrix (query, key) with 0 where masked; a weight of 0 is no edge."""
    # A stable order, so that equal weights are taken from the left and two runs give the same edges.
    keys = np.argsort(-weights, axis=1, kind="stable")[:, :KEYS]
    queries = np.repeat(np.arange(len(weights)), keys.shape[1])
    found = np.take_along_axis(weights, keys, axis=1).reshape(-1)
    flat = keys.reshape(-1)
    kept = np.flatnonzero(found > 0)
    if len(kept) > EDGES:
        kept = np.sort(kept[np.argsort(-found[kept], kind="stable")[:EDGES]])
    return Edges(queries[kept].astype(np.int32), flat[kept].astype(np.int32), found[kept])
