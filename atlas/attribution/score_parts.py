"""Why a head looks where it does: the score of one edge as a sum over pairs of writers, one of its query and one of its key.

q and k are linear in what was written into the stream before, as long as every norm on the way divides by what it divided by in
this run. So q · k is a sum over pairs, and it is exact: the parts add up to the score that the model computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from atlas.errors import NotCaptured, UnknownName
from atlas.numbers import three
from atlas.tracing.why import POSITION_BIAS, ROW_PRODUCTS, WHY, EdgeMap, Why, without_parts, writers_of
from atlas.tracing.writers import BIASES, allowed_error

if TYPE_CHECKING:
    from atlas.trace import Trace
    from atlas.tracing.record import Attention

Array = np.ndarray


class Edge(NamedTuple):
    """One edge of one head, checked."""

    attention: Attention
    layer: int
    head: int
    query: int
    key: int


def why(trace: Trace, layer: int, head: int, query: int, key: int, kind: str | None = None) -> Why:
    """Take the score of one edge of one head apart by who wrote its query and its key.

    The writers are the embeddings of token, position and segment, every head and every feed-forward block (with the biases
    inside it) before the layer, and `biases`: those of projections and the offsets of norms. Norms are held at the sizes they
    divided by in this run. The trace needs its model, which runs once more.
    """
    edge = _checked(trace, layer, head, query, key, kind)
    reason = without_parts(trace, edge.attention.kind)
    if reason:
        msg = f"This trace cannot say who wrote queries and keys: {reason}"
        raise NotCaptured(msg)
    from atlas.engine.running.edge_map import edge_map

    name = edge.attention.kind
    maps = edge_map(trace, name, layer, head, query, key)
    here = edge.attention.layers[layer]
    assert here.scaling is not None  # `without_parts` has looked
    (q_names, q_parts, q_coarse), (k_names, k_parts, k_coarse) = _sides(trace, edge, maps)
    parts = q_parts @ k_parts.T * here.scaling
    steps = edge.attention.score_steps(layer, head, np.array([query]), np.array([key]))
    scaled = float(steps["dot"][0, 0]) * here.scaling
    size = float(np.linalg.norm(q_parts.sum(0)) * np.linalg.norm(k_parts.sum(0)) * here.scaling)
    if abs(parts.sum() - scaled) > allowed_error(trace) * max(size, abs(scaled)):
        msg = f"The parts add up to {parts.sum():.4g} and the score is {scaled:.4g}: the stream was not followed to its writers."
        raise NotCaptured(msg)
    added = 0.0 if here.bias is None else float(here.bias.block(*_shape(edge), head, np.array([query]), np.array([key]))[0, 0])
    table = _pairs(q_names, k_names, parts)
    q, k = _margin(q_names, parts.sum(1)), _margin(k_names, parts.sum(0))
    weight, q["weight_without"], k["weight_without"] = _weights_without(trace, edge, maps, q_parts, k_names)
    if here.bias is not None:
        table = pd.concat([table, _pairs([POSITION_BIAS], [POSITION_BIAS], np.array([[added]]))], ignore_index=True)
        q = pd.concat([q, _margin([POSITION_BIAS], np.array([added]))], ignore_index=True)
        k = pd.concat([k, _margin([POSITION_BIAS], np.array([added]))], ignore_index=True)
    return Why(
        name, layer, head, query, key, scaled + added, weight, _sorted(table), _sorted(q), _sorted(k),
        approximate=_approximate(edge, maps, scaled), notes=tuple(dict.fromkeys([*q_coarse, *k_coarse])),
    )  # fmt: skip


def _checked(trace: Trace, layer: int, head: int, query: int, key: int, kind: str | None) -> Edge:
    attention = trace.attention_of(kind)
    sizes = {
        "layer": (layer, len(attention.layers)),
        "head": (head, attention.n_heads),
        "query": (query, attention.n_queries),
        "key": (key, attention.n_keys),
    }
    for what, (number, size) in sizes.items():
        if not isinstance(number, int | np.integer) or not 0 <= number < size:
            msg = f"There is no {what} {number!r}: there are {size}, counted from 0."
            raise UnknownName(msg)
    edge = Edge(attention, int(layer), int(head), int(query), int(key))
    visible = attention.layers[layer].mask.visible(*_shape(edge), head, np.array([query]), np.array([key]))
    if visible is not None and not visible[0, 0]:
        msg = f"{attention.kind} L{layer} H{head} may not look from token {query} to token {key}, so there is no score."
        raise UnknownName(msg)
    return edge


def _shape(edge: Edge) -> tuple[int, int]:
    return edge.attention.n_queries, edge.attention.n_keys


Side = tuple[list[str], Array, list[str]]
"""Writers of a side, (writer, number) what each of them gives to its vector, and what is coarse."""


def _sides(trace: Trace, edge: Edge, maps: EdgeMap) -> tuple[Side, Side]:
    """The query's writers and the key's; in one walk where both are read from one stream."""
    kind, sides, at = edge.attention.kind, (maps.query, maps.key), (edge.query, edge.key)
    together = maps.query.stream == maps.key.stream and maps.query.projection.shape == maps.key.projection.shape
    walks = [(0, 1)] if together else [(0,), (1,)]
    found: list[Side] = []
    for walk in walks:
        rows, reader = np.array([at[each] for each in walk]), np.stack([sides[each].projection for each in walk])
        parts, coarse = writers_of(trace, kind, edge.layer, sides[walk[0]], maps.norms, rows, reader)
        parts[BIASES] = parts[BIASES] + np.stack([sides[each].bias for each in walk])
        found += [(list(parts), np.stack([part[row] for part in parts.values()]), coarse) for row in range(len(walk))]
    return found[0], found[1]


def _weights_without(trace: Trace, edge: Edge, maps: EdgeMap, q_parts: Array, names: list[str]) -> tuple[float, Array, Array]:
    """The weight of the edge, and those without a writer of the query and without one of all keys; NaN where that is too long."""
    attention, (_, layer, head, query, key) = edge.attention, edge
    here, row = attention.layers[layer], np.array([query])
    unknown = np.full(len(q_parts), np.nan), np.full(len(names), np.nan)
    steps = attention.score_steps(layer, head, row)
    scores = steps["masked"][0].astype(np.float64)
    if head in here.patterns or here.key is None or not np.isfinite(scores[key]):
        return float(attention.block(layer, head, row)[0, key]), *unknown
    seen = np.flatnonzero(np.isfinite(scores))
    place = int(np.flatnonzero(seen == key)[0])
    dot = steps["dot"][0, seen].astype(np.float64) * here.scaling
    bias = 0.0 if here.bias is None else here.bias.block(*_shape(edge), head, row)[0, seen].astype(np.float64)
    sink = None if here.sinks is None else float(here.sinks[head])

    def left(parts: Array) -> float:
        return remaining_weight(dot - parts, bias, place, here.softcap, sink)

    of_query = q_parts @ here.key[here.key_head(head)][seen].astype(np.float64).T * here.scaling
    without_query = np.array([left(part) for part in of_query])
    if len(seen) * maps.along.shape[1] * attention.n_heads * (layer + 1) > ROW_PRODUCTS:
        return left(np.zeros(len(seen))), without_query, unknown[1]
    parts = key_parts(trace, edge.attention.kind, layer, maps, seen)
    return left(np.zeros(len(seen))), without_query, np.array([left(parts[name]) for name in names])


def key_parts(trace: Trace, kind: str, layer: int, maps: EdgeMap, keys: Array) -> dict[str, Array]:
    """Writer -> (key,) its part of the scaled score of every one of some keys, with the query of the edge."""
    parts, _ = writers_of(trace, kind, layer, maps.key, maps.norms, keys, maps.along[keys][:, None])
    return {name: part[:, 0] + (maps.constant[keys] if name == BIASES else 0.0) for name, part in parts.items()}


def remaining_weight(scores: Array, bias: Array | float, place: int, softcap: float | None, sink: float | None) -> float:
    """The softmax of scaled scores at one place, after a soft cap and a position bias, and beside a sink, where there are any."""
    capped = scores if softcap is None else np.tanh(scores / softcap) * softcap
    logits = capped + bias
    top = max(float(logits.max()), -np.inf if sink is None else sink)
    total = np.exp(logits - top).sum() + (0.0 if sink is None else np.exp(sink - top))
    return float(np.exp(logits[place] - top) / total)


def _approximate(edge: Edge, maps: EdgeMap, scaled: float) -> str:
    here = edge.attention.layers[edge.layer]
    reasons = []
    if maps.norms_inside:
        reasons.append("queries and keys are normalised before their product, and these norms too are held at their sizes")
    if here.softcap is not None:
        capped, cap = float(np.tanh(scaled / here.softcap) * here.softcap), f"{here.softcap:g}"
        reasons.append(f"the model caps scores softly at {cap}: {three(scaled)}, which is taken apart, becomes {three(capped)}")
    if edge.head in here.patterns:
        reasons.append("this run replaced the weights of the head, so its score did not make them")
    return "; ".join(reasons)


def _pairs(q_names: list[str], k_names: list[str], parts: Array) -> pd.DataFrame:
    # Objects, because an array of letters would hold each name as often as it stands there.
    names_q, names_k = np.array(q_names, dtype=object), np.array(k_names, dtype=object)
    return pd.DataFrame(
        {"q_writer": np.repeat(names_q, len(k_names)), "k_writer": np.tile(names_k, len(q_names)), "part": parts.ravel()}
    )


def _margin(names: list[str], parts: Array) -> pd.DataFrame:
    return pd.DataFrame({"writer": names, "part": parts})


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    """The largest parts first, whatever their sign."""
    return table.sort_values("part", key=np.abs, ascending=False, kind="stable", ignore_index=True)


TASKS: Mapping[str, Callable[..., Any]] = {WHY: why}
"""Work with the model that views may request, by name."""
