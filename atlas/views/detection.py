"""Biased words: what a detector says of every word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.components.chips import Chips, Press
from atlas.plots.marks import FOCUS, TO
from atlas.state.detection import FIELDS, TITLES, DetectionLens
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.labelled import without_text
from atlas.views.base import TIGHT, gesture
from atlas.views.plane import PlaneView
from atlas.views.shows import Shows


class DetectionView(PlaneView):
    """Labels of biased language, word by word."""

    key: ClassVar = "detection"
    title: ClassVar = "Biased words"
    question: ClassVar = "Which words sound biased?"
    help: ClassVar = (
        "Columns are the words, rows the labels; the stronger the colour, the likelier the label. Framed: the probability "
        "reaches the threshold of its label, which is set below. Under the sliders stand the flagged stretches. Click a word or "
        "a stretch to select its tokens, the name of a label to select all words flagged with it. Where the model on screen is "
        "no detector, gus-mini reads the same text. A label is the opinion of this detector, learnt from sentences that were "
        "largely written and labelled by language models. It is often wrong: on held-out sentences of that kind F1 is .64 where "
        "a generalisation begins (.52 inside), .57 for a stereotype (.69 inside) and .43 for unfair language (.25 inside); a "
        "list of words has .59, .45 and .47 at the beginnings. Its own thresholds, tuned for F1, are .40 / .525 (GEN, B / I), "
        ".275 / .075 (UNFAIR) and .45 / .175 (STEREO). It says nothing of how biased a text or a person is."
    )
    defines: ClassVar = ("bias_label",)
    lens_type: ClassVar = DetectionLens
    detection = Shows(DetectionLens)
    colours: ClassVar[Mapping[str, str]] = {"columns": TO, "cells": FOCUS}
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.chips = Chips(dark=self.param.dark, css_classes=["aa-bias-spans"])
        self.chips.on_chip(self._pressed)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A detector reads a text."""
        return without_text(trace)

    def tools(self) -> list[Any]:
        """Whether the flagged words are underlined in the text above the tabs, which all tabs share."""
        underline = self.workspace.display.param.flagged
        mark = pmui.Switch.from_param(
            underline, label="Underline in the text", size="small", margin=TIGHT, css_classes=["aa-flag"]
        )
        return [*super().tools(), mark]

    def body(self) -> Any:
        """The plane, the thresholds, and the flagged stretches."""
        changes = self.visibility
        changes.follow_revision(self._list)
        changes.follow_marks(self._list)
        self._list()
        return pn.Column(super().body(), self.chips, sizing_mode="stretch_width")

    def _threshold(self) -> Any:
        """A slider for the threshold of every label."""
        given = self.workspace.thresholds.param
        sliders = [
            pmui.FloatSlider.from_param(
                given[field], label=f"{TITLES[label]} from", step=0.01, size="small", margin=TIGHT, width=220
            )
            for label, field in FIELDS.items()
        ]
        return pn.FlexBox(*sliders, gap="24px", sizing_mode="stretch_width", css_classes=["aa-bias-thresholds"])

    def _list(self, *_: object) -> None:
        self.chips.groups = self.detection.groups() if self.workspace.trace is not None else []

    @gesture
    def _pressed(self, press: Press) -> None:
        self.detection.select_span(int(press["key"]), self.key)
