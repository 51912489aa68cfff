"""The finder: heads by conditions on their figures, and heads like the one in focus."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.components.bar_list import BarList, Press
from atlas.state.finder import FinderLens
from atlas.state.workspace import Workspace
from atlas.tracing.corpus_heads import EXAMPLE, LONGEST
from atlas.views.base import TIGHT, Export, gesture
from atlas.views.corpus_choice import CorpusView
from atlas.views.plain import plain
from atlas.views.shows import Shows


class FinderView(CorpusView):
    """Heads by what they do over many texts."""

    key: ClassVar = "finder"
    title: ClassVar = "Finder"
    question: ClassVar = "Which heads do what I am looking for?"
    help: ClassVar = (
        "Write conditions on the figures of heads over the corpus and press Enter: the heads that meet them are selected. A "
        "condition compares a metric with a number by >, >=, <, <=, = or !=; join conditions with 'and', 'or' and brackets. "
        "Metrics go by their short names (previous, induction, distance ...); NAME_lo and NAME_hi are the ends of the 95 % "
        "interval, NAME_uniform is what even attention gives, n the texts; layer and head are numbers; 'role = previous_token' "
        "asks for an earned role. A figure that is not known meets no condition. Beside it: the heads whose figures are most "
        "like those of the head in focus, in all corpora that are open. Press a head to show it."
    )
    defines: ClassVar = ("corpus_mean", "corpus_near")
    lens_type: ClassVar = FinderLens
    finder = Shows(FinderLens)

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.conditions = pmui.TextInput(
            label="Conditions", value=self.finder.choices.conditions, placeholder=EXAMPLE, size="small", margin=TIGHT,
            sizing_mode="stretch_width", max_length=LONGEST, css_classes=["aa-finder-conditions"],
        )  # fmt: skip
        self.bars = BarList(dark=self.param.dark, width_of_group=260, letters=18, css_classes=["aa-finder-heads"])
        self.conditions.param.watch(self._entered, "value")
        self.bars.on_press(self._pressed)

    def tools(self) -> list[Any]:
        """Which corpus."""
        return [self.corpus]

    def body(self) -> Any:
        """The conditions, what came of them, the heads."""
        self._draw()
        self.visibility.follow_revision(self._draw)
        said = self.bound(lambda _: self.finder.said(), self.visibility.param.revision)
        return pn.Column(self.conditions, plain(said, "aa-finder-said"), self.bars, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """The heads that were found."""
        return Export("finder", self.finder.table(), None)

    def _draw(self) -> None:
        self.finder.said()
        self.conditions.value = self.finder.choices.conditions
        self.bars.groups = self.finder.groups()

    @gesture
    def _entered(self, event: Any) -> None:
        if event.new != self.finder.choices.conditions:
            self.finder.look_for(event.new, self.key)

    @gesture
    def _pressed(self, press: Press) -> None:
        self.finder.press(press["key"], self.key)
