"""The words of the generated stories, read from lexicon.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

Words = tuple[str, ...]

FILE = Path(__file__).with_name("lexicon.toml")
_READ = tomllib.loads(FILE.read_text(encoding="utf-8"))


def _words(text: str) -> Words:
    return tuple(" ".join(word.split()) for word in text.split(","))


def _table(name: str) -> dict[str, Words]:
    return {key: _words(text) for key, text in _READ[name].items()}


NAMES = _table("names")
KIN = _table("kin")
PEOPLE = _table("people")
PRONOUNS = _table("pronouns")  # subject, object, possessive, reflexive
CLASSES = _table("classes")
ADJECTIVES = _table("adjectives")
LISTS = _table("lists")
IRREGULAR = _table("irregular")  # past, participle
OCCUPATIONS = _words(_READ["occupations"])
NUMBERS = _words(_READ["numbers"])
MANY = _words(_READ["many"])
SPEAKING = _words(_READ["speaking"])
DOUBLING = _words(_READ["doubling"])
