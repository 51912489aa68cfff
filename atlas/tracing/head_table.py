"""The table of heads of a trace: every kind, every metric beside its uniform value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from atlas.errors import NotCaptured
from atlas.metrics.exact import median
from atlas.metrics.heads import head_metrics
from atlas.tracing.plans import plans_of
from atlas.tracing.record import Attention

if TYPE_CHECKING:
    from atlas.metrics.plan import RowPlan
    from atlas.trace import Trace


def head_table(trace: Trace) -> pd.DataFrame:
    """One row a head: kind, layer, head, the metrics, NAME_uniform beside each. Without kept weights `median` is NaN."""
    table = measured_heads(trace).copy()
    for kind in trace.kinds:
        if trace.attention_of(kind).keeps_weights:
            table.loc[table["kind"] == kind, "median"] = trace.medians(kind).to_numpy().reshape(-1)
    return table


def measured_heads(trace: Trace) -> pd.DataFrame:
    """The head table without its medians: what the app works with, which never shows them. Do not write into it."""
    table: pd.DataFrame = trace.once("measured heads", lambda: _measured(trace))
    return table


def _measured(trace: Trace) -> pd.DataFrame:
    tables = {side: trace.tokens(side) for side in trace.token_tables}
    parts = []
    for kind in trace.kinds:
        chosen = trace.attention_of(kind)
        if not chosen.stats:
            msg = f"This trace holds no statistics of its {kind} attention, so no head can be measured. Trace the text again."
            raise NotCaptured(msg)
        tokens, keys = tables[trace.side(kind, "query")], tables[trace.side(kind, "key")]
        plans = plans_of(kind, tables)
        table = head_metrics(chosen.stats, [plans.of(layer.mask) for layer in chosen.layers], tokens, keys)
        table = with_rows(
            table,
            {
                (layer, head): head_metrics(
                    stats_of_head(chosen, layer, head), plans.of_head(chosen.layers[layer], head), tokens, keys
                )
                for layer, head in cut_heads(chosen)
            },
        )
        table.insert(0, "kind", kind)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def layer_plans(chosen: Attention, tables: Mapping[str, pd.DataFrame]) -> list[RowPlan]:
    """The plan of every layer, for the heads that lost no edge in the run."""
    plans = plans_of(chosen.kind, tables)
    return [plans.of(layer.mask) for layer in chosen.layers]


def cut_heads(chosen: Attention) -> list[tuple[int, int]]:
    """(layer, head) of the heads that lost edges in the run: what they may see is theirs alone, so each has a plan."""
    return [(at, head) for at, layer in enumerate(chosen.layers) for head in layer.cut_heads]


def stats_of_head(chosen: Attention, layer: int, head: int) -> dict[str, np.ndarray]:
    """The statistics of one head, as of a model that has no other."""
    return {name: values[layer : layer + 1, head : head + 1] for name, values in chosen.stats.items()}


def with_rows(table: pd.DataFrame, own: Mapping[tuple[int, int], pd.DataFrame]) -> pd.DataFrame:
    """A head table of one kind with the rows of some heads, (layer, head), replaced by tables of one row each."""
    if not own:
        return table
    replaced = table.set_index(["layer", "head"]).index.isin(list(own))
    rows = [row.assign(layer=layer, head=head) for (layer, head), row in own.items()]
    return pd.concat([table[~replaced], *rows]).sort_values(["layer", "head"], ignore_index=True)


def exact_medians(trace: Trace, kind: str | None) -> xr.DataArray:
    """(layer, head) median of the visible weights, from the matrices themselves."""
    chosen = trace.attention_of(kind)
    plans = plans_of(chosen.kind, trace.token_tables)
    found = np.empty((len(chosen.layers), chosen.n_heads))
    for at, layer in enumerate(chosen.layers):
        for head in range(chosen.n_heads):
            found[at, head] = median(chosen.block(at, head)[None], plans.of_head(layer, head))[0]
    return xr.DataArray(found, dims=("layer", "head"), name="median", attrs={"kind": chosen.kind})
