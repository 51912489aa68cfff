"""Plain little stories to try a corpus on, put together here: no data set, no names of real people, the same ones every time."""

from __future__ import annotations

import numpy as np

MOST = 1_000
"""Texts that are made at most: more would repeat themselves."""

PEOPLE = ("Anna", "the boy", "Tom", "the old woman", "my sister", "the farmer", "Lily", "the teacher", "her brother", "Sam")
THINGS = ("red ball", "small boat", "letter", "wooden box", "blue coat", "cake", "key", "lamp", "book", "basket of apples")
PLACES = ("garden", "kitchen", "school", "old house", "forest", "river", "market", "station", "hill", "shop")
WEATHER = ("It rained all day", "The sun was warm", "Snow lay on the roofs", "The night was quiet", "A cold wind blew")
FEELINGS = ("happy", "tired", "proud", "afraid", "hungry", "surprised", "sorry", "calm")
BEASTS = ("cat", "dog", "bird", "horse", "mouse", "fox")

FORMS = (
    "{a} found a {x} in the {p}. {a} took the {x} home and put the {x} on the table.",
    '"Where is my {x}?" asked {a}. "It is in the {p}," said {b}.',
    "{w}, so {a} stayed in the {p} and read to {b} about a {y} and a {z}.",
    "One day {a} and {b} went to the {p}. They saw a {y}, a {z} and another {y}.",
    "{a} was {f} because the {y} had run away from the {p}, and {b} was {f} too.",
    "The {y} looked at the {z}. The {z} looked at the {y}. Then both ran to the {p}.",
    "{a} gave the {x} to {b}, and {b} gave {a} a {v}.",
    "{w}. In the {p} the {y} slept under the {x} while {a}, who was {f}, waited for {b}.",
    "After school {a} walked to the {p}, from the {p} to the {q}, and from the {q} back home.",
    "If {a} had not lost the {x}, {b} would not have been so {f} when they reached the {p}.",
)


def sample_texts(count: int) -> tuple[str, ...]:
    """So many texts of one to three little stories each, all of them different."""
    rng = np.random.default_rng(0)
    found: dict[str, None] = {}
    while len(found) < min(count, MOST):
        told = [_story(rng) for _ in range(int(rng.integers(1, 4)))]
        found[" ".join(told)] = None
    return tuple(found)


def _story(rng: np.random.Generator) -> str:
    a, b = rng.choice(PEOPLE, 2, replace=False)
    x, v = rng.choice(THINGS, 2, replace=False)
    p, q = rng.choice(PLACES, 2, replace=False)
    y, z = rng.choice(BEASTS, 2, replace=False)
    text = str(rng.choice(FORMS)).format(
        a=a, b=b, x=x, v=v, p=p, q=q, y=y, z=z, w=rng.choice(WEATHER), f=rng.choice(FEELINGS)
    )  # fmt: skip
    return text[:1].upper() + text[1:]
