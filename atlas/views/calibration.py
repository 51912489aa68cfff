"""How far a detector can be believed: reliability, error rates, and the flagged words of the text by confidence."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import holoviews as hv
import panel as pn

from atlas.components.bar_list import BarList
from atlas.plots.calibration import HEIGHT, Reliability, reliability_diagram
from atlas.state.calibration import CalibrationLens
from atlas.state.detection import FIELDS, TITLES, thresholds_of
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.labelled import without_text
from atlas.views.base import Export, View
from atlas.views.plain import plain
from atlas.views.shows import Shows

KEY = (
    "Under the points: how many held-out words. The first three rows: held-out words at the threshold, with 95 % intervals. "
    "Confidence: flagged words of this text, by how many held-out words of such a probability had the label: high at least 3 of "
    "4, medium at least half, low fewer."
)
"""What the numbers mean."""

BESIDE = 330
"""Pixels of the numbers of a label."""

LETTERS = 20
"""Of the longest name of a number."""


class CalibrationView(View):
    """Reliability diagrams, and error rates at the thresholds of now."""

    key: ClassVar = "calibration"
    title: ClassVar = "Calibration"
    question: ClassVar = "How far can this detector be trusted?"
    help: ClassVar = (
        "Measured on words that the detector has not seen. A point is a tenth of the probabilities: at the right how likely the "
        "detector calls the label, upwards how many of these words had it, with a 95 % interval (whole sentences resampled); "
        "below, how many words there are. On the dashed line a probability is what it says; below the line the detector is too "
        "sure of itself. Red: the threshold, set by the sliders of 'Biased words'. Under the plots: how often a flagged word "
        "has the label, how many labelled words are found, and how many other words are flagged all the same, at this threshold. "
        "Confidence: how many of the held-out words with such a probability had the label, made to rise with the probability: "
        "high from three of four, medium from every other. All of this holds for sentences like those it was measured on, "
        "labelled largely by language models; your text may be otherwise."
    )
    defines: ClassVar = ("calibration", "bias_label")
    lens_type: ClassVar = CalibrationLens
    calibration = Shows(CalibrationLens)
    wide: ClassVar = True
    beside: ClassVar = 260

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.numbers = BarList(dark=self.param.dark, width_of_group=BESIDE, letters=LETTERS, css_classes=["aa-calibration-rates"])
        self.note = plain("", "aa-calibration-note")
        self.words = plain(KEY, "aa-calibration-key")
        self.plots = pn.Row(sizing_mode="stretch_width", margin=0)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A detector reads a text."""
        return without_text(trace)

    def body(self) -> Any:
        """A diagram a label, and the numbers."""
        self.plots.objects = [self._diagram(label) for label in FIELDS]
        self._draw()
        self.visibility.follow_revision(self._draw)
        return pn.Column(self.note, self.plots, self.numbers, self.words, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """The reliability tables, and the diagrams beside each other."""
        drawn = [self._reliability(label).opts(title=TITLES[label]) for label in FIELDS]
        return Export("calibration", self.calibration.table(), hv.Layout(drawn) if self.calibration.known() is not None else None)

    def _diagram(self, label: str) -> Any:
        streams = [self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])]
        drawn = hv.DynamicMap(self.drawing(functools.partial(self._reliability, label), no_reliability), streams=streams)
        pane = self.plot_pane(drawn, sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-calibration"])
        return pn.Column(plain(TITLES[label], "aa-calibration-title"), pane, sizing_mode="stretch_width", margin=0)

    def _reliability(self, label: str, **_: Any) -> hv.Overlay:
        known = self.calibration.of_label(label)
        if known is None:
            return reliability_diagram(None, dark=self.dark)
        limit = thresholds_of(self.workspace)[label]
        found = Reliability(known.low, known.high, known.n, known.mean, known.share, known.share_lo, known.share_hi, limit)
        return reliability_diagram(found, dark=self.dark)

    def _draw(self) -> None:
        note = self.calibration.note()
        self.note.param.update(object=note, visible=bool(note))
        self.plots.visible = self.words.visible = self.calibration.known() is not None
        self.numbers.groups = self.calibration.groups()


def no_reliability() -> hv.Overlay:
    """Nothing is known."""
    return reliability_diagram(None)
