"""Attention to flagged words: layers x heads."""

from __future__ import annotations

from typing import Any, ClassVar

import panel_material_ui as pmui

from atlas.state.attention_bias import AMONG, RECEIVED, AttentionBiasLens
from atlas.trace import Trace
from atlas.tracing.chance import BEYOND
from atlas.tracing.labelled import without_text
from atlas.views.base import TIGHT
from atlas.views.dotted import DottedPlaneView
from atlas.views.shows import Shows

DIRECTIONS = {"all words": RECEIVED, "flagged words": AMONG}


class AttentionBiasView(DottedPlaneView):
    """How much more than evenly heads look at flagged words."""

    key: ClassVar = "attention_bias"
    title: ClassVar = "Attention to flagged words"
    question: ClassVar = "Which heads look at the flagged words?"
    help: ClassVar = (
        "Rows are layers, columns heads. The paper's colour: the flagged words get what evenly spread attention under the same "
        "mask would give them (ratio 1); orange more, purple less, by the logarithm to the base 2: 1 is twice as much, −1 half. "
        f"A dot: beyond chance (q ≤ {BEYOND}). Special tokens neither look nor are looked at here. For chance, stretches of the "
        "same lengths are flagged elsewhere in this text, so a head that rests on one token is not called biased for it; a short "
        "text with few flagged words can hardly have a head beyond chance. Which words are flagged is the opinion of a detector "
        "that is often wrong (see the card 'Biased words'), and attention to a word is not yet an effect on what the model says. "
        "Click a head to focus and select it, the name of a layer to select its heads."
    )
    defines: ClassVar = ("attention_bias",)
    lens_type: ClassVar = AttentionBiasLens
    bias = Shows(AttentionBiasLens)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A detector reads a text."""
        return without_text(trace)

    def tools(self) -> list[Any]:
        """Which words, and who looks at them."""
        choices, look = self.bias.choices.param, {"size": "small", "margin": TIGHT}
        return [
            pmui.Select.from_param(choices.label, label="Label", width=110, **look),
            pmui.Select.from_param(choices.direction, label="Looked at by", options=DIRECTIONS, width=150, **look),
        ]

    def said_of_colours(self) -> str:
        """What a number and a dot say."""
        return f"log₂ of the ratio to even attention (1: twice as much); dot: beyond chance, q ≤ {BEYOND}"

    def dotted(self) -> frozenset[tuple[int, int]]:
        """The heads whose ratio is beyond chance."""
        return self.bias.beyond()
