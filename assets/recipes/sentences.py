"""Free-standing sentences from a small grammar: agreement over distance, reflexives, determiners and negative polarity.

The stories show these in passing; here every construction is drawn with every number and both tenses, so that a form is never
tied to a plot. Templates of minimal_pairs.py use other frames and, where it says so, other words.
"""

from __future__ import annotations

import itertools
import random

from .grammar import Person, finite, participle, past, plural
from .lexicon import ADJECTIVES, CLASSES, KIN, LISTS, NAMES, NUMBERS, OCCUPATIONS, PEOPLE, PRONOUNS
from .narrator import capitalised

INTRANSITIVE = ("sleep", "sing", "laugh", "run", "wait", "smile", "dance", "work", "walk", "swim", "rest", "shout", "play")
TRANSITIVE = ("see", "know", "help", "follow", "like", "hear", "meet", "visit", "watch", "call")
REFLEXIVE = (
    "hurt",
    "wash",
    "admire",
    "draw",
    "teach",
    "dress",
    "blame",
    "hide",
    "warm",
    "praise",
    "see",
    "cut",
    "dry",
    "introduce",
)
NEAR = ("near", "next to", "behind", "in front of", "beside")
LICENSED = ("nobody", "no one", "none of the {people}", "no {person}", "neither of the {people}")
UNLICENSED = ("somebody", "everybody", "one of the {people}", "every {person}", "each of the {people}")


def _person_noun(draw: random.Random) -> str:
    if draw.random() < 0.4:
        return draw.choice(PEOPLE[draw.choice("fm")])
    return draw.choice(OCCUPATIONS)


def thing_noun(draw: random.Random) -> str:
    """What is neither a person nor an animal."""
    return draw.choice(
        CLASSES[draw.choice(("fruit", "toy", "tool", "treasure", "clothes", "vehicle", "furniture", "plant", "building"))]
    )


def _number(noun: str, *, is_plural: bool) -> str:
    return plural(noun) if is_plural else noun


def _adjective(draw: random.Random) -> str:
    return draw.choice(ADJECTIVES[draw.choice(("size", "colour", "state"))])


def near_subject(draw: random.Random) -> str:
    """The boats near the bridge are old."""
    many, other, tense = draw.random() < 0.5, draw.random() < 0.5, draw.choice(("past", "present"))
    noun, neighbour = thing_noun(draw), thing_noun(draw)
    return (
        f"the {_number(noun, is_plural=many)} {draw.choice(NEAR)} the {_number(neighbour, is_plural=other)} "
        f"{finite('be', tense, is_plural=many)} {_adjective(draw)}."
    )


def people_do(draw: random.Random) -> str:
    """The nurse who knows the sailors sings."""
    many, other, tense = draw.random() < 0.5, draw.random() < 0.5, draw.choice(("past", "present"))
    who, whom = _person_noun(draw), _person_noun(draw)
    verb = finite(draw.choice(INTRANSITIVE), tense, is_plural=many)
    middle = draw.choice(
        (
            "",
            f" who {finite(draw.choice(TRANSITIVE), tense, is_plural=many)} the {_number(whom, is_plural=other)}",
            f" that the {_number(whom, is_plural=other)} {finite(draw.choice(TRANSITIVE), tense, is_plural=other)}",
            f" with the {_number(thing_noun(draw), is_plural=other)}",
        )
    )
    return f"the {_number(who, is_plural=many)}{middle} {verb} {draw.choice(LISTS['loudly'])}."


def habits(draw: random.Random) -> str:
    """Every day the two bakers sing, and the judge listens to them."""
    many, gender = draw.random() < 0.5, draw.choice("fm")
    person = Person(draw.choice(NAMES[gender]), gender)
    who = f"the {draw.choice(NUMBERS)} {plural(_person_noun(draw))}" if many else person.name
    one, two = draw.sample(INTRANSITIVE, 2)
    pronoun = PRONOUNS["p"][0] if many else person.pronoun(0)
    return (
        f"every {draw.choice(LISTS['day'])} {who} {finite(one, 'present', is_plural=many)} {draw.choice(LISTS['outside'])}, "
        f"and then {pronoun} {finite(two, 'present', is_plural=many)} {draw.choice(LISTS['inside'])}."
    )


def there_is(draw: random.Random) -> str:
    """There are three lamps on the shelf; this lamp is new, but those lamps are old."""
    many, tense, noun = draw.random() < 0.5, draw.choice(("past", "present")), thing_noun(draw)
    amount = draw.choice((*NUMBERS, "many", "several", "some")) if many else "only one"
    near, far = ("these", "those") if many else ("this", "that")
    verb = finite("be", tense, is_plural=many)
    return (
        f"there {verb} {amount} {_number(noun, is_plural=many)} {draw.choice(LISTS['outside'])}. "
        f"{draw.choice((near, far))} {_number(noun, is_plural=many)} {verb} {_adjective(draw)}."
    )


