"""A text beside its counterfactual: predictions, how likely both are, labels of a detector, and which heads react."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.bias.alignment import equal_tokens
from atlas.bias.detection import labels_of_trace
from atlas.bias.neutral import neutral_swaps
from atlas.bias.reactions import heads_moved, reactions_table
from atlas.engine.gradients.subject import model_of
from atlas.engine.running.other_texts import encoded_like, own_tokens, traces_like, without_likelihood
from atlas.engine.running.predict import predict_again
from atlas.errors import TooLarge
from atlas.ids import WORD_MARKS
from atlas.tracing.counterfactual import (
    COMPARE_COUNTERFACTUAL,
    NEUTRAL_SWAPS,
    Comparison,
    Counterfactual,
    Outcome,
    Reactions,
    passes,
)
from atlas.tracing.explained import MOST_TOKENS_RUN
from atlas.tracing.outcomes import CLASSIFIES_TEXT
from atlas.tracing.predictions import LABELS, MASKED, SEQ2SEQ, WHOLE_TEXT, Distribution, distributions, masks_of, task_of

if TYPE_CHECKING:
    from atlas.engine.running.capture import Rerun
    from atlas.engine.running.encode import Encoded
    from atlas.trace import Trace

SHOWN = 3
"""Likeliest outcomes of either text that are compared."""

SAME_TOKENS = (
    "Both texts are the same tokens to this model, whose vocabulary has not all of their words: nothing in it can differ."
)

Tell = Callable[[str, float], object]
"""(message, share done)"""


def silent(message: str, share: float) -> None:
    """Tell nobody."""


def compare_counterfactual(trace: Trace, found: Counterfactual, position: int = -1, tell: Tell = silent) -> Comparison:
    """Compare the text of a trace with a counterfactual of it.

    Parameters
    ----------
    trace
        A trace whose model is here; the counterfactual runs under the same interventions.
    found
        The counterfactual.
    position
        The token whose prediction is compared. -1: what a masked text or a decoder's target changes most, else the last.
    tell
        Called with what is happening, and how much of it is done.

    Returns
    -------
    Predictions and their probabilities, log-likelihoods, the labels of the detector (`detections` says what they flag), and
    `reactions.table`: one row a head.
    """
    live = model_of(trace)
    encoded = encoded_like(live, found.text)
    n = max(encoded.n_source, len(trace.token_tables["source"])) + encoded.n_target
    if passes(trace) * n > MOST_TOKENS_RUN:
        msg = (
            f"A comparison takes up to {passes(trace):,} runs of {n:,} tokens, {passes(trace) * n:,} in all, and "
            f"{MOST_TOKENS_RUN:,} are the most. Shorten the text."
        )
        raise TooLarge(msg)
    tell("Running the counterfactual", 0.0)
    (other,) = traces_like(live, [encoded], ("predictions",))
    likelihood, note, logs = _likelihoods(trace, other, live, encoded, found, tell)
    place, predictions = _predictions(trace, other, found, position, logs)
    tell("Reading both texts with the detector", 0.0)
    labels = [labels_of_trace(each) for each in (trace, other)]
    return Comparison(place, predictions, likelihood, note, (labels[0], labels[1]), _reactions(trace, other, live, found, tell))


# -- attention -----------------------------------------------------------------------------------------------------------


def _reactions(trace: Trace, other: Trace, live: Rerun, found: Counterfactual, tell: Tell) -> Reactions:
    def length(text: str) -> int:
        return len(encoded_like(live, text).tokens)

    text = trace.texts.text
    assert text is not None
    neutral = neutral_swaps(text, found, length, NEUTRAL_SWAPS)
    texts = [encoded_like(live, each.text) for each in neutral.found]

    def report(done: int, of: int) -> None:
        tell(f"Running {of} neutral swaps", done / of)

    runs = zip(traces_like(live, texts, (), report), neutral.found, strict=True)
    (observed,), null = heads_moved(trace, [(other, found)]), heads_moved(trace, runs)
    same = trace.token_tables["source"]["id"].tolist() == other.token_tables["source"]["id"].tolist()
    note = " ".join(filter(None, [SAME_TOKENS if same else "", neutral.note]))
    return Reactions(reactions_table(trace, observed, null), tuple(each.text for each in neutral.found), note)


# -- likelihood ----------------------------------------------------------------------------------------------------------

Logs = tuple[np.ndarray, np.ndarray]
"""The log-probability of every token, of the text and of the counterfactual."""

HOW = {
    MASKED: "each token masked alone (pseudo-log-likelihood)",
    SEQ2SEQ: "what the decoder reads, after the tokens before it, given each text",
}


def _likelihoods(
    trace: Trace, other: Trace, live: Rerun, encoded: Encoded, found: Counterfactual, tell: Tell
) -> tuple[tuple[Outcome, ...], str, Logs | None]:
    reason = without_likelihood(live.model)
    if reason:
        return (), reason, None

    def report(done: int, of: int) -> None:
        tell("Asking how likely both texts are", done / of)

    old, new = own_tokens(live, live.encoded, report), own_tokens(live, encoded, report)
    note = HOW.get(live.model.task, "each token after those before it; the first is not predicted")
    if live.model.task == SEQ2SEQ:
        return (Outcome("target", _sum(old), _sum(new)),), note, (old, new)
    pairs = equal_tokens(trace.token_tables["source"], other.token_tables["source"], found)
    known = [(one, two) for one, two in pairs if np.isfinite(old[one]) and np.isfinite(new[two])]
    rows = [Outcome("whole text", _sum(old), _sum(new))]
    if known:
        shared = _sum(old[[one for one, _ in known]]), _sum(new[[two for _, two in known]])
        rows.append(Outcome("words in both", shared[0], shared[1]))
    return tuple(rows), note, (old, new)


def _sum(values: np.ndarray) -> float:
    return float(np.nansum(values)) if np.isfinite(values).any() else float("nan")


# -- predictions ---------------------------------------------------------------------------------------------------------


def _predictions(
    trace: Trace, other: Trace, found: Counterfactual, position: int, logs: Logs | None
) -> tuple[str, tuple[Outcome, ...]]:
    task = task_of(trace)
    # What the numbers of a model without a task are is not known.
    at = None if task == "base" else _place(trace, other, found, position, logs)
    if at is None:
        return "", ()
    if task == MASKED:
        one, two = (predict_again(run, masks=[(where,)])[0] for run, where in zip((trace, other), at, strict=True))
    else:
        one, two = (distributions(run.kept_outcomes(), [where])[0] for run, where in zip((trace, other), at, strict=True))
    return _in_words(trace, task, at[0]), _beside(one, two)


def _place(trace: Trace, other: Trace, found: Counterfactual, position: int, logs: Logs | None) -> tuple[int, int] | None:
    """Where predictions are compared, in the text and in the counterfactual."""
    task = task_of(trace)
    tables = trace.token_tables["source"], other.token_tables["source"]
    if task == CLASSIFIES_TEXT:
        return WHOLE_TEXT, WHOLE_TEXT
    if task == SEQ2SEQ:
        return (_most_changed(logs) if position < 0 else position,) * 2
    pairs = dict(equal_tokens(tables[0], tables[1], found))
    chosen = masks_of(trace)[0] if task == MASKED and masks_of(trace) and position < 0 else position
    if chosen in pairs:
        return chosen, pairs[chosen]
    if task == MASKED and logs is not None and pairs:
        most = max(pairs, key=lambda at: _or_0(abs(logs[1][pairs[at]] - logs[0][at])))
        return most, pairs[most]
    if task == LABELS and pairs:
        given = [run.kept_outcomes() for run in (trace, other)]
        most = max(
            pairs, key=lambda at: _distance(*(distributions(o, [p])[0] for o, p in zip(given, (at, pairs[at]), strict=True)))
        )
        return most, pairs[most]
    return (len(tables[0]) - 1, len(tables[1]) - 1) if task not in (MASKED, LABELS) else None


def _most_changed(logs: Logs | None) -> int:
    """Where the decoder's next token changes most in likelihood."""
    change = np.empty(0) if logs is None else np.abs(logs[1] - logs[0])
    return int(np.nanargmax(change)) - 1 if np.isfinite(change).any() else 0  # the token at i is predicted at i - 1


