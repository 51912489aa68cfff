"""Head effects: what the prediction loses with each head switched off."""

from __future__ import annotations

from typing import Any, ClassVar

import panel_material_ui as pmui

from atlas.plots.marks import HEADS
from atlas.state.head_effects import EFFECT, GRADIENT, KL, LOG_PROBABILITY, MEAN, PATCHING, RESAMPLE, ZERO, HeadEffectsLens
from atlas.trace import Trace
from atlas.tracing.explained import without_model
from atlas.views.base import TIGHT
from atlas.views.plane import HEAD_HINT, PlaneView

VALUES = {"target logit": EFFECT, "log-probability": LOG_PROBABILITY, "whole output (KL)": KL}
REPLACED_BY = {"zero": ZERO, "its mean": MEAN, "another text": RESAMPLE}

HOW = REPLACED_BY | {"nothing: by gradient": GRADIENT, "attribution patching": PATCHING}


class HeadEffectsView(PlaneView):
    """How much a prediction needs each head."""

    key: ClassVar = "head_effects"
    title: ClassVar = "Head effects"
    question: ClassVar = "Which heads does the prediction need?"
    help: ClassVar = (
        "Each cell is a head of the kind on screen: the model runs once more with the output of this head replaced, and the "
        "value is what the prediction was before minus after. Orange: the head speaks for the target; purple: against it. KL "
        "has no sign. Replaced by zero, by the mean of the head over this text, or by what it puts out in another text, an "
        "example that the line names; where the three disagree, trust none of them alone. By gradient nothing is replaced: one "
        "backward pass estimates for all heads what zero would do; where the two differ, zero is what was measured. "
        "Attribution patching estimates what another text would do, and the line says how far that agrees with the heads that "
        "were patched one by one. Choose the prediction in the view of predictions. A chance level of its own would take many "
        "runs a head, so the line says the median and the quartiles of all heads: a head inside them does no more than most. "
        "Click a head to show and select it, a name to select its layer."
    )
    defines: ClassVar = (
        "head_effect",
        "head_effect_log_probability",
        "head_effect_kl",
        "head_effect_gradient",
        "attribution_patching",
    )
    lens_type: ClassVar = HeadEffectsLens
    colours: ClassVar = {"cells": HEADS}
    hint: ClassVar = HEAD_HINT

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Without its model, or without predictions, no head can be switched off."""
        return without_model(trace)

    def tools(self) -> list[Any]:
        """What is compared, and what a head is replaced by."""
        choices = self.plane.choices.param
        look: dict[str, Any] = {"size": "small", "margin": TIGHT}
        return [
            pmui.Select.from_param(choices.value, label="Effect on", options=VALUES, width=160, **look),
            pmui.Select.from_param(choices.how, label="Replaced by", options=HOW, width=204, **look),
        ]
