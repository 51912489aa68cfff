"""Who writes a prediction: the types, and which tokens the part of a head comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured, UnknownName
from atlas.ids import HeadId
from atlas.tracing.explained import Resolved, without_model
from atlas.tracing.writers import Norms, allowed_error

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

Array = np.ndarray

DIRECT_EFFECTS = "direct effects"
"""Name of the task that takes a prediction apart by who wrote it."""

HEAD, FEED_FORWARD, EMBEDDING, BLOCK, BIASES = "head", "feed-forward", "embedding", "attention", "biases"
"""What writes; a whole attention block where its heads cannot be told apart."""

RANDOM_OUTCOMES = 200
"""Outcomes drawn at random, for the chance level."""

LEAST_OUTCOMES = 20
"""Other outcomes without which there is no chance level: the labels of a classifier are too few."""


class FinalReaders(NamedTuple):
    """How outcomes read the last state of a stream, as linear maps of this run."""

    target: Resolved
    stream: str
    name: str
    """'final_norm_out', or 'hidden' where no norm stands behind the last layer."""
    rows: Array
    """Positions of the stream that the outcomes read."""
    readers: Array
    """(row, outcome, width): the explained outcome, then the one it is held against, if any, then those drawn at random."""
    constants: Array
    """(outcome,): what is added behind the stream."""
    logits: Array
    """(outcome,): the model's own."""
    norms: Norms
    held: tuple[str, ...]
    """What stands behind the stream and is held at the factors of this run, in words."""


@dataclass(frozen=True, eq=False)
class DirectEffects:
    """One prediction taken apart by who wrote it."""

    target: Resolved
    stream: str
    """The stream that the prediction is read from."""
    table: pd.DataFrame
    """One row a writer, in the order of writing: what, kind, layer, head, writer, effect, share, chance, lo, hi, p, q."""
    value: float
    """The model's own number: the logit, or the difference of two."""
    outcomes: int
    """How many outcomes were drawn at random."""
    rows: Array
    """Positions that the outcomes read."""
    values_read: Mapping[HeadId, Array]
    """Head -> (row, value width): what the prediction takes of what the head reads there."""
    notes: tuple[str, ...] = ()
    """What is held, and what could not be taken apart further."""

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return float(self.table["effect"].sum())

    @cached_property
    def of_heads(self) -> dict[HeadId, float]:
        """Head -> its part, in the order of writing."""
        heads = self.table[self.table["what"] == HEAD]
        columns = (heads[name].tolist() for name in ("kind", "layer", "head", "effect"))
        return {HeadId(kind, int(layer), int(head)): float(effect) for kind, layer, head, effect in zip(*columns, strict=True)}

    @property
    def gap(self) -> float:
        """|sum − value|, as a share of the sum of |parts|, because a difference of logits may be next to 0."""
        size = float(self.table["effect"].abs().sum())
        return abs(self.total - self.value) / size if size else 0.0


def without_direct_effects(trace: Trace) -> str:
    """Why no prediction of a trace can be taken apart by writers, as far as it is known before the work; empty: it can."""
    reason = without_model(trace)
    if reason:
        return reason
    assert trace.live is not None
    for name in ("hidden", "ffn_out", "attention_output"):
        if name not in trace.held_arrays() and trace.live.group_of(name) is None:
            return trace.live.reason(name)
    return ""


def token_parts(trace: Trace, found: DirectEffects, head: HeadId) -> Array:
    """(key,) how much of a head's part comes from each token that it attends to; they sum to the part."""
    onto = found.values_read.get(head)
    if onto is None:
        msg = f"What {head.label(trace.kinds)} writes into the stream of this prediction is not known by itself."
        raise UnknownName(msg)
    attention = trace.attention_of(head.kind)
    here = attention.layers[head.layer]
    assert here.value is not None  # what heads read was made of it
    values = here.value[here.key_head(head.head)].astype(np.float64)
    weights = np.nan_to_num(attention.block(head.layer, head.head, found.rows)).astype(np.float64)
    parts = (weights * (onto @ values.T)).sum(0)
    part = found.of_heads[head]
    if abs(parts.sum() - part) > allowed_error(trace) * max(float(np.abs(parts).sum()), abs(part)):
        msg = f"This run replaced what {head.label(trace.kinds)} reads, so its part does not come from tokens."
        raise NotCaptured(msg)
    return np.asarray(parts)
