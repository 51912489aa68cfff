"""How far the probabilities of a detector can be believed, as its own table from held-out words says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

STEPS = 100
"""Thresholds of a table: every hundredth, as the sliders have them."""

HIGH, MEDIUM, LOW = "high", "medium", "low"

TIERS: Mapping[str, float] = {HIGH: 0.75, MEDIUM: 0.5, LOW: 0.0}
"""Tier -> the smallest share of held-out words with such a probability that had the label: three of four, every other, fewer."""

UNCALIBRATED = "No calibration is known for {detector}: nothing says how often it is right."


class Rate(NamedTuple):
    """A share with its 95 % interval; NaN where it is of nothing."""

    value: float
    lo: float
    hi: float


class Errors(NamedTuple):
    """What a label is worth at one threshold."""

    threshold: float
    flagged: int
    """Held-out words that reach the threshold."""
    hits: int
    """Of these, words that have the label."""
    precision: Rate
    """Of flagged words, the share that has the label."""
    recall: Rate
    """Of words that have the label, the share that is flagged."""
    false_alarms: float
    """Of words that have not the label, the share that is flagged."""


class LabelCalibration(NamedTuple):
    """One label."""

    words: int
    positives: int
    """Words that have the label."""
    low: np.ndarray
    """(bin,) smallest probability; the last bin has 1.0 too."""
    high: np.ndarray
    n: np.ndarray
    """(bin,) held-out words."""
    mean: np.ndarray
    """(bin,) mean probability; NaN without words, as in the next three."""
    share: np.ndarray
    """(bin,) share of words that have the label."""
    share_lo: np.ndarray
    share_hi: np.ndarray
    flagged: np.ndarray
    """(threshold,) words that reach 0.00, 0.01 ... 1.00."""
    hits: np.ndarray
    precision: np.ndarray
    """(threshold, 2) edges of the 95 % interval."""
    recall: np.ndarray

    def errors(self, threshold: float) -> Errors:
        """Error rates at a threshold, to the hundredth."""
        at = round(min(max(threshold, 0.0), 1.0) * STEPS)
        flagged, hits, others = int(self.flagged[at]), int(self.hits[at]), self.words - self.positives
        return Errors(
            at / STEPS,
            flagged,
            hits,
            Rate(hits / flagged if flagged else np.nan, *map(float, self.precision[at])),
            Rate(hits / self.positives if self.positives else np.nan, *map(float, self.recall[at])),
            (flagged - hits) / others if others else np.nan,
        )

    def believed(self) -> np.ndarray:
        """(bin,) share of words that have the label, made to rise with the probability (isotonic regression, weighted by n).

        Without that a bin of few words could be believed more than one of higher probabilities.
        """
        known = self.n > 0
        found = np.full(len(self.n), np.nan)
        if known.any():
            found[known] = isotonic_regression(self.share[known], weights=self.n[known]).x
        return found

    def shares_of(self, probability: np.ndarray) -> np.ndarray:
        """What each probability is worth: of held-out words with such a one, the share that has the label."""
        found = self.believed()[np.clip(np.searchsorted(self.low, probability, side="right") - 1, 0, len(self.low) - 1)]
        return np.where(np.isfinite(probability), found, np.nan)


class Calibration(NamedTuple):
    """The table that comes with a detector."""

    detector: str
    data: str
    """What it was measured on, in words."""
    texts: int
    labels: Mapping[str, LabelCalibration]


def tier_of(share: float) -> str:
    """The tier of a share; empty where none is known."""
    return next((tier for tier, least in TIERS.items() if share >= least), "")


def calibration_from(table: Mapping[str, Any]) -> Calibration:
    """A calibration from what is in its file."""
    labels = {}
    for name, label in table["labels"].items():
        bins = {key: np.array([row[key] for row in label["bins"]], dtype=float) for key in label["bins"][0]}
        labels[name] = LabelCalibration(
            int(label["words"]),
            int(label["positives"]),
            bins["low"],
            bins["high"],
            bins["n"].astype(int),
            bins["mean"],
            bins["share"],
            bins["share_lo"],
            bins["share_hi"],
            *(np.array(label[key], dtype=int) for key in ("flagged", "hits")),
            *(np.array(label[key], dtype=float) for key in ("precision", "recall")),
        )
    return Calibration(str(table["detector"]), str(table["data"]), int(table["texts"]), labels)
