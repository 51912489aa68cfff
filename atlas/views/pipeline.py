"""The diagram of the model: how it is built, with its own sizes."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import panel as pn

from atlas.plots.pipeline import Lane, Shape, at_point, pipeline_plot, placed, plot_height
from atlas.state.diagram import DiagramLens
from atlas.state.diagram_words import Node
from atlas.trace import Trace
from atlas.tracing.blueprint import without_blueprint
from atlas.views.base import Export, View, gesture
from atlas.views.events import on_tap
from atlas.views.plain import plain
from atlas.views.shows import Shows


class PipelineView(View):
    """The blocks of the model that is on screen."""

    key: ClassVar = "pipeline"
    title: ClassVar = "Model"
    question: ClassVar = "How is this model built?"
    help: ClassVar = (
        "A text passes from left to right: its tokens become vectors, every layer adds to them, and the last state becomes "
        "scores. One layer is drawn in full, that of the head in focus; the numbers above it are all layers, and a click moves "
        "the focus to another. The line above the blocks is the residual stream, to which each block adds what it computes from "
        "it. In an encoder-decoder the cross-attention takes keys and values from the last state of the encoder. Sizes are read "
        "from the model; the order of norms and additions was found by arithmetic on a probe text. Click a block for its formula."
    )
    lens_type: ClassVar = DiagramLens
    diagram = Shows(DiagramLens)
    wide: ClassVar = True

    def __init__(self, *given: Any, **params: Any) -> None:
        super().__init__(*given, **params)
        self._hears = [on_tap(self._tapped)]
        self._pane_: Any = None

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A model that is here."""
        return without_blueprint(trace)

    def body(self) -> Any:
        """The blocks, and below them the formula of one."""
        streams = [self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])]
        drawn = hv.DynamicMap(self.drawing(self._drawn, no_pipeline), streams=streams)
        self._pane_ = self.plot_pane(
            drawn, sizing_mode="stretch_width", height=plot_height(self.lanes()), css_classes=["aa-pipeline"]
        )
        self.visibility.follow_revision(self._fit_rows)
        words = self.bound(lambda _: self.diagram.words(), self.visibility.param.revision)
        return pn.Column(self._pane_, plain(words, "aa-pipeline-words"), sizing_mode="stretch_width")

    def export(self) -> Export:
        """The blocks with their formulas."""
        return Export("model", self.diagram.table(), self._drawn())

    def lanes(self) -> list[Lane]:
        """The streams as the plot takes them."""
        if self.workspace.trace is None:
            return []
        return [
            Lane(row.kind, shapes(row.head), shapes(row.layer), shapes(row.tail), row.n_layers, row.at)
            for row in self.diagram.rows()
        ]

    def _drawn(self, **_: Any) -> hv.Overlay:
        hooks = {"boxes": self.faults.hooks(self._hears)}
        return pipeline_plot(self.lanes(), self.diagram.choices.block, dark=self.dark, hooks=hooks)

    def _fit_rows(self) -> None:
        """Another model may have another number of streams."""
        self.set_height(plot_height(self.lanes()), self._pane_)

    @gesture
    def _tapped(self, x: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002  (one block is explained at a time)
        key = at_point(placed(self.lanes()), x, y)
        if key.startswith("layer "):
            _, stream, layer = key.split()
            self.diagram.focus_on(stream, int(layer), self.key)
        elif key:
            self.diagram.choose(key)


def shapes(nodes: tuple[Node, ...]) -> list[Shape]:
    """Blocks without their formulas."""
    return [Shape(node.key, node.role, node.text, node.track) for node in nodes]


def no_pipeline() -> hv.Overlay:
    """No model at all."""
    return pipeline_plot([])
