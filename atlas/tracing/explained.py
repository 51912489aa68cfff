"""What is explained (a target), and what an explanation of it is (an attribution): plain records without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from atlas.errors import UnknownName
from atlas.tracing.predictions import LABELS, MASKED, masks_of, side_of_predictions, task_of, without_predictions

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

COMPARE, HEAD_EFFECTS, AGREEMENT = "compare attributions", "head effects", "head agreement"
ATTRIBUTION_PATCHING = "attribution patching"
"""Names of the tasks that explain a prediction of a trace."""

BASELINES = "baselines"
"""Name of the task that says what may stand for a token that is not there."""

MASK, PAD, ZERO, MEAN, AUTO = "mask", "pad", "zero", "mean", "auto"
NO_TOKEN = {
    MASK: "the mask token",
    PAD: "the padding token",
    ZERO: "zeros",
    MEAN: "the mean of all token vectors",
}
"""What stands for a token that is not there, in words. `AUTO` is the first of mask, pad and mean that a model has."""

COST, PASSES = "cost of passes", "passes of attributions"
"""Names of the tasks that estimate what so many passes of a trace's text take, and how many passes attributions take."""

MOST_TOKENS_RUN = 1_000_000
"""Tokens through the model over all runs of one explanation, some minutes: one run a head, 1,200 heads at 512 tokens fit."""

LOGIT, PROBABILITY, LOG_PROBABILITY = "logit", "probability", "log-probability"
MEASURES = (LOGIT, PROBABILITY, LOG_PROBABILITY)
"""Numbers of an outcome that can be explained. A probability saturates: where it is near 1, its gradients are near 0."""


@dataclass(frozen=True, slots=True)
class Target:
    """The decision that is explained: an outcome at a position, perhaps against another outcome.

    Parameters
    ----------
    position
        Where the model predicts; negative positions count from the end. For a causal model position i predicts token i + 1, for a
        masked language model position i itself. -1 of a masked language model means the last mask, where the text has one. A
        classifier of texts has no positions.
    outcome
        A token, a label, or its id. None: the likeliest outcome.
    against
        Another outcome, whose number is subtracted ("she" rather than "he"). None: nothing.
    of
        'logit' (by default), 'probability' or 'log-probability'.
    """

    position: int = -1
    outcome: str | int | None = None
    against: str | int | None = None
    of: str = LOGIT

    def __post_init__(self) -> None:
        if self.of not in MEASURES:
            msg = f"A target is explained by its {', '.join(MEASURES)}, not by {self.of!r}."
            raise UnknownName(msg)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A target as a model has it."""

    position: int
    """`WHOLE_TEXT` for a classifier of texts."""
    side: str
    """The tokens that the position counts: 'source', or 'target' for a decoder that reads a target."""
    outcome: str
    outcome_id: int
    against: str = ""
    against_id: int | None = None
    of: str = LOGIT
    value: float = np.nan
    """The explained number: the measure of the outcome, minus that of `against`."""
    probability: float = np.nan
    """The probability of the outcome; NaN where the outcomes have none (a regression)."""
    words: str = ""
    """The target in words."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """One score for every token: how much it contributes to the target, by one method."""

    method: str
    target: Resolved
    tokens: pd.DataFrame
    """side, position, token, special, score, start, end, segment: the source first, then the target of an encoder-decoder."""
    delta: float | None = None
    """Completeness gap as a share of what was to be explained: |sum of scores - (f(x) - f(baseline))| / |f(x) - f(baseline)|.
    None for methods whose scores do not add up to anything."""
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scores(self) -> np.ndarray:
        """Scores of the source's tokens."""
        return self.side("source")

    def side(self, side: str) -> np.ndarray:
        """Scores of the tokens of one side; empty where the text has no such side."""
        return self.tokens.loc[self.tokens["side"] == side, "score"].to_numpy(dtype=float)


class Baselines(NamedTuple):
    """What may stand for a token that is not there, in one model."""

    usual: str = ""
    """What `AUTO` is."""
    missing: Mapping[str, str] = {}
    """Name -> why the model cannot have it."""

    @property
    def offered(self) -> tuple[str, ...]:
        """Those that the model can have."""
        return tuple(name for name in NO_TOKEN if name not in self.missing) if self.usual else ()


class Rank(NamedTuple):
    """How far two methods put the same tokens, or words, first."""

    rho: float = np.nan
    """Spearman's correlation; NaN where it is unknown."""
    lo: float = np.nan
    hi: float = np.nan
    p: float = np.nan
    n: int = 0


class Comparison(NamedTuple):
    """Two methods beside each other, for one target."""

    found: tuple[Attribution | str, ...]
    """Of each method its attribution, or why the model cannot have it."""
    ranks: Mapping[str, Rank] = {}
    """Level ('token', 'word') -> how far the two agree on the scores of tokens, or on their sums over words."""
    signed: bool = False
    """Whether signed scores were ranked; else their magnitudes, because one of the two methods has no sign."""


class Agreement(NamedTuple):
    """How far heads attend to the tokens that an attribution says matter."""

    target: Resolved
    table: pd.DataFrame
    """One row a head of every kind, as `atlas.attribution.agreement` gives it."""
    top: int
    """How many of the largest scores its column `jaccard` compares."""
    layers: pd.DataFrame
    """The mean of each layer: kind, layer, mean, lo, hi, n."""


def usual_position(trace: Trace) -> int:
    """The position that is explained where the reader chose none: the last mask, the last word's token, or the last token.

    A masked language model and a classifier of tokens say nothing at the separator that ends their texts.
    """
    table = trace.token_tables[side_of_predictions(trace)]
    words = np.flatnonzero(~table["special"].to_numpy(dtype=bool))
    if task_of(trace) in (MASKED, LABELS) and not masks_of(trace) and len(words):
        return int(words[-1])
    return -1


def without_model(trace: Trace) -> str:
    """Why no prediction of a trace can be explained; empty: it can."""
    return without_predictions(trace) or ("" if trace.live is not None else "its model is not here to run the text again.")
