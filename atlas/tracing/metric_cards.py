"""What the metric cards need beyond the head table: medians, and the change from layer to layer. Both read every weight."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import TooLarge
from atlas.metrics.depth import jensen_shannon, uniform_pattern
from atlas.metrics.exact import median, uniform_median
from atlas.metrics.plan import RowPlan
from atlas.metrics.selected_metrics import cut_plans
from atlas.tracing.record import Attention
from atlas.tracing.selected_heads import Cutters, prepare

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

ALL_CELLS = 80_000_000
"""Weights that are read for the medians and the change across depth, all heads together: some 2 s in a thread. It covers a model
of the shape of GPT-2-small at 512 tokens twice."""


class WholeMetrics(NamedTuple):
    """Metrics that need every weight of the rows."""

    median: Array
    """(layer, head) median of the visible weights of the informative rows."""
    median_uniform: Array
    """(layer, head) the same of uniform attention."""
    change: Array
    """(layer - 1,) divergence of each layer's mean pattern from that of the layer before it."""
    change_uniform: Array
    """The same of uniform attention: 0 where the two layers have the same masks."""


def cells_of(trace: Trace, kind: str, rows: Collection[int] = ()) -> int:
    """How many weights `whole_metrics` reads."""
    attention = trace.attention_of(kind)
    n_rows = len(set(rows)) or attention.n_queries
    return n_rows * attention.n_keys * len(attention.layers) * attention.n_heads


def check_size(trace: Trace, kind: str, rows: Collection[int] = ()) -> None:
    """Raise `TooLarge` where `whole_metrics` would read too much."""
    size = cells_of(trace, kind, rows)
    if size > ALL_CELLS:
        msg = (
            f"Medians and the change across depth read every weight. These are {size / 1e6:,.0f} million, and at most "
            f"{ALL_CELLS / 1e6:.0f} million are read at once. Select fewer tokens as 'from': both are then of these rows."
        )
        raise TooLarge(msg)


def whole_metrics(
    trace: Trace, kind: str, rows: Collection[int] = (), tell: Callable[[str, float], None] | None = None
) -> WholeMetrics:
    """Medians of all heads and the divergence between successive layers, over some rows (empty: all).

    Parameters
    ----------
    trace, kind
        Whose heads.
    rows
        Positions of the queries that count, those of them that are informative.
    tell
        Called before each layer with what is done and the share that is done.
    """
    attention = trace.attention_of(kind)
    check_size(trace, kind, rows)
    chosen = np.unique(np.fromiter(rows, dtype=np.int64))
    chosen = chosen if len(chosen) else np.arange(attention.n_queries)
    cutters = prepare(trace, kind)
    plans = cut_plans(cutters.layers, chosen)
    n_layers, n_heads = len(attention.layers), attention.n_heads
    medians, evenly = np.empty((n_layers, n_heads)), np.empty((n_layers, n_heads))
    steps, steps_uniform = np.empty(max(n_layers - 1, 0)), np.empty(max(n_layers - 1, 0))
    before: _Layer | None = None
    for layer in range(n_layers):
        if tell is not None:
            tell("Reading every weight", layer / n_layers)
        of_heads = _plans_of_heads(plans[layer], cutters, layer, n_heads, chosen)
        now = _Layer.read(attention, layer, chosen, of_heads, medians[layer])
        known = {id(plan): uniform_median(plan) for plan in {id(plan): plan for plan in of_heads}.values()}
        evenly[layer] = [known[id(plan)] for plan in of_heads]
        if before is not None:
            counted = before.informative | now.informative
            steps[layer - 1] = _mean(jensen_shannon(before.pattern, now.pattern), counted)
            steps_uniform[layer - 1] = _mean(jensen_shannon(before.uniform, now.uniform), counted)
        before = now
    return WholeMetrics(medians, evenly, steps, steps_uniform)


class _Layer(NamedTuple):
    """The mean pattern of a layer's heads, and that of heads which spread evenly."""

    pattern: Array
    uniform: Array
    informative: Array

    @classmethod
    def read(cls, attention: Attention, layer: int, rows: Array, plans: Sequence[RowPlan], medians: Array) -> _Layer:
        """Read every head once; writes the median of each into `medians`."""
        n_heads = len(plans)
        pattern = np.zeros((len(rows), attention.n_keys))
        for head, plan in enumerate(plans):
            weights = attention.block(layer, head, rows)
            medians[head] = median(weights[None], plan)[0]
            pattern += np.nan_to_num(weights)
        shares: dict[int, tuple[RowPlan, int]] = {}
        for plan in plans:
            shares[id(plan)] = plan, shares.get(id(plan), (plan, 0))[1] + 1
        uniform = sum((uniform_pattern(plan) * (count / n_heads) for plan, count in shares.values()), np.zeros_like(pattern))
        return cls(pattern / n_heads, uniform, np.any([plan.informative for plan, _ in shares.values()], axis=0))


def _plans_of_heads(plan: RowPlan, cutters: Cutters, layer: int, n_heads: int, rows: Array) -> list[RowPlan]:
    """The plan of every head of a layer: that of the layer, but for heads that lost edges in the run."""
    cut = cutters.heads
    return [cut[layer, head].cut(rows) if (layer, head) in cut else plan for head in range(n_heads)]


def _mean(values: Array, counted: Array) -> float:
    known = values[counted & ~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
