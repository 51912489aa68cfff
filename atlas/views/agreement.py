"""Agreement: which heads attend to the tokens that a method of attribution says matter."""

from __future__ import annotations

from typing import Any, ClassVar

import panel_material_ui as pmui

from atlas.state.agreement import AgreementLens
from atlas.state.agreement_bounds import AgreementBoundsLens
from atlas.state.visibility import Visibility
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.chance import BEYOND
from atlas.tracing.explained import without_model
from atlas.views.attribution import TITLES
from atlas.views.base import TIGHT, one_message
from atlas.views.dotted import DottedPlaneView
from atlas.views.plain import plain
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
        "its layer. Below stands what a ρ can be held against, as in the verdict: the ceiling, how far two gradient methods "
        "agree with each other on the same tokens; and the floor, how far random heads agree, as many as are selected, or as the "
        "one in focus. Then the mean of each layer; its interval says how much the heads of the layer differ."
    )
    defines: ClassVar = ("head_agreement", "verdict_agreement")
    beside: ClassVar = 220
    lens_type: ClassVar = AgreementLens
    agreement = Shows(AgreementLens)

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.words = plain("", "aa-agreement-bounds")
        self.bounds = workspace.lens(AgreementBoundsLens)
        self._bounds_visibility = Visibility(self.bounds, workspace.one_message, seen=False)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Without its model, or without predictions, there is nothing to agree with."""
        return without_model(trace)

    def tools(self) -> list[Any]:
        """What heads are compared with."""
        method = self.agreement.choices.param.method
        return [pmui.Select.from_param(method, label="Method", options=TITLES, size="small", margin=TIGHT, width=245)]

    def body(self) -> Any:
        """The plane, and below it the ceiling, the floor and the means of layers."""
        body = super().body()
        body.append(self.words)
        self.visibility.follow_revision(self._say)
        self._bounds_visibility.follow_revision(self._say)
        self.visibility.param.watch(self._wake, ["seen", "opened"])
        self.bounds.param.watch(lambda _: self._say(), ["busy", "problem"])
        self._wake()
        return body

    def _wake(self, *_: object) -> None:
        with one_message():
            self._bounds_visibility.seen = self.visibility.active
            self._say()

    def _say(self) -> None:
        """Write the words. The bounds come second, so that who cancels the agreement does not wait for the same attribution."""
        if self._bounds_visibility.active:
            layers = self.agreement.layers_in_words()
            self.words.object = "\n".join([*self.bounds.words(), layers]) if layers else ""

    def said_of_colours(self) -> str:
        """What a number and a dot say."""
        return f"Spearman's ρ; dot: beyond chance, q ≤ {BEYOND}"

    def dotted(self) -> frozenset[tuple[int, int]]:
        """The heads beyond chance."""
        return self.agreement.beyond()
