"""Attention to flagged words by depth: a line over the layers."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import pandas as pd
import panel_material_ui as pmui

from atlas.numbers import three
from atlas.plots.lines import Line, Ranges, part_lines
from atlas.state.attention_depth import AttentionDepthLens
from atlas.state.ratio_plane import LEAST_RATIO
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.labelled import without_text
from atlas.tracing.verdict import p_words
from atlas.views.attention_bias import DIRECTIONS
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.events import on_tap
from atlas.views.shows import Shows

ORIGIN = "attention_depth"

PART = "attention"

HEIGHT = 220
"""Pixels of the plot."""

TICKS = 16
"""Most layers named along the axis."""


class AttentionDepthView(View):
    """How much more than evenly the layers look at flagged words."""

    key: ClassVar = "attention_depth"
    title: ClassVar = "Flagged words by depth"
    question: ClassVar = "At which depth are flagged words looked at?"
    help: ClassVar = (
        "The ratio of 'Attention to flagged words' with the heads of a layer taken together, by its logarithm to the "
        "base 2: 1 is twice as much as evenly spread attention under the same mask, −1 half. Dashed: 0, the ratio 1. "
        "Upright: 95 % interval over resampled words that look. A point says its ratio, p (as "
        "many other tokens of this text flagged) and q (over the layers). A short text with few flagged tokens can hardly have a "
        "layer beyond chance. Attention to a word does not say whether the layer uses it: 'Causal test' does. Click a layer to "
        "select its heads."
    )
    defines: ClassVar = ("attention_bias_layer", "attention_bias")
    lens_type: ClassVar = AttentionDepthLens
    depth = Shows(AttentionDepthLens)

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self._hears = [on_tap(self._tapped)]

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A detector reads a text."""
        return without_text(trace)

    def tools(self) -> list[Any]:
        """Which words, and who looks at them."""
        choices, look = self.depth.choices.param, {"size": "small", "margin": TIGHT}
        return [
            pmui.Select.from_param(choices.label, label="Label", width=110, **look),
            pmui.Select.from_param(choices.direction, label="Looked at by", options=DIRECTIONS, width=150, **look),
        ]

    def body(self) -> Any:
        """The line."""
        drawn = hv.DynamicMap(
            self.drawing(self._lines, lambda: ratio_lines(None, dark=self.dark)),
            streams=[self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])],
        )
        return self.plot_pane(drawn, sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-attention-depth"])

    def export(self) -> Export:
        """Every layer with its interval, p and q."""
        return Export("attention_depth", self.depth.table(), self._lines())

    def _lines(self, **_: Any) -> hv.Overlay:
        return ratio_lines(self.depth.layers(), dark=self.dark, hooks=self.faults.hooks(self._hears))

    @gesture
    def _tapped(self, x: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002  (a tap has no other meaning)
        layers = self.depth.layers()
        if layers is not None and 0 <= round(x) < len(layers):
            self.depth.select_layers([round(x)], ORIGIN)


def ratio_lines(layers: pd.DataFrame | None, *, dark: bool = False, hooks: Any = ()) -> hv.Overlay:
    """The logarithm of the ratio of every layer with its interval, beside 0, which is the ratio 1."""
    table = pd.DataFrame(columns=["layer", "ratio", "lo", "hi", "p", "q"]) if layers is None else layers
    x = table["layer"].to_numpy(dtype=float)
    ratio, low, high = (np.log2(np.maximum(table[name].to_numpy(dtype=float), LEAST_RATIO)) for name in ("ratio", "lo", "hi"))
    names = [
        f"layer {row['layer']}: ratio {three(row['ratio'])}, 95 % {three(row['lo'])} to {three(row['hi'])}, "
        f"p {p_words(row['p'])}, q {p_words(row['q'])}"
        for row in table.to_dict("records")
    ]
    known = np.isfinite(low)
    step = max(1, -(-len(x) // TICKS))
    return part_lines(
        [Line(PART, x, ratio, names)],
        x_label="layer",
        x_range=(-0.5, max(len(x), 1) - 0.5),
        label="log₂ of the ratio (1: twice as much)",
        reference=0.0,
        ranges=Ranges(PART, x[known], low[known], high[known]),
        ticks=[(float(at), f"{int(at)}") for at in x[::step]],
        dark=dark,
        height=HEIGHT,
        hooks=hooks,
    )
