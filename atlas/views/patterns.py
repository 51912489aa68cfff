"""Heads by known pattern, and what the head in focus makes of a parsed sentence."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import panel as pn
import panel_material_ui as pmui
import param

from atlas.components.bar_list import BarList, Press
from atlas.plots.arcs import HEIGHT, HIT, MISS, PARSE, PARTS, WORDS, Arc, Sentence, arc_columns, arc_plot, word_under
from atlas.state.patterns import PatternsLens
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.patterns import DIRECTIONS, PLACES, without_patterns
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.events import on_tap
from atlas.views.glyph import Glyph
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "patterns"

WIDTH = 322
"""Pixels of a group of heads: three of them are beside each other on a page of 1440."""

READ = {"word looks at its head": DIRECTIONS[0], "head looks at the word": DIRECTIONS[1]}

RELATIONS = (
    "Dependency relations: share of arcs that the head's strongest word gets right, in brackets that of the best fixed offset. "
    "d→h: a word looks at its head; h→d: its head looks at it."
)

MASSES = "Share of attention on a place, and in brackets that of uniform attention. q: corrected probability by chance."

KEY = (
    "Above: the parse. Below: where the head points from each word that has a syntactic head; green and named: it is that head, "
    "grey: it is not. Click a word to select it."
)


class PatternsView(View):
    """The heads that follow known patterns, and the relations that one of them finds."""

    key: ClassVar = "patterns"
    title: ClassVar = "Patterns"
    question: ClassVar = "Which heads follow a known pattern here?"
    help: ClassVar = (
        "For each pattern the heads that do it most. Upper bar: the head's score; lower bar: chance. Of a place (the previous "
        "token, an earlier copy, a delimiter) the score is the share of attention that goes there, and chance is uniform "
        "attention under the same mask. Of a dependency relation it is the share of its arcs that the head gets right with its "
        "strongest word, and chance is the best fixed offset, as 'always the next word'; d→h: a word looks at its head; h→d: "
        "its head looks at it. 'Beyond chance': unlikely by chance at 5 %, corrected for the number of heads; few rows or "
        "arcs are not tested. A pattern on one text is not what the head is for. Click a head to select it, a heading to select "
        "all of its heads that are beyond chance. With queries selected, places are measured on their rows; relations always on "
        "the whole text."
    )
    defines: ClassVar = (*PLACES, "role_chance", "relation_accuracy", "relation_chance")
    lens_type: ClassVar = PatternsLens
    patterns = Shows(PatternsLens)
    wide: ClassVar = True

    redrawn = param.Integer(default=0, doc="Counts the drawings of the arcs.")

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        look: dict[str, Any] = {"dark": self.param.dark, "width_of_group": WIDTH, "margin": (4, 8)}
        self.places, self.relations = BarList(**look), BarList(**look)
        for each in (self.places, self.relations):
            each.on_press(self._pressed)
        self.heading = plain("", "aa-relations", margin=(10, 12, 0, 12))
        self.said = plain("", "aa-arcs-line")
        self.key_line = plain(KEY, "aa-arcs-key")
        self.which = plain("", "aa-pages", sizing_mode="fixed", width=220, margin=(8, 6))
        button: dict[str, Any] = {"variant": "text", "size": "small", "margin": (2, 2)}
        self.back = pmui.Button(label="Previous", css_classes=["aa-back"], **button)
        self.forth = pmui.Button(label="Next", css_classes=["aa-forth"], **button)
        self.pager = pn.Row(self.back, self.forth, self.which, margin=0)
        self.back.on_click(lambda _: self._turn(-1))
        self.forth.on_click(lambda _: self._turn(1))
        self._hears = [on_tap(self._tapped)]
        self.glyphs = {part: Glyph() for part in PARTS}
        self.drawn: pn.Column | None = None

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Attention between two texts alone has no positions to compare."""
        return without_patterns(trace)

    def tools(self) -> list[Any]:
        """Which way relations are read in the arcs."""
        direction = self.patterns.choices.param.direction
        return [pmui.Select.from_param(direction, label="Arcs below", options=READ, size="small", margin=TIGHT, width=210)]

    def body(self) -> Any:
        """Places, relations, and the arcs of a sentence."""
        plot = hv.DynamicMap(self.drawing(self._arcs, no_arcs), streams=[self.follows(self, ["dark", "redrawn"])])
        pane = self.plot_pane(plot, sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-arcs"])
        look: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0}
        self.drawn = pn.Column(self.pager, self.said, pane, self.key_line, **look)
        self._fill_lists()
        self.visibility.follow_revision(self._update)
        masses = plain(MASSES, "aa-places-key", margin=(4, 12, 0, 12))
        return pn.Column(masses, self.places, self.heading, self.relations, self.drawn, **look)

    def export(self) -> Export:
        """Every head with every pattern, and the sentence."""
        return Export("patterns", self.patterns.table(), self._arcs())

    def sentence(self) -> Sentence:
        """The arcs as the plot takes them."""
        found, selection = self.patterns.arcs(), self.workspace.selection
        if found is None:
            return Sentence()
        chosen = selection.queries | selection.keys
        return Sentence(
            words=found.words,
            above=tuple(Arc(parent, dependent, relation, PARSE) for dependent, parent, relation in found.parse),
            below=tuple(
                Arc(dependent, word, relation if hit else "", HIT if hit else MISS)
                for dependent, word, relation, hit in found.found
            ),
            selected=frozenset(at for at, tokens in enumerate(found.tokens) if tokens & chosen),
        )

    def _arcs(self, **_: Any) -> hv.Overlay:
        hooks = {
            part: self.faults.hooks([glyph.hook, *(self._hears if part == WORDS else ())]) for part, glyph in self.glyphs.items()
        }
        return arc_plot(self.sentence(), dark=self.dark, hooks=hooks)

    def _update(self) -> None:
        self._fill_lists()
        columns = arc_columns(self.sentence(), dark=self.dark)
        marked = [self.glyphs[part].mark(columns[part]) for part in PARTS]
        if not all(marked):
            self.redrawn += 1

    def _fill_lists(self) -> None:
        places, relations = self.patterns.groups()
        self.places.groups, self.relations.groups = places, relations
        note = self.patterns.note()
        self.heading.param.update(
            object=" ".join(filter(None, [RELATIONS if relations else "", note])), visible=bool(relations or note)
        )
        there, page = self.patterns.pages(), self.patterns.page()
        assert self.drawn is not None
        self.drawn.visible = bool(there)
        self.said.object = self.patterns.arcs_line()
        whole = len({each.sentence for each in there}) == len(there)
        self.which.object = f"{'sentence' if whole else 'part'} {page + 1:,} of {len(there):,}" if there else ""
        self.back.disabled, self.forth.disabled = page == 0, page >= len(there) - 1
        self.pager.visible = len(there) > 1

    # -- gestures ------------------------------------------------------------------------------------------------------

    @gesture
    def _pressed(self, press: Press) -> None:
        self.patterns.press(press["key"], ORIGIN)

    @gesture
    def _turn(self, by: int) -> None:
        self.patterns.turn(by)

    @gesture
    def _tapped(self, x: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002  (a click always toggles a word)
        found = self.patterns.arcs()
        word = None if found is None else word_under(found.words, x, y)
        if word is not None:
            self.patterns.select_word(word, ORIGIN)


def no_arcs() -> hv.Overlay:
    """No sentence at all."""
    return arc_plot(Sentence())
