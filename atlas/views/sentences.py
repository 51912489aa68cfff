"""The sentence matrix: attention between sentences, and between the tokens of a chosen pair of them."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.components.bar_list import BarList, Press
from atlas.state.sentence_block import SentenceBlockLens
from atlas.state.sentences import DIFFERENCE, MASS, SentencesLens
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.sentences import PART, SENTENCE, has_parts, without_sentences
from atlas.views.base import TIGHT, gesture
from atlas.views.plain import plain
from atlas.views.plane import PlaneView

BETWEEN = {"sentences": SENTENCE, "messages, texts": PART}

SHOWN = {"mass": MASS, "above chance": DIFFERENCE}

SENTENCE_PIXELS, BLOCK_PIXELS = 50_000, 40_000
"""Pixels of the two images: both change with a head, a gesture may send 300 kB in all, and the matrix, which may be on screen
too, takes 200 kB of them. Cells of so few rows are large all the same."""

LINKS = 420
"""Pixels of a list of links."""

LETTERS = 60
"""Letters of a link in words."""

POINT = "Point at a cell for its weight; click it, or a name beside it, to select its tokens. Again: their sentences."


class BlockView(PlaneView):
    """The token block of a pair: a plane in the card of the sentence matrix."""

    key: ClassVar = "sentence-block"
    lens_type: ClassVar = SentenceBlockLens
    hint: ClassVar = POINT
    most_pixels: ClassVar = BLOCK_PIXELS

    def __init__(self, outer: PlaneView) -> None:
        super().__init__(outer.workspace, dark=outer.dark)
        # Its errors are shown in the one card there is.
        self.faults = outer.faults
        outer.param.watch(lambda event: setattr(self, "dark", event.new), "dark")
        outer.visibility.param.watch(lambda _: self._follow(outer), ["seen", "opened"])
        self._follow(outer)

    def _redraw(self) -> None:
        """Nothing is sent of a plane that is hidden because there is no pair."""
        if self.plane.plane().rows:
            super()._redraw()

    def _follow(self, outer: PlaneView) -> None:
        self.visibility.seen = outer.visibility.active


class SentencesView(PlaneView):
    """How much of its attention a sentence gives to itself and to the others; and which tokens of a pair look at which."""

    key: ClassVar = "sentences"
    title: ClassVar = "Sentences"
    question: ClassVar = "Which sentence looks at which?"
    help: ClassVar = (
        "Rows are the sentences that look, columns those that are looked at; in cross-attention, rows are sentences of the "
        "target and columns of the source. A second text has sentences of its own; a conversation, a prompt with "
        "what was written, or a pair can be compared by these parts, too. Hatched: no token of the row's sentence may "
        "look at any of the column's. Click a cell, or a name, to select the tokens of its sentences. Of a pair, the plane at "
        "the right has the tokens, and the list below their strongest links: the weight in the head of those shown that has most "
        "of it, that head, and in a second colour the weight by chance. Click a link to select its two tokens."
    )
    defines: ClassVar = ("sentence_mass", "sentence_difference", "sentence_link")
    lens_type: ClassVar = SentencesLens
    most_pixels: ClassVar = SENTENCE_PIXELS
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.block = BlockView(self)
        self.links = BarList(dark=self.param.dark, width_of_group=LINKS, letters=LETTERS, css_classes=["aa-sentence-links"])
        self.links.on_press(self._pressed)

    @property
    def pair(self) -> SentenceBlockLens:
        """What is shown of the chosen pair."""
        assert isinstance(self.block.lens, SentenceBlockLens)
        return self.block.lens

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A recording without a text has no sentences."""
        reasons = [without_sentences(trace, kind) for kind in trace.kinds]
        return reasons[0] if all(reasons) else ""

    def tools(self) -> list[Any]:
        """What is compared, and attention mass or what it is above chance."""
        choices, look = self.plane.choices.param, {"size": "small", "margin": TIGHT}
        parts = pn.bind(lambda *_: self._has_parts(), self.workspace.param.revision, self.workspace.selection.param.focus)
        return [
            pmui.Select.from_param(choices.by, label="Between", options=BETWEEN, width=160, visible=parts, **look),
            pmui.Select.from_param(choices.show, label="Show", options=SHOWN, width=150, **look),
        ]

    def _has_parts(self) -> bool:
        trace = self.workspace.trace
        return trace is not None and has_parts(trace, self.workspace.kind)

    def body(self) -> Any:
        """The plane of the sentences; beside it the block of a pair, below it the links of the pair."""
        changes, lens = self.block.visibility, self.pair
        tokens = pn.Column(self.block.body(), sizing_mode="stretch_width", margin=0, min_height=1)

        def draw() -> None:
            groups = lens.links() if self.workspace.trace is not None else []
            self.links.param.update(groups=groups, visible=bool(groups))
            tokens.visible = bool(groups)

        changes.follow_revision(draw)
        changes.follow_marks(draw)
        self.faults.attempt(draw, lambda: None, "links")
        words = self.bound(self._said, changes.param.revision, lens.param.problem, lens.param.waiting)
        chosen = pn.Column(plain(words, "aa-sentence-pair"), tokens, sizing_mode="stretch_width", min_width=300, margin=0)
        sentences = pn.Column(super().body(), sizing_mode="stretch_width", min_width=300, margin=0)
        planes = pn.Row(sentences, chosen, sizing_mode="stretch_width", margin=0)
        return pn.Column(planes, self.links, sizing_mode="stretch_width", margin=0)

    def _said(self, *_: object) -> str:
        """Whose tokens they are; or why there are none, and what to do."""
        lens = self.pair
        if self.workspace.trace is None:
            return ""
        lens.plane()
        return str(lens.problem or lens.waiting or lens.line)

    @gesture
    def _pressed(self, press: Press) -> None:
        self.pair.select_link(press["key"], self.block.key)
