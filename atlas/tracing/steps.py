"""One row of one head step by step: from q and k to each weight, and from the weights to what the head writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.tracing.vectors import heads_read, output_projection

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

NO_VECTORS = (
    "this trace holds weights only (a recording, or a model outside the attention interface), "
    "so there is no q and k they come from"
)

GIVEN_PATTERN = (
    "In this run the weights of {head} were replaced by a given pattern, so they do not come from its q and k. "
    "Choose another head."
)


@dataclass(frozen=True, eq=False)
class RowSteps:
    """Everything between one query's vector and what one head reads for it. Arrays are (key,) or (key, width)."""

    head: HeadId
    query: int
    q: Array
    k: Array
    """Keys of the head; heads of a group share them."""
    v: Array | None
    steps: dict[str, Array]
    """As `Attention.score_steps`: 'dot', 'scaled', 'capped' and 'biased' where the model has them, 'masked'."""
    weights: Array
    """The weights that the trace shows; NaN where the query may not look."""
    mix: Array | None
    """The sum over all keys of weight times value: what the head reads."""
    top: float
    """The largest score of the row, which softmax subtracts."""
    total: float
    """The sum over the row of exp(score - top), with the share of a sink."""
    scaling: float
    softcap: float | None
    bias: Array | None
    sink: float | None
    """The logit of the sink that the head has learned."""
    group: tuple[int, ...]
    """The query heads that share the keys, this one among them."""
    replaced: bool
    """Whether the run replaced what the head reads, so that `mix` is no sum of its values."""

    @property
    def products(self) -> Array:
        """Q times k dimension by dimension; a row sums to its q·k."""
        return self.k * self.q

    @property
    def powers(self) -> Array:
        """exp(score - top), the numerators of softmax; 0 where the query may not look.

        In float64: what is too small for the numbers of the run is no 0 yet.
        """
        masked = self.steps["masked"].astype(np.float64)
        return np.exp(np.where(np.isnan(masked), -np.inf, masked) - self.top)

    @property
    def visible(self) -> Array:
        """The positions of the keys that the query may look at."""
        return np.flatnonzero(np.isfinite(self.weights))

    @property
    def sink_share(self) -> float:
        """The weight that goes to no token but to the learned sink; 0 without one."""
        return 0.0 if self.sink is None else float(np.exp(self.sink - self.top) / self.total)


@dataclass(frozen=True, slots=True)
class Written:
    """Lengths of what the head writes into the residual stream for one query."""

    by_key: Array
    """(key,) of weight times value times the head's block of the output projection."""
    mix: float
    """Of all keys together."""


def without_steps(trace: Trace) -> str:
    """Why no weight of a trace can be taken apart; empty: some can."""
    layers = [layer for kind in trace.kinds for layer in trace.attention_of(kind).layers]
    return "" if any(layer.has_ingredients for layer in layers) else NO_VECTORS


def row_steps(trace: Trace, head: HeadId, query: int) -> RowSteps:
    """The row of one query in one head."""
    attention = trace.attention_of(head.kind)
    layer = attention.layers[head.layer]
    row = slice(query, query + 1)
    steps = {name: values[0] for name, values in attention.score_steps(head.layer, head.head, row).items()}
    if head.head in layer.patterns:
        raise NotCaptured(GIVEN_PATTERN.format(head=head))
    assert layer.query is not None
    assert layer.key is not None
    assert layer.scaling is not None
    shared = layer.key_head(head.head)
    top, total = attention.denominator(head.layer, head.head, row)
    value = None if layer.value is None else layer.value[shared].astype(np.float32)
    return RowSteps(
        head=head,
        query=query,
        q=layer.query[head.head, query].astype(np.float32),
        k=layer.key[shared].astype(np.float32),
        v=value,
        steps=steps,
        weights=attention.block(head.layer, head.head, row)[0],
        mix=None if value is None else heads_read(trace, attention, head.layer, [head.head], row)[0, 0],
        top=float(top[0]),
        total=float(total[0]),
        scaling=float(layer.scaling),
        softcap=layer.softcap,
        bias=None if layer.bias is None else layer.bias.block(attention.n_queries, attention.n_keys, head.head, row)[0],
        sink=None if layer.sinks is None else float(layer.sinks[head.head]),
        group=tuple(other for other in range(attention.n_heads) if layer.key_head(other) == shared),
        replaced=head.head in layer.replaced,
    )


def holds_projection(trace: Trace) -> bool:
    """Whether what heads write is known without one more run of the model."""
    return "output_projection" in trace.held_arrays()


def written(trace: Trace, row: RowSteps) -> Written:
    """What the head writes for the query; runs the model once more where its output projection was not captured."""
    if row.v is None or row.mix is None:
        msg = "This trace holds no value vectors, so what the head writes is not known."
        raise NotCaptured(msg)
    out = output_projection(trace, row.head.kind, row.head.layer)[row.head.head].astype(np.float32)
    by_key = np.nan_to_num(row.weights) * np.linalg.norm(row.v @ out, axis=-1)
    return Written(by_key, float(np.linalg.norm(row.mix @ out)))
