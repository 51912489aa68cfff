"""Head effects: what the prediction loses with each head switched off."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import panel_material_ui as pmui

from atlas.plots import plane as plots
from atlas.plots.colours import theme
from atlas.plots.raster import Box
from atlas.state.head_effects import (
    ALL,
    EFFECT,
    GRADIENT,
    INTEGRATED,
    KL,
    LOG_PROBABILITY,
    MEAN,
    PATCHING,
    RESAMPLE,
    ZERO,
    HeadEffectsLens,
)
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.explained import without_model
from atlas.views.base import TIGHT, bind_rule
from atlas.views.dotted import DottedPlaneView
from atlas.views.glyph import Glyph
from atlas.views.other_text import other_text_input
from atlas.views.plane import no_bands
from atlas.views.shows import Shows

if TYPE_CHECKING:
    import holoviews as hv

VALUES = {"target logit": EFFECT, "log-probability": LOG_PROBABILITY, "whole output (KL)": KL}
BECOME = {"zero": ZERO, "its mean": MEAN}

REPLACED_BY = BECOME | {"another text": RESAMPLE}

HOW = REPLACED_BY | {
    "all three, compared": ALL,
    "nothing: by gradient": GRADIENT,
    "attribution patching": PATCHING,
    "integrated gradients": INTEGRATED,
}

STRIPES = "each head from above: zero, its mean, other texts; dot: sign or rank hangs on the choice"

BETWEEN = 3
"""Pixels between two layers whose heads have several stripes."""


class HeadEffectsView(DottedPlaneView):
    """How much a prediction needs each head."""

    key: ClassVar = "head_effects"
    title: ClassVar = "Head effects"
    question: ClassVar = "Which heads does the prediction need?"
    help: ClassVar = (
        "Each cell is a head of the kind on screen: the model runs once more with the output of this head replaced, and the "
        "value is what the prediction was before minus after. Orange: the head speaks for the target; purple: against it. KL "
        "has no sign. Replaced by zero, by the mean of the head over this text, or by what it puts out in another text: an "
        "example that the line names, or one that you type, best one that differs in a word; where the three disagree, trust "
        "none of them alone. All three, compared: every head has "
        "three stripes, from above zero, its mean, and the mean over other texts, whose interval is shown where you point; a dot "
        "marks heads whose sign or rank hangs on the choice, and the line names them and says how far the ranks agree. By "
        "gradient nothing is replaced: one backward pass estimates for all heads what zero would do; where the two differ, zero "
        "is what was measured. Integrated gradients say what the weights of a head do, from evenly spread ones on: the heads of "
        "a layer add up to what the target loses when its weights are spread evenly, and the line says how nearly. "
        "Attribution patching estimates what another text would do, and the line says how far that agrees with the heads that "
        "were patched one by one. Choose the prediction in the card 'Predictions'. A chance level of its own would take many "
        "runs a head, so the line says the median and the quartiles of all heads: a head inside them does no more than most. "
        "Click a head to show and select it, a name to select its layer."
    )
    defines: ClassVar = (
        "head_effect",
        "head_effect_log_probability",
        "head_effect_kl",
        "head_effect_choices",
        "head_effect_gradient",
        "importance_integrated",
        "attribution_patching",
    )
    lens_type: ClassVar = HeadEffectsLens
    effects = Shows(HeadEffectsLens)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Without its model, or without predictions, no head can be switched off."""
        return without_model(trace)

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.layers = Glyph()

    def said_of_colours(self) -> str:
        """Which stripe is which, where three stand beside each other."""
        return STRIPES if self.effects.beside else ""

    def mark(self) -> None:
        """Move the frames, the dots and the lines between layers."""
        super().mark()
        self.layers.outline(self.between())

    def over(self) -> list[tuple[Callable[..., Any], Callable[[], Any]]]:
        """Lines between layers under the frames and the dots."""
        return [(self._layers, no_bands), *super().over()]

    def between(self) -> list[Box]:
        """Every layer whose heads have several stripes."""
        count = len(self.plane.plane().groups)
        return [(0.0, at / count, 1.0, (at + 1) / count) for at in range(count)]

    def _layers(self, **_: Any) -> hv.Rectangles:
        paper = theme(dark=self.dark).paper
        return plots.bands(self.between(), paper).opts(
            fill_alpha=0.0, line_width=BETWEEN, hooks=[self.layers.hook], default_tools=[]
        )

    def dotted(self) -> frozenset[tuple[int, int]]:
        """The heads whose sign or rank hangs on what they are replaced by."""
        return self.effects.hanging()

    def tools(self) -> list[Any]:
        """What is compared, and what a head is replaced by."""
        choices = self.plane.choices.param
        look: dict[str, Any] = {"size": "small", "margin": TIGHT}
        how = self.effects.choices.param.how
        return [
            pmui.Select.from_param(choices.value, label="Effect on", options=VALUES, width=172, **look),
            pmui.Select.from_param(choices.how, label="Removed heads become", options=HOW, width=204, **look),
            other_text_input(choices.own, visible=bind_rule(how, lambda _: self.effects.reads_another)),
        ]
