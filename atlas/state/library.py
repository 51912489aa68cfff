"""What there is to choose from: models and example texts, as plain values."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any

from atlas.ids import HeadId
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
class Shows:
    """What of a text's trace is on screen at first."""

    kind: str = ""
    """Kind of attention; empty: the model's first."""
    focus: tuple[int, int] | None = None
    """Layer and head, shown large and selected; None: the first head, and all of them are selected."""
    queries: tuple[int, ...] = ()
    """Positions selected as 'from'."""
    keys: tuple[int, ...] = ()
    """Positions selected as 'to'."""
    order: str = ""
    """Order of the heads on the Map; empty: as the reader has it."""

    @property
    def head(self) -> HeadId | None:
        """The head in focus."""
        return None if self.focus is None else HeadId(self.kind, *self.focus)


NOTHING = Shows()


@dataclass(frozen=True)
class Example:
    """A text to begin with, what there is to see in it, and the head that shows it."""

    name: str
    text: str
    look: str
    model: str = ""
    pair: str = ""
    target: str = ""
    about: str = ""
    """Why the text says what it says, where that could be misunderstood: it quotes a stereotype on purpose."""
    shows: Shows = NOTHING

    @property
    def inputs(self) -> tuple[str, str, str, str]:
        """Model and texts: what a run must be made of for `look` to be true of it."""
        return self.model, self.text, self.pair, self.target


def examples() -> tuple[Example, ...]:
    """The example texts that come with Atlas."""
    with asset("examples.toml").open("rb") as file:
        return tuple(_example(given) for given in tomllib.load(file)["example"])


def _example(given: dict[str, Any]) -> Example:
    shows: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in given.pop("shows", {}).items()
    }
    return Example(**given, shows=Shows(**shows))
