"""The metric cards: what the heads looked at do, and where they stand among all heads."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import panel as pn
import panel_material_ui as pmui
import param

from atlas.plots.colours import theme
from atlas.plots.metric_cards import MARKS, ROW_HEIGHT, Strip, metric_columns, metric_strips, nearest, said
from atlas.state.metric_cards import ALL, DEPTH, SELECTED, SHOWN, MetricCardsLens
from atlas.state.workspace import Workspace
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.events import on_tap
from atlas.views.glyph import Glyph
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "metric_cards"

HEADS = {"selected, or in focus": SELECTED, "all": ALL}

REACH = (0.03, 0.3)
"""How far from a point a tap may be, as shares of a strip and of a row: some 15 pixels each way."""

KEY = (
    "Grey points: heads, those of the first layer at the top of a strip; of the change across depth, steps from a layer to the "
    "next. Coloured points: the heads looked at; bar: their mean. Dashed: attention spread evenly."
)
"""What the marks mean."""

DRAWN = ("lines", "heads", "steps", "uniform", "value", "shown", "texts", "low", "high")
"""Elements of the plot."""

HEIGHT = ROW_HEIGHT * (len(SHOWN) + 1) + 24
"""Pixels of the plot."""


class MetricCardsView(View):
    """Every attention metric of the heads looked at, among all heads of their kind."""

    key: ClassVar = "metric_cards"
    title: ClassVar = "Metrics"
    question: ClassVar = "What is this head like, compared with the others?"
    help: ClassVar = (
        "A row is a metric, a grey point a head, from the lowest value at the left to the highest at the right; within a row the "
        "first layer is at the top and the last at the bottom. Coloured: the heads looked at; the upright bar is their mean. "
        "Dashed: the value of attention spread evenly over the visible tokens. There are no fixed limits of high and low, "
        "because most of these numbers change with the length of the text: read a value against uniform attention and the other "
        "heads. Entropy is called focus elsewhere (low: focused), the spread of the weights uniformity, the median "
        "distribution, [CLS] or BOS mass balance (Golshanrad & Faghih 2024). Where a corpus of the model is open, a triangle is "
        "the mean of the same heads over its texts. A point in the last row is the step to a layer from the one before. Click a "
        "point to select its head, or the heads of the layer."
    )
    defines: ClassVar = (*SHOWN, DEPTH)
    lens_type: ClassVar = MetricCardsLens
    metrics = Shows(MetricCardsLens)
    wide: ClassVar = True

    redrawn = param.Integer(default=0, doc="Counts the changes that only a whole new drawing can show.")

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.glyphs = {name: Glyph() for name in DRAWN}
        self._hears = [on_tap(self._tapped)]
        self._rows = 0

    def tools(self) -> list[Any]:
        """Which heads are looked at."""
        show = self.metrics.choices.param.show
        return [pmui.Select.from_param(show, label="Heads", options=HEADS, size="small", margin=TIGHT, width=210)]

    def body(self) -> Any:
        """The strips, and what is left out."""
        drawn = hv.DynamicMap(self.drawing(self._strips, no_strips), streams=[self.follows(self, ["dark", "redrawn"])])
        self.visibility.follow_revision(self._update)
        self.visibility.follow_marks(self._mark)
        note = self.bound(lambda _: self.metrics.note(), self.visibility.param.revision)
        pane = self.plot_pane(drawn, sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-metric-cards"])
        texts = plain(self.bound(lambda _: self.metrics.over_texts(), self.visibility.param.revision), "aa-metric-key")
        return pn.Column(pane, plain(KEY, "aa-metric-key"), texts, plain(note, "aa-metric-note"), sizing_mode="stretch_width")

    def export(self) -> Export:
        """Every value of every head, and the means."""
        return Export("metrics", self.metrics.table(), self._strips())

    def strips(self) -> list[Strip]:
        """The metrics as the plot takes them."""
        return [
            Strip(
                card.title, card.values, card.layers, card.heads, card.shown, card.value, card.value_uniform, card.standing(),
                card.ends, *(() if (texts := card.over_texts) is None else (texts.value, (texts.low, texts.high))),
            )
            for card in self.metrics.cards()
        ]  # fmt: skip

    def _strips(self, **_: Any) -> hv.Overlay:
        strips = self.strips()
        self._rows = len(strips)
        hooks = {
            name: self.faults.hooks([glyph.hook, *(self._hears if name == "heads" else ())])
            for name, glyph in self.glyphs.items()
        }
        return metric_strips(strips, dark=self.dark, hooks=hooks)

    def _update(self) -> None:
        """Other values on the same axes."""
        self._show(tuple(name for name in DRAWN if name != "lines"))

    def _mark(self) -> None:
        """Other heads are looked at."""
        self._show(MARKS)

    def _show(self, names: tuple[str, ...]) -> None:
        strips = self.strips()
        if len(strips) != self._rows:
            self.redrawn += 1
            return
        columns, hook = metric_columns(strips), said(strips, theme(dark=self.dark))
        for name in names:
            # The words once: every element is on the one figure.
            if not self.glyphs[name].mark(columns[name], hook=hook if name == "value" else None):
                self.redrawn += 1
                return

    @gesture
    def _tapped(self, x: float, y: float) -> None:
        strips = self.strips()
        found = nearest(strips, x, y, REACH)
        if found is None:
            return
        row, item = found
        card, selection = self.metrics.cards()[row], self.workspace.selection
        heads = self.metrics.head_at(card, item)
        if card.metric != DEPTH:
            selection.pick(heads[0], origin=ORIGIN)
        elif set(heads) == set(selection.heads):
            selection.clear("heads", origin=ORIGIN)
        else:
            selection.select_heads(heads, origin=ORIGIN, label=f"layer {heads[0].layer}")


def no_strips() -> hv.Overlay:
    """No metrics at all."""
    return metric_strips([])
