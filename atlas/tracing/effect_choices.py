"""The effects of heads by what their output is replaced by, beside each other: plain records without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

EFFECT_CHOICES = "effects by each choice"
"""Name of the task."""

ZERO, MEAN, RESAMPLE = "zero", "mean", "resample"
CHOICES = (ZERO, MEAN, RESAMPLE)
"""What the output of a head is replaced by."""

REST = "resample, other texts"
"""The second half of the texts: its effects against those of the first half are as alike as two choices can be expected to be."""

SIGN, RANK = "sign", "rank"
"""What of a head can hang on the choice."""


class EffectChoices(NamedTuple):
    """The effects of every head under zero, mean and resample."""

    target: str
    """In words."""
    texts: tuple[str, ...]
    """The texts that outputs are taken from, as far as they are known as texts."""
    n: int
    """How many there are."""
    tables: Mapping[str, pd.DataFrame]
    """'effect', 'log_probability', 'kl' -> kind, layer, head, zero, mean, resample, lo, hi, rank_zero, rank_mean, rank_resample,
    rank_lo, rank_hi, hangs_on."""
    agreements: Mapping[str, pd.DataFrame]
    """The same names -> one, other, rho, lo, hi, p, n."""

    @property
    def table(self) -> pd.DataFrame:
        """Of the effect on the target."""
        return self.tables["effect"]

    @property
    def agreement(self) -> pd.DataFrame:
        """Of the effect on the target."""
        return self.agreements["effect"]
