"""What the rows and columns of attention stand for: tokens, or whole words. The one place where views get words from tokens."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured, TooLarge
from atlas.text.words import Units, pool, word_units

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

TOKEN, WORD = "token", "word"
LEVELS = (TOKEN, WORD)

WORD_TOKENS = 1_024
"""Word level sums whole matrices to words: as much work as rollout."""

NO_WORDS = "This recording has tokens and no text, so nobody knows its words. Show tokens instead."


class Level(NamedTuple):
    """The units of queries and keys; None where every token stands for itself."""

    queries: Units | None = None
    keys: Units | None = None

    def of(self, axis: str) -> Units | None:
        """The units of an axis; those of both are the same where an axis is called 'token'."""
        return self.keys if axis == "key" else self.queries

    def pooled(self, weights: Array) -> Array:
        """(query, key) weights between units: to a word summed over its tokens, from it their mean; NaN where none may look."""
        return weights if self.queries is None or self.keys is None else pool(weights, self.queries, self.keys)

    def tokens(self, axis: str, at: int) -> frozenset[int]:
        """The tokens of a unit."""
        units = self.of(axis)
        return frozenset({at}) if units is None else frozenset(np.flatnonzero(units.of_token == at).tolist())

    def places(self, axis: str, tokens: Collection[int]) -> frozenset[int]:
        """The units that hold some of these tokens."""
        units = self.of(axis)
        return frozenset(tokens) if units is None else frozenset(units.of_token[sorted(tokens)].tolist())

    def holding(self, axis: str, flags: Array) -> Array:
        """Which units hold a token that is flagged."""
        units = self.of(axis)
        return flags if units is None else np.bincount(units.of_token, weights=flags, minlength=len(units)) > 0

    def first(self, axis: str, values: Array) -> Array:
        """Of each unit the value of its first token."""
        units = self.of(axis)
        return values if units is None else values[units.first]

    def positions(self, axis: str) -> tuple[str, ...]:
        """Where the tokens of each unit stand: '3', '3–5'. Empty where every token stands for itself."""
        units = self.of(axis)
        return () if units is None else written_positions(units)


TOKENS = Level()
"""Every token is a row and a column by itself."""


def level_of(trace: Trace, kind: str, name: str) -> Level:
    """The level of this name for a kind of attention; that of tokens where the words are not known."""
    if name == TOKEN or not has_words(trace):
        return TOKENS
    return Level(*(side_words(trace, trace.side(kind, axis)) for axis in ("query", "key")))


def check_words(trace: Trace, kind: str) -> None:
    """Raise where attention of a kind cannot be shown between words."""
    if not has_words(trace):
        raise NotCaptured(NO_WORDS)
    longest = max(len(trace.token_tables[trace.side(kind, axis)]) for axis in ("query", "key"))
    if longest > WORD_TOKENS:
        msg = f"Words are summed from whole matrices, and {longest:,} tokens are more than {WORD_TOKENS:,}. Show tokens instead."
        raise TooLarge(msg)


def side_words(trace: Trace, side: str) -> Units:
    """The words of a side; a token of no word stands for itself."""
    if not has_words(trace):
        raise NotCaptured(NO_WORDS)
    made: Units = trace.once(f"words {side}", lambda: word_units(trace.reading(side).table["word"].to_numpy()))
    return made


def word_names(trace: Trace, side: str) -> tuple[str, ...]:
    """The words of a side as the text has them."""
    made: tuple[str, ...] = trace.once(f"word names {side}", lambda: tuple(unit_labels(trace, side, side_words(trace, side))))
    return made


def unit_labels(trace: Trace, side: str, units: Units) -> list[str]:
    """What the text has at each unit; the first token of it where there is no text."""
    text, pair = (trace.texts.target, None) if side == "target" else (trace.texts.text, trace.texts.pair)
    tokens = trace.tokens(side)
    if text is None:
        return [str(tokens["token"].iloc[int(first)]) for first in units.first]
    return units.labels(tokens, text, pair)


def written_positions(units: Units) -> tuple[str, ...]:
    """Where the tokens of each unit stand: '3', '3–5'."""
    last = np.zeros(len(units), int)
    last[units.of_token] = np.arange(len(units.of_token))
    return tuple(
        str(start) if start == end else f"{start}–{end}" for start, end in zip(units.first.tolist(), last.tolist(), strict=True)
    )


class Grouped(NamedTuple):
    """The tokens of all sides of a text, the source first: each by itself, or those of a word together."""

    names: tuple[str, ...]
    sides: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    """Positions on their side."""
    of: Array
    """The place of every token."""

    @property
    def several(self) -> bool:
        """Whether a word here has several tokens."""
        return len(self.names) < len(self.of)

    def summed(self, values: Array) -> Array:
        """The sum of one number for each token; NaN where one of them is not known."""
        return np.bincount(self.of, weights=values, minlength=len(self.names))


def grouped(trace: Trace, name: str) -> Grouped:
    """All tokens of a text at a level."""
    names: list[str] = []
    sides: list[str] = []
    tokens: list[tuple[int, ...]] = []
    places: list[Array] = []
    for side, table in trace.token_tables.items():
        of = np.arange(len(table)) if name == TOKEN else side_words(trace, side).of_token
        places.append(len(names) + of)
        given = list(map(str, table["token"])) if name == TOKEN else word_names(trace, side)
        sides += [side] * len(given)
        names += given
        tokens += [tuple(each.tolist()) for each in np.split(np.argsort(of, kind="stable"), np.cumsum(np.bincount(of))[:-1])]
    return Grouped(tuple(names), tuple(sides), tuple(tokens), np.concatenate(places))


def has_words(trace: Trace) -> bool:
    """Whether the words of a text are known; of a recording there are tokens only."""
    return all("word" in table for table in trace.token_tables.values())
