"""What views of links between tokens have in common: the strongest links are searched once, then cut and marked."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import numpy as np

from atlas.errors import NotCaptured
from atlas.numbers import listed
from atlas.state.asking import Progress
from atlas.state.ceilings import hides_sinks
from atlas.state.lens import Lens
from atlas.state.words import shown_token, token_names
from atlas.trace import Trace
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
        return hides_sinks(self.workspace.display.sinks, self.kind) and not sinks(self.trace, self.kind).all()

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
        """The tokens that look, and those that are looked at."""
        tables = (self.trace.reading(self.trace.side(self.kind, axis)).table for axis in ("query", "key"))
        queries, keys = (tuple(shown_token(str(token)) for token in table["token"]) for table in tables)
        return queries, keys

    def searched(self, n_heads: int, search: Callable[[Progress | None], Found]) -> Found | None:
        """The result of `search` over so many heads, kept while the ranking is the same; None while a thread is at it."""
        trace, made_for = self.trace, self.ranking()
        if self._ranked is not None and self._ranked[0] is trace and self._ranked[1] == made_for:
            return self._ranked[2]
        attention = trace.attention_of(self.kind)
        check_size(attention, n_heads)
        if attention.n_queries * attention.n_keys * n_heads <= QUICK_CELLS:
            found: Found | None = search(None)
        else:
            found = self.ask(f"{made_for}", search, None, keep=False)
        if found is not None:
            self._ranked = trace, made_for, found
        return found


def sinks_in_words(trace: Trace, kind: str, share: float) -> str:
    """Which keys are left out, and which share of all attention they receive; empty where the text has no sinks."""
    places = frozenset(np.flatnonzero(sinks(trace, kind)).tolist())
    if not places:
        return ""
    names = listed(token_names(trace, trace.side(kind, "key"), places))
    return f"; left out as sinks: {names}, which {'receives' if len(places) == 1 else 'receive'} {percent(share)} of all"


def select_token(workspace: Workspace, at: int, axis: str, origin: str, *, additive: bool = False) -> None:
    """Select a token of a column of queries, of keys, or of both, as the switch of the text says; again: let go of it."""
    selection = workspace.selection
    ways: dict[str, Axis] = {"query": "from", "key": "to", "token": workspace.display.axis}
    way = ways[axis]
    fields = {"from": ("queries",), "to": ("keys",), "both": ("queries", "keys")}[way]
    if additive:
        selection.toggle_tokens([at], axis=way, origin=origin)
    elif all(getattr(selection, name) == {at} for name in fields):
        selection.clear(fields[0] if len(fields) == 1 else "tokens", origin=origin)
    else:
        selection.select_tokens([at], axis=way, origin=origin)


def percent(share: float) -> str:
    """'61.2 %'."""
    return f"{100 * share:.3g} %"
