"""Drills: what every head does on texts that were made for it."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.state.drills import DrillsLens
from atlas.state.heads import title_of
from atlas.state.workspace import Workspace
from atlas.tracing.drills import DRILLS
from atlas.views.base import TIGHT, Export, gesture
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

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.start = pmui.Button(
            label="Drill", color="primary", variant="contained", size="small", margin=TIGHT, css_classes=["aa-drill"]
        )
        self.start.on_click(lambda _: self._press())

    def tools(self) -> list[Any]:
        """Which corpus, and which drill, and the press where the heads were not drilled."""
        self._free()
        options = {title_of(name): name for name in DRILLS}
        drill = self.drills.choices.param.drill
        chosen = pmui.Select.from_param(drill, label="Drill", options=options, size="small", margin=TIGHT, width=220)
        return [self.corpus, chosen, self.start]

    def body(self) -> Any:
        """The plane, and what was found over all drills."""
        self.visibility.follow_revision(self._free)
        self.drills.param.watch(lambda _: self.drills.attempt_drawing(self._free), ["busy", "problem"])
        said = self.bound(lambda _: self.drills.said(), self.visibility.param.revision)
        return pn.Column(super().body(), plain(said, "aa-drills-said"), sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """Every score, of all drills."""
        picture, found = super().export().picture, self.drills.found()
        return Export(self.key, self.drills.table() if found is None else found.table, picture)

    def _free(self) -> None:
        """Whether there is something to drill."""
        there = self.workspace.trace is not None
        self.start.param.update(visible=there and not self.drills.is_drilled, disabled=not there or not self.drills.can_start)

    @gesture
    def _press(self) -> None:
        self.drills.start()
