"""The head table of a trace for selected tokens: what the heads do in these rows, and with these columns."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from atlas.errors import UnknownName
from atlas.metrics.selected_metrics import RowCutter, cut_plans, mass_on, needed_keys, selected_metrics
from atlas.tracing.head_table import cut_heads, measured_heads, stats_of_head, with_rows
from atlas.tracing.plans import plans_of
from atlas.tracing.record import Attention

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

BLOCK_CELLS = 1 << 19
"""Weights recomputed at a time: with their scores and powers in double precision they stay within some 16 MB."""

_CUTTERS: WeakKeyDictionary[Trace, dict[str, Cutters]] = WeakKeyDictionary()
"""What was worked out of a trace's masks and tokens, for as long as the trace is there: at 2,048 tokens it takes longer than
the answer to a click."""

_LOCK = threading.Lock()


def selected_heads(trace: Trace, kind: str | None = None, queries: Iterable[int] = (), keys: Iterable[int] = ()) -> pd.DataFrame:
    """`trace.heads` of one kind, recomputed for selected rows and columns; with nothing selected, as it is but for the medians.

    `median` is NaN here: sorting all weights would take longer than everything else, and no view of selected tokens shows it.

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
    if not len(rows):
        table, plans = _all_rows(trace, attention.kind), [cutter.plan for cutter in cutters.layers]
        received = attention.stats["received_informative"]
        selected = with_rows(
            table[["layer", "head"]].join(mass_on(columns, received, plans)),
            {
                (layer, head): mass_on(columns, received[layer : layer + 1, head : head + 1], [cutter.plan])
                for (layer, head), cutter in cutters.heads.items()
            },
        )
        return table.join(selected.drop(columns=["layer", "head"]))
    tables = tuple(trace.tokens(trace.side(attention.kind, axis)) for axis in ("query", "key"))
    parts = [(layer, range(attention.n_heads)) for layer in range(len(attention.layers))]
    table = with_rows(
        _cut(attention, parts, attention.stats, cutters.layers, rows, columns, tables),
        {
            (layer, head): _cut(
                attention, [(layer, [head])], stats_of_head(attention, layer, head), [cutter], rows, columns, tables
            )
            for (layer, head), cutter in cutters.heads.items()
        },
    )
    table.insert(0, "kind", attention.kind)
    return table


class Cutters(NamedTuple):
    """What the plans of a few rows are cut from."""

    layers: list[RowCutter]
    """One a layer."""
    heads: dict[tuple[int, int], RowCutter]
    """(layer, head) -> one for each head that lost edges in the run: its mask is its own."""


def prepare(trace: Trace, kind: str) -> Cutters:
    """What every selection of this kind's tokens needs; worked out once, so a job can do it before a click does."""
    with _LOCK:
        kinds = _CUTTERS.setdefault(trace, {})
        if kind not in kinds:
            attention = trace.attention_of(kind)
            plans = plans_of(kind, trace.token_tables)
            of_layers = [plans.of(layer.mask) for layer in attention.layers]
            of_heads = {(layer, head): plans.of_head(attention.layers[layer], head) for layer, head in cut_heads(attention)}
            different = {id(plan): plan for plan in (*of_layers, *of_heads.values())}
            made = {key: RowCutter.of(plan) for key, plan in different.items()}
            kinds[kind] = Cutters(
                [made[id(plan)] for plan in of_layers], {place: made[id(plan)] for place, plan in of_heads.items()}
            )
        return kinds[kind]


def _all_rows(trace: Trace, kind: str) -> pd.DataFrame:
    table = measured_heads(trace)
    return table[table["kind"] == kind].reset_index(drop=True)


Part = tuple[int, Sequence[int]]
"""A layer, and heads of it."""


def _cut(
    attention: Attention,
    parts: Sequence[Part],
    stats: Mapping[str, np.ndarray],
    cutters: Sequence[RowCutter],
    rows: np.ndarray,
    columns: np.ndarray,
    tables: tuple[pd.DataFrame, ...],
) -> pd.DataFrame:
    """The table of some heads for selected rows, with the mass on selected columns; one part, one cutter a layer of the table."""
    plans = cut_plans(cutters, rows)
    received = _received(attention, parts, stats, cutters, rows, needed_keys(tables[1], columns, len(rows)))
    table = selected_metrics(stats, plans, rows, received, *tables)
    return table if not len(columns) else table.join(mass_on(columns, received, plans))


def _received(
    attention: Attention,
    parts: Sequence[Part],
    stats: Mapping[str, np.ndarray],
    cutters: Sequence[RowCutter],
    rows: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    """(layer, head, key) mass these columns get from the informative ones of these rows; 0 in the other columns.

    Of most of the rows it is what all rows give less what the others do.
    """
    found = np.zeros((len(parts), len(parts[0][1]), attention.n_keys))
    for at, ((layer, heads), cutter) in enumerate(zip(parts, cutters, strict=True)):
        inside = rows[cutter.plan.informative[rows]]
        outside = np.setdiff1d(np.flatnonzero(cutter.plan.informative), inside)
        fewer = inside if len(inside) <= len(outside) else outside
        sums = _column_sums(attention, layer, np.array(heads), fewer, columns)
        if fewer is outside:
            total = stats["received_informative"][at][:, columns].astype(np.float64)
            sums = np.clip(total - sums, 0.0, None)
        found[at][:, columns] = sums
    return found


def _column_sums(attention: Attention, layer: int, heads: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(head, column) sums of the weights of these rows; of a few rows for many heads at once, which is as quick as for one."""
    query = attention.layers[layer].query
    numbers = 1 if query is None else query.shape[-1]
    step = max(1, BLOCK_CELLS // max(len(columns), 1))
    together = max(1, step // max(len(rows), numbers, 1))
    total = np.zeros((len(heads), len(columns)))
    for some in range(0, len(heads), together):
        for start in range(0, len(rows), step):
            weights = attention.blocks(layer, heads[some : some + together], rows[start : start + step], columns)
            total[some : some + together] += np.nansum(weights, axis=1, dtype=np.float64)
    return total


def _positions(given: Iterable[int], size: int, what: str) -> np.ndarray:
    """Sorted, each once, and all of them there."""
    chosen = np.unique(np.fromiter((int(position) for position in given), dtype=np.int64))
    wrong = chosen[(chosen < 0) | (chosen >= size)]
    if len(wrong):
        msg = f"There is no {what} {int(wrong[0])}: this kind of attention has {size}, counted from 0."
        raise UnknownName(msg)
    return chosen
