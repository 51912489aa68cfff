"""The head table: one row a head, each metric beside its value for uniform attention under the same mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from atlas.metrics.exact import median, uniform_median
from atlas.metrics.keysets import key_sets
from atlas.metrics.pairs import Pairs
from atlas.metrics.plan import RowPlan, visible_cells
from atlas.metrics.rows import row_statistics
from atlas.metrics.shared_keys import KeyFacts, shared_chances

Values = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

ROW_MEANS = ("special", "self", "previous", "next", "distance", "long_range", "induction", "duplicate")
"""Metrics that are the mean of a row statistic over the rows that count for it."""

KEY_SETS = ("balance", "punctuation", "function_words", "content_words", "entities", "first_key")
"""Metrics that are the mass received by a set of keys."""

METRICS = (
    "entropy",
    "entropy_norm",
    "confidence_max",
    "confidence_mean",
    "sparsity",
    "uniformity",
    "median",
    "balance",
    "special",
    "punctuation",
    "self",
    "previous",
    "next",
    "distance",
    "long_range",
    "induction",
    "duplicate",
    "function_words",
    "content_words",
    "entities",
    "first_key",
    "learned_sink",
)
"""The metrics of a head, in the order of the table's columns."""

COUNTED = (*ROW_MEANS, *KEY_SETS)
"""Metrics that speak of targets, which some rows have and others have not: NAME_rows says on how many rows they rest."""

ROUNDING = 1e-14
"""Share of the squared mean weight below which a variance is what is left of two equal sums: uniform attention has none."""

INFORMATIVE_ROWS = "informative_rows"
"""Column: how many rows the other metrics rest on."""


