"""Many texts, each beside its counterfactuals, and what a model makes of every pair: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atlas.tracing.labelled import Thresholds, flagged, limits

if TYPE_CHECKING:
    import pandas as pd

    from atlas.tracing.counterfactual import Counterfactual
    from atlas.tracing.labelled import Words

SWAP_AUDIT = "swap audit"
"""Name of the task that goes through a part of the pairs."""

PREDICTED, DETECTED, ATTENDED = "predicted", "detected", "attended"

MEASURES: Mapping[str, str] = {
    PREDICTED: "what the model predicts",
    DETECTED: "what the detector flags",
    ATTENDED: "where the heads attend",
}
"""What may change from a text to its counterfactual; all but the last have a sign."""

SIGNED = (PREDICTED, DETECTED)

EVERY = "all"
"""All categories."""

CATEGORIES = (
    "gender", "race-color", "religion", "nationality", "sexual-orientation", "age", "disability", "physical-appearance",
    "socioeconomic",
)  # fmt: skip
"""Categories of the identity terms, as CrowS-Pairs has them."""

NEUTRAL_EACH = 8
"""Neutral swaps that a pair is held against: the fewest that one can be; p is pooled over the pairs."""


@dataclass(frozen=True)
class SwapAudit:
    """What was found in the pairs so far."""

    model: str
    detector: str
    pairs: pd.DataFrame
    """One row a pair: row, text, counterfactual, category, one, other (the identities), swaps; predicted, detected and attended
    (changes); of each NAME_neutral (typical size of the change by neutral swaps), NAME_ratio, NAME_p, NAME_q; n (neutral
    swaps), note. In the order of the texts."""
    found: tuple[Counterfactual, ...]
    """The counterfactual of every row."""
    words: tuple[tuple[Words, Words], ...]
    """What the detector says of both texts of every row."""
    groups: pd.DataFrame
    """One row an exchange of identities and measure: category, one, other, measure, texts, pairs, directed (pairs whose text
    names one of both alone); change (their mean, from `one` to `other`), lo, hi, p, q; ratio (geometric mean, over neutral
    swaps), ratio_lo, ratio_hi, ratio_p, ratio_q."""
    heads: pd.DataFrame
    """One row a head: kind, layer, head, moved, neutral (means over the pairs), ratio, lo, hi, p, q, n (pairs)."""
    null: pd.DataFrame
    """One row a neutral swap of a pair: pair (its row in `pairs`), predicted, detected, attended."""
    bad: pd.DataFrame
    """row, reason: what could not be read or run, and texts without anything to exchange; nothing else was left out."""
    of: int
    """Pairs in all."""
    predicts: str
    """What `predicted` is, in words; or why there is no such number."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    """Thresholds of the detector's configuration."""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all pairs are done."""
        return len(self.pairs) == self.of

    def flagged(self, thresholds: Thresholds = None) -> pd.DataFrame:
        """`pairs` with `flagged` and `flagged_new`, the words flagged in both texts; None: by the detector's own thresholds."""
        counts: tuple[list[int], list[int]] = ([], [])
        for pair in self.words:
            for side, words in zip(counts, pair, strict=True):
                given = thresholds
                if isinstance(given, Mapping):
                    given = {name: value for name, value in given.items() if name in words.labels}
                side.append(int(flagged(words, limits(words.labels, given, self.limits)).any(axis=1).sum()))
        return self.pairs.assign(flagged=counts[0], flagged_new=counts[1])
