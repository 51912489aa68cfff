"""The words of the selection bar."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np
import param

from atlas.ids import KINDS, HeadId
from atlas.state.lens import Lens
from atlas.state.link import MOST_EDGES
from atlas.state.words import changes_in_words, heads_in_words, tokens_in_words
from atlas.state.workspace import Workspace
from atlas.trace import Trace

SWITCH_OFF = "Switch off"

CUT = "Cut edges"

NOTHING = "Nothing is selected: text and matrix show {focus}."


class BarLens(Lens):
    """What is selected, in words, kept up to date for the bar and for who cannot see the page."""

    key: ClassVar = "bar"
    reads: ClassVar = {"selection": ("focus", "heads", "label", "queries", "keys"), "interventions": ("ablated", "cut")}

    heads = param.String(default="", doc="The selected heads; empty: none is.")
    tokens = param.String(default="", doc="The selected tokens; empty: none is.")
    changes = param.String(default="", doc="What is switched off or cut in the run on screen; empty: nothing is.")
    nothing = param.String(default="", doc="Said where nothing is selected.")
    off = param.String(default="", doc="What switches the selected heads off, in words; empty: that cannot be had.")

    cut = param.String(default="", doc="What cuts the edges between the selected tokens, in words; empty: that cannot be had.")

    chosen = param.Selector[str](objects=list(KINDS), default=KINDS[0], doc="The kind of attention on screen, to be chosen.")
    several = param.Boolean(default=False, doc="Whether there is more than one kind to choose from.")

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.param.watch(self._choose, "chosen")

    def _choose(self, *_: object) -> None:
        trace = self.workspace.trace
        if trace is not None and self.chosen in trace.kinds and self.chosen != self.kind:
            self.workspace.selection.show_kind(self.chosen, origin="bar")

    def forget(self) -> None:
        """The words are cheap, so they are made at once."""
        selection, trace = self.workspace.selection, self.workspace.trace
        if trace is not None:
            if list(self.param["chosen"].objects) != list(trace.kinds):
                self.param["chosen"].objects = list(trace.kinds)
            self.param.update(chosen=self.kind, several=len(trace.kinds) > 1)
        self.param.update(
            heads=heads_in_words(self.workspace) if selection.heads else "",
            tokens=tokens_in_words(self.workspace),
            changes=changes_in_words(self.workspace),
            nothing=NOTHING.format(focus=selection.focus) if selection.is_empty and self.workspace.trace is not None else "",
            off=SWITCH_OFF if self._can_be_off() else "",
            cut=CUT if self._can_be_cut() else "",
        )

    def _can_be_off(self) -> bool:
        """Whether some selected head is not switched off yet, and the model is here to run the text without it."""
        heads, trace = self.workspace.selection.heads, self.workspace.trace
        return trace is not None and trace.live is not None and bool(heads - self.workspace.interventions.ablated)

    def switch_off(self) -> None:
        """Run the text again without the selected heads, and without those that are switched off already."""
        if self._can_be_off():
            asked = self.workspace.interventions
            asked.ablated = asked.ablated | self.workspace.selection.heads
            self.workspace.pipeline.run()

    def _can_be_cut(self) -> bool:
        """Whether some of these heads look from some selected token to some selected one, and the model is here."""
        selection, trace = self.workspace.selection, self.workspace.trace
        if trace is None or trace.live is None:
            return False
        heads, queries, keys = self.shown_heads(), selection.queries, selection.keys
        within = 0 < len(heads) * len(queries) * len(keys) <= MOST_EDGES
        return within and any(_edges(trace, head, queries, keys) for head in heads)

    def cut_edges(self) -> None:
        """Run the text again while the heads that are shown cannot look from the selected tokens to the selected tokens."""
        if self._can_be_cut():
            selection, asked = self.workspace.selection, self.workspace.interventions
            found = (_edges(self.trace, head, selection.queries, selection.keys) for head in self.shown_heads())
            asked.cut = asked.cut.union(*found)
            self.workspace.pipeline.run()

    def let_go(self, part: str) -> None:
        """Let go of the selected heads or tokens; or run once more with everything that was switched off."""
        if part != "changes":
            self.workspace.selection.clear(part, origin="bar")
            return
        self.workspace.interventions.clear()
        self.workspace.pipeline.run()

    def said(self) -> str:
        """All of it in one sentence."""
        return " · ".join(part for part in (self.nothing, self.heads, self.tokens, self.changes) if part)


def _edges(trace: Trace, head: HeadId, queries: Collection[int], keys: Collection[int]) -> list[tuple[HeadId, int, int]]:
    """The edges of a head that this run has, from some tokens to others."""
    attention, rows, columns = trace.attention_of(head.kind), sorted(queries), sorted(keys)
    seen = attention.layers[head.layer].visible(
        head.head, attention.n_queries, attention.n_keys, np.array(rows), np.array(columns)
    )
    cells = np.ones((len(rows), len(columns)), dtype=bool) if seen is None else seen
    return [(head, rows[query], columns[key]) for query, key in np.argwhere(cells).tolist()]
