"""Positions: the vectors, the rotation or the bias by which a model knows where a token stands."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import panel as pn
import panel_material_ui as pmui

from atlas.plots.frame import limits
from atlas.plots.lines import Line, part_lines
from atlas.state.positions import AUTO, PositionsLens
from atlas.trace import Trace
from atlas.tracing.positions import BIAS, ROTATION, VECTORS, without_positions
from atlas.views.base import TIGHT, Export
from atlas.views.plane import PlaneView
from atlas.views.shows import Shows

SHOWN = {"what the model has": AUTO, "bias by distance": BIAS, "rotation": ROTATION, "position vectors": VECTORS}

PROFILE = 190
"""Pixels of the plot over distances."""

LINE = "by distance"


class PositionsView(PlaneView):
    """Positions as the model has them."""

    key: ClassVar = "positions"
    title: ClassVar = "Positions"
    question: ClassVar = "How does the model know where a token stands?"
    help: ClassVar = (
        "Vectors that are added (BERT, GPT-2): the cosines of all positions, and below their mean by distance. Rotation (Llama, "
        "Gemma): pairs of numbers of every query and key turn with the position; a row is a pair, and the colour says how far "
        "it has turned after so many tokens (1: not at all, or a whole turn; −1: half a turn). Fast pairs tell neighbours apart, "
        "slow ones keep what is far alike; below, the mean of all pairs: q·k of two equal vectors so far apart. Bias (T5, "
        "ALiBi): what is added to the score, by distance; a row is a head of the layer in focus, and below is the mean of the "
        "selected heads, else of all. A rotation is checked, and a bias that a model does not give is measured, on a run of one "
        "token repeated, in which positions alone differ. Click a head or a position to select it."
    )
    defines: ClassVar = ("position_cosine", "rotation_angle", "distance_bias")
    lens_type: ClassVar = PositionsLens
    positions = Shows(PositionsLens)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A trace with its model, or with a bias."""
        return without_positions(trace)

    def tools(self) -> list[Any]:
        """Which of the ways that the model has."""
        show = self.positions.choices.param.show
        return [pmui.Select.from_param(show, label="Show", options=SHOWN, size="small", margin=TIGHT, width=190)]

    def body(self) -> Any:
        """The plane, and the mean by distance."""
        streams = [self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])]
        drawn = hv.DynamicMap(self.drawing(self._profile, no_profile), streams=streams)
        profile = self.plot_pane(drawn, sizing_mode="stretch_width", height=PROFILE, css_classes=["aa-positions-profile"])
        return pn.Column(super().body(), profile, sizing_mode="stretch_width")

    def _height(self, own: int) -> int:
        """The plane fills the window, the mean below it does not."""
        return own if own == PROFILE else super()._height(own)

    def export(self) -> Export:
        """The plane, and both plots."""
        whole = super().export()
        picture = None if whole.picture is None else hv.Layout([whole.picture, self._profile()]).cols(1)
        return whole._replace(picture=picture)

    def _profile(self, **_: Any) -> hv.Overlay:
        found = self.positions.shown.profile
        if found is None:
            return no_profile()
        line = Line(LINE, found.x.astype(float), found.y.astype(float), [f"distance {at}".replace("-", "−") for at in found.x])
        span = limits(found.x)
        return part_lines([line], x_label="distance (tokens)", x_range=span, label=found.label, dark=self.dark, height=PROFILE)


def no_profile() -> hv.Overlay:
    """No distances at all."""
    return part_lines([], x_label="distance (tokens)", x_range=(0.0, 1.0), label="", height=PROFILE)