def head_metrics(
    stats: Mapping[str, Any],
    plans: RowPlan | Sequence[RowPlan],
    tokens: pd.DataFrame,
    key_tokens: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Reduce the row statistics of all layers of one kind of attention to a table of heads.

    Parameters
    ----------
    stats
        What `row_statistics` gave, each (layer, head, query) or (layer, head, key).
    plans
        One plan for all layers, or one for each; layers with the same mask may share the object.
    tokens, key_tokens
        Tables of the queries and of the keys (None: the same tokens) with columns token and special, and pos and entity
        where a tagger ran.

    Returns
    -------
    DataFrame
        layer, head, the metrics of `METRICS`, NAME_uniform for each, NAME_rows for those of `COUNTED`, informative_rows for
        the others, and NAME_p for those of `SHARED`. NaN where a metric does not apply or needs an annotation that is not
        there; `median` is NaN here: see `exact.median`.
    """
    keys = tokens if key_tokens is None else key_tokens
    n_layers, n_heads = np.shape(stats["entropy"])[:2]
    per_layer = [plans] * n_layers if isinstance(plans, RowPlan) else list(plans)
    _check_sizes(per_layer, n_layers, tokens, keys)
    sets = key_sets(keys)
    precise = {name: np.asarray(values).astype(np.float64) for name, values in stats.items()}
    # One reference for each distinct mask, however many layers share it.
    masks = {id(plan): _Mask.of(plan, sets) for plan in {id(plan): plan for plan in per_layer}.values()}
    layers, heads = np.indices((n_layers, n_heads)).reshape(2, -1)
    columns: dict[str, Any] = {"layer": layers, "head": heads}
    found = [
        _layer_metrics({name: values[at] for name, values in precise.items()}, masks[id(p)]) for at, p in enumerate(per_layer)
    ]
    columns |= {name: np.concatenate([layer[name] for layer in found]) for name in METRICS}
    for name in (*(f"{metric}_uniform" for metric in METRICS), *(f"{metric}_rows" for metric in COUNTED), INFORMATIVE_ROWS):
        columns[name] = np.repeat([masks[id(plan)].constants[name] for plan in per_layer], n_heads)
    uniform = {name: columns[f"{name}_uniform"] for name in METRICS}
    columns |= shared_chances(precise["received_informative"], [masks[id(plan)].keys for plan in per_layer], columns, uniform)
    return pd.DataFrame(columns)


def metrics_of(
    weights: npt.NDArray[np.floating[Any]],
    tokens: pd.DataFrame,
    key_tokens: pd.DataFrame | None = None,
    *,
    visible: BoolArray | None = None,
    medians: bool = True,
) -> pd.DataFrame:
    """The head table of recorded attention (layer, head, query, key), whose masked cells are NaN or said by `visible`.

    Tokens are told apart by the column id where there is one, else by their text. `key_tokens` means cross-attention.
    """
    mask = visible_cells(weights) if visible is None else visible
    keys = tokens if key_tokens is None else key_tokens
    special = np.asarray(keys["special"], dtype=bool)
    same_axis = key_tokens is None
    causal = mask is not None and same_axis and not np.triu(mask, 1).any()
    ids = pd.factorize(tokens["id"] if "id" in tokens.columns else tokens["token"])[0]
    pairs = Pairs.build(ids, special, causal=causal) if same_axis else None
    plan = RowPlan.build(mask, *weights.shape[-2:], special=special, same_axis=same_axis, pairs=pairs)
    filled = np.nan_to_num(weights, nan=0.0) if mask is None else np.where(mask, weights, np.zeros(1, weights.dtype))
    table = head_metrics(row_statistics(filled, plan), plan, tokens, key_tokens)
    if medians:
        table["median"] = median(filled, plan).reshape(-1)
    return table


@dataclass
class _Mask:
    """What all layers with one mask share."""

    plan: RowPlan
    sets: Mapping[str, BoolArray | None]
    n_rows: Mapping[str, int]
    """For each set of keys, the informative rows that may see at least one of them."""
    keys: KeyFacts
    constants: dict[str, float]
    """NAME_uniform and NAME_rows."""

    @classmethod
    def of(cls, plan: RowPlan, sets: Mapping[str, BoolArray | None]) -> _Mask:
        n_rows = {name: 0 if keys is None else int((plan.informative & plan.seen(keys)).sum()) for name, keys in sets.items()}
        host = plan.to(np.asarray)
        evenly = row_statistics(host.uniform()[None], host)
        mask = cls(plan, sets, n_rows, KeyFacts(plan, {**sets, "special": plan.special}, evenly["received_informative"][0]), {})
        mask.constants |= _uniform_metrics(evenly, mask)
        rows = {name: int(counted.sum()) for name, counted in plan.counted.items()} | n_rows
        mask.constants |= {f"{name}_rows": rows.get(name, 0) for name in COUNTED}
        mask.constants[INFORMATIVE_ROWS] = int(plan.informative.sum())
        return mask


def _layer_metrics(stats: Mapping[str, Values], mask: _Mask) -> dict[str, Values]:
    """All metrics of the heads of one layer; `stats` are (head, query) and (head, key)."""
    plan, n_heads = mask.plan, len(stats["entropy"])
    found = _spread_metrics(stats, plan)
    for name in ROW_MEANS:
        found[name] = _mean(stats[name], plan.counted[name]) if name in stats and name in plan.counted else _unknown(n_heads)
    for name in KEY_SETS:
        found[name] = _received(stats["received_informative"], mask.sets[name], mask.n_rows[name])
    found["median"] = _unknown(n_heads)
    found["learned_sink"] = np.clip(1.0 - _mean(stats["mass"], plan.counted["mass"]), 0.0, None)
    return {name: found[name] for name in METRICS}


def _spread_metrics(stats: Mapping[str, Values], plan: RowPlan) -> dict[str, Values]:
    """How attention is spread over the visible cells, whatever they are."""
    rows = plan.informative
    most = np.log(np.maximum(plan.n_visible, 2))
    n_cells = float(plan.n_visible[rows].sum()) or np.nan
    centre = stats["mass"][:, rows].sum(-1) / n_cells
    variance = stats["square_sum"][:, rows].sum(-1) / n_cells - centre**2
    variance = np.where(variance < ROUNDING * centre**2, 0.0, variance)
    return {
        "entropy": _mean(stats["entropy"], rows),
        "entropy_norm": _mean(stats["entropy"] / most, rows),
        "confidence_max": stats["maximum"][:, rows].max(-1) if rows.any() else _unknown(len(centre)),
        "confidence_mean": _mean(stats["maximum"], rows),
        "sparsity": stats["below_uniform"][:, rows].sum(-1) / n_cells,
        "uniformity": np.sqrt(variance),
    }


def _uniform_metrics(evenly: Mapping[str, Values], mask: _Mask) -> dict[str, float]:
    """NAME_uniform of every metric: the metrics of one head that spreads evenly over what it may see."""
    values = _layer_metrics(evenly, mask)
    values["median"] = np.array([uniform_median(mask.plan)])
    return {f"{name}_uniform": float(values[name][0]) for name in METRICS}


def _received(received: Values, keys: BoolArray | None, n_rows: int) -> Values:
    """Mean mass on a set of keys over the `n_rows` informative rows that may see at least one of them."""
    return received[:, keys].sum(-1) / n_rows if n_rows else _unknown(len(received))


def _mean(values: Values, rows: BoolArray) -> Values:
    """Mean over these rows; rows that are NaN (everything given to a learned sink) do not count."""
    chosen = values[:, rows]
    known = ~np.isnan(chosen)
    total = np.where(known, chosen, 0.0).sum(-1)
    return np.divide(total, known.sum(-1), out=_unknown(len(values)), where=known.any(-1))


def _unknown(n_heads: int) -> Values:
    return np.full(n_heads, np.nan)


def _check_sizes(plans: Sequence[RowPlan], n_layers: int, tokens: pd.DataFrame, keys: pd.DataFrame) -> None:
    if len(plans) != n_layers:
        msg = f"{len(plans)} plans were given for {n_layers} layers; give one for each layer, or one for all."
        raise ValueError(msg)
    for plan in plans:
        if (plan.n_queries, plan.n_keys) != (len(tokens), len(keys)):
            msg = f"A plan is for {plan.n_queries} x {plan.n_keys} tokens, but the tables have {len(tokens)} and {len(keys)}."
            raise ValueError(msg)