def _or_0(value: float) -> float:
    return float(value) if np.isfinite(value) else 0.0


def _distance(one: Distribution, two: Distribution) -> float:
    """Sum of the differences of the probabilities of the outcomes that both keep."""
    first, second = (dict(zip(each.ids.tolist(), each.probabilities().tolist(), strict=True)) for each in (one, two))
    return sum(abs(first[name] - second[name]) for name in first.keys() & second.keys())


def _in_words(trace: Trace, task: str, at: int) -> str:
    if at == WHOLE_TEXT:
        return "the class of the whole text"
    side = "target" if task == SEQ2SEQ else "source"
    token = str(trace.token_tables[side]["token"].iloc[at]).strip(f"{WORD_MARKS} ")
    return {MASKED: f"in place of “{token}”", LABELS: f"the label of “{token}”"}.get(task, f"after “{token}”")


def _beside(one: Distribution, two: Distribution) -> tuple[Outcome, ...]:
    """The likeliest of either, with both probabilities; NaN where the other run did not keep it."""
    ids = list(dict.fromkeys([*one.ids[:SHOWN].tolist(), *two.ids[:SHOWN].tolist()]))
    rows = []
    for number in ids:
        values, name = [], ""
        for each in (one, two):
            at = np.flatnonzero(each.ids == number)
            values.append(float(each.probabilities()[at[0]]) if len(at) else float("nan"))
            name = name or (str(each.names[at[0]]) if len(at) else "")
        rows.append(Outcome(name, values[0], values[1]))
    return tuple(rows)


TASKS: Mapping[str, Callable[..., Any]] = {COMPARE_COUNTERFACTUAL: compare_counterfactual}
"""Work with the model that views may request, by name."""
