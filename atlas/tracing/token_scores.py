"""Attention as a number per token: what each received or sent, under a selection of heads and tokens."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.tracing.record import Attention
from atlas.tracing.windows import combined, one_kind

if TYPE_CHECKING:
    from atlas.ids import HeadId
    from atlas.trace import Trace

Array = np.ndarray

PAINTED_CELLS = 150_000_000
"""Weights looked at for one painting, all heads together: a hundred tokens of 4,096 in 144 heads are 60 million, two seconds."""


def received(trace: Trace, heads: Sequence[HeadId], queries: Collection[int] = (), *, aggregate: str = "mean") -> Array:
    """(key,): mean weight a key gets from the selected queries that may see it (none selected: from all), over the heads.

    NaN where no selected query may look. A mean over the rows that can see a key, not a sum: in a causal text the first token is
    seen by everybody and the last by itself alone, so sums would paint the mask.
    """
    attention = trace.attention_of(one_kind(heads))
    rows = np.array(sorted(queries), dtype=np.int64)
    _check(min(len(rows), attention.n_queries - len(rows)) * attention.n_keys * len(heads))
    return combined((_mean_to_keys(attention, head, rows)[None] for head in heads), aggregate)[0]


def sent(trace: Trace, heads: Sequence[HeadId], keys: Collection[int] = (), *, aggregate: str = "mean") -> Array:
    """(query,): how much each query gives to the selected keys together, over the heads.

    Without selected keys every query gives 1 in all, which says nothing: then it is how sure the query is, its largest weight.
    """
    attention = trace.attention_of(one_kind(heads))
    columns = np.array(sorted(keys), dtype=np.int64)
    _check(len(columns) * attention.n_queries * len(heads))
    return combined((_given(attention, head, columns)[None] for head in heads), aggregate)[0]


def _mean_to_keys(attention: Attention, head: HeadId, rows: Array) -> Array:
    chosen = rows if len(rows) else np.arange(attention.n_queries)
    others = np.setdiff1d(np.arange(attention.n_queries), chosen)
    if len(others) < len(chosen):
        # What most of the rows give is what all give less what the others do.
        total = _kept(attention, "received")[head.layer, head.head]
        if len(others):  # no row of 144 heads took 0.4 s at 4,096 tokens
            total = np.clip(total - np.nansum(attention.block(head.layer, head.head, others), axis=0), 0, None)
    else:
        total = np.nansum(attention.block(head.layer, head.head, chosen), axis=0)
    seen = _seen(attention, head, chosen)
    return np.where(seen > 0, total / np.maximum(seen, 1), np.nan).astype(np.float32)


def _seen(attention: Attention, head: HeadId, rows: Array) -> Array:
    """(key,): how many of some rows, given in order, may look at each key."""
    layer = attention.layers[head.layer]
    mask = layer.mask
    if mask.cells is None and mask.causal and not len(layer.cut(head.head)):
        # By counting, not by a matrix of the whole text for every head.
        return len(rows) - np.searchsorted(rows, np.arange(attention.n_keys))
    visible = layer.visible(head.head, attention.n_queries, attention.n_keys, rows)
    return np.full(attention.n_keys, len(rows)) if visible is None else visible.sum(axis=0)


def _given(attention: Attention, head: HeadId, columns: Array) -> Array:
    if not len(columns):
        return np.asarray(_kept(attention, "maximum")[head.layer, head.head], dtype=np.float32)
    block = attention.block(head.layer, head.head, slice(None), columns)
    seen = ~np.isnan(block)
    return np.where(seen.any(axis=1), np.nansum(block, axis=1), np.nan).astype(np.float32)


def _kept(attention: Attention, name: str) -> Array:
    """A statistic of the run, (layer, head, token)."""
    found = attention.stats.get(name)
    if found is None:
        msg = f"This trace holds no statistics of its {attention.kind} attention. Trace the text again, or select some tokens."
        raise NotCaptured(msg)
    return found


def _check(cells: int) -> None:
    if cells > PAINTED_CELLS:
        msg = (
            f"That takes {cells / 1e6:,.0f} million weights, more than {PAINTED_CELLS / 1e6:,.0f} million. "
            "Select fewer tokens or fewer heads."
        )
        raise TooLarge(msg)


def sinks(trace: Trace, kind: str) -> Array:
    """(key,) True at the tokens that attention is parked on: special ones and, in a causal model, the first."""
    attention = trace.attention_of(kind)
    marks = trace.reading(trace.side(kind, "key")).table["special"].to_numpy(dtype=bool, copy=True)
    if kind == "decoder" and len(marks):
        marks[0] = True
    if len(marks) != attention.n_keys:
        msg = f"There are {len(marks)} key tokens for {attention.n_keys} keys."
        raise UnknownName(msg)
    return marks
