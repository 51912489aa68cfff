"""Drills: what every head does on texts that were made for it."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.state.drills import DrillsLens
from atlas.state.heads import title_of
from atlas.tracing.drills import DRILLS
from atlas.views.base import TIGHT, Export
from atlas.views.corpus_choice import CorpusView
from atlas.views.plain import plain
from atlas.views.plane import HeadPlaneView
from atlas.views.shows import Shows


class DrillsView(CorpusView, HeadPlaneView):
    """The score of every head on one sort of drill."""

    key: ClassVar = "drills"
    title: ClassVar = "Drills"
    question: ClassVar = "Which heads show a skill in texts made to test it?"
    help: ClassVar = (
        "What a corpus does not hold cannot be seen in it: ordinary text plants no facts and repeats little. Drills are texts "
        "made from a seed: random tokens, the same said twice, a fact in filler that is asked for, ordered lists. Each cell is a "
        "head, its colour its mean score; point at it for the interval over drills and for what the same head scores on the same "
        "drills shuffled. The words below are of all drills at once, corrected for the number of heads. Click a head to show and "
        "select it. The head page says the drills of one head; the finder takes them as drill_induction, drill_retrieval ..."
    )
    defines: ClassVar = DRILLS
    has_groups: ClassVar = False
    lens_type: ClassVar = DrillsLens
    drills = Shows(DrillsLens)

    def tools(self) -> list[Any]:
        """Which corpus, and which drill."""
        options = {title_of(name): name for name in DRILLS}
        drill = self.drills.choices.param.drill
        return [self.corpus, pmui.Select.from_param(drill, label="Drill", options=options, size="small", margin=TIGHT, width=220)]

    def body(self) -> Any:
        """The plane, and what was found over all drills."""
        said = self.bound(lambda _: self.drills.said(), self.visibility.param.revision)
        return pn.Column(super().body(), plain(said, "aa-drills-said"), sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """Every score, of all drills."""
        return Export(self.key, self.drills.found().table, super().export().picture)
