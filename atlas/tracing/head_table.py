"""The table of heads of a trace: every kind, every metric beside its uniform value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atlas.errors import NotCaptured
from atlas.metrics.exact import median
from atlas.metrics.heads import head_metrics
from atlas.tracing.plans import plan_maker
from atlas.tracing.record import Attention

if TYPE_CHECKING:
    from atlas.metrics.plan import RowPlan
    from atlas.trace import Trace


def head_table(trace: Trace) -> pd.DataFrame:
    """One row a head: kind, layer, head, the metrics, NAME_uniform beside each."""
    parts = []
    for kind in trace.kinds:
        chosen = trace.attention_of(kind)
        tokens = trace.tokens(trace.side(kind, "query"))
        keys = trace.tokens(trace.side(kind, "key")) if kind == "cross" else None
        if not chosen.stats:
            msg = (
                f"This trace holds no statistics of its {kind} attention, so its heads cannot be measured. Trace the text again."
            )
            raise NotCaptured(msg)
        table = head_metrics(chosen.stats, layer_plans(chosen, tokens, keys), tokens, keys)
        table.insert(0, "kind", kind)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def layer_plans(chosen: Attention, tokens: pd.DataFrame, keys: pd.DataFrame | None) -> list[RowPlan]:
    """The plan of every layer; layers with one mask share one plan."""
    make = plan_maker(tokens, keys, causal=chosen.layers[0].mask.causal)
    plans: dict[int, RowPlan] = {}
    for layer in chosen.layers:
        if layer.mask.key not in plans:
            plans[layer.mask.key] = make(layer.mask)
    return [plans[layer.mask.key] for layer in chosen.layers]


def exact_medians(trace: Trace, kind: str) -> np.ndarray:
    """(layer, head) median of the visible weights, from the matrices themselves: costly, so only when asked for."""
    chosen = trace.attention_of(kind)
    tokens = trace.tokens(trace.side(kind, "query"))
    keys = trace.tokens(trace.side(kind, "key")) if kind == "cross" else None
    plans = layer_plans(chosen, tokens, keys)
    found = np.empty((len(chosen.layers), chosen.n_heads))
    for layer, plan in enumerate(plans):
        for head in range(chosen.n_heads):
            weights = np.nan_to_num(chosen.block(layer, head))
            found[layer, head] = median(weights[None], plan)[0]
    return found
