"""The nearest tokens: which rows of the model's table point most in the direction of a token's vector."""

from __future__ import annotations

from typing import Any, ClassVar

import panel_material_ui as pmui

from atlas.state.nearest_tokens import NearestTokensLens
from atlas.trace import NO_MODEL, Trace
from atlas.tracing.embeddings import NORMED, SUM, TOKEN, without_embeddings
from atlas.views.base import TIGHT
from atlas.views.shows import Shows
from atlas.views.token_lists import TokenListsView

SHOWN = {"token": TOKEN, "with position and segment": SUM, "after the norm": NORMED}


class NearestTokensView(TokenListsView):
    """The vocabulary around the tokens of a text."""

    key: ClassVar = "nearest_tokens"
    title: ClassVar = "Nearest tokens"
    question: ClassVar = "Which tokens does the model treat as similar?"
    help: ClassVar = (
        "For every selected token (without a selection, the first ones): the tokens of the whole vocabulary whose rows in the "
        "model's table point most in the direction of its vector. By its own row, or by the vector after position and segment "
        "are added, or after the norm; the note then says how near the token's own row still is, and which rank it has. The "
        "token itself is left out. Click a heading to select its token."
    )
    defines: ClassVar = ("nearest_cosine",)
    lens_type: ClassVar = NearestTokensLens
    listed = Shows(NearestTokensLens)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A model with a table of tokens, which is here."""
        return NO_MODEL if trace.live is None else without_embeddings(trace)

    def tools(self) -> list[Any]:
        """Which vectors are looked up."""
        part = self.listed.choices.param.part
        return [pmui.Select.from_param(part, label="By the vector", options=SHOWN, size="small", margin=TIGHT, width=230)]
