"""Sentences whose verb is far from its subject, often with a noun of another number between: the last stretches read them.

The stories' own grammar has such sentences too, but the verb that tells is one token in 500 there, and after 24 million tokens
the nearer noun still decided. Frames and most prepositions are others than those of minimal_pairs.py.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from .grammar import finite, plural
from .lexicon import ADJECTIVES, LISTS, NUMBERS, OCCUPATIONS, PEOPLE
from .narrator import capitalised
from .sentences import INTRANSITIVE, TRANSITIVE, thing_noun

SEED = 4211
LEAST, MOST = 4, 12
"""Sentences of a document."""

SHARE_OF_PRESENT = 0.75  # in the past tense only 'was' and 'were' tell
NEAR = ("near", "next to", "behind", "in front of", "under", "on", "inside", "around", "opposite", "between", "across from")
BELONGING = ("of", "with", "from", "without", "for")


def _noun(draw: random.Random, *, many: bool, person: bool) -> str:
    noun = draw.choice((*OCCUPATIONS, *PEOPLE["f"], *PEOPLE["m"])) if person else thing_noun(draw)
    return plural(noun) if many else noun


def _between(draw: random.Random, tense: str, *, many: bool, person: bool) -> str:
    """What stands between subject and verb: mostly a noun of a number of its own."""
    other, is_person = draw.random() < 0.5, draw.random() < 0.5
    noun = _noun(draw, many=other, person=is_person)
    verb = draw.choice(TRANSITIVE)
    place = f"{draw.choice(NEAR)} the {_noun(draw, many=other, person=False)}"
    ways = [
        place,
        f"{draw.choice(BELONGING)} the {noun}",
        f"{draw.choice(BELONGING)} {draw.choice(NUMBERS)} {_noun(draw, many=True, person=is_person)}",
        f"that the {_noun(draw, many=other, person=True)} {finite(verb, tense, is_plural=other)}",
        f"that {finite('be', tense, is_plural=many)} {place}",
    ]
    if person:
        ways += [
            f"who {finite(verb, tense, is_plural=many)} the {noun}",
            f"who {finite('have', tense, is_plural=many)} the {_noun(draw, many=other, person=False)}",
            f"who {finite(verb, tense, is_plural=many)} the {noun} {place}",
        ]
    return draw.choice(ways)


def _ending(draw: random.Random, tense: str, *, many: bool, person: bool) -> str:
    """The verb that agrees, and what it needs."""
    be = finite("be", tense, is_plural=many)
    kind = draw.choice(("glad", "sad", "afraid", "trait") if person else ("size", "colour", "state"))
    adjective = draw.choice(ADJECTIVES[kind])
    ways = [
        f"{be} {draw.choice(LISTS['outside'])}",
        f"{be} not {adjective}",
        f"{be} always {adjective}",
        f"{'have' if many else 'has'} been {adjective}" if tense == "present" else f"{be} {draw.choice(LISTS['inside'])}",
        f"{finite('do', tense, is_plural=many)} not {draw.choice(('move', 'fall', 'change', 'look small', 'look new'))}",
    ]
    if person:
        ways += [
            f"{finite(draw.choice(INTRANSITIVE), tense, is_plural=many)} {draw.choice(LISTS['loudly'])}",
            f"{finite('have', tense, is_plural=many)} {draw.choice(NUMBERS)} {plural(thing_noun(draw))}",
        ]
    return draw.choice(ways)


def sentence(draw: random.Random) -> str:
    """The bakers who know the king sing loudly."""
    many, person = draw.random() < 0.5, draw.random() < 0.5
    tense = "present" if draw.random() < SHARE_OF_PRESENT else "past"
    between = _between(draw, tense, many=many, person=person)
    ending = _ending(draw, tense, many=many, person=person)
    return capitalised(f"the {_noun(draw, many=many, person=person)} {between} {ending}.")


def texts(seed: int, count: int) -> Iterator[str]:
    """Documents of a handful of sentences each; the seed decides all of them."""
    draw = random.Random(repr((SEED, seed)))
    return (" ".join(sentence(draw) for _ in range(draw.randint(LEAST, MOST))) for _ in itertools.repeat(None, count))
