"""The sentence matrix: attention between sentences."""

from __future__ import annotations

from typing import Any, ClassVar

import panel_material_ui as pmui

from atlas.state.sentences import DIFFERENCE, MASS, SentencesLens
from atlas.trace import Trace
from atlas.tracing.sentences import without_sentences
from atlas.views.base import TIGHT
from atlas.views.plane import PlaneView

SHOWN = {"mass": MASS, "above chance": DIFFERENCE}


class SentencesView(PlaneView):
    """How much of its attention a sentence gives to itself and to the others."""

    key: ClassVar = "sentences"
    title: ClassVar = "Sentences"
    question: ClassVar = "Which sentence looks at which?"
    help: ClassVar = (
        "Rows are the sentences that look, columns those that are looked at; in cross-attention, rows are sentences of the "
        "target and columns of the source. A second text has sentences of its own. Hatched: no token of the row's sentence may "
        "look at any of the column's. Click a cell, or a name, to select the tokens of its sentences."
    )
    defines: ClassVar = ("sentence_mass", "sentence_difference")
    lens_type: ClassVar = SentencesLens

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A recording without a text has no sentences."""
        reasons = [without_sentences(trace, kind) for kind in trace.kinds]
        return reasons[0] if all(reasons) else ""

    def tools(self) -> list[Any]:
        """Attention mass, or what it is above chance."""
        show = self.plane.choices.param.show
        return [pmui.Select.from_param(show, label="Show", options=SHOWN, size="small", margin=TIGHT, width=150)]
