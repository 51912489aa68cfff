"""What a model expects at one position: its likeliest outcomes, and how a probability comes from logits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.tracing.outcomes import CLASSIFIES_TEXT, Predictions

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

MASKS = ("[MASK]", "<mask>")
"""How the tokens are called that a masked language model fills."""

MASKED, SEQ2SEQ, LABELS = "masked-lm", "seq2seq", "token-classification"
"""Tasks whose outcomes are not those of the next token; `CLASSIFIES_TEXT` is the other."""

PREDICT_AGAIN = "predict again"
"""Name of the task that runs a text again with tokens masked or heads switched off."""

WHOLE_TEXT = -1
"""Position of an outcome that belongs to the text as a whole."""

SOFTMAX, SIGMOID, SCORE = "softmax", "sigmoid", "score"
"""How an outcome gets its probability: a share of one, one of its own, or none (a regression)."""


class Steps(NamedTuple):
    """From a logit to its probability, each number made of those before it."""

    logit: float
    largest: float
    """The largest logit at this position; NaN where outcomes do not share one probability."""
    relative: float
    """Logit minus the largest, what is raised; −logit for a sigmoid."""
    exponent: float
    """e to the power of `relative`"""
    total: float
    """What is divided by: the sum of all exponents; 1 + exponent for a sigmoid."""
    probability: float
    """exponent / total; 1 / total for a sigmoid"""


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """The outcomes kept at one position, by falling logit; with what they become where something is switched off."""

    position: int
    """`WHOLE_TEXT` for a classifier of texts"""
    ids: Array
    names: Array
    logits: Array
    log_sum_exp: float
    """Over all outcomes, also those that are not kept."""
    n_outcomes: int
    kept: int
    """So many of the first are the likeliest of all; what follows is likely after the change only."""
    form: str = SOFTMAX
    changed_logits: Array | None = None
    """Logits of the same outcomes in a changed run; None: nothing was changed."""
    changed_log_sum_exp: float = np.nan

    def probabilities(self) -> Array:
        """(rank,) NaN for a regression."""
        return _probabilities(self.logits, self.log_sum_exp, self.form)

    def changed_probabilities(self) -> Array:
        """(rank,) of the changed run; NaN where there is none."""
        if self.changed_logits is None:
            return np.full(len(self.ids), np.nan)
        return _probabilities(self.changed_logits, self.changed_log_sum_exp, self.form)

    def ranks(self, k: int, also: int | None = None) -> list[int]:
        """Places of the k likeliest, of the k likeliest after the change, and of the outcome `also` if it is kept."""
        found = list(range(min(k, len(self.ids))))
        if self.changed_logits is not None:
            found += [int(at) for at in np.argsort(-self.changed_logits, kind="stable")[:k]]
        found += [] if also is None else [int(at) for at in np.flatnonzero(self.ids == also)]
        return sorted(set(found))

    def least(self) -> float:
        """Probability of the last outcome kept: those that are not kept are no likelier."""
        return float(self.probabilities()[self.kept - 1])

    def place_of(self, name: str) -> int | None:
        """Place of the likeliest outcome of a name; None where none is kept."""
        found = np.flatnonzero(self.names == name)
        return int(found[0]) if name and len(found) else None

    def steps(self, at: int) -> Steps:
        """How one outcome gets its probability, without any temperature."""
        logit = float(self.logits[at])
        if self.form == SCORE:
            return Steps(logit, *[np.nan] * 5)
        if self.form == SIGMOID:
            exponent = float(np.exp(-logit))
            return Steps(logit, np.nan, -logit, exponent, 1 + exponent, 1 / (1 + exponent))
        largest = float(self.logits.max())
        exponent, total = float(np.exp(logit - largest)), float(np.exp(self.log_sum_exp - largest))
        return Steps(logit, largest, logit - largest, exponent, total, exponent / total)


def _probabilities(logits: Array, log_sum_exp: float, form: str) -> Array:
    values = logits.astype(np.float64)
    if form == SCORE:
        return np.full_like(values, np.nan)
    return 1 / (1 + np.exp(-values)) if form == SIGMOID else np.exp(values - log_sum_exp)


def form_of(n_outcomes: int, *, multi_label: bool) -> str:
    """How outcomes get their probabilities."""
    return SIGMOID if multi_label else SCORE if n_outcomes == 1 else SOFTMAX


def distributions(outcomes: Predictions, positions: Iterable[int]) -> tuple[Distribution, ...]:
    """The outcomes of a run at some positions."""
    form = form_of(outcomes.n_outcomes, multi_label=outcomes.multi_label)
    rows = [(position, 0 if position == WHOLE_TEXT else position) for position in positions]
    return tuple(
        Distribution(
            position, outcomes.ids[row], outcomes.names[row], outcomes.logits[row], float(outcomes.log_sum_exp[row]),
            outcomes.n_outcomes, outcomes.ids.shape[1], form,
        )
        for position, row in rows
    )  # fmt: skip


def task_of(trace: Trace) -> str:
    """What the model of a trace predicts."""
    return trace.outcomes.task if trace.outcomes is not None else str(trace.provenance.get("task") or "base")


def side_of_predictions(trace: Trace) -> str:
    """Whose positions the outcomes are at: those of the decoder's tokens where it writes what an encoder read."""
    return "target" if "target" in trace.token_tables and task_of(trace) != CLASSIFIES_TEXT else "source"


def without_predictions(trace: Trace) -> str:
    """Why a trace has no predictions; empty: it has."""
    if trace.outcomes is not None:
        return ""
    if trace.live is None:
        return "it holds no predictions, and its model is not here to make them."
    known = (CLASSIFIES_TEXT, LABELS, MASKED, SEQ2SEQ, "causal-lm")
    return "" if task_of(trace) in known else trace.live.reason("predictions")


def masks_of(trace: Trace) -> tuple[int, ...]:
    """Positions that the text itself leaves to a masked language model."""
    if task_of(trace) != MASKED:
        return ()
    tokens = trace.token_tables["source"]["token"]
    return tuple(int(at) for at in np.flatnonzero(tokens.isin(MASKS)))


def filled(trace: Trace, words: Mapping[int, str]) -> str:
    """The text of a trace with other words at some positions, each in angle quotes; of a text that was not kept, its tokens."""
    tokens = trace.token_tables["source"]
    segments = tokens["segment"].to_numpy() if "segment" in tokens else np.zeros(len(tokens), dtype=int)
    sources = {0: trace.texts.text, 1: trace.texts.pair}
    known = all(sources.get(int(segments[at])) is not None and tokens["end"].iloc[at] > tokens["start"].iloc[at] for at in words)
    if not known:
        return " ".join(f"«{words[at].strip()}»" if at in words else str(token) for at, token in enumerate(tokens["token"]))
    made = []
    for segment, source in sources.items():
        if source is None:
            continue
        parts, end = [], 0
        for at in sorted(at for at in words if segments[at] == segment):
            start, stop = int(tokens["start"].iloc[at]), int(tokens["end"].iloc[at])
            parts += [source[end:start], f"«{words[at].strip()}»"]
            end = max(end, stop)
        made.append("".join([*parts, source[end:]]))
    return " ".join(made)
