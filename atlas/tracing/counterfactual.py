"""A text with some words exchanged, and what a model makes of both: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from atlas.tracing.labelled import Thresholds, TokenLabels, Words, flagged, limits, words_of

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
    labels: tuple[TokenLabels, TokenLabels]
    """What a detector says of both."""
    reactions: Reactions


class Detections(NamedTuple):
    """What a detector flags in a text and in its counterfactual."""

    flagged: tuple[Outcome, ...]
    """The number of words flagged with each label."""
    words: tuple[Outcome, ...]
    """The probability of a label (in `note`) at every word that is flagged with it in either text."""


def passes(trace: Trace) -> int:
    """The runs of the model that a comparison takes at most, without those of a detector."""
    masked = 2 * len(trace.token_tables["source"]) if trace.provenance.get("task") == "masked-lm" else 0
    return 3 + masked + NEUTRAL_SWAPS


def detections(found: Counterfactual, labels: tuple[TokenLabels, TokenLabels], thresholds: Thresholds = None) -> Detections:
    """What is flagged in both texts under some thresholds; None: those of the detector."""
    words = [words_of(each) for each in labels]
    names = words[0].labels
    if isinstance(thresholds, Mapping):
        thresholds = {name: value for name, value in thresholds.items() if name in names}
    limit = limits(names, thresholds, labels[0].thresholds)
    on = [flagged(each, limit) for each in words]
    counts = tuple(Outcome(name, float(on[0][:, at].sum()), float(on[1][:, at].sum())) for at, name in enumerate(names))
    texts = [each.texts[0] for each in labels]
    rows = []
    for column, label in enumerate(names):
        for pair in _all_pairs(found, words):
            at = [[] if span is None else _within(table, span) for span, table in zip(pair, words, strict=True)]
            if not any(marks[here, column].any() for marks, here in zip(on, at, strict=True)):
                continue
            values = [
                float(table.probability[here, column].max()) if here else np.nan for table, here in zip(words, at, strict=True)
            ]
            said = ["" if span is None else text[slice(*span)] for span, text in zip(pair, texts, strict=True)]
            name = said[0] if said[0] == said[1] else f"{said[0] or 'nothing'} → {said[1] or 'nothing'}"
            rows.append(Outcome(name, values[0], values[1], label))
    return Detections(counts, tuple(rows))


def _all_pairs(found: Counterfactual, words: list[Words]) -> list[tuple[Any, Any]]:
    """The pairs of stretches, and the words that have no partner."""
    pairs: list[tuple[Any, Any]] = list(found.aligned)
    for side, table in enumerate(words):
        inside = {at for pair in found.aligned for at in _within(table, pair[side])}
        spans = zip(table.table["start"].tolist(), table.table["end"].tolist(), strict=True)
        alone = [span for at, span in enumerate(spans) if at not in inside]
        pairs += [(span, None) if side == 0 else (None, span) for span in alone]
    return pairs


def _within(words: Words, span: Span) -> list[int]:
    """The words that share letters with a stretch."""
    start, end = words.table["start"].to_numpy(), words.table["end"].to_numpy()
    return list(map(int, np.flatnonzero((start < span[1]) & (end > span[0]))))
