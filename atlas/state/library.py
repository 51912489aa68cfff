"""What there is to choose from: models and example texts, as plain values."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

from atlas.resources import asset


@dataclass(frozen=True)
class Listed:
    """A model that can be chosen by name."""

    name: str
    where: str
    """'here' (shipped with Atlas), 'on disk', or 'hub'."""
    size: str
    good_for: str


@dataclass(frozen=True)
class Example:
    """A text to begin with, and what there is to see in it."""

    name: str
    text: str
    look: str
    model: str = ""
    pair: str = ""
    target: str = ""
    about: str = ""


def examples() -> tuple[Example, ...]:
    """The example texts that come with Atlas."""
    with asset("examples.toml").open("rb") as file:
        return tuple(Example(**given) for given in tomllib.load(file)["example"])
