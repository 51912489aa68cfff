"""The feed-forward blocks: which units fire, and what they write."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn

from atlas.components.bar_list import BarList
from atlas.patches.panes import Markup
from atlas.plots.lines import Line, depth_lines, key_of_parts
from atlas.state.feed_forward import FeedForwardLens
from atlas.trace import Trace
from atlas.tracing.feed_forward import without_units
from atlas.views.base import Export, View, gesture
from atlas.views.events import on_tap
from atlas.views.plain import plain
from atlas.views.shows import Shows

FIRING, HOLDING = "units that fire", "units that hold 90 %"

HEIGHT = 200
"""Pixels of the plot over layers."""

WIDTH = 460
"""Pixels a unit with its tokens needs."""


class FeedForwardView(View):
    """The units of the layer in focus."""

    key: ClassVar = "ffn"
    title: ClassVar = "Feed-forward"
    question: ClassVar = "Which feed-forward units fire?"
    help: ClassVar = (
        "Above: how many units of each layer's feed-forward block fire, and how few of them hold most of all activation. Below: "
        "the units of the layer in focus with the largest activation, and the tokens that each of them promotes and suppresses "
        "through the final norm and the unembedding. Means over the selected tokens; without any, over all but special tokens "
        "and, in a decoder, the first. Click a layer to see its units."
    )
    defines: ClassVar = ("unit_activation", "units_firing", "units_holding")
    lens_type: ClassVar = FeedForwardLens
    units = Shows(FeedForwardLens)

    def __init__(self, *given: Any, **params: Any) -> None:
        super().__init__(*given, **params)
        self.bars = BarList(dark=self.param.dark, width_of_group=WIDTH)
        self._hears = [on_tap(self._tapped)]

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A model whose units were found, and is here."""
        return without_units(trace)

    def body(self) -> Any:
        """Shares over layers, and the units of one."""
        self._draw()
        self.visibility.follow_revision(self._draw)
        streams = [self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])]
        drawn = hv.DynamicMap(self.drawing(self._shares, no_shares), streams=streams)
        pane = self.plot_pane(drawn, sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-ffn-shares"])
        key = Markup(
            key_of_parts({FIRING: FIRING, HOLDING: f"{HOLDING} of the activation"}), sizing_mode="stretch_width", margin=(0, 8)
        )
        note = self.bound(lambda _: self.units.note(), self.visibility.param.revision)
        return pn.Column(pane, key, self.bars, plain(note, "aa-ffn-note"), sizing_mode="stretch_width")

    def export(self) -> Export:
        """The units, and the plot over layers."""
        return Export("units", self.units.table(), self._shares())

    def _draw(self) -> None:
        self.bars.groups = self.units.groups()

    def _shares(self, **_: Any) -> hv.Overlay:
        found = self.units.found()
        if found is None:
            return no_shares()
        n = len(found.firing)
        lines = [
            Line(part, np.arange(float(n)), values, [f"L{layer}: {part}" for layer in range(n)])
            for part, values in ((FIRING, found.firing), (HOLDING, found.holding))
        ]
        return depth_lines(
            lines,
            n_layers=n,
            end=False,
            label="share of units",
            dark=self.dark,
            height=HEIGHT,
            hooks=self.faults.hooks(self._hears),
        )

    @gesture
    def _tapped(self, x: float, _: float, *, additive: bool = False) -> None:  # noqa: ARG002  (one layer is shown at a time)
        self.units.focus_on(round(x), self.key)


def no_shares() -> hv.Overlay:
    """No layers at all."""
    return depth_lines([], n_layers=1, end=False, label="share of units", height=HEIGHT)
