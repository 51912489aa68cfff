"""Over time: the heads of one model at several checkpoints."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import panel as pn
import panel_material_ui as pmui

from atlas.plots.over_time import HEIGHT, Line, over_time
from atlas.state.corpus_heads import CorpusHeadsLens
from atlas.state.heads import title_of
from atlas.state.over_time import OverTimeLens
from atlas.views.base import TIGHT, Export, gesture
from atlas.views.corpus_choice import CorpusView
from atlas.views.events import on_tap
from atlas.views.plain import plain
from atlas.views.shows import Shows

FOLLOWED = {"every head": "heads", "layers": "layers"}


class OverTimeView(CorpusView):
    """One figure of every head, or layer, over checkpoints."""

    key: ClassVar = "over_time"
    title: ClassVar = "Over time"
    question: ClassVar = "How do the heads change during training?"
    help: ClassVar = (
        "A line is a head (or the mean of a layer) over the corpora of checkpoints that are open here. Strong, with "
        "a band of the 95 % interval by text and a mark at every checkpoint: the selected heads, or the one in focus. Thin: the "
        "others. Dashed: attention spread evenly over the same texts. The checkpoints stand in even steps, ordered by the number "
        "in their names. The band of a layer is the mean of its heads' intervals, which is never too narrow. Below: since "
        "which checkpoint a head has a role. Click near a line to show and select its head."
    )
    defines: ClassVar = ("corpus_mean", "corpus_appears")
    has_groups: ClassVar = False
    lens_type: ClassVar = OverTimeLens
    time = Shows(OverTimeLens)
    wide: ClassVar = True

    def tools(self) -> list[Any]:
        """Which corpus, which metric, heads or layers."""
        look: dict[str, Any] = {"size": "small", "margin": TIGHT, "width": 216}
        metric, followed = self.workspace.display.param.metric, self.time.choices.param.followed
        return [
            self.corpus,
            pmui.Select.from_param(metric, label="Metric", options=CorpusHeadsLens.metrics(), **look),
            pmui.Select.from_param(followed, label="A line is", options=FOLLOWED, **(look | {"width": 130})),
        ]

    def body(self) -> Any:
        """The lines, and when roles appear."""
        streams = [self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])]
        drawn = hv.DynamicMap(self.drawing(self._drawn, no_lines), streams=streams)
        said = self.bound(lambda _: self.time.said(), self.visibility.param.revision)
        return pn.Column(
            self.plot_pane(drawn, sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-over-time"]),
            plain(said, "aa-over-time-said"),
            sizing_mode="stretch_width",
            margin=0,
        )

    def export(self) -> Export:
        """The chosen figure of every head at every checkpoint."""
        return Export(self.key, self.time.table(), self._drawn())

    def _drawn(self, **_: Any) -> hv.Overlay:
        found = self.time.series()
        strong, thin = ([Line(*line) for line in lines] for lines in (found.strong, found.thin))
        label = title_of(self.workspace.display.metric)
        hooks = self.faults.hooks([on_tap(self._tapped)])
        return over_time(found.checkpoints, strong, thin, found.chance, label=label, dark=self.dark, hooks=hooks)

    @gesture
    def _tapped(self, x: float, y: float, *, additive: bool = False) -> None:
        head = self.time.nearest(x, y)
        if head is None:
            return
        if additive:
            self.workspace.selection.toggle_heads([head], origin=self.key)
        else:
            self.workspace.selection.pick(head, origin=self.key)


def no_lines() -> hv.Overlay:
    """No checkpoints."""
    return over_time((), (), ())
