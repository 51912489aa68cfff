"""Whether heads carry a decision on flagged words: numbers by dose, the rules over them, the sentence that follows."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from atlas.numbers import three
from atlas.tracing.labelled import without_text
from atlas.tracing.predictions import LABELS, MASKED
from atlas.tracing.verdict import ALPHA, CAUTION, CONCLUSION, Numbers, Rule, Verdict, p_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from atlas.ids import HeadId
    from atlas.trace import Trace

CAUSAL_TEST = "causal test"
"""Name of the task."""

CAUSAL = "causal-lm"
"""The task of a model that predicts each token after those before it."""

DOSES = (1, 2, 4, 8, 16)
"""Numbers of heads that are switched off together."""

USUAL_DOSE = 4
"""The dose that the sentence is about, said beforehand: its p then needs no correction for the number of doses."""

MOST = "most at flagged words"

DRAWS = 199
"""Random sets of as many heads at each dose: p is known to half a per cent."""


class CausalTest(NamedTuple):
    """What is left of a decision without the first heads of an order."""

    table: pd.DataFrame
    """One row a dose: heads, left (the decision without them), fall, random (mean fall without random sets), lo and hi (95 % of
    the random sets), p, q (over the doses), sets, same_layers."""
    heads: tuple[HeadId, ...]
    """In the order in which they go."""
    whole: float
    """The decision with all heads."""
    decision: str
    """In words."""
    likelihood: bool
    """Whether it is a difference of log-likelihoods."""
    chosen: bool
    """Whether the heads were given; else they are those that look most at flagged words."""

    @property
    def verdict(self) -> Verdict:
        """The sentence on all heads that were given, else on the usual dose."""
        return self.verdict_at(len(self.heads) if self.chosen else USUAL_DOSE)

    def verdict_at(self, dose: int) -> Verdict:
        """The sentence on a dose, else on the largest one below it."""
        return judged(self, dose)

    def dose(self, count: int) -> tuple[HeadId, ...]:
        """The heads that are switched off at a dose."""
        return tuple(sorted(self.heads[:count]))


def doses_of(heads: int, *, chosen: bool) -> tuple[int, ...]:
    """How many heads go together: of all heads up to half of them, of chosen ones up to all."""
    most = heads if chosen else max(1, heads // 2)
    found = [dose for dose in DOSES if dose <= most]
    return tuple(dict.fromkeys([*found, most])) if chosen and heads else tuple(found)


def runs_of(trace: Trace, doses: Sequence[int], draws: int = DRAWS) -> int:
    """The runs of the model that a test takes at most, without those of a detector."""
    task = trace.provenance.get("task")
    tokens = len(trace.token_tables["source"])
    each = {LABELS: 1, MASKED: 2 * tokens}.get(str(task), 2)
    return each * (1 + len(doses) * (1 + draws))


def without_decision(trace: Trace) -> str:
    """Why the model of a trace decides nothing on flagged words; empty: it does."""
    reason = without_text(trace)
    if reason:
        return reason
    if trace.texts.pair is not None:
        return "this trace has two texts, and the test is of one"
    if trace.live is None:
        return "its model is not here to run the text again."
    if trace.provenance.get("task") not in (LABELS, MASKED, CAUSAL):
        return "this model neither labels tokens nor says how likely a text is, so it decides nothing on flagged words"
    return ""


# -- rules -----------------------------------------------------------------------------------------------------------------


def _beyond(numbers: Numbers) -> bool:
    return numbers["p"] <= ALPHA


def _first_of_few(numbers: Numbers) -> bool:
    lowest = 1 / (1 + numbers["sets"])
    return lowest > ALPHA and numbers["p"] <= lowest


RULES: tuple[Rule, ...] = (
    Rule(
        "nothing to compare",
        CONCLUSION,
        "there are no other heads",
        "Without {these}, {decision} {changes}. There are no other heads to compare with, so nothing follows.",
        lambda numbers: not numbers["sets"],
    ),
    Rule(
        "carry it",
        CONCLUSION,
        "p ≤ 0.05 among random heads, and the decision falls",
        "Without {these}, {decision} {changes}, more than without {others} changes it ({random}; {p}): {carry} part of it.",
        lambda numbers: _beyond(numbers) and numbers["fall"] > 0,
    ),
    Rule(
        "hold it back",
        CONCLUSION,
        "p ≤ 0.05 among random heads, and the decision rises",
        "Without {these}, {decision} {changes}, more than without {others} changes it ({random}; {p}): {hold} it back.",
        _beyond,
    ),
    Rule(
        "first of few",
        CONCLUSION,
        "more than each other set, of which there are fewer than 19",
        "Without {these}, {decision} {changes}, more than without any of the {sets} other sets of as many heads, which are too "
        "few for a p under 0.05 ({p}): a sign, no proof.",
        _first_of_few,
    ),
    Rule(
        "do not carry it",
        CONCLUSION,
        "no other rule holds",
        "Without {these}, {decision} {changes}, no more than without {others} ({random}; {p}): nothing shows that {carry} it.",
        lambda _: True,
    ),
    Rule(
        "other layers",
        CAUTION,
        "the same layers have fewer than 19 other sets of as many heads",
        "The same layers have too few other heads, so random heads of any layer stand in.",
        lambda numbers: numbers["sets"] > 0 and not numbers["same_layers"],
    ),
    Rule(
        "weak decision",
        CAUTION,
        "a difference of log-likelihoods under 0.1",
        "The model hardly prefers either text, so there is little to carry.",
        lambda numbers: numbers["likelihood"] > 0 and numbers["whole"] < 0.1,
    ),
)
"""Every rule. Of the conclusions the first that holds fires; of the cautions all that hold."""


def row_of(table: pd.DataFrame, dose: int) -> int:
    """The row of a dose, else of the largest one below it, else the first: the sentence is about it."""
    below = table.index[table["heads"] <= dose]
    return int(below[-1]) if len(below) else int(table.index[0])


def judged(test: CausalTest, dose: int) -> Verdict:
    """The sentence that follows from the numbers of a dose."""
    row = test.table.to_dict("records")[row_of(test.table, dose)]
    numbers = {str(name): float(value) for name, value in row.items()}
    numbers |= {"whole": test.whole, "likelihood": float(test.likelihood)}
    fired = [next(rule for rule in RULES if rule.part == CONCLUSION and rule.holds(numbers))]
    cautions = [rule for rule in RULES if rule.part == CAUTION and rule.holds(numbers)]
    sentence = fired[0].words.format(**_in_words(numbers, test))
    return Verdict(sentence, (*fired, *cautions), MappingProxyType(numbers), tuple(rule.words for rule in cautions))


def _in_words(numbers: Numbers, test: CausalTest) -> dict[str, str]:
    count, alone = int(numbers["heads"]), numbers["heads"] == 1
    layers = ("the same layer" if alone else "the same layers") if numbers["same_layers"] else "any layer"
    if test.chosen:
        these = "this head" if alone else f"these {count:,} heads"
    else:
        these = f"the head that looks {MOST}" if alone else f"the {count:,} heads that look {MOST}"
    fall, ends = numbers["fall"], f"from {three(numbers['whole'])} to {three(numbers['left'])}"
    return {
        "these": these,
        "decision": test.decision,
        "changes": f"{'falls' if fall > 0 else 'rises'} by {three(abs(fall))} ({ends})" if fall else "stays as it is",
        "others": f"a random head of {layers}" if alone else f"{count:,} random heads of {layers}",
        "random": f"mean fall {three(numbers['random'])}, 95 % {three(numbers['lo'])} to {three(numbers['hi'])}",
        "sets": f"{int(numbers['sets']):,}",
        "p": f"p = {p_words(numbers['p'])} by the size of the change",
        "carry": "this head carries" if alone else "these heads carry",
        "hold": "this head holds" if alone else "these heads hold",
    }
