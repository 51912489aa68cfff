"""Predictions of two traces at the same words: which positions stand for each other, and the likeliest outcomes of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured
from atlas.text.pairs import NO_PARTNER
from atlas.tracing.outcomes import CLASSIFIES_TEXT
from atlas.tracing.predictions import LABELS, MASKED, WHOLE_TEXT, Distribution, side_of_predictions, task_of, without_predictions

if TYPE_CHECKING:
    from atlas.tracing.two_traces import TwoTraces

UNKNOWN = "base"


class Place(NamedTuple):
    """Where something is predicted."""

    name: str
    a: int
    """Position of the first side, `WHOLE_TEXT` of a classifier of texts."""
    b: int
    word: int
    """The unit whose word is predicted, or that was read last."""


DOES = {CLASSIFIES_TEXT: "classifies the text", LABELS: "labels tokens", MASKED: "fills masks"}
"""What a model does, for a reader who does not know the names of tasks."""


class Beside(NamedTuple):
    """One outcome on both sides; NaN: not among the outcomes that are kept."""

    name: str
    a: float
    b: float


def without_both(two: TwoTraces) -> str:
    """Why the predictions of two traces cannot stand beside each other; empty: they can."""
    for which, trace in (("first", two.a), ("second", two.b)):
        reason = without_predictions(trace)
        if reason:
            return f"The {which} side has no predictions: {reason}"
    tasks = task_of(two.a), task_of(two.b)
    if tasks[0] != tasks[1] and {CLASSIFIES_TEXT, LABELS} & set(tasks):
        does = [DOES.get(task, "predicts tokens") for task in tasks]
        return f"Side A {does[0]} and side B {does[1]}, so no outcome is in both."
    if side_of_predictions(two.a) != side_of_predictions(two.b):
        return "One side goes on with the text and the other writes one of its own, so no position stands for another."
    return ""


def places(two: TwoTraces) -> list[Place]:
    """The positions of both sides at which the same is predicted, in the order of the first.

    Where both predict the next token: after the same words. Where one fills masks: the same word, so that of the other it is what
    comes after the token before that word.
    """
    reason = without_both(two)
    if reason:
        raise NotCaptured(reason)
    task, other = task_of(two.a), task_of(two.b)
    if task == CLASSIFIES_TEXT:
        return [Place("The text", WHOLE_TEXT, WHOLE_TEXT, NO_PARTNER)]
    words = two.words(side_of_predictions(two.a))
    at_word = [each in (MASKED, LABELS) for each in (task, other)]
    found = []
    for unit in np.argsort([int(np.flatnonzero(words.units.old == unit)[0]) for unit in range(len(words.names))]):
        tokens = [np.flatnonzero(each == unit) for each in (words.units.old, words.units.new)]
        if not any(at_word):
            a, b = (int(each[-1]) for each in tokens)
            name = f"After '{words.names[unit]}'"
        else:
            a, b = (int(each[0]) - (0 if here else 1) for each, here in zip(tokens, at_word, strict=True))
            name = f"'{words.names[unit]}'"
        if a >= 0 and b >= 0:
            found.append(Place(name, a, b, int(unit)))
    return found


def beside(one: Distribution, other: Distribution, k: int) -> list[Beside]:
    """The k likeliest outcomes of either side with their probabilities on both, the likeliest on the first side first."""
    sides = [_by_name(each) for each in (one, other)]
    names = list(dict.fromkeys(name for side in sides for name in list(side)[:k]))
    return [Beside(name, *(side.get(name, np.nan) for side in sides)) for name in names]


def _by_name(found: Distribution) -> dict[str, float]:
    """Outcomes by falling probability, without the space before a word, which some vocabularies have and others have not."""
    made: dict[str, float] = {}
    for name, share in zip(found.names.tolist(), found.probabilities().tolist(), strict=True):
        plain = str(name).strip() or str(name)
        if plain in made and np.isfinite(share):
            made[plain] += share
        else:
            made[plain] = share
    return made
