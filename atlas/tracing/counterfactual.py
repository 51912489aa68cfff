"""A text with some words exchanged, and what a model makes of both: plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

COUNTERFACTUALS, COMPARE_COUNTERFACTUAL = "counterfactuals", "compare counterfactual"
"""Names of the tasks that make counterfactuals of a text, and that compare one with its text."""

OWN = "own"
"""The category of swaps that a reader gives."""

NEUTRAL_SWAPS = 99
"""Neutral swaps that a counterfactual is held against, where there are words for so many."""

Span = tuple[int, int]
"""First character of a stretch of text, and the one after its last."""


class Swap(NamedTuple):
    """A word of the text and what stands in its place."""

    old: str
    new: str
    kind: str
    """'noun', 'plural', 'adjective', 'subject', ...; '' where it is not known."""
    start: int
    """In the text."""
    end: int


class Counterfactual(NamedTuple):
    """A text with the words of one identity exchanged for those of another."""

    text: str
    """The new text."""
    category: str
    """One of the nine of CrowS-Pairs, or 'own'."""
    swaps: tuple[Swap, ...]
    """In the order of the text."""
    aligned: tuple[tuple[Span, Span], ...]
    """Pairs of stretches, of the old text and of the new one: a word that is the same in both, or what was exchanged and what
    stands for it. A word in no pair has no partner."""
    changed: tuple[Span, ...]
    """Stretches of the new text that differ."""
    between: tuple[str, str] = ("", "")
    """The identities that are exchanged."""
    notes: tuple[str, ...] = ()
    """What could not be done or known."""


class Outcome(NamedTuple):
    """One number of both texts."""

    name: str
    old: float
    new: float
    note: str = ""


class Reactions(NamedTuple):
    """How far the attention of every head moved, and how far it moves when a neutral word stands there."""

    table: pd.DataFrame
    """One row a head: kind, layer, head, moved (mean total variation over the words), unpaired and unpaired_new (mass on what has
    no partner, in either text), neutral (mean of the neutral swaps), ratio, z, p, q, n (neutral swaps)."""
    neutral: tuple[str, ...]
    """The neutral texts."""
    note: str
    """What is to be known of the neutral swaps; may be empty."""


class Comparison(NamedTuple):
    """A text beside its counterfactual."""

    place: str
    """What is predicted, in words; '' where predictions are not compared."""
    predictions: tuple[Outcome, ...]
    """Probabilities of the likeliest outcomes of either text, those of the text first."""
    likelihood: tuple[Outcome, ...]
    """Log-likelihoods: of the whole text, and of the words that are in both."""
    likelihood_note: str
    """How they are made, or why there are none."""
    detector: str
    flagged: tuple[Outcome, ...]
    """Flagged words of a label."""
    detections: tuple[Outcome, ...]
    """The probability of a label at a word that is flagged with it in either text."""
    reactions: Reactions


def passes(trace: Trace) -> int:
    """The runs of the model that a comparison takes at most, without those of a detector."""
    masked = 2 * len(trace.token_tables["source"]) if trace.provenance.get("task") == "masked-lm" else 0
    return 3 + masked + NEUTRAL_SWAPS
