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
    """One row a head: kind, layer, head, the metrics, NAME_uniform beside each."""
    tables = {side: trace.tokens(side) for side in trace.token_tables}
    parts = []
    for kind in trace.kinds:
        chosen = trace.attention_of(kind)
        if not chosen.stats:
            msg = f"This trace holds no statistics of its {kind} attention, so no head can be measured. Trace the text again."
            raise NotCaptured(msg)
        tokens, keys = tables[trace.side(kind, "query")], tables[trace.side(kind, "key")]
        table = head_metrics(chosen.stats, layer_plans(chosen, tables), tokens, keys)
        table.insert(0, "kind", kind)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def layer_plans(chosen: Attention, tables: Mapping[str, pd.DataFrame]) -> list[RowPlan]:
    """The plan of every layer."""
    plans = plans_of(chosen.kind, tables)
    return [plans.of(layer.mask) for layer in chosen.layers]


def exact_medians(trace: Trace, kind: str | None) -> xr.DataArray:
    """(layer, head) median of the visible weights, from the matrices themselves: costly, so only when asked for."""
    chosen = trace.attention_of(kind)
    plans = layer_plans(chosen, trace.token_tables)
    found = np.empty((len(chosen.layers), chosen.n_heads))
    for layer, plan in enumerate(plans):
        for head in range(chosen.n_heads):
            weights = np.nan_to_num(chosen.block(layer, head))
            found[layer, head] = median(weights[None], plan)[0]
    return xr.DataArray(found, dims=("layer", "head"), name="median", attrs={"kind": chosen.kind})
