"""Short texts of a mood, from a grammar: negative, neutral or positive, and which words make it so.

One word with a mood in five (`HELD_OUT`) is never trained on, so that a test can ask whether the encoder knew it before. Negation
turns a mood ("not kind"), and after "but" the second half decides.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import lexicon

LABELS = ("negative", "neutral", "positive")
HELD_OUT_EVERY = 5
# Most moods are stated: were as many denied as stated, no word would speak for a mood by itself, and in 400 steps nothing was
# learnt but who is neutral (loss 0.47).
WAYS = ("stated", "stated", "stated", "denied", "turned")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


FELT = {
    "positive": _words("""
        happy, glad, proud, cheerful, pleased, excited, delighted, joyful, merry, grateful, hopeful, content, thankful, calm,
        satisfied, comfortable"""),
    "negative": _words("""
        sad, unhappy, upset, lonely, disappointed, afraid, frightened, scared, worried, nervous, angry, annoyed, furious,
        ashamed, miserable, bitter, jealous, hopeless, sorry, terrified"""),
}
SAID_OF_THINGS = {
    "positive": _words("""
        good, beautiful, lovely, wonderful, excellent, perfect, splendid, delicious, pretty, charming, delightful, fine, great,
        nice, pleasant, sweet, magnificent, glorious"""),
    "negative": _words("""
        bad, ugly, terrible, horrible, awful, dreadful, nasty, rotten, useless, broken, spoiled, poor, dull, boring, foul,
        worthless, disgusting, wretched"""),
}
SAID_OF_PEOPLE = {
    "positive": _words("kind, clever, brave, funny, honest, friendly, polite, gentle, wise, generous, noble, faithful, loyal"),
    "negative": _words("cruel, stupid, rude, mean, wicked, selfish, greedy, lazy, dishonest, hateful, false"),
}
DONE = {
    "positive": _words("loved, enjoyed, liked, admired, praised, treasured, adored, welcomed"),
    "negative": _words("hated, feared, disliked, despised, cursed, mocked, ruined, destroyed"),
}
HAPPENED = {
    "positive": _words(
        "smiled, laughed, danced with joy, sang for joy, won the prize, was saved, was rewarded, felt much better"
    ),
    "negative": _words("cried, wept, screamed, trembled, fell ill, lost everything, was robbed, was punished"),
}
# Every fifth of each list: at least one of either mood for every way to say it.
HELD_OUT = frozenset(
    word
    for table in (FELT, SAID_OF_THINGS, SAID_OF_PEOPLE, DONE, HAPPENED)
    for words in table.values()
    for word in words[HELD_OUT_EVERY // 2 :: HELD_OUT_EVERY]
)
PLAIN_OF_THINGS = (*lexicon.ADJECTIVES["size"], *lexicon.ADJECTIVES["colour"], "round", "wooden", "square", "flat")
PLAIN_DONE = _words("saw, took, carried, bought, moved, opened, measured, counted, turned, painted")
PLAIN_HAPPENED = _words("waited, sat down, walked home, stood up, looked around, went inside, ate, slept, came back")
NOT = _words("was not, was never, was not at all")
THINGS = tuple(
    thing
    for name in ("fruit", "food", "toy", "tool", "treasure", "clothes", "furniture", "building")
    for thing in lexicon.CLASSES[name]
)
PEOPLE = (*lexicon.NAMES["f"], *lexicon.NAMES["m"], *(f"the {name}" for name in lexicon.OCCUPATIONS))
PLACES = (*lexicon.LISTS["inside"], *lexicon.LISTS["outside"])
OPPOSITE = {"positive": "negative", "negative": "positive"}


@dataclass(frozen=True)
class Mood:
    """A text, its mood, how it was made, and the words that make it so (empty for a neutral one)."""

    text: str
    label: str
    kind: str
    said_by: tuple[str, ...]


class Teller:
    """Draws texts; `held_out` says on which side of the line its words with a mood are."""

    def __init__(self, seed: int, *, held_out: bool = False) -> None:
        self.draw, self.held_out = random.Random(seed), held_out

    def _of(self, words: Sequence[str]) -> str:
        return self.draw.choice([word for word in words if (word in HELD_OUT) == self.held_out])

    def _thing(self) -> str:
        return f"the {self.draw.choice(THINGS)}"

    def _plain(self) -> str:
        who, place = self.draw.choice(PEOPLE), self.draw.choice(PLACES)
        return self.draw.choice(
            (
                f"{self._thing()} was {self.draw.choice(PLAIN_OF_THINGS)}",
                f"{self._thing()} was {place}",
                f"{who} {self.draw.choice(PLAIN_DONE)} {self._thing()} {place}",
                f"{who} {self.draw.choice(PLAIN_HAPPENED)} {place}",
                f"{self._thing()} was not {self.draw.choice(PLAIN_OF_THINGS)}",
            )
        )

    def _stated(self, mood: str) -> tuple[str, tuple[str, ...]]:
        who, place = self.draw.choice(PEOPLE), self.draw.choice(PLACES)
        felt, of_thing, of_person, done, happened = (
            self._of(words[mood]) for words in (FELT, SAID_OF_THINGS, SAID_OF_PEOPLE, DONE, HAPPENED)
        )
        return self.draw.choice((
            (f"{who} was {felt} {place}", (felt,)),
            (f"{who} felt {felt}", (felt,)),
            (f"{self._thing()} was {of_thing}", (of_thing,)),
            (f"it was a {of_thing} {self.draw.choice(THINGS)}", (of_thing,)),
            (f"{who} was very {of_person}", (of_person,)),
            (f"{who} {done} {self._thing()}", (done,)),
            (f"{who} {happened} {place}", (happened,)),
        ))  # fmt: skip

    def _denied(self, mood: str) -> tuple[str, tuple[str, ...]]:
        kind = self.draw.choice((FELT, SAID_OF_THINGS, SAID_OF_PEOPLE))
        word, no = self._of(kind[OPPOSITE[mood]]), self.draw.choice(NOT)
        who = self._thing() if kind is SAID_OF_THINGS else self.draw.choice(PEOPLE)
        return f"{who} {no} {word}", (no.removeprefix("was "), word)

    def _turned(self, mood: str) -> tuple[str, tuple[str, ...]]:
        first, _ = self._stated(OPPOSITE[mood])
        second, said_by = self._stated(mood)
        return f"{first}, but {second}", ("but", *said_by)

    def text(self) -> Mood:
        """One text: in most a sentence that decides, among up to two that do not."""
        label = self.draw.choice(LABELS)
        ways: dict[str, Callable[[str], tuple[str, tuple[str, ...]]]] = {
            "stated": self._stated, "denied": self._denied, "turned": self._turned,
        }  # fmt: skip
        kind = "plain" if label == "neutral" else self.draw.choice(WAYS)
        deciding, said_by = (self._plain(), ()) if kind == "plain" else ways[kind](label)
        parts = [self._plain() for _ in range(self.draw.choice((0, 0, 1, 2)))]
        parts.insert(self.draw.randint(0, len(parts)), deciding)
        return Mood(" ".join(part[0].upper() + part[1:] + "." for part in parts), label, kind, said_by)


def texts(seed: int, count: int, *, held_out: bool = False) -> list[Mood]:
    """`count` texts that depend on the seed alone."""
    teller = Teller(seed, held_out=held_out)
    return [teller.text() for _ in range(count)]
