"""Differences of both sides that take a model to measure: attention to flagged words, agreement with an attribution."""

from __future__ import annotations

from typing import Any, ClassVar

import panel_material_ui as pmui

from atlas.state.attention_bias import ANY
from atlas.state.compare_measured import CompareAgreementLens, CompareBiasLens
from atlas.state.detection import FIELDS
from atlas.trace import Trace
from atlas.tracing.explained import without_model
from atlas.tracing.labelled import without_text
from atlas.views.attribution import TITLES
from atlas.views.base import TIGHT
from atlas.views.plane import HeadPlaneView


class CompareBiasView(HeadPlaneView):
    """Attention to flagged words, on both sides."""

    key: ClassVar = "compare_bias"
    title: ClassVar = "Attention to flagged words, B − A"
    question: ClassVar = "Which heads look more at biased words?"
    help: ClassVar = (
        "The words that a detector flags are found in both texts. Each cell is a head of A: how much more attention the flagged "
        "words of B get from its partner, in doublings over evenly spread attention, than those of A get from the head itself. "
        "Orange: more on B; +1 is twice as much. The readout has both sides, and q of each against other words of its own text: "
        "where neither is small, the difference is between two heads that look at these words as chance would. Thresholds are "
        "those of the tab Bias. Click a head to show and select it, a name to select its layer."
    )
    defines: ClassVar = ("bias_difference", "matched_similarity")
    lens_type: ClassVar = CompareBiasLens

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A detector reads a text."""
        return without_text(trace)

    def tools(self) -> list[Any]:
        """Which words."""
        names = {"any label": ANY, **{name: name for name in FIELDS}}
        label = self.plane.choices.param.label
        return [pmui.Select.from_param(label, label="Flagged with", options=names, size="small", margin=TIGHT, width=130)]


class CompareAgreementView(HeadPlaneView):
    """Agreement with an attribution, on both sides."""

    key: ClassVar = "compare_agreement"
    title: ClassVar = "Agreement with what matters, B − A"
    question: ClassVar = "Where does attention follow what matters more closely?"
    help: ClassVar = (
        "On either side the prediction that is explained is attributed to its tokens by the chosen method, and every head is "
        "compared with that. Each cell is Spearman's ρ of the partner on B minus that of the head of A: orange where attention "
        "follows what matters more on B, purple where it does less. On B the same decision is explained: at the token that "
        "stands for the chosen one, or where that side predicts by itself when none is chosen. The readout has both ρ with their "
        "q; a difference of two that chance explains means nothing. Click a head to show and select it, a name to select its "
        "layer."
    )
    defines: ClassVar = ("agreement_difference", "matched_similarity")
    lens_type: ClassVar = CompareAgreementLens

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Without its model, or without predictions, there is nothing to agree with."""
        return without_model(trace)

    def tools(self) -> list[Any]:
        """What heads are compared with."""
        method = self.plane.choices.param.method
        return [pmui.Select.from_param(method, label="Compared with", options=TITLES, size="small", margin=TIGHT, width=245)]
