"""Ordered lists of words, and sentences that say nothing: what drills of heads are made of, without any corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

SERIES: Mapping[str, tuple[str, ...]] = {
    "days": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "months": (
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
    ),
    "letters": tuple(ascii_uppercase),
    "digits": tuple(str(number) for number in range(1, 21)),
    "numbers": (
        "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
        "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
    ),
    "places": ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
}  # fmt: skip
"""Lists whose every word has a successor in the list, but for the last."""

NAMES = ("Anna", "Tom", "Mary", "John", "Lucy", "Peter", "Jane", "Sam", "Kate", "Ben", "Emma", "Jack")

THINGS = ("house", "tree", "road", "river", "hill", "garden", "door", "table", "window", "wall", "bridge", "field")
"""Nouns of the filler."""

KINDS = ("old", "small", "big", "green", "white", "long", "new", "dark")

SECRETS = (
    "cat", "dog", "bird", "fish", "horse", "cow", "boat", "ball", "book", "hat", "bell", "king", "fire", "stone", "snow",
    "gold", "milk", "bread", "star", "moon", "rain", "box", "cup", "egg", "key", "bag", "bed", "ship", "ring", "apple",
)  # fmt: skip
"""Words of facts; none is in the filler."""

ANSWER = 4
"""Words of a fact."""


class Needle(NamedTuple):
    """A text with a fact somewhere in it, and the beginning of that fact again at its end."""

    text: str
    """Ends with the answer."""
    needle: tuple[int, int]
    """Characters of the answer where the fact stands."""
    answer: tuple[int, int]
    """Characters of the answer at the end."""
    question: int
    """Where the question begins, in characters: all before it is filler with the fact."""


def needle_text(draw: np.random.Generator, sentences: int) -> Needle:
    """A fact in so many sentences of filler, at a place drawn evenly."""
    name = str(draw.choice(NAMES))
    answer = " ".join(map(str, draw.choice(SECRETS, ANSWER, replace=False)))
    fact = f"The secret words of {name} are {answer}."
    filler = [_filler(draw) for _ in range(sentences)]
    place = int(draw.integers(0, sentences + 1))
    whole = [*filler[:place], fact, *filler[place:]]
    before = len(" ".join([*filler[:place], fact])) - 1 - len(answer)
    question = " ".join(whole)
    asked = f"{question} What are the secret words of {name}? The secret words of {name} are "
    return Needle(asked + answer, (before, before + len(answer)), (len(asked), len(asked) + len(answer)), len(question))


def _filler(draw: np.random.Generator) -> str:
    first, second = draw.choice(THINGS, 2, replace=False)
    if draw.random() < 0.5:
        return f"The {first} is {draw.choice(KINDS)}."
    return f"The {draw.choice(KINDS)} {first} is near the {second}."


def shuffled_series(words: Sequence[str], draw: np.random.Generator) -> dict[str, str]:
    """Word -> the one that follows it in a random order of the list in which no word is followed by its successor.

    The last word of an order is followed by its first, so that every word is.
    """
    size = len(words)
    true = set(zip(range(size - 1), range(1, size), strict=True))
    while True:
        order = draw.permutation(size)
        follows = list(zip(order.tolist(), [*order[1:].tolist(), int(order[0])], strict=True))
        if not true & set(follows):
            return {words[at]: words[after] for at, after in follows}
