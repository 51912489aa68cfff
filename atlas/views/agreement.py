"""Agreement: which heads attend to the tokens that a method of attribution says matter."""

from __future__ import annotations

from typing import Any, ClassVar

import panel_material_ui as pmui

from atlas.state.agreement import BEYOND, AgreementLens
from atlas.trace import Trace
from atlas.tracing.explained import without_model
from atlas.views.attribution import TITLES
from atlas.views.base import TIGHT
from atlas.views.dotted import DottedPlaneView
from atlas.views.shows import Shows


class AgreementView(DottedPlaneView):
    """How far heads agree with an attribution."""

    key: ClassVar = "agreement"
    title: ClassVar = "Agreement of heads"
    question: ClassVar = "Which heads agree with the gradients?"
    help: ClassVar = (
        "Each cell is a head of the kind on screen: the rank correlation between the attention that tokens receive from it and "
        "the size of their scores by the chosen method. Orange: it attends to the tokens that matter; purple: to the others. A "
        "dot marks heads beyond chance after correction for the number of heads; a text of few tokens can have none. Special "
        "tokens are left out, and of a model that looks back all tokens after the target. Hatched: the head attends to all "
        "tokens alike. Point at a head for its interval and for other measures. Click it to show and select it, a name to select "
        "its layer."
    )
    defines: ClassVar = ("head_agreement",)
    lens_type: ClassVar = AgreementLens
    agreement = Shows(AgreementLens)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Without its model, or without predictions, there is nothing to agree with."""
        return without_model(trace)

    def tools(self) -> list[Any]:
        """What heads are compared with."""
        method = self.agreement.choices.param.method
        return [pmui.Select.from_param(method, label="Method", options=TITLES, size="small", margin=TIGHT, width=245)]

    def said_of_colours(self) -> str:
        """What a number and a dot say."""
        return f"Spearman's ρ; dot: beyond chance, q ≤ {BEYOND}"

    def dotted(self) -> frozenset[tuple[int, int]]:
        """The heads beyond chance."""
        return self.agreement.beyond()
