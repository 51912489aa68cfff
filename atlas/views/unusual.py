"""Unusual: which heads do something else on this text than over many texts."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.components.chips import Chips, Press
from atlas.state.corpus_heads import CorpusHeadsLens
from atlas.state.unusual import UnusualLens
from atlas.state.workspace import Workspace
from atlas.views.base import TIGHT, Export, gesture
from atlas.views.corpus_choice import CorpusView
from atlas.views.dotted import DottedPlaneView
from atlas.views.plain import plain
from atlas.views.shows import Shows


class UnusualView(CorpusView, DottedPlaneView):
    """One figure of every head on this text, among those over a corpus."""

    key: ClassVar = "unusual"
    title: ClassVar = "Unusual heads"
    question: ClassVar = "Which heads do something unusual on this text?"
    help: ClassVar = (
        "Each cell is a head: the chosen metric on the text on screen minus its mean over the texts of the corpus, in standard "
        "deviations between texts. Orange: more here; purple: less. A dot: unusual, by the head's rank among the texts, "
        "corrected for the number of heads. The sentence below is of all metrics at once. A text that is longer or shorter than "
        "those of the corpus is unusual in most metrics that depend on length: point at a head to see what even attention gives "
        "here and there. Click a head to show and select it, or press a chip: one selects all unusual heads, the others show a "
        "head with the figure of it that is farthest out."
    )
    defines: ClassVar = ("unusual",)
    lens_type: ClassVar = UnusualLens
    unusual = Shows(UnusualLens)
    has_groups: ClassVar = False

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.chips = Chips(dark=self.param.dark, css_classes=["aa-unusual-heads"])
        self.chips.on_chip(self._pressed)

    def tools(self) -> list[Any]:
        """Which corpus, and which metric."""
        metric = self.workspace.display.param.metric
        look: dict[str, Any] = {"size": "small", "margin": TIGHT, "width": 216}
        options = CorpusHeadsLens.metrics()
        return [self.corpus, pmui.Select.from_param(metric, label="Metric", options=options, **look)]

    def body(self) -> Any:
        """The plane, what is unusual over all metrics, and the heads."""
        changes = self.visibility
        changes.follow_revision(self._list)
        changes.follow_marks(self._list)
        self._list()
        said = self.bound(lambda _: self.unusual.said(), changes.param.revision)
        return pn.Column(super().body(), plain(said, "aa-unusual-said"), self.chips, sizing_mode="stretch_width", margin=0)

    def said_of_colours(self) -> str:
        """What a number and a dot say."""
        return "in standard deviations between texts; dot: unusual, q ≤ 0.05"

    def dotted(self) -> frozenset[tuple[int, int]]:
        """The unusual heads."""
        return frozenset((head.layer, head.head) for head in self.unusual.beyond())

    def export(self) -> Export:
        """Every figure, of all metrics."""
        picture, found = super().export().picture, self.unusual.found()
        return Export(self.key, self.unusual.table() if found is None else found.table, picture)

    def _list(self, *_: object) -> None:
        self.chips.groups = self.unusual.groups() if self.workspace.trace is not None else []

    @gesture
    def _pressed(self, press: Press) -> None:
        self.unusual.press(str(press["key"]), self.key)
