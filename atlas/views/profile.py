"""A metric by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import holoviews as hv
import panel as pn
import panel_material_ui as pmui
from holoviews import streams

from atlas.plots.heads import chosen_rows
from atlas.plots.profile import PARTS, ProfileConfig, layer_profile, profile_band
from atlas.state.heads import HeadsLens, title_of
from atlas.state.workspace import Workspace
from atlas.views.base import TIGHT, View, gesture
from atlas.views.glyph import Glyph

if TYPE_CHECKING:
    import pandas as pd

ORIGIN = "profile"

LETTERS = {"ticks": "11px", "labels": "12px"}
"""As in every other plot: HoloViews drops what the elements say where overlays are laid over each other."""


class ProfileView(View):
    """Mean and spread of a metric, layer by layer."""

    key: ClassVar = "profile"
    title: ClassVar = "Depth"
    question: ClassVar = "At which depth does it happen?"
    help: ClassVar = (
        "The line is the mean over the heads of a layer, the band holds most of them, small marks are single heads. Dashed: the "
        "value of attention spread evenly over the visible tokens. Click a layer to select its heads."
    )

    def __init__(self, workspace: Workspace, lens: HeadsLens, **params: Any) -> None:
        super().__init__(workspace, lens, **params)
        self.glyph = Glyph()

    @property
    def heads(self) -> HeadsLens:
        """What is shown."""
        assert isinstance(self.lens, HeadsLens)
        return self.lens

    def tools(self) -> list[Any]:
        """Which metric."""
        return [
            pmui.Select.from_param(
                self.workspace.display.param.metric,
                label="Metric",
                options=self.heads.metrics(),
                size="small",
                margin=TIGHT,
                width=200,
            )
        ]

    def body(self) -> Any:
        """The profile."""
        return pn.Column(self._pane(), sizing_mode="stretch_width")

    def data(self) -> tuple[pd.DataFrame, str]:
        """The table with the selected heads marked, and a metric it has."""
        table, metric = self.heads.table(), self.workspace.display.metric
        if metric not in table:
            table = table.assign(**{metric: float("nan")})
        chosen = self.workspace.selection.heads
        return table.assign(selected=[head in chosen for head in self.heads.ids()]), metric

    def _band(self, **_: Any) -> hv.Area:
        return profile_band(*self.data(), **self._config())

    def _parts(self, **_: Any) -> hv.Overlay:
        return layer_profile(*self.data(), PARTS[1:], **(self._config() | ProfileConfig(hooks=[self.glyph.hook])))

    def _config(self) -> ProfileConfig:
        return ProfileConfig(dark=self.dark, label=title_of(self.workspace.display.metric), height=300)

    def _mark(self) -> None:
        self.glyph.mark({}, chosen_rows(self.data()[0]))

    def _pane(self) -> Any:
        display = self.workspace.display
        shared = [
            streams.Params(self.turn, ["revision"]),
            streams.Params(display, ["metric"], rename={"metric": "shown"}),
            streams.Params(self, ["dark"]),
        ]

        # One map of all parts but the first: five, laid over each other, cost twice as much with every gesture. The first is by
        # itself for the tap: HoloViews hears none of a map that gives overlays.
        band = hv.DynamicMap(self._band, streams=shared)
        drawn = (band * hv.DynamicMap(self._parts, streams=shared)).opts(fontsize=LETTERS)
        tap = streams.Tap(source=band)
        tap.add_subscriber(self._tapped)
        self.turn.follow_marks(self._mark)
        return pn.pane.HoloViews(drawn, linked_axes=False, sizing_mode="stretch_width", height=320, css_classes=["aa-profile"])

    @gesture
    def _tapped(self, x: float | None = None, y: float | None = None) -> None:
        if x is None or y is None:
            return
        layer = round(x)
        heads = [head for head in self.heads.ids() if head.layer == layer]
        selection = self.workspace.selection
        if heads and set(heads) == set(selection.heads):
            selection.clear("heads", origin=ORIGIN)
        elif heads:
            selection.select_heads(heads, origin=ORIGIN, label=f"layer {layer}")
