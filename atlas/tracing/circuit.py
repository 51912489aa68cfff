"""The edges between heads that a prediction needs, and what a circuit of heads keeps of it: plain records without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from atlas.tracing.explained import without_model

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from atlas.trace import Trace
    from atlas.tracing.explained import Resolved

CIRCUIT, CIRCUIT_COST, CIRCUIT_KEPT = "circuit", "cost of a circuit", "kept by a circuit"
"""Names of the tasks that find the edges, say what that takes, and measure what heads keep of the target."""

INPUTS = ("query", "key", "value")
"""What a head reads from the stream."""

MOST_SHOWN = 200
"""Strongest edges of each input that are kept: more lines in one plot cannot be followed, and all of them may be millions."""

MEASURED = 12
"""Of the strongest edges those that are measured by path patching too, each in two runs."""

MEASURED_OF_INPUT = 4
"""The same of each input, which a reader may look at by itself."""

SETS = 20
"""Random sets of heads that a circuit is compared with; 19 or more, so that p can be under 0.05."""


class Circuit(NamedTuple):
    """The edges into heads, by how much they do for one target."""

    target: Resolved
    there: float
    """The target in the other text."""
    strongest: pd.DataFrame
    """Of each input its strongest edges, the strongest of all first, with the columns of `edge_attribution_patching`."""
    sums: Mapping[str, float]
    """Input -> the sum of |effect| over all its edges."""
    counts: Mapping[str, int]
    """Input -> how many edges it has."""
    checked: pd.DataFrame
    """effect and patched of edges drawn at random."""
    agreement: Mapping[str, float]
    """pearson and spearman of these two, n; spearman_chance: the size that one shuffle in twenty exceeds."""


class KeptByHeads(NamedTuple):
    """The target where only some heads read this text, and all others put out what they do in the other text."""

    whole: float
    """All heads read this text."""
    none: float
    """None does."""
    circuit: float
    random: np.ndarray
    """(set,) the same with random sets of as many heads."""
    same_layers: bool
    """Whether each has as many heads in every layer; else only as many in all."""

    def share(self, value: float) -> float:
        """How much of what all heads together do is kept; NaN where they do nothing."""
        return (value - self.none) / (self.whole - self.none) if self.whole != self.none else float("nan")


@runtime_checkable
class Edges(Protocol):
    """A model behind a trace whose edges may be followed."""

    def without_edges(self) -> str:
        """Why they cannot be."""


def without_circuit(trace: Trace) -> str:
    """Why the edges between the heads of a trace's model cannot be followed; empty: they can."""
    reason = without_model(trace)
    if reason:
        return reason
    return trace.live.without_edges() if isinstance(trace.live, Edges) else "its model cannot be run with edges changed."
