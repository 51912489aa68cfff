"""What the states of one text do in a run of another: plain records without torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from atlas.tracing.explained import MOST_TOKENS_RUN, without_model

if TYPE_CHECKING:
    from atlas.trace import Trace
    from atlas.tracing.explained import Resolved

PATCHED_STATES = "patched states"
"""Name of the task that patches states."""

STREAM, ATTENTION, FEED_FORWARD = "stream", "attention", "ffn"
PARTS = {STREAM: "hidden", ATTENTION: "attention_output", FEED_FORWARD: "ffn_out"}
"""What can be put in -> the name of its capture."""

RESTORE, DISTURB = "denoising", "noising"
DIRECTIONS = (RESTORE, DISTURB)
"""This text's state is put into the run of the other text, or the other's into that of this text."""

MOST_TOGETHER = 10
"""Neighbouring layers whose outputs are put in at once: the width that causal tracing takes for models of 48 layers."""

SAMPLED, DRAWS = 24, 5
"""Cells, drawn at random, at which random directions are put in, and directions at each."""

RUNS_BESIDE = 6
"""Runs beside those of cells: both texts twice, with their states; the unchanged one; the gradient."""

FAMILY = 0.05
"""How often a whole plane on which states do no more than random directions may have a marked cell."""

LEAST_DIFFERENCE = 0.01
"""Of the explained number between the two texts, in logits: shares of less are mostly rounding."""


class PatchedStates(NamedTuple):
    """How much of the difference between two texts every state carries. Layers go from the first to the last."""

    target: Resolved
    """In this text."""
    there: float
    """The explained number in the other text."""
    part: str
    direction: str
    kind: str
    """The stream: 'encoder' or 'decoder'."""
    layers: tuple[int | None, ...]
    """Of every row; None: the embeddings."""
    positions: tuple[int, ...]
    other_tokens: tuple[str, ...]
    """The other text's token at each position."""
    share: np.ndarray
    """(layer, position): 0, nothing changes; 1, the outcome is that of the text whose state is put in."""
    chance: np.ndarray
    """(layer, position): 95 % of changes of the same length in random directions do less, either way."""
    beyond: np.ndarray
    """(layer, position) whether a share is beyond chance, corrected for the number of cells."""
    sampled: int
    """Cells at which random directions were put in."""
    runs: int

    def table(self, tokens: Iterable[str]) -> pd.DataFrame:
        """One row a layer (unknown: the embeddings) and position, with the names of its tokens in this text."""
        n_layers, n_positions = self.share.shape
        return pd.DataFrame(
            {
                "layer": pd.array(np.repeat(np.array(self.layers, dtype=object), n_positions), dtype="Int64"),
                "position": np.tile(self.positions, n_layers),
                "token": np.tile(np.array(list(tokens), dtype=object), n_layers),
                "other_token": np.tile(np.array(self.other_tokens, dtype=object), n_layers),
                "share": self.share.ravel(),
                "chance": self.chance.ravel(),
                "beyond": self.beyond.ravel(),
            }
        )


@runtime_checkable
class States(Protocol):
    """A model behind a trace whose states may be exchanged."""

    def without_states(self, kind: str, part: str) -> str:
        """Why they cannot be."""


def without_patched_states(trace: Trace) -> str:
    """Why no state of a trace's model can be exchanged; empty: some can."""
    reason = without_model(trace)
    if reason:
        return reason
    if not isinstance(trace.live, States):
        return "its model cannot be run with states exchanged."
    return trace.live.without_states(streams(trace)[0], STREAM)


def without_part(trace: Trace, kind: str, part: str) -> str:
    """Why what a part of the layers of a stream puts out cannot be exchanged; empty: it can."""
    return trace.live.without_states(kind, part) if isinstance(trace.live, States) else without_patched_states(trace)


def streams(trace: Trace) -> tuple[str, ...]:
    """The streams of a trace's model."""
    return tuple(kind for kind in trace.kinds if kind != "cross")


def cells_run(n_layers: int, n_positions: int) -> int:
    """Runs of the cells and of random directions, at most."""
    cells = n_layers * n_positions
    return cells + DRAWS * min(SAMPLED, cells)


def too_many(n_layers: int, n_positions: int, n_tokens: int) -> str:
    """Why so many cells are not run, and what can be done."""
    fits = next((n for n in range(n_positions, 0, -1) if cells_run(n_layers, n) * n_tokens <= MOST_TOKENS_RUN), 0)
    runs = cells_run(n_layers, n_positions)
    advice = (
        f"Select up to {fits:,} tokens and choose the selected ones under Positions (in Python: positions=)"
        if fits
        else "Shorten the text"
    )
    return (
        f"{n_layers:,} layers at {n_positions:,} positions are {runs:,} runs, {runs * n_tokens:,} tokens in all, and "
        f"{MOST_TOKENS_RUN:,} are the most. {advice}."
    )


def runs_of(trace: Trace, part: str, kind: str, n_positions: int) -> int:
    """Runs of the text that patching so many positions takes at most."""
    return cells_run(trace.n_layers(kind) + (part == STREAM), n_positions) + RUNS_BESIDE
