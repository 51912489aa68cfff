"""The head table of a trace for selected tokens: what the heads do in these rows, and with these columns."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from atlas.errors import UnknownName
from atlas.metrics.selected_metrics import RowCutter, cut_plans, mass_on, needed_keys, selected_metrics
from atlas.tracing.head_table import layer_plans
from atlas.tracing.record import Attention

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

BLOCK_CELLS = 1 << 19
"""Weights recomputed at a time: with their scores and powers in double precision they stay within some 16 MB."""

_CUTTERS: WeakKeyDictionary[Trace, dict[str, list[RowCutter]]] = WeakKeyDictionary()
"""What was worked out of a trace's masks and tokens, for as long as the trace is there: at 2,048 tokens it takes longer than
the answer to a click."""

_LOCK = threading.Lock()


def selected_heads(trace: Trace, kind: str | None = None, queries: Iterable[int] = (), keys: Iterable[int] = ()) -> pd.DataFrame:
    """`trace.heads` of one kind, recomputed for selected rows and columns; with nothing selected, as it is.

    Parameters
    ----------
    trace, kind
        Whose heads; `kind` may be left out where there is only one.
    queries
        Positions that look: every metric is over these rows (those of them that are informative). Empty: all rows.
    keys
        Positions that are looked at: adds `selected`, the mean mass on them over the informative rows (of `queries`) that
        may see at least one of them, with `selected_uniform` and `selected_rows` beside it. Empty: no such columns.
    """
    attention = trace.attention_of(kind)
    rows = _positions(queries, attention.n_queries, "query")
    columns = _positions(keys, attention.n_keys, "key")
    if not len(rows) and not len(columns):
        return _all_rows(trace, attention.kind)
    cutters = prepare(trace, attention.kind)
    if len(rows):
        plans = cut_plans(cutters, rows)
        tokens, key_tokens = (trace.tokens(trace.side(attention.kind, axis)) for axis in ("query", "key"))
        received = _received(attention, cutters, rows, needed_keys(key_tokens, columns))
        table = selected_metrics(attention.stats, plans, rows, received, tokens, key_tokens)
        table.insert(0, "kind", attention.kind)
    else:
        plans = [cutter.plan for cutter in cutters]
        received = attention.stats["received_informative"]
        table = _all_rows(trace, attention.kind)
    return table if not len(columns) else table.join(mass_on(columns, received, plans))


def prepare(trace: Trace, kind: str) -> list[RowCutter]:
    """What every selection of this kind's tokens needs, one a layer; worked out once, so a job can do it before a click does."""
    with _LOCK:
        kinds = _CUTTERS.setdefault(trace, {})
        if kind not in kinds:
            plans = layer_plans(trace.attention_of(kind), trace.token_tables)
            made = {id(plan): RowCutter.of(plan) for plan in {id(plan): plan for plan in plans}.values()}
            kinds[kind] = [made[id(plan)] for plan in plans]
        return kinds[kind]


def _all_rows(trace: Trace, kind: str) -> pd.DataFrame:
    table = trace.heads
    return table[table["kind"] == kind].reset_index(drop=True)


def _received(attention: Attention, cutters: Sequence[RowCutter], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(layer, head, key) mass these columns get from the informative ones of these rows; 0 in the other columns.

    Of most of the rows it is what all rows give less what the others do.
    """
    found = np.zeros((len(attention.layers), attention.n_heads, attention.n_keys))
    for layer, cutter in enumerate(cutters):
        inside = rows[cutter.plan.informative[rows]]
        outside = np.setdiff1d(np.flatnonzero(cutter.plan.informative), inside)
        fewer = inside if len(inside) <= len(outside) else outside
        sums = np.stack([_column_sums(attention, layer, head, fewer, columns) for head in range(attention.n_heads)])
        if fewer is outside:
            total = attention.stats["received_informative"][layer][:, columns].astype(np.float64)
            sums = np.clip(total - sums, 0.0, None)
        found[layer][:, columns] = sums
    return found


def _column_sums(attention: Attention, layer: int, head: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    step = max(1, BLOCK_CELLS // max(len(columns), 1))
    total = np.zeros(len(columns))
    for start in range(0, len(rows), step):
        total += np.nansum(attention.block(layer, head, rows[start : start + step], columns), axis=0, dtype=np.float64)
    return total


def _positions(given: Iterable[int], size: int, what: str) -> np.ndarray:
    """Sorted, each once, and all of them there."""
    chosen = np.unique(np.fromiter((int(position) for position in given), dtype=np.int64))
    wrong = chosen[(chosen < 0) | (chosen >= size)]
    if len(wrong):
        msg = f"There is no {what} {int(wrong[0])}: this kind of attention has {size}, counted from 0."
        raise UnknownName(msg)
    return chosen
