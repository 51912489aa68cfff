"""Differences of both sides as planes: of heads, of their groups, of attention between words, of residual streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import panel_material_ui as pmui

from atlas.plots.marks import HEADS
from atlas.state.compare_groups import CompareGroupsLens
from atlas.state.compare_heads import MOVED, CompareHeadsLens, title_of
from atlas.state.compare_matrix import DIFFERENCE, SIDE_A, SIDE_B, CompareMatrixLens
from atlas.state.compare_streams import CompareStreamsLens
from atlas.state.display import METRICS, SELECTED
from atlas.trace import Trace
from atlas.tracing.hidden import without_hidden
from atlas.tracing.two_groups import CLUSTERS, ROLES
from atlas.views.base import TIGHT
from atlas.views.plane import HeadPlaneView, PlaneView

VALUES = {title_of(name): name for name in (MOVED, *METRICS, SELECTED)}

SHOWS = {"B − A": DIFFERENCE, "side A": SIDE_A, "side B": SIDE_B}


class CompareHeadsView(HeadPlaneView):
    """Every head against its partner."""

    key: ClassVar = "compare_heads"
    title: ClassVar = "Heads that differ"
    question: ClassVar = "Which heads differ?"
    help: ClassVar = (
        "Each cell is a head of side A, and its value what its partner on side B does otherwise: how far its attention moved, "
        "or a metric of B minus that of A (orange: higher on B, purple: lower). The line says how heads are paired and how "
        "alike the pairs are; where that is hardly more than random pairs, a difference compares two heads that have nothing to "
        "do with each other. With tokens selected, metrics are those at these tokens and at what stands for them on B. Hatched: "
        "the head has no partner, or the metric is not known on one side. Click a head to show and select it, a name to select "
        "its layer."
    )
    defines: ClassVar = ("pattern_moved", "metric_difference", "matched_similarity")
    lens_type: ClassVar = CompareHeadsLens

    def tools(self) -> list[Any]:
        """What a cell says."""
        value = self.plane.choices.param.value
        return [pmui.Select.from_param(value, label="Differ in", options=VALUES, size="small", margin=TIGHT, width=282)]


class CompareGroupsView(PlaneView):
    """Roles or clusters of heads on both sides."""

    key: ClassVar = "compare_groups"
    title: ClassVar = "Groups that keep together"
    question: ClassVar = "Do heads keep their roles?"
    help: ClassVar = (
        "A row is a role that heads have on side A, a column the role that their partners have on side B, and a cell the number "
        "of heads with both: on the same name, heads kept their role. Clusters are found apart on either side, so "
        "their names may differ while the groups agree. The adjusted Rand index is 1 where the two groupings are the same and "
        "about 0 where they have nothing in common; the number beside it is what remains when partners are shuffled within their "
        "layers, so that groups which only follow the layers do not count as agreement. Heads paired by similarity of their "
        "patterns have like roles more often for that reason alone. Groups are of the whole text. Click a cell to select its "
        "heads, a name to select all of a group."
    )
    defines: ClassVar = ("group_agreement",)
    lens_type: ClassVar = CompareGroupsLens
    hint: ClassVar = "Point at a cell for its numbers; click it to select its heads."

    def tools(self) -> list[Any]:
        """What heads are grouped by."""
        shown = {"roles": ROLES, "clusters": CLUSTERS}
        of = self.plane.choices.param.of
        return [pmui.Select.from_param(of, label="Group by", options=shown, size="small", margin=TIGHT, width=120)]


class CompareMatrixView(PlaneView):
    """Attention between the same words on both sides."""

    key: ClassVar = "compare_matrix"
    title: ClassVar = "Difference of attention"
    question: ClassVar = "Where does attention differ?"
    help: ClassVar = (
        "Attention between the words that both sides have: of the selected heads of A, or the one in focus, and of the heads "
        "that stand for them on B. To a word it is summed over its tokens, from it averaged. Orange: more on side B; purple: "
        "less. “he → she”: what stands for each other. The last column is what goes to tokens that have no partner. Hatched: "
        "one side may not look there, because it reads from left to right. Where both sides have the same tokens, and the page "
        "shows tokens, these are compared. Side A and side B alone show what is subtracted. Click a cell to select its words."
    )
    defines: ClassVar = ("matrix_difference",)
    lens_type: ClassVar = CompareMatrixLens

    def tools(self) -> list[Any]:
        """The difference or one side; how heads are taken together, which other views share."""
        display, choices = self.workspace.display.param, self.plane.choices.param
        look: dict[str, Any] = {"size": "small", "margin": TIGHT}
        return [
            pmui.Select.from_param(choices.shows, label="Show", options=SHOWS, width=104, **look),
            pmui.Select.from_param(display.aggregate, label="Together", width=88, **look),
        ]


class CompareStreamsView(PlaneView):
    """How alike the layers of both sides place the same words."""

    key: ClassVar = "compare_streams"
    title: ClassVar = "Layers that are alike"
    question: ClassVar = "Which layers are alike?"
    help: ClassVar = (
        "Each cell compares how a state of the residual stream of A and one of B place the same words: linear CKA, 1 where both "
        "do it alike up to rotation and size. The readout says what shuffled words give, and p: with few words CKA is high by "
        "chance, so hold every cell against it. Special tokens are left out. A diagonal that stays bright: both sides build the "
        "same layer by layer. Click a row to select the heads of A that read this state."
    )
    defines: ClassVar = ("cka",)
    lens_type: ClassVar = CompareStreamsLens
    colours: ClassVar[Mapping[str, str]] = {"rows": HEADS}
    hint: ClassVar = "Point at a cell for its numbers; click it to select the heads of A that read this state."

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """States that are kept, or a model that makes them."""
        return without_hidden(trace)
