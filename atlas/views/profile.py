"""A metric by depth."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import pandas as pd
import panel as pn
import panel_material_ui as pmui

from atlas.plots.heads import chosen_rows
from atlas.plots.profile import layer_profile
from atlas.state.display import SELECTED
from atlas.state.heads import HeadsLens, title_of
from atlas.state.lens import Lens
from atlas.state.workspace import Workspace
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.events import on_reset, on_select, on_tap
from atlas.views.glyph import Glyph
from atlas.views.plain import plain
from atlas.views.shows import Shows


class ProfileView(View):
    """Mean and spread of a metric, layer by layer."""

    key: ClassVar = "profile"
    title: ClassVar = "Depth"
    question: ClassVar = "How does a metric change with depth?"
    help: ClassVar = (
        "The line is the mean over the heads of a layer, the band holds most of them, small marks are single heads. Dashed: the "
        "value of attention spread evenly over the visible tokens. Click a layer to select its heads; draw a box or a lasso "
        "around marks to select these."
    )

    lens_type: ClassVar[type[Lens]] = HeadsLens
    heads = Shows(HeadsLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.glyph = Glyph()
        self._hears = [on_tap(self._tapped), on_select(self._picked), on_reset(self._show_selection)]

    def tools(self) -> list[Any]:
        """Which metric."""
        return [
            pmui.Select.from_param(
                self.workspace.display.param.metric,
                label="Metric",
                options=self.heads.metrics(),
                size="small",
                margin=TIGHT,
                width=216,
            )
        ]

    def body(self) -> Any:
        """The profile."""
        display = self.workspace.display.param
        unknown = self.bound(lambda _, metric: self.heads.unknown(metric), self.visibility.param.revision, display.metric)
        return pn.Column(self._pane(), plain(unknown, "aa-profile-note"), sizing_mode="stretch_width")

    def export(self) -> Export:
        """Every head with the metric that is shown."""
        table, metric = self.data()
        columns = [name for name in ("kind", "layer", "head", metric, f"{metric}_uniform", "selected") if name in table]
        return Export("depth", table[columns], self._profile())

    def data(self) -> tuple[pd.DataFrame, str]:
        """The table with the selected heads marked, and a metric it has."""
        table, metric = self.heads.table(), self.workspace.display.metric
        if metric == SELECTED:
            # The plot calls the marks of selected heads by the same name.
            names = {SELECTED: "weight_on_keys", f"{SELECTED}_uniform": "weight_on_keys_uniform"}
            table, metric = table.rename(columns=names), "weight_on_keys"
        if metric not in table:
            table = table.assign(**{metric: float("nan")})
        chosen = self.workspace.selection.heads
        return table.assign(selected=[head in chosen for head in self.heads.ids()]), metric

    def _profile(self, **_: Any) -> hv.Overlay:
        label = title_of(self.workspace.display.metric)
        hooks = self.faults.hooks([self.glyph.hook, *self._hears])
        return layer_profile(*self.data(), dark=self.dark, label=label, height=300, hooks=hooks)

    def _mark(self) -> None:
        self.glyph.mark({}, chosen_rows(self.data()[0]))

    def _pane(self) -> Any:
        display = self.workspace.display
        # One map of all parts: five, laid over each other, cost twice as much with every gesture.
        drawn = hv.DynamicMap(
            self.drawing(self._profile, no_profile),
            streams=[
                self.follows(self.visibility, ["revision"]),
                self.follows(display, ["metric"], rename={"metric": "shown"}),
                self.follows(self, ["dark"]),
            ],
        )
        self.visibility.follow_marks(self._mark)
        return self.plot_pane(drawn, sizing_mode="stretch_width", height=320, css_classes=[f"aa-{self.key}"])

    @gesture
    def _picked(self, rows: list[int]) -> None:
        """A box or a lasso around marks of heads; a tap says its layer by itself."""
        found = self.heads.at(rows)
        if set(found) != set(self.workspace.selection.heads_of(self.heads.kind)):
            self.workspace.selection.select_heads(found, origin=self.key, label="a group by depth")

    @gesture
    def _show_selection(self) -> None:
        """To reset the plot is to see all of it again, not to let go of heads."""
        self._mark()

    @gesture
    def _tapped(self, x: float, _: float, *, additive: bool = False) -> None:
        layer = round(x)
        heads = [head for head in self.heads.ids() if head.layer == layer]
        selection = self.workspace.selection
        if additive:
            selection.toggle_heads(heads, origin=self.key)
        elif heads and set(heads) == set(selection.heads):
            selection.clear("heads", origin=self.key)
        elif heads:
            selection.select_heads(heads, origin=self.key, label=f"layer {layer}")


def no_profile() -> hv.Overlay:
    """No layers at all."""
    table = pd.DataFrame({name: [] for name in ("kind", "layer", "head", "none", "selected")})
    return layer_profile(table, "none", height=300)
