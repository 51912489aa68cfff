"""Inflection and noun phrases: the rules by which generated sentences agree."""

from __future__ import annotations

from dataclasses import dataclass

from .lexicon import DOUBLING, IRREGULAR, PRONOUNS

VOWELS = "aeiou"
PLURALS = {
    "sheep": "sheep",
    "deer": "deer",
    "mouse": "mice",
    "goose": "geese",
    "loaf": "loaves",
    "wolf": "wolves",
    "shelf": "shelves",
    "knife": "knives",
    "child": "children",
    "man": "men",
    "woman": "women",
    "potato": "potatoes",
    "tomato": "tomatoes",
    "foot": "feet",
    "tooth": "teeth",
    "thief": "thieves",
    "person": "people",
}


def plural(noun: str) -> str:
    """More than one of it."""
    head, last = noun.rsplit(" ", 1) if " " in noun else ("", noun)
    if last in PLURALS:
        form = PLURALS[last]
    elif last.endswith("y") and last[-2] not in VOWELS:
        form = last[:-1] + "ies"
    elif last.endswith(("s", "x", "ch", "sh")):
        form = last + "es"
    else:
        form = last + "s"
    return f"{head} {form}" if head else form


def article(phrase: str) -> str:
    """The word a or an, by how the next word begins (the lexicon has neither silent h nor 'one')."""
    return "an" if phrase[0].lower() in VOWELS and not phrase.startswith(("uni", "use")) else "a"


def third_person(verb: str) -> str:
    """She goes."""
    if verb == "have":
        return "has"
    if verb in {"can", "will"}:
        return verb
    if verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ies"
    if verb.endswith(("s", "x", "ch", "sh", "o")):
        return verb + "es"
    return verb + "s"


def past(verb: str) -> str:
    """She went."""
    if verb in IRREGULAR:
        return IRREGULAR[verb][0]
    return regular_past(verb)


def participle(verb: str) -> str:
    """She has gone."""
    return IRREGULAR[verb][1] if verb in IRREGULAR else regular_past(verb)


def regular_past(verb: str) -> str:
    """Walked, tried, stopped."""
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ied"
    return verb + (verb[-1] if verb in DOUBLING else "") + "ed"


def gerund(verb: str) -> str:
    """Going, making, lying, stopping."""
    if verb == "lie":
        return "lying"
    if verb.endswith("e") and verb not in {"be", "see"}:
        return verb[:-1] + "ing"
    double = verb in DOUBLING or verb in {"sit", "run", "swim", "cut", "put", "let", "get", "win", "forget", "begin", "dig"}
    return verb + (verb[-1] if double else "") + "ing"


def finite(verb: str, tense: str, *, is_plural: bool) -> str:
    """The verb as it agrees with its subject in the tense of the story."""
    if verb == "be":
        return {("past", True): "were", ("past", False): "was", ("present", True): "are", ("present", False): "is"}[
            tense, is_plural
        ]
    if tense == "past":
        return past(verb)
    return verb if is_plural else third_person(verb)


@dataclass(frozen=True)
class Person:
    """Somebody of the story. `role` is what the story may call the person instead of the name."""

    name: str
    gender: str
    role: str | None = None

    def pronoun(self, case: int) -> str:
        """Case 0 subject, 1 object, 2 possessive, 3 reflexive."""
        return PRONOUNS[self.gender][case]


@dataclass(frozen=True)
class Thing:
    """A thing or animal, or several."""

    noun: str
    adjective: str = ""
    number: str = ""  # "" one; otherwise the word before the plural: three, many, some
    is_mass: bool = False

    @property
    def is_plural(self) -> bool:
        """Whether verbs and pronouns are plural."""
        return bool(self.number) and not self.is_mass

    def bare(self, *, with_adjective: bool = True) -> str:
        """The noun without determiner."""
        noun = plural(self.noun) if self.is_plural else self.noun
        return f"{self.adjective} {noun}" if self.adjective and with_adjective else noun

    def indefinite(self) -> str:
        """First mention."""
        if self.is_mass:
            return f"some {self.bare()}"
        return f"{self.number} {self.bare()}" if self.number else f"{article(self.bare())} {self.bare()}"

    def pronoun(self, case: int) -> str:
        """It, or they."""
        return PRONOUNS["p" if self.is_plural else "n"][case]
