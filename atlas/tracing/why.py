"""The score of one edge of one head, taken apart by who wrote its query and its key: the types, and who writes what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from atlas.errors import UnknownName
from atlas.ids import HeadId, as_head
from atlas.tracing.writers import BIASES, Norms, Trail, Walk

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

Array = np.ndarray

WHY, CUT = "why", "cut_writer"
"""Names of tasks: to take an edge apart, and to run the block without one of its writers."""

POSITION_BIAS = "position bias"
"""What a model adds to its scores by distance: neither query nor key wrote it."""

ROW_PRODUCTS = 4_000_000_000
"""Products of keys x width x heads of all layers below, for weights without a writer: 2,048 keys of a GPT-2 have 0.2 billion."""


class SideMap(NamedTuple):
    """How a side of one edge (its query or its key) depends on what its attention block reads, in this run."""

    stream: str
    states: Array
    """(token, width): what the block reads."""
    projection: Array
    """(number, width): the side's vector is projection @ state + bias, at this edge's position."""
    bias: Array
    """(number,)"""


class Side(Protocol):
    """What a walk starts from."""

    @property
    def stream(self) -> str:
        """The stream that the block reads."""

    @property
    def states(self) -> Array:
        """(token, width): what the block reads of it."""


class EdgeMap(NamedTuple):
    """One edge of one head as linear maps."""

    query: SideMap
    key: SideMap
    along: Array
    """(key, width): the scaled score of every key of the row is along · state + constant, with this query."""
    constant: Array
    """(key,)"""
    norms: Norms
    norms_inside: bool
    """Whether queries and keys are normalised before their product (Qwen3): these norms are held too."""


@dataclass(frozen=True)
class Cut:
    """The weight of an edge without one writer: as the parts predict it, and as the model computes it."""

    writer: str
    side: str
    """'q': cut from the query; 'k': from every key of the row."""
    weight: float
    """The weight with it."""
    predicted: float
    """The softmax of the scores less its parts; NaN where the parts of the row are too many."""
    held: float
    """The block itself runs on states without its contribution, at the sizes by which norms divided in this run."""
    anew: float
    """The same with the norms between the writer and the head computed again."""


@dataclass(frozen=True)
class Why:
    """One score taken apart."""

    kind: str
    layer: int
    head: int
    query: int
    key: int
    score: float
    """q · k, scaled, with the position bias if there is one; before a soft cap."""
    weight: float
    table: pd.DataFrame
    """q_writer, k_writer, part; the parts sum to the score."""
    q: pd.DataFrame
    """writer, part, weight_without: the margins of the table by writer of the query, and the weight that would remain if it had
    not written to the query."""
    k: pd.DataFrame
    """The same by writer of the key; `weight_without` it in every key of the row."""
    approximate: str = ""
    """What is held or left out, so that the parts are not the whole story; empty: nothing."""
    notes: tuple[str, ...] = ()
    """What could not be taken apart further."""


def without_parts(trace: Trace, kind: str) -> str:
    """Why no edge of a kind can be taken apart, as far as it is known before the work; empty: it can."""
    if any(not layer.has_ingredients for layer in trace.attention_of(kind).layers):
        return "it holds weights only (recorded attention, or a model outside the attention interface), no queries and keys."
    if trace.live is None:
        return "its model is not here to say how queries and keys come from the stream."
    if "hidden" not in trace.held_arrays() and trace.live.group_of("hidden") is None:
        return trace.live.reason("hidden")
    return ""


def writers_of(
    trace: Trace, kind: str, layer: int, side: Side, norms: Norms, rows: Array, reader: Array
) -> tuple[dict[str, Array], list[str]]:
    """Writer -> (row, reading) of what `reader` (row, reading, width) takes of the states that a block reads; and what is coarse.

    The order is that of writing: embeddings, then the layers; the biases are last.
    """
    walk = _walked(trace, kind, layer, side, norms, rows, reader.astype(np.float64))
    biases = walk.parts.pop(BIASES, None)
    parts = dict(reversed(walk.parts.items()))
    parts[BIASES] = np.zeros(reader.shape[:2]) if biases is None else biases
    return parts, walk.coarse


def trail_of(trace: Trace, kind: str, layer: int, side: Side, norms: Norms, rows: Array, writer: str) -> Trail:
    """What a writer wrote at some rows, and the norms between it and the states that a block reads."""
    nobody = np.zeros((len(rows), 0, side.states.shape[1]))
    walk = _walked(trace, kind, layer, side, norms, rows, nobody, writer)
    if walk.trail is None or writer == BIASES:
        known = ", ".join(name for name in reversed(walk.parts) if name != BIASES)
        msg = f"{writer!r} wrote nothing by itself that this head reads there. The writers are {known}."
        raise UnknownName(msg)
    return walk.trail


def _walked(trace: Trace, kind: str, layer: int, side: Side, norms: Norms, rows: Array, reader: Array, follow: str = "") -> Walk:
    walk = Walk(trace, side.stream, rows, norms, reader, follow=follow)
    states = np.asarray(side.states[rows], dtype=np.float64)
    if kind == "cross" and side.stream == "encoder":
        last = walk.known("final_norm_out", 0)
        last = walk.state("hidden", trace.n_layers("encoder")) if last is None else last
        walk.must_pass(last, states, "", layer)
        walk.through_final_norm()
        walk.through_layers(trace.n_layers("encoder"))
    elif kind == "cross":
        walk.must_pass(walk.state("residual_mid", layer), states, "cross_norm", layer)
        walk.through_own_attention(layer)
        walk.through_layers(layer)
    else:
        walk.must_pass(walk.state("hidden", layer), states, "attention_norm", layer)
        walk.through_layers(layer)
    return walk


def head_of(writer: str, kinds: tuple[str, ...]) -> HeadId | None:
    """The head that a writer is; None where it is none."""
    try:
        return as_head(writer, kinds)
    except UnknownName:
        return None
