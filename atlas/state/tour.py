"""What a guided tour is: steps that each say what is on screen, which card to look at, and what to see there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atlas.ids import HeadId
from atlas.state.link import State
from atlas.state.selection import NO_HEADS, NO_TOKENS

if TYPE_CHECKING:
    from atlas.trace import Trace

Value = float | int | str

UNKNOWN = "N/A"
"""What stands for a number that this run does not have."""


@dataclass(frozen=True)
class Step:
    """One step of a tour. All of it is plain data; the numbers of its words are functions of the trace on screen."""

    tab: str
    card: str
    """Key of the view that the words speak of."""
    words: str
    """One to three sentences, with {name} where a number of `numbers`, or of an earlier step, stands."""
    model: str
    text: str
    focus: HeadId
    heads: frozenset[HeadId] | None = None
    """The selected heads; None: the one in focus."""
    queries: frozenset[int] = NO_TOKENS
    keys: frozenset[int] = NO_TOKENS
    ablated: frozenset[HeadId] = NO_HEADS
    display: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, Callable[[Trace], Value]] = field(default_factory=dict)
    claims: Mapping[str, tuple[float, float] | str] = field(default_factory=dict)
    """Name of a number -> between what it must lie, or what it must be, for the words to be true."""

    def state(self) -> State:
        """The step as a link would say it."""
        return State(
            model=self.model, text=self.text, focus=self.focus,
            heads=frozenset({self.focus}) if self.heads is None else self.heads, queries=self.queries, keys=self.keys,
            ablated=self.ablated, display={"tab": self.tab, **self.display},
        )  # fmt: skip

    def measured(self, trace: Trace) -> dict[str, Value]:
        """The numbers of its words on a trace."""
        return {name: measure(trace) for name, measure in self.numbers.items()}

    def untrue(self, values: Mapping[str, Value]) -> list[str]:
        """Names of the numbers that are not what the words claim."""
        return [name for name, claim in self.claims.items() if not _holds(values[name], claim)]

    def said(self, values: Mapping[str, Value]) -> str:
        """Its words with their numbers."""
        return self.words.format_map(_Written({name: written(value) for name, value in values.items()}))


@dataclass(frozen=True)
class Tour:
    """A lesson of a few steps."""

    key: str
    """As a link names it."""
    title: str
    about: str
    """What it shows, in one line."""
    steps: tuple[Step, ...]


def written(value: Value) -> str:
    """A number with three significant digits; a token as it is."""
    if isinstance(value, float):
        # NaN is unknown, not a number.
        return f"{value:#.3g}".rstrip(".").replace("-", "−") if value == value else UNKNOWN  # noqa: PLR0124
    return str(value)


class _Written(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return UNKNOWN


def _holds(value: Value, claim: tuple[float, float] | str) -> bool:
    if isinstance(claim, str):
        return value == claim
    return not isinstance(value, str) and claim[0] <= value <= claim[1]
