"""Similar heads: every head with every other, alike ones side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import panel_material_ui as pmui

from atlas.plots.marks import HEADS
from atlas.state.similar_heads import SimilarHeadsLens
from atlas.trace import Trace
from atlas.tracing.similar_heads import PATTERN, WRITES, without_similarity
from atlas.views.base import TIGHT, gesture
from atlas.views.plane import PlaneView
from atlas.views.shows import Shows

BY = {"where they look": PATTERN, "what they write": WRITES}


class SimilarHeadsView(PlaneView):
    """How alike heads are."""

    key: ClassVar = "similar"
    title: ClassVar = "Similar heads"
    question: ClassVar = "Which heads do the same thing?"
    help: ClassVar = (
        "Every head with every other of its kind, in the order of a hierarchical clustering (average linkage): heads that do the "
        "same stand side by side and make a block on the diagonal. Compared at all tokens, or at the selected ones that look. "
        "Long texts are compared at as many tokens as can be afforded, evenly spread; the line above says how many. Click a "
        "cell to select both heads, hold Shift to select all heads between the two, click a name to select one."
    )
    defines: ClassVar = ("head_similarity", "write_cosine")
    lens_type: ClassVar = SimilarHeadsLens
    similar = Shows(SimilarHeadsLens)
    colours: ClassVar[Mapping[str, str]] = {"rows": HEADS, "columns": HEADS}

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A trace of more than one head."""
        return without_similarity(trace)

    def tools(self) -> list[Any]:
        """What heads are compared by."""
        by = self.similar.choices.param.by
        return [pmui.Select.from_param(by, label="Compare", options=BY, size="small", margin=TIGHT, width=170)]

    @gesture
    def tap(self, x: float, y: float, *, additive: bool = False) -> None:
        """Select the two heads of a cell; with Shift or Ctrl, all heads between them."""
        found = self._cell(x, y)
        if found is not None:
            select = self.similar.select_block if additive else self.similar.select_cell
            select(*found, origin=self.key)