def determiner_object(draw: random.Random) -> str:
    """Lucy saw those clocks and took one of them."""
    many, gender, noun = draw.random() < 0.5, draw.choice("fm"), thing_noun(draw)
    which = draw.choice(
        ("these", "those", "many", "several", "all these") if many else ("this", "that", "every", "each", "another")
    )
    adjective = f"{_adjective(draw)} " if draw.random() < 0.5 else ""
    then = past(draw.choice(("take", "buy", "forget", "hide")))
    end = f", and then {PRONOUNS[gender][0]} {then} {'them' if many else 'it'}"
    did = ("see", "find", "touch", "clean", "count", "sell")
    return (
        f"{draw.choice(NAMES[gender])} {past(draw.choice(did))} {which} {adjective}"
        f"{_number(noun, is_plural=many)}{end if draw.random() < 0.6 else ''}."
    )


def reflexive(draw: random.Random) -> str:
    """The boys hurt themselves; Clara, who saw Peter, hurt herself."""
    kind, verb = draw.choice("fmp"), past(draw.choice(REFLEXIVE))
    if kind == "p":
        subject = draw.choice((f"the {plural(_person_noun(draw))}", " and ".join(draw.sample(NAMES["f"] + NAMES["m"], 2))))
    else:
        subject = draw.choice(
            (
                draw.choice(NAMES[kind]),
                draw.choice(NAMES[kind]),
                f"the {draw.choice(PEOPLE[kind])}",
                f"my {draw.choice(KIN[kind][:4])}",
            )
        )
    between = ""
    if draw.random() < 0.4:
        other = draw.choice(NAMES[draw.choice("fm")])
        between = draw.choice((f", who {past(draw.choice(TRANSITIVE))} {other},", f", a friend of {other},"))
    return f"{subject}{between} {verb} {PRONOUNS[kind][3]}."


def polarity(draw: random.Random) -> str:
    """Nobody had ever seen it; somebody had once seen it."""
    licensed = draw.random() < 0.6
    people, person = plural(_person_noun(draw)), _person_noun(draw)
    subject = draw.choice(LICENSED if licensed else UNLICENSED).format(people=people, person=person)
    noun = thing_noun(draw)
    if licensed:
        end = draw.choice(
            (
                f"had ever {participle(draw.choice(('see', 'find', 'make', 'buy', 'lose')))} any {plural(noun)}",
                f"{past(draw.choice(('see', 'say', 'hear', 'find', 'eat')))} anything {draw.choice(LISTS['inside'])}",
                "has come yet",
                f"had ever been {draw.choice(LISTS['outside'])}",
                f"knew anything about {draw.choice(LISTS['topic'])}",
            )
        )
    else:
        end = draw.choice(
            (
                f"had once {participle(draw.choice(('see', 'find', 'make', 'buy', 'lose')))} some {plural(noun)}",
                f"{past(draw.choice(('see', 'say', 'hear', 'find', 'eat')))} something {draw.choice(LISTS['inside'])}",
                "has come already",
                f"had once been {draw.choice(LISTS['outside'])}",
                f"knew something about {draw.choice(LISTS['topic'])}",
            )
        )
    return f"{subject} {end}."


def listing(draw: random.Random) -> str:
    """One apple, two apples: a pattern that repeats within the sentence."""
    items = draw.sample(CLASSES[draw.choice(("animal", "fruit", "tool", "clothes", "toy"))], draw.randint(3, 5))
    name, skip = draw.choice(NAMES[draw.choice("fm")]), draw.randrange(3)
    if skip == 0:
        body = ", ".join(f"the {one} met the {two}" for one, two in itertools.pairwise(items))
        return f"{body}, and the {items[-1]} met {name}."
    if skip == 1:
        return f"{name} had {', '.join(f'{draw.choice(NUMBERS)} {plural(item)}' for item in items)}. " + " ".join(
            f"The {plural(item)} were {_adjective(draw)}." for item in items
        )
    sound = draw.choice(LISTS["sound"])
    return " ".join(f'"{sound.capitalize()}, {sound}, {sound}," said the {item}.' for item in items)


KINDS = (near_subject, people_do, habits, there_is, determiner_object, reflexive, polarity, listing)


def sentence(draw: random.Random) -> str:
    """One sentence of any kind, its first letter a capital."""
    return capitalised(draw.choice(KINDS)(draw))
