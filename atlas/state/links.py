"""What views of links between tokens have in common: the strongest links are searched once, then cut and marked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from atlas.errors import NotCaptured
from atlas.numbers import listed
from atlas.state.asking import Progress
from atlas.state.ceilings import hides_sinks
from atlas.state.lens import Lens
from atlas.state.words import shown_token, token_names
from atlas.trace import Trace
from atlas.tracing.levels import TOKEN, Level, check_words, level_of, word_names
from atlas.tracing.links import check_size
from atlas.tracing.token_scores import sinks

if TYPE_CHECKING:
    from atlas.state.selection import Axis
    from atlas.state.workspace import Workspace

Shown = TypeVar("Shown")
Found = TypeVar("Found")

QUICK_CELLS = 1_000_000
"""Weights searched while the page waits, some 20 ms; for more of them the lens asks."""


class StrongestLinks(Lens, Generic[Shown, Found]):
    """Shows the strongest links there are; a subclass says which, and what of them is on screen."""

    marked_by: ClassVar = ("queries", "keys")

    _shown: Shown | None = None
    _ranked: tuple[Trace, Hashable, Found] | None = None

    def ranking(self) -> tuple[Hashable, ...]:
        """What the order of the links depends on."""
        raise NotImplementedError

    def build(self) -> Shown | None:
        """The links that are drawn; None while they are searched."""
        raise NotImplementedError

    def forget(self) -> None:
        """The links are cut again; they are searched again only where their ranking is another."""
        self._shown = None

    @property
    def hidden(self) -> bool:
        """Whether sinks are left out."""
        if not hides_sinks(self.workspace.display.sinks, self.kind):
            return False
        return not self.level.holding("key", sinks(self.trace, self.kind)).all()

    @property
    def level(self) -> Level:
        """Tokens or words: what the ends of a link are."""
        return level_of(self.trace, self.kind, self.workspace.display.level)

    @property
    def of_words(self) -> bool:
        """Whether words are asked for."""
        return bool(self.workspace.display.level != TOKEN)

    def shown(self) -> Shown | None:
        """The links; None until they are there, or where there are none to be had."""
        if self._shown is None:
            self._shown = self.attempt(self.build, None)
        return self._shown

    def known(self) -> Shown:
        """The links, for who cannot do without."""
        shown = self.shown()
        if shown is None:
            raise NotCaptured(self.problem or self.empty or "The links are not found yet.")
        return shown

    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The tokens or words that look, and those that are looked at."""
        sides = [self.trace.side(self.kind, axis) for axis in ("query", "key")]
        given = [word_names(self.trace, side) if self.of_words else self.trace.reading(side).table["token"] for side in sides]
        queries, keys = (tuple(shown_token(str(name)) for name in names) for names in given)
        return queries, keys

    def marked(self) -> tuple[frozenset[int], frozenset[int]]:
        """The queries and keys that hold a selected token, by their places."""
        selection, level = self.workspace.selection, self.level
        return level.places("query", selection.queries), level.places("key", selection.keys)

    def tokens_of(self, axis: str, places: Iterable[int]) -> list[Any]:
        """What a table says of queries or keys: the position of each token, or the positions of a word's tokens."""
        found = [sorted(self.level.tokens(axis, int(at))) for at in places]
        return [" ".join(map(str, tokens)) for tokens in found] if self.of_words else [tokens[0] for tokens in found]

    def searched(self, n_heads: int, search: Callable[[Progress | None], Found]) -> Found | None:
        """The result of `search` over so many heads, kept while the ranking is the same; None while a thread is at it."""
        trace, made_for = self.trace, self.ranking()
        if self._ranked is not None and self._ranked[0] is trace and self._ranked[1] == made_for:
            return self._ranked[2]
        attention = trace.attention_of(self.kind)
        if self.of_words:
            check_words(trace, self.kind)
        check_size(attention, n_heads)
        if attention.n_queries * attention.n_keys * n_heads <= QUICK_CELLS:
            found: Found | None = search(None)
        else:
            found = self.ask(f"{made_for}", search, None, keep=False)
        if found is not None:
            self._ranked = trace, made_for, found
        return found


def sinks_in_words(trace: Trace, kind: str, share: float, level: Level, keys: Sequence[str]) -> str:
    """Which keys are left out, and which share of all attention they receive; empty where the text has no sinks."""
    places = level.places("key", np.flatnonzero(sinks(trace, kind)).tolist())
    if not places:
        return ""
    side, tokens = trace.side(kind, "key"), {at: level.tokens("key", at) for at in sorted(places)}
    alone = token_names(trace, side, frozenset().union(*(each for each in tokens.values() if len(each) == 1)))
    single = iter(alone)
    names = listed([next(single) if len(each) == 1 else keys[at] for at, each in tokens.items()])
    return f"; left out as sinks: {names}, which {'receives' if len(places) == 1 else 'receive'} {percent(share)} of all"


def select_end(workspace: Workspace, tokens: frozenset[int], axis: str, origin: str, *, additive: bool = False) -> None:
    """Select the tokens of a name in a column of queries, of keys, or of both, as the switch of the text says; again: let go."""
    selection = workspace.selection
    ways: dict[str, Axis] = {"query": "from", "key": "to", "token": workspace.display.axis}
    way = ways[axis]
    fields = {"from": ("queries",), "to": ("keys",), "both": ("queries", "keys")}[way]
    if additive:
        selection.toggle_tokens(tokens, axis=way, origin=origin)
    elif all(getattr(selection, name) == tokens for name in fields):
        selection.clear(fields[0] if len(fields) == 1 else "tokens", origin=origin)
    else:
        selection.select_tokens(tokens, axis=way, origin=origin)


def percent(share: float) -> str:
    """'61.2 %'."""
    return f"{100 * share:.3g} %"
