"""Predictions of two traces at the same words: which positions stand for each other, and the likeliest outcomes of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured
from atlas.text.pairs import NO_PARTNER
from atlas.tracing.outcomes import CLASSIFIES_TEXT
from atlas.tracing.predictions import (
    LABELS,
    MASKED,
    WHOLE_TEXT,
    Distribution,
    masks_of,
    side_of_predictions,
    task_of,
    without_predictions,
)

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


def counterpart(two: TwoTraces, position: int) -> int | None:
    """The position of the second side at which the same is predicted as at one of the first; None where there is none.

    Masks stand for each other in their order. A token within a word has one where the word is cut the same on both sides.
    """
    masks = masks_of(two.a), masks_of(two.b)
    if position in masks[0]:
        number = masks[0].index(position)
        if number < len(masks[1]):
            return masks[1][number]
    try:
        found = {place.a: place.b for place in places(two)}
    except NotCaptured:
        return None
    if position in found or position == WHOLE_TEXT:
        return found.get(position)
    side = side_of_predictions(two.a)
    units, tables = two.words(side).units, (two.a.token_tables[side], two.b.token_tables[side])
    unit, same = int(units.old[position]), task_of(two.a) == task_of(two.b)
    at = [np.flatnonzero(each == unit) for each in (units.old, units.new)]
    cut = [table["token"].to_numpy()[here].tolist() for table, here in zip(tables, at, strict=True)]
    if unit == NO_PARTNER or not same or cut[0] != cut[1]:
        return None
    return int(at[1][int(np.flatnonzero(at[0] == position)[0])])


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
