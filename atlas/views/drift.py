"""Drift: which heads do something else in another corpus, or in another version of the model."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.state.corpus_heads import CorpusHeadsLens
from atlas.state.drift import SECOND, DriftLens, against, can_compare, others
from atlas.state.workspace import Workspace
from atlas.views.base import TIGHT, Export
from atlas.views.corpus_choice import CorpusView, Follow
from atlas.views.plain import plain
from atlas.views.plane import HeadPlaneView
from atlas.views.shows import Shows


class DriftView(CorpusView, HeadPlaneView):
    """The difference of one figure of every head between two corpora."""

    key: ClassVar = "drift"
    title: ClassVar = "Drift"
    question: ClassVar = "Which heads behave differently in other texts?"
    help: ClassVar = (
        "Each cell is a head: its mean in the other corpus minus that in the corpus on screen, in standard deviations between "
        "texts. Orange: more there; purple: less. The sentence below is of all metrics at once, corrected for heads × metrics; "
        "a pipeline asks for the same by `atlas drift A B`. Two versions of a model on the same texts say what training changed; "
        "one model on two sets of texts says what the texts change, their length among it; two groups of one corpus are chosen "
        "under 'Corpus' and 'Against'. Export has every figure with its interval and chance. Click a head to show and select it."
    )
    defines: ClassVar = ("drift",)
    lens_type: ClassVar = DriftLens
    drift = Shows(DriftLens)

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.other = pmui.Select(label="Against", options=[], size="small", margin=TIGHT, width=170)
        self._follow_other = Follow(workspace, self.other, "against", against, others)

    @classmethod
    def offered(cls, workspace: Workspace) -> str:
        """Only where there are two corpora to compare."""
        return super().offered(workspace) or ("" if can_compare(workspace) or workspace.trace is None else SECOND)

    def tools(self) -> list[Any]:
        """Which corpora, and which metric."""
        metric = self.workspace.display.param.metric
        look: dict[str, Any] = {"size": "small", "margin": TIGHT, "width": 216}
        options = CorpusHeadsLens.metrics()
        return [self.corpus, self.other, pmui.Select.from_param(metric, label="Metric", options=options, **look)]

    def body(self) -> Any:
        """The plane, and what differs over all metrics."""
        said = self.bound(lambda _: self.drift.said(), self.visibility.param.revision)
        return pn.Column(super().body(), plain(said, "aa-drift-said"), sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """Every difference, of all metrics."""
        return Export(self.key, self.drift.found().table, super().export().picture)
