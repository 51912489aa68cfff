"""Identity terms and neutral words, read from the data files."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import regex

from atlas.resources import asset
from atlas.text.inflect import IRREGULAR

KINDS = ("subject", "object", "possessive", "own", "reflexive", "title", "noun", "plural", "place", "places", "adjective")
"""Kinds of words; words of one kind can take each other's place."""

TARGET_ALONE = "~"
"""Before a word that is never taken for an identity term itself."""

BOUNDED = r"(?<![\p{{L}}\p{{N}}]|[\p{{L}}\p{{N}}]['’-])(?:{})(?![\p{{L}}\p{{N}}]|[-][\p{{L}}\p{{N}}])"
"""A word by itself, and no part of a longer one with a hyphen."""


@dataclass(frozen=True)
class Axis:
    """Identities whose words take each other's place."""

    category: str
    identities: tuple[str, ...]
    rows: Mapping[str, tuple[tuple[str, ...], ...]]
    """kind -> rows of words, one an identity; '~' before a word that is a target alone, '' where there is none."""
    of_persons: frozenset[str]
    """Words that count only where they describe a person."""
    not_after: Mapping[str, frozenset[str]]
    not_before: Mapping[str, frozenset[str]]

    def kinds(self, word: str) -> list[str]:
        """The kinds of an identity term, written in small letters."""
        return [kind for kind, rows in self.rows.items() if any(term.lower() == word for row in rows for term in row)]

    def places(self, word: str, kind: str) -> list[tuple[int, tuple[str, ...]]]:
        """The identities that a term names, each with the row it stands in."""
        return [(at, row) for row in self.rows.get(kind, ()) for at, term in enumerate(row) if term.lower() == word]

    def terms(self) -> Iterator[str]:
        """All identity terms."""
        return (term for rows in self.rows.values() for row in rows for term in row if term and term[0] != TARGET_ALONE)


@functools.cache
def axes() -> tuple[Axis, ...]:
    """All axes of the nine categories."""
    data = tomllib.loads(asset("identity_terms.toml").read_text(encoding="utf-8"))
    return tuple(_axis(category, each) for category, each_axis in data.items() for each in each_axis)


def _axis(category: str, given: Mapping[str, Any]) -> Axis:
    rows = {kind: tuple(tuple(row) for row in given[kind]) for kind in KINDS if kind in given}
    around = ({word: frozenset(others) for word, others in given.get(side, {}).items()} for side in ("not_after", "not_before"))
    return Axis(category, tuple(given["identities"]), rows, frozenset(given.get("of_persons", ())), *around)


@functools.cache
def pattern() -> regex.Pattern[str]:
    """Finds identity terms, the longest that begin at a place."""
    return bounded({term for axis in axes() for term in axis.terms()})


def bounded(words: set[str]) -> regex.Pattern[str]:
    """Finds some words, in any letter case and with any white space between their parts."""
    ordered = sorted(words, key=lambda word: (-len(word), word))
    escaped = (r"\s+".join(map(regex.escape, word.split())) for word in ordered)
    return regex.compile(BOUNDED.format("|".join(escaped)), regex.IGNORECASE)


@functools.cache
def neutral() -> Mapping[str, tuple[str, ...]]:
    """Kind -> words that name no identity."""
    data = tomllib.loads(asset("neutral_words.toml").read_text(encoding="utf-8"))
    return {kind: tuple(words) for kind, words in data.items()}


@functools.cache
def persons() -> frozenset[str]:
    """Nouns and pronouns that are persons."""
    known = neutral()
    rows = [row for axis in axes() for kind in ("noun", "plural", "subject") for row in axis.rows.get(kind, ())]
    named = {term.lower() for row in rows for term in row}
    return frozenset({*known["noun"], *known["plural"], *known["persons"], *named, *IRREGULAR})


@functools.cache
def adjectives() -> frozenset[str]:
    """Adjectives that name an identity."""
    return frozenset(term.lower() for axis in axes() for row in axis.rows.get("adjective", ()) for term in row)
