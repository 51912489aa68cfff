"""What the patterns view shows: the heads that follow a known pattern, and what one of them makes of a sentence."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import pandas as pd
import param

from atlas.errors import AtlasError, NotCaptured
from atlas.ids import HeadId
from atlas.state.asking import QUICK_CELLS, Progress
from atlas.state.lens import Lens, counted
from atlas.state.pattern_words import arcs_in_words, groups_of, with_chosen
from atlas.state.selected_table import selected_table
from atlas.state.words import tokens_in_words
from atlas.tracing.chance import BEYOND
from atlas.tracing.patterns import (
    COLUMNS,
    CROSS,
    DIRECTIONS,
    PLACES,
    Arcs,
    Page,
    arcs,
    check_size,
    holds_relations,
    page_of,
    pages,
    place_patterns,
    relation_patterns,
)
from atlas.tracing.words import without_parse

MOST_RELATIONS = 5
"""Relations that are listed besides all together, the most frequent ones: in ordinary texts the others have one or two arcs."""

FOLLOW = -1
"""The page of the selected tokens, else the first."""

TOO_SHORT = (
    "None of these tokens sees enough others for any pattern to be told from chance. "
    "Select other tokens, or analyse a longer text."
)


NONE: tuple[Page, ...] = ()
NO_ROWS = pd.DataFrame({name: [] for name in COLUMNS})


class PatternsChoices(param.Parameterized):
    """Choices of the patterns view."""

    direction = param.Selector[str](
        objects=list(DIRECTIONS), default=DIRECTIONS[0], doc="Whether a word is to look at its syntactic head, or the head at it."
    )
    page = param.Integer(default=FOLLOW, bounds=(FOLLOW, None), doc="Which sentence is drawn; -1: that of the selected tokens.")


class PatternsLens(Lens):
    """Heads by pattern, and the arcs of the head in focus."""

    key: ClassVar = "patterns"
    choices_type: ClassVar = PatternsChoices
    reads: ClassVar = {"selection": ("focus", "heads", "queries", "keys")}

    _places: tuple[Hashable, pd.DataFrame] | None = None
    _relations: tuple[Hashable, pd.DataFrame] | None = None
    _groups: tuple[pd.DataFrame, pd.DataFrame, list[dict[str, Any]], list[dict[str, Any]]] | None = None
    _arcs: Arcs | None = None
    _note: str = ""

    def __init__(self, *given: Any, **params: Any) -> None:
        super().__init__(*given, **params)
        self.workspace.selection.param.watch(self._leave_page, ["queries", "keys"])

    def depends(self) -> Hashable:
        """Not on the keys, but for the sentence they are in."""
        selection = self.workspace.selection
        return selection.focus, selection.heads, selection.queries, selection.keys, *self.choices.param.values().values()

    def forget(self) -> None:
        """The arcs are read again; the tables only for another text, kind or other rows."""
        self._arcs = None

    # -- tables --------------------------------------------------------------------------------------------------------

    def places(self) -> pd.DataFrame:
        """Every head by place: previous token, induction and the like, for the selected rows."""
        trace = self.workspace.trace
        if trace is None:
            return NO_ROWS
        wanted = (trace, self.kind, self.workspace.selection.queries)
        if self._places is None or self._places[0] != wanted:
            self._places = wanted, self.attempt(self._read_places, NO_ROWS)
        return self._places[1]

    def relations(self) -> pd.DataFrame:
        """Every head by dependency relation, over the whole text; empty where there is no parse, and `note` says why."""
        trace = self.workspace.trace
        if trace is None or not len(self.places()):
            return NO_ROWS
        wanted = (trace, self.kind)
        if self._relations is None or self._relations[0] != wanted:
            found, there = self._read_relations()
            if not there:
                return found
            self._relations = wanted, found
        return self._relations[1]

    def groups(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Places and relations, each with its best heads, as `BarList` takes them."""
        places, relations, kind = self.places(), self.relations(), self.kind
        if self.workspace.trace is None or not len(places):
            return [], []
        selection = self.workspace.selection
        chosen = selection.heads or frozenset(filter(None, [selection.focus]))
        known = self._groups
        # Another head changes no row of the tables, and to sort them takes longer than all else at a tap.
        if known is None or known[0] is not places or known[1] is not relations:
            frequent = relations["pattern"].drop_duplicates().head(MOST_RELATIONS + 1)
            shown = relations[relations["pattern"].isin(frequent)]
            self._say(places, relations)
            known = self._groups = places, relations, groups_of(places, BEYOND), groups_of(shown, BEYOND)
        return with_chosen(known[2], kind, chosen), with_chosen(known[3], kind, chosen)

    def note(self) -> str:
        """Why there are no relations, or which are left out."""
        found = self.relations()
        more = found["pattern"].nunique() - MOST_RELATIONS - 1
        if not len(found):
            return self._note
        return f"{counted(more, 'rarer relation')} more in the exported table." if more > 0 else ""

    def press(self, key: str, origin: str) -> None:
        """A pressed head is focused and selected; a pressed pattern selects the heads that follow it beyond chance."""
        what, _, rest = key.partition(" ")
        selection = self.workspace.selection
        if what == "head":
            layer, head = rest.rsplit(" ", 1)[-1].split(".")
            selection.pick(HeadId(self.kind, int(layer), int(head)), origin=origin)
            return
        every = pd.concat([self.places(), self.relations()], ignore_index=True)
        rows = every[(every["pattern"] == rest) & (every["q"] <= BEYOND)]
        heads = {HeadId(self.kind, int(layer), int(head)) for layer, head in zip(rows["layer"], rows["head"], strict=True)}
        if heads and heads == set(selection.heads):
            selection.clear("heads", origin=origin)
        elif heads:
            selection.select_heads(sorted(heads), origin=origin, label=f"pattern '{rest}'")

    def table(self) -> pd.DataFrame:
        """Every head with every pattern."""
        places, relations = self.places(), self.relations()
        if not len(places):
            raise NotCaptured(self.problem or self.empty)
        found = pd.concat([places, relations], ignore_index=True) if len(relations) else places.copy()
        found.insert(0, "kind", self.kind)
        return found

    # -- arcs ----------------------------------------------------------------------------------------------------------

    def pages(self) -> tuple[Page, ...]:
        """The sentences that can be drawn; none without a parse."""
        trace = self.workspace.trace
        if trace is None or without_parse(trace, self.kind):
            return NONE
        try:
            return pages(trace, self.kind)
        except AtlasError:  # no words, which the note says
            return NONE

    def page(self) -> int:
        """The number of the sentence that is drawn."""
        chosen, count = int(self.choices.page), len(self.pages())
        if chosen == FOLLOW:
            selection = self.workspace.selection
            return page_of(self.trace, self.kind, selection.queries | selection.keys) if count else 0
        return min(chosen, max(count - 1, 0))

    def turn(self, by: int) -> None:
        """Draw the next sentence, or the one before."""
        self.choices.page = min(max(self.page() + by, 0), max(len(self.pages()) - 1, 0))

    def arcs(self) -> Arcs | None:
        """What the head in focus makes of the sentence; None where there is none."""
        # What succeeds clears the problem, and there is one where there are no patterns.
        if self._arcs is None and len(self.places()):
            self._arcs = self.attempt(self._read_arcs, None)
        return self._arcs

    def arcs_line(self) -> str:
        """What the arcs say, in words."""
        found, focus = self.arcs(), self.workspace.selection.focus
        if focus is None or (found is None and not self.pages()):
            return ""
        if found is None:
            return f"Arcs are not drawn: in a text of more than {QUICK_CELLS**0.5:,.0f} tokens they take too long at every tap."
        return arcs_in_words(found, self.relations(), focus, self.choices.direction)

    def select_word(self, word: int, origin: str) -> None:
        """Select the tokens of a word, as a click in the text does; the ones selected already are let go."""
        found = self.arcs()
        if found is not None and 0 <= word < len(found.words):
            # The sentence stays on screen: it may be one that was turned to.
            page = self.page()
            self.workspace.selection.toggle_tokens(
                found.tokens[word], axis=self.workspace.display.axis, side=self.trace.side(self.kind, "query"), origin=origin
            )
            self.choices.page = page

    # -- inside --------------------------------------------------------------------------------------------------------

    def _leave_page(self, *_: object) -> None:
        """Tokens selected elsewhere bring their sentence; a link says its page itself."""
        if self.choices.page != FOLLOW and not self.workspace.settling and self.workspace.selection.origin != "url":
            self.choices.page = FOLLOW

    def _read_places(self) -> pd.DataFrame:
        if self.kind == "cross":
            raise NotCaptured(CROSS)
        found = place_patterns(selected_table(self.workspace, self.trace))
        if not len(found):
            raise NotCaptured(TOO_SHORT)
        return found

    def _read_relations(self) -> tuple[pd.DataFrame, bool]:
        """The table, and whether it is the final one."""
        trace, kind = self.trace, self.kind
        self._note = without_parse(trace, kind)
        if self._note:
            return NO_ROWS, True
        attention = trace.attention_of(kind)
        size = attention.n_queries * attention.n_keys * attention.n_heads * len(attention.layers)
        try:
            check_size(trace, kind)
            if holds_relations(trace, kind) or size <= QUICK_CELLS:
                return relation_patterns(trace, kind), True
        except AtlasError as error:  # the other patterns are shown all the same
            self._note = str(error)
            return NO_ROWS, True

        def read(progress: Progress) -> pd.DataFrame:
            return relation_patterns(trace, kind, progress.tell)

        found = self.ask(f"relations {kind}", read, NO_ROWS)
        return found, found is not NO_ROWS

    def _read_arcs(self) -> Arcs | None:
        trace, focus, direction = self.trace, self.workspace.selection.focus, self.choices.direction
        there = self.pages()
        if not there or focus is None or focus.kind != self.kind:
            return None
        attention = trace.attention_of(self.kind)
        if attention.n_queries * attention.n_keys > QUICK_CELLS:
            return None
        return arcs(trace, focus, there[self.page()], direction)

    def _say(self, places: pd.DataFrame, relations: pd.DataFrame) -> None:
        heads = places.groupby(["layer", "head"]).ngroups
        said = tokens_in_words(self.workspace) if self.workspace.selection.queries else ""
        rows = f"the rows of the selection ({said})" if said else "all rows"
        parts = [f"{counted(heads, 'head')}; {len(PLACES)} patterns of places, measured on {rows}"]
        if len(relations):
            arcs_read = (
                int(relations.loc[relations["pattern"] == "all", "n"].max()) if (relations["pattern"] == "all").any() else 0
            )
            parts.append(
                f"{counted(relations['pattern'].nunique() - 1, 'relation')} on {counted(arcs_read, 'arc')} of the whole text"
            )
        self.line = "; ".join(parts)
