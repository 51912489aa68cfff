"""Whether the heads that look at flagged words carry the decision on them: they are switched off, and so are random ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from atlas.attribution.head_sets import HeadSet, alternatives
from atlas.attribution.statistics import false_discovery, share_at_least
from atlas.bias.alignment import equal_tokens
from atlas.bias.detection import labels_of_trace
from atlas.bias.heads import attention_bias
from atlas.bias.swaps import counterfactuals
from atlas.engine.gradients.subject import model_of
from atlas.engine.running.decisions import Decision, decided_without, label_decision, likelihood_decision
from atlas.engine.running.other_texts import encoded_like
from atlas.errors import NotCaptured, NothingYet, TooLarge, UnknownName
from atlas.ids import HeadId, as_heads
from atlas.tracing.causal import CAUSAL_TEST, DRAWS, CausalTest, doses_of, without_decision
from atlas.tracing.explained import MOST_TOKENS_RUN
from atlas.tracing.labelled import (
    CATEGORIES,
    DETECT,
    Thresholds,
    TokenLabels,
    flagged,
    labels_of,
    limits,
    own_labels,
    tokens_within,
    words_of,
)
from atlas.tracing.predictions import LABELS

if TYPE_CHECKING:
    from atlas.engine.running.capture import Rerun
    from atlas.ids import Headlike
    from atlas.trace import Trace

Tell = Callable[[str, float], object]
"""(message, share done)"""

NOTHING_FLAGGED = "No word of this text is flagged, so no head can be the one that looks at flagged words. Lower a threshold."

NO_COUNTERFACTUAL = (
    "This text has no identity term that could be exchanged, so the model has no preference to lose. Analyse another text, or "
    "take gus-mini, whose labels are tested."
)


class _Flagged(NamedTuple):
    """The words that a detector flags."""

    tokens: frozenset[int]
    labelled: tuple[tuple[int, str], ...]
    """(first token, label) of every label of every flagged word"""


def silent(message: str, share: float) -> None:
    """Tell nobody."""


def causal_test(
    trace: Trace,
    heads: Iterable[Headlike] | None = None,
    *,
    thresholds: Thresholds = None,
    how: str = "zero",
    doses: Sequence[int] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Tell = silent,
) -> CausalTest:
    """Switch heads off together, ever more of them, and hold the change of a decision against as many random heads.

    Parameters
    ----------
    trace
        A trace whose model is here. Of a detector of biased language the decision is the mean probability of the flagged labels
        at the flagged words; of a causal or masked language model how much likelier it finds the words that the text has in
        common with its first counterfactual in one of the two.
    heads
        The heads that go. None: those that look most at flagged words, by the ratio of `attention_bias`. They go in that order.
    thresholds
        From where on a word is flagged, as in `detect`; by default those of the detector.
    how
        What the output of a head becomes: 'zero', or its 'mean' over the text.
    doses
        How many heads go together: by default 1, 2, 4, 8, 16 up to half of all heads, or up to all that are given.
    draws, seed
        Random sets at each dose, of the same layers where these have 19 other sets or more, else of any layer.
    progress
        Called with a message and the share done.

    Returns
    -------
    .table (one row a dose: heads, left, fall, random, lo, hi, p, q, sets, same_layers), .heads (in order), .whole, .decision (in
    words), .verdict (.sentence, .rules, .numbers; all rules are `atlas.tracing.causal.RULES`) on all heads that are given,
    else on 4; .verdict_at(dose).
    """
    reason = without_decision(trace)
    if reason:
        msg = f"Nothing can be tested: {reason}"
        raise NotCaptured(msg)
    live = model_of(trace)
    progress("Looking for flagged words", 0.0)
    words = _flagged_words(trace, thresholds)
    own = as_heads(heads, trace.kinds) if heads is not None else None
    order = _in_order(trace, words, own)
    decision, decided, likelihood = _decision(trace, live, words)
    steps = tuple(doses) if doses is not None else doses_of(len(order), chosen=own is not None)
    wrong = [dose for dose in steps if not 1 <= dose <= len(order)]
    if wrong or not steps:
        msg = f"{wrong[0] if wrong else 0} heads cannot be switched off: there are {len(order)}."
        raise UnknownName(msg)
    chosen = [tuple(sorted(order[:dose])) for dose in steps]
    others = [alternatives(each, trace.head_ids, draws, seed) for each in chosen]
    sets: list[HeadSet] = [(), *(one for each, beside in zip(chosen, others, strict=True) for one in (each, *beside.sets))]
    tokens = len(sets) * sum(question.encoded.n_source for question in decision)
    if tokens > MOST_TOKENS_RUN:
        msg = (
            f"Switching off {len(sets):,} sets of heads takes {len(sets) * len(decision):,} runs, {tokens:,} tokens in all, and "
            f"{MOST_TOKENS_RUN:,} are the most. Shorten the text, or draw fewer sets."
        )
        raise TooLarge(msg)

    def report(done: int, of: int) -> None:
        progress(f"Switching off {len(sets):,} sets of heads", done / of)

    values = decided_without(live, decision, sets, "mean" if how == "mean" else "zero", report)
    # Of a preference the direction does not matter: what falls is how strong it is.
    sign = -1.0 if likelihood and values[0] < 0 else 1.0
    table = dose_table(sign * values, [1 + len(each.sets) for each in others], steps, [each.same_layers for each in others])
    said = decided[0] if sign > 0 else decided[1]
    whole = float(sign * values[0])
    return CausalTest(table, order, whole, said, likelihood, own is not None)


def dose_table(values: np.ndarray, sizes: Sequence[int], doses: Sequence[int], same_layers: Sequence[bool]) -> pd.DataFrame:
    """The doses with their random sets; `values` has the whole decision, then of each dose that of the heads and of its sets.

    p is two-sided, by the size of the change: the share of all sets, that of the heads included, that change as much.
    """
    rows, start = [], 1
    for dose, size, same in zip(doses, sizes, same_layers, strict=True):
        falls = values[0] - values[start : start + size]
        rest = falls[1:]
        lo, hi = np.quantile(rest, [0.025, 0.975]) if len(rest) else (np.nan, np.nan)
        rows.append({
            "heads": dose, "left": values[start], "fall": falls[0], "random": rest.mean() if len(rest) else np.nan, "lo": lo,
            "hi": hi, "p": share_at_least(abs(float(falls[0])), np.abs(rest)), "sets": len(rest), "same_layers": same,
        })  # fmt: skip
        start += size
    table = pd.DataFrame(rows)
    table.insert(7, "q", false_discovery(table["p"]))
    return table


def _flagged_words(trace: Trace, thresholds: Thresholds) -> _Flagged:
    labels = trace.once(DETECT, lambda: labels_of_trace(trace))
    words = words_of(labels)
    if isinstance(thresholds, Mapping):
        thresholds = {name: value for name, value in thresholds.items() if name in words.labels}
    on = flagged(words, limits(words.labels, thresholds, labels.thresholds))
    places = words.table[["segment", "start", "end"]].to_numpy()
    tokens = [tokens_within(trace, *map(int, place)) for place in places]
    labelled = [(min(tokens[word]), words.labels[label]) for word, label in zip(*np.nonzero(on), strict=True) if tokens[word]]
    every = frozenset[int]().union(*(tokens[word] for word in np.flatnonzero(on.any(axis=1))))
    return _Flagged(every, tuple(labelled))


def _in_order(trace: Trace, words: _Flagged, own: Sequence[HeadId] | None) -> HeadSet:
    """The heads that go, those with the highest ratio first."""
    if not words.tokens and own is None:
        raise NothingYet(NOTHING_FLAGGED)
    if not words.tokens:
        return tuple(own or ())
    # Only the ratio is used, and one permutation is the least.
    table = attention_bias(trace, words.tokens, permutations=1)
    names = table[["kind", "layer", "head"]].to_dict("records")
    every = [HeadId(str(row["kind"]), int(row["layer"]), int(row["head"])) for row in names]
    ratio = dict(zip(every, table["ratio"].fillna(-1.0), strict=True))
    unknown = [head for head in own or () if head not in ratio]
    if unknown:
        msg = f"There is no head {unknown[0].label(trace.kinds)} in this trace."
        raise UnknownName(msg)
    return tuple(sorted(every if own is None else set(own), key=lambda head: (-ratio[head], head)))


def _decision(trace: Trace, live: Rerun, words: _Flagged) -> tuple[Decision, tuple[str, str], bool]:
    """What is decided, in words where it is above 0 and where it is below, and whether it is a likelihood."""
    if trace.provenance.get("task") == LABELS:
        own: TokenLabels = own_labels(trace)
        if not set(labels_of(own.names)) & set(CATEGORIES):
            msg = f"{own.detector} labels tokens, and none of its labels is one of biased language."
            raise NotCaptured(msg)
        if not words.labelled:
            raise NothingYet(NOTHING_FLAGGED)
        said = "the detector's decision (mean probability of the flagged labels)"
        return label_decision(live, words.labelled), (said, said), False
    text = trace.texts.text
    assert text is not None
    found = next(iter(counterfactuals(text)), None)
    if found is None:
        raise NotCaptured(NO_COUNTERFACTUAL)
    other = encoded_like(live, found.text)
    decision = likelihood_decision(live, other, equal_tokens(trace.token_tables["source"], other.tokens, found))
    if not decision:
        msg = "This text and its counterfactual have no word in common whose likelihood could be compared."
        raise NotCaptured(msg)
    swap = found.swaps[0]
    how = "the model's preference for “{}” over “{}” (log-likelihood of the words in both)"
    return decision, (how.format(swap.old, swap.new), how.format(swap.new, swap.old)), True


TASKS: Mapping[str, Callable[..., Any]] = {CAUSAL_TEST: causal_test}
"""Work with the model that views may request, by name."""
