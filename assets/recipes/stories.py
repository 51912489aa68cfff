"""Generated stories: names that recur, pronouns that agree, causes with effects, dialogue, lists and refrains.

Balanced on purpose: both genders are drawn alike for every role of a story, every occupation and every deed; nothing but a
name, a word of kinship and the pronouns depends on gender. What bias the trained models show comes from the books and the
encyclopedia they also read, or from chance, and not from here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from .episodes import ALONE, TOGETHER, Episode
from .grammar import Person, article
from .lexicon import KIN, LISTS, NAMES, OCCUPATIONS, PEOPLE
from .narrator import Narrator, Story
from .sentences import sentence

SHARE_OF_DRILLS = 0.45  # documents that are sentences of the small grammar only
SHARE_OF_PAST = 0.65
ONCE_SHARE = 0.3
WORDS_AT_LEAST = 40


def draw_cast(draw: random.Random) -> dict[str, Person]:
    """Two people of independent genders, with names of their own; each has an occupation in two stories of three."""
    cast: dict[str, Person] = {}
    taken: set[str] = set()
    for key in "AB":
        gender = draw.choice("fm")
        name = draw.choice([name for name in NAMES[gender] if name not in taken])
        taken.add(name)
        role = draw.choice([work for work in OCCUPATIONS if work not in taken]) if draw.random() < 0.67 else None
        if role:
            taken.add(role)
        cast[key] = Person(name, gender, role)
    return cast


def introduce(narrator: Narrator, *, with_second: bool) -> None:
    """Who they are, what they do and where they live."""
    draw, first, second = narrator.draw, narrator.cast["A"], narrator.cast["B"]
    who = f"{article(first.role)} {first.role}" if first.role else f"a {draw.choice(PEOPLE[first.gender])}"
    narrator.say(
        f"once upon a time there was {who} named [A name]."
        if narrator.tense == "past" and draw.random() < ONCE_SHARE
        else draw.choice(
            (
                f"[A name] <be> {who}.",
                f"There <be> {who} called [A name].",
                f"This is the story of [A name]. [A] <be> {who}.",
                f"[A name], {who}, <live> {{!outside}}.",
            )
        )
    )
    if first.role:
        narrator.called_by_role.add(first)
    narrator.say(
        draw.choice(
            (
                "[A] <be> {~trait} and {~trait}.",
                "[A] <live> in {a home:home} {!outside}.",
                "[A] <like> {!topic} and {!topic}.",
                "everybody <say> that [A] <be> {~trait}.",
                "[A] <have> {two pets:animal} and {a home:home}.",
                "[A] <work> {!inside}, and [A] <like> [A his] work.",
            )
        )
    )
    if with_second:
        relation = draw.choice(KIN[second.gender])
        narrator.say(
            draw.choice(
                (
                    f"[A] <have> {article(relation)} {relation} named [B name].",
                    "[A his] best friend <be> [B name].",
                    f"[B name] <be> [A his] {relation}.",
                    f"[A] <live> with [A his] {relation}, [B name].",
                )
            )
        )
        if second.role and draw.random() < 0.7:
            narrator.say(f"[B name] <be> {article(second.role)} {second.role}.")
            narrator.called_by_role.add(second)


def tell(narrator: Narrator, episode: Episode) -> None:
    """Draw one way to say each step; a drawn way may refer only to what earlier steps named."""
    for step in episode:
        ways = list(step)
        narrator.draw.shuffle(ways)
        for way in ways:
            if narrator.can_say(way):
                narrator.say(way)
                break
        else:
            message = f"no way to say {step} after {narrator.text()!r}"
            raise ValueError(message)


def story(draw: random.Random) -> Story:
    """One story of one to three episodes."""
    cast = draw_cast(draw)
    narrator = Narrator(draw, cast, "past" if draw.random() < SHARE_OF_PAST else "present")
    together = draw.random() < 0.65
    introduce(narrator, with_second=together)
    for episode in draw.sample((*ALONE, *TOGETHER, *TOGETHER) if together else ALONE, draw.randint(1, 3)):
        narrator.new_paragraph()
        narrator.forget_things()
        tell(narrator, episode)
        if draw.random() < 0.15:
            narrator.say(sentence(draw))
    if draw.random() < 0.3:
        narrator.new_paragraph()
        refrain = draw.choice(LISTS["sound"])
        narrator.say(
            f'"{refrain.capitalize()}, {refrain}, {refrain}!" {{!said}} [A name]. "{refrain.capitalize()}, {refrain}, {refrain}!"'
        )
    elif draw.random() < 0.3:
        narrator.new_paragraph()
        narrator.say(
            draw.choice(
                (
                    "That <be> the end of the story of [A name].",
                    "[A] <go> home and <sleep>.",
                    "Since that day [A] <be> {~glad}.",
                    "And [A] never <forget> it.",
                )
            )
        )
    used = (cast["A"], cast["B"]) if together else (cast["A"],)
    return Story(narrator.text(), used)


def drill(draw: random.Random) -> Story:
    """A handful of free-standing sentences."""
    return Story(" ".join(sentence(draw) for _ in range(draw.randint(4, 12))), ())


def documents(seed: int) -> Iterator[Story]:
    """Stories without end; the seed decides all of them."""
    draw = random.Random(seed)
    while True:
        made = drill(draw) if draw.random() < SHARE_OF_DRILLS else story(draw)
        if len(made.text.split()) >= WORDS_AT_LEAST:
            yield made
