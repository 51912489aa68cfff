"""Both sides beside each other: the heads in one metric, and what both predict."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import holoviews as hv
import pandas as pd
import panel as pn
import panel_material_ui as pmui
import param

from atlas.components.bar_list import BarList, Press
from atlas.patches.panes import Markup
from atlas.plots.compare import equal_line, moved_limits, two_sided_config, two_sided_scatter
from atlas.plots.frame import hold
from atlas.plots.heads import ScatterConfig, chosen_rows, colour_key, focus_columns, point_columns
from atlas.state.compare_heads import title_of
from atlas.state.compare_metrics import CompareMetricsLens
from atlas.state.compare_predictions import ComparePredictionsLens
from atlas.state.display import METRICS, SELECTED
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.predictions import without_predictions
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.cloud import Cloud
from atlas.views.colour_key import key_markup
from atlas.views.events import on_select
from atlas.views.glyph import Glyph
from atlas.views.shows import Shows

METRIC_NAMES = {title_of(name): name for name in (*METRICS, SELECTED)}

RANKED, TWO_BARS = 420, 400
"""Pixels that a group of the ranking, and one of predictions with two bars a row, needs."""


class CompareMetricsView(View):
    """A metric of every head on side A against that of its partner on side B."""

    key: ClassVar = "compare_metrics"
    title: ClassVar = "Heads, side by side"
    question: ClassVar = "How much does each head change?"
    help: ClassVar = (
        "A point is a head of side A with its partner: across its metric on A, upwards on B. On the line both are equal; the "
        "colour says how far its attention moved. Below, the heads that changed most: A → B, the change, the partner where it "
        "is not the head of the same number, and the role where it changed. Draw a lasso or a box, or "
        "click a point or a row, to select heads."
    )
    defines: ClassVar = ("metric_difference", "pattern_moved")
    lens_type: ClassVar = CompareMetricsLens
    heads = Shows(CompareMetricsLens)
    beside: ClassVar = 320

    redrawn = param.Integer(default=0, doc="Counts the changes of the points.")

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.ranking = BarList(dark=self.param.dark, width_of_group=RANKED, css_classes=["aa-ranking"])
        self.ranking.on_press(self._pressed)
        self._hears = [on_select(self._picked)]
        self.glyph, self.equal = Cloud(), Glyph()

    def tools(self) -> list[Any]:
        """The metric."""
        metric = self.heads.choices.param.metric
        return [pmui.Select.from_param(metric, label="Metric", options=METRIC_NAMES, size="small", margin=TIGHT, width=282)]

    def body(self) -> Any:
        """The scatter, its key, and the ranking."""
        self._rank()
        self.visibility.follow_revision(self._move)
        self.visibility.follow_marks(self._mark)
        streams = [self.follows(self, ["dark", "redrawn"])]
        plot = hv.DynamicMap(self.drawing(self._points, no_points), streams=streams)
        key = self.bound(self._key, self.visibility.param.revision, self.param.dark)
        return pn.Column(
            self.plot_pane(plot, sizing_mode="stretch_width", height=340, css_classes=["aa-compare-metrics"]),
            Markup(key, sizing_mode="stretch_width", margin=(0, 8), css_classes=["aa-key"]),
            self.ranking,
            sizing_mode="stretch_width",
        )

    def export(self) -> Export:
        """Every metric of every head on both sides."""
        return Export("compare-heads", self.heads.heads_table(), self._points())

    def _move(self) -> None:
        """Points on the same axes: other places, other marks."""
        self._rank()
        data = self.heads.points()
        config = self._config(data)
        both = config["x_range"]
        if self.glyph.move(self._plan(data), point_columns(data, **config), chosen_rows(data), hold(both, both)):
            self.equal.mark(equal_line(both))
        else:
            self.redrawn += 1

    def _mark(self) -> None:
        """Points where they are: another one in focus, others selected."""
        self._rank()
        data = self.heads.points()
        if not self.glyph.marked(self._plan(data), focus_columns(data, **self._config(data)), chosen_rows(data)):
            self.redrawn += 1

    def _rank(self) -> None:
        self.ranking.groups = self.heads.ranking() if self.workspace.trace is not None else []

    def _config(self, data: pd.DataFrame) -> ScatterConfig:
        return two_sided_config(data, metric=title_of(self.heads.choices.metric), dark=self.dark)

    def _plan(self, data: pd.DataFrame) -> Hashable:
        """What axes, key and number of points hang on."""
        space, metric = self.workspace, self.heads.choices.metric
        return space.trace, space.second.trace, space.kind, len(data), metric, self.dark

    def _points(self, **_: Any) -> hv.Overlay:
        data = self.heads.points()
        config = self._config(data)
        self.glyph.draws(self._plan(data), point_columns(data, **config))
        return two_sided_scatter(
            data, config, self.faults.hooks([self.glyph.hook, *self._hears]), self.faults.hooks([self.equal.hook])
        )

    def _key(self, *_: object) -> str:
        if self.workspace.trace is None:
            return ""
        points = self.heads.points()
        return (
            key_markup(colour_key(points, dark=self.dark, colour_limits=moved_limits(points)), "attention moved:", "")
            if len(points)
            else ""
        )

    @gesture
    def _picked(self, rows: list[int]) -> None:
        self.heads.choose(rows, self.key)

    @gesture
    def _pressed(self, press: Press) -> None:
        self.heads.press(press["key"], self.key)


class ComparePredictionsView(View):
    """The likeliest outcomes of both sides at the same words."""

    key: ClassVar = "compare_predictions"
    title: ClassVar = "Predictions of both sides"
    question: ClassVar = "What does either side predict?"
    help: ClassVar = (
        "At the selected tokens (without any: at masks, at the end of the text, or at the first words) the likeliest outcomes of "
        "either side: first bar A, second bar B, and the difference in points. A model that fills masks is asked with the word "
        "masked. Where one side fills masks and the other goes on with the text, both predict the same word: the other after the "
        "token before it. Outcomes are held together by their name without the space before it; one that another vocabulary does "
        "not have as a whole, or that is not among the likeliest kept, is “under” the least likely that is. Click a heading to "
        "select its token."
    )
    defines: ClassVar = ("prediction_probability",)
    lens_type: ClassVar = ComparePredictionsLens
    predictions = Shows(ComparePredictionsLens)

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.bars = BarList(dark=self.param.dark, width_of_group=TWO_BARS)
        self.bars.on_press(self._pressed)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A recording has no predictions."""
        return without_predictions(trace)

    def tools(self) -> list[Any]:
        """How many outcomes."""
        return [pmui.IntInput.from_param(self.predictions.choices.param.k, label="Top k", size="small", margin=TIGHT, width=108)]

    def body(self) -> Any:
        """A group of bars for each place."""
        self._draw()
        self.visibility.follow_revision(self._draw)
        return pn.Column(self.bars, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """The outcomes on screen."""
        return Export("compare-predictions", self.predictions.table(), None)

    def _draw(self) -> None:
        self.bars.groups = self.predictions.groups() if self.workspace.trace is not None else []

    @gesture
    def _pressed(self, press: Press) -> None:
        self.predictions.press(press["key"], self.key)


def no_points() -> hv.Overlay:
    """No heads at all."""
    nothing = pd.DataFrame({name: [] for name in ("kind", "layer", "head", "x", "y", "value", "selected", "focus")})
    return two_sided_scatter(nothing, two_sided_config(nothing, metric="", dark=False), [], [])
