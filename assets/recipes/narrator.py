"""Turns templates into sentences that agree: names and pronouns, verbs and their subjects, articles and their nouns.

The little language of the templates:

    [A]  [A name]  [A him]  [A his]  [A self]          a person: subject, name, object, possessive, reflexive
    [A+B]  [they]  [they self]                         both; both again
    <find>  <find en>  <find ing>                      a verb: agreeing in the story's tense; participle; -ing form
    {a x:toy}  {two x:fruit}  {some x:mass}            a new thing of a class, bound to x: one, several, an uncountable one
    {the x}  {x}  {one x}  {it x}  {its x}             the thing again: with "the", bare, with "a", as a pronoun
    {=the x}  {=it x}  {=people|many}  {=nobody|one}   the same, or plain words, as a subject: the next verb agrees
    {!outside}  {!outside p}  {p}                      a phrase of a list; bound to p; again
    {~glad}                                            an adjective
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from .grammar import Person, Thing, finite, gerund, participle
from .lexicon import ADJECTIVES, CLASSES, LISTS, MANY, NUMBERS, SPEAKING

SLOT = re.compile(r"\[([^\]]+)\]|<([^>]+)>|\{([^}]+)\}")
OPENED = re.compile(r'(^|[ (])(")([a-z])')
AFTER_STOP = re.compile(r"(?<=[.!?] )[a-z]")  # not after a closing quote: there the one who spoke follows
CASES = {"him": 1, "his": 2, "self": 3}
PRONOUN_SHARE = 0.75  # where a pronoun would be clear, how often it is used
ROLE_SHARE = 0.25
ADJECTIVE_SHARE = 0.45
LIVING_OR_EATEN = ("animal", "fruit", "food")  # no open monkeys, no broken plums
UNCOUNTABLE = ("mass", "drink")


def capitalised(text: str) -> str:
    """A capital at the start and after every full stop."""
    return text[0].upper() + AFTER_STOP.sub(lambda found: found[0].upper(), text[1:])


@dataclass(frozen=True)
class Story:
    """A text and who is in it, so that a test can hold the pronouns against the people."""

    text: str
    cast: tuple[Person, ...]


class Narrator:
    """Tells one story; remembers who was mentioned last, so that a pronoun is used only where it is clear."""

    def __init__(self, draw: random.Random, cast: dict[str, Person], tense: str) -> None:
        self.draw, self.cast, self.tense = draw, cast, tense
        self.bound: dict[str, Thing | str] = {}
        self.last_seen: dict[Person, int] = {}
        self.called_by_role: set[Person] = set()
        self.subject_is_plural = False
        self.last_adjective = ""
        self.sentence = 0
        self.paragraphs: list[list[str]] = [[]]

    def say(self, template: str) -> None:
        """Add one sentence (or several) made from a template."""
        self.sentence += 1
        self.subject_is_plural = False
        text = SLOT.sub(self._fill, template)
        text = OPENED.sub(lambda found: found[1] + found[2] + found[3].upper(), text)
        self.paragraphs[-1].append(capitalised(text))

    def can_say(self, template: str) -> bool:
        """Whether everything the template refers back to has been named."""
        named = set(self.bound)
        for _, _, slot in SLOT.findall(template):
            if not slot or slot[0] == "~" or "|" in slot:
                continue
            if slot[0] == "!":
                named.add(slot.rpartition(" ")[2])
            elif ":" in slot:
                named.add(slot.rpartition(" ")[2].partition(":")[0])
            elif slot.lstrip("=").rpartition(" ")[2] not in named:
                return False
        return True

    def forget_things(self) -> None:
        """A new episode has things of its own."""
        self.bound.clear()

    def new_paragraph(self) -> None:
        """Break the line; pronouns do not reach across."""
        if self.paragraphs[-1]:
            self.paragraphs.append([])
        self.sentence += 2

    def text(self) -> str:
        """The story so far."""
        return "\n".join(" ".join(paragraph) for paragraph in self.paragraphs if paragraph)

    def _fill(self, found: re.Match[str]) -> str:
        person, verb, thing = found.groups()
        if person:
            return self._people(person)
        return self._verb(verb) if verb else self._thing(thing)

    def _verb(self, slot: str) -> str:
        verb, _, form = slot.partition(" ")
        if form == "en":
            return participle(verb)
        if form == "ing":
            return gerund(verb)
        return finite(verb, self.tense, is_plural=self.subject_is_plural)

    def _people(self, slot: str) -> str:
        if slot == "they self":
            return "themselves"
        if slot == "they" or "+" in slot:
            self.subject_is_plural = True
            return slot if slot == "they" else " and ".join(self._name(self.cast[key]) for key in slot.split("+"))
        key, _, how = slot.partition(" ")
        person = self.cast[key]
        if how in {"", "name"}:
            self.subject_is_plural = False
            return self._name(person) if how else self._mention(person)
        return self._not_subject(person, how)

    def _not_subject(self, person: Person, how: str) -> str:
        if how == "self":
            return person.pronoun(3)
        if self._is_clear(person):
            self._note(person)
            return person.pronoun(CASES[how])
        return self._name(person) + ("'s" if how == "his" else "")

    def _is_clear(self, person: Person) -> bool:
        """Mentioned now or just before, and nobody else of that gender at the same time or since."""
        seen = self.last_seen.get(person)
        rivals = [when for other, when in self.last_seen.items() if other.gender == person.gender and other != person]
        return seen is not None and self.sentence - seen <= 1 and all(when < seen for when in rivals)

    def _note(self, person: Person) -> None:
        self.last_seen[person] = self.sentence

    def _name(self, person: Person) -> str:
        self._note(person)
        return person.name

    def _mention(self, person: Person) -> str:
        clear, again = self._is_clear(person), self.last_seen.get(person) == self.sentence
        self._note(person)
        if clear and self.draw.random() < PRONOUN_SHARE:
            return person.pronoun(0)
        if person.role and not again and person in self.called_by_role and self.draw.random() < ROLE_SHARE:
            return f"the {person.role}"
        return person.name

    def _thing(self, slot: str) -> str:
        if slot[0] in "~!":
            return self._from_list(slot)
        is_subject = slot[0] == "="
        if is_subject and "|" in slot:
            words, _, number = slot[1:].partition("|")
            self.subject_is_plural = number == "many"
            return words
        how, _, name = slot.lstrip("=").rpartition(" ")
        if ":" in name:
            return self._new_thing(how, *name.split(":"), is_subject=is_subject)
        thing = self.bound[name]
        return thing if isinstance(thing, str) else self._known_thing(thing, how, is_subject=is_subject)

    def _from_list(self, slot: str) -> str:
        if slot[0] == "~":
            self.last_adjective = self.draw.choice([word for word in ADJECTIVES[slot[1:]] if word != self.last_adjective])
            return self.last_adjective
        if slot == "!said":
            return finite(self.draw.choice(SPEAKING), self.tense, is_plural=False)
        phrases, _, key = slot[1:].rpartition(" ") if slot[1:] not in LISTS else (slot[1:], "", "")
        phrase = self.draw.choice(LISTS[phrases])
        if key:
            self.bound[key] = phrase
        return phrase

    def _known_thing(self, thing: Thing, how: str, *, is_subject: bool) -> str:
        if is_subject:
            self.subject_is_plural = thing.is_plural
        if how in {"it", "its"}:
            return thing.pronoun((0 if is_subject else 1) if how == "it" else 2)
        if how == "the":
            return "the " + thing.bare(with_adjective=self.draw.random() < ADJECTIVE_SHARE)
        return thing.indefinite() if how == "one" else thing.bare()

    def _new_thing(self, how: str, key: str, kind: str, *, is_subject: bool) -> str:
        taken = {thing.noun for thing in self.bound.values() if isinstance(thing, Thing)}
        noun = self.draw.choice([word for word in CLASSES[kind] if word not in taken] or CLASSES[kind])
        adjective = ""
        if self.draw.random() < ADJECTIVE_SHARE and kind not in UNCOUNTABLE:
            sorts = ("size", "colour") if kind in LIVING_OR_EATEN else ("size", "colour", "state")
            adjective = self.draw.choice(ADJECTIVES[self.draw.choice(sorts)])
        number = {"a": "", "the": "", "two": self.draw.choice(NUMBERS), "some": "some", "many": self.draw.choice(MANY)}[how]
        thing = Thing(noun, adjective, number, is_mass=kind in UNCOUNTABLE)
        self.bound[key] = thing
        if is_subject:
            self.subject_is_plural = thing.is_plural
        return "the " + thing.bare() if how == "the" else thing.indefinite()
