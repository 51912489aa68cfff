"""Attributions of both sides: what each prediction rests on, and what changed."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import panel as pn
import panel_material_ui as pmui

from atlas.definitions import DEFINITIONS
from atlas.plots.attribution import AXIS, Bars, score_bars, selected_boxes, token_at
from atlas.state.attribution import METHODS
from atlas.state.compare_attributions import CompareAttributionsLens
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.explained import without_model
from atlas.tracing.two_attributions import OWN, SAME
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.events import on_tap
from atlas.views.glyph import Glyph
from atlas.views.plain import plain
from atlas.views.shows import Shows

EXPLAINED = {"the same outcome": SAME, "its own likeliest": OWN}

ROWS = 3
HEIGHT = ROWS * 84 + AXIS
"""Pixels: three rows and the notes below them are whole on a screen of 720 pixels."""


class CompareAttributionsView(View):
    """Shares of every word on A and on B, and their difference; a click on a word selects it on A."""

    key: ClassVar = "compare_attributions"
    title: ClassVar = "Attributions of both sides"
    question: ClassVar = "What does each prediction rest on, and what changed?"
    help: ClassVar = (
        "The prediction that is explained on side A, and the same decision on side B: at the word that stands for the same, in "
        "the same slot, or for the same class. Where side B has no such place or not this outcome, what it predicts by itself "
        "is explained instead, and the card says so. Both are attributed to the words by one method, and the bars are shares: a "
        "score over the sum of the magnitudes of all words of that side, so that two models or two texts compare. The third row "
        "is B − A, on the same scale. Words are aligned as in all views of this tab; those that only one side has stand apart "
        "at the right, marked (A) or (B), and have no difference. Special tokens have no share, nor has what comes after the "
        "explained place where a model looks back only. Press Run once; the card then follows what is explained, the method and "
        "side B. Click a word to select its tokens on A."
    )
    defines: ClassVar = ("attribution_difference", "attribution_rank")
    lens_type: ClassVar = CompareAttributionsLens
    attributions = Shows(CompareAttributionsLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.button = pmui.Button(
            label="Run", color="primary", variant="contained", size="small", margin=(4, 4), css_classes=["aa-attribute-both"]
        )
        self.button.on_click(lambda _: self._press())
        # Not from_param: what is offered hangs on both models, and a choice of the reader may be none of it.
        self.method = pmui.Select(label="Method", options={}, width=245, size="small", margin=TIGHT)
        self.method.param.watch(self._put_method, "value")
        self.marks = Glyph()
        self._hears = [on_tap(self._tapped)]

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Without its model, or without predictions, there is nothing to explain."""
        return without_model(trace)

    def tools(self) -> list[Any]:
        """The method, what is explained on B, and the press."""
        self._offer()
        explains = self.attributions.choices.param.explains
        return [
            self.method,
            pmui.Select.from_param(explains, label="Explained on B", options=EXPLAINED, width=212, size="small", margin=TIGHT),
            # Here and not in the body, which is hidden while there is a problem: it is the way out of one.
            self.button,
        ]

    def body(self) -> Any:
        """The bars, and under them what has to be known about them."""
        drawn = hv.DynamicMap(
            self.drawing(self._bars, no_bars),
            streams=[self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])],
        )
        self.visibility.follow_marks(self._mark)
        self.visibility.follow_revision(self._offer)
        self.attributions.param.watch(lambda _: self.attributions.attempt_drawing(self._free), ["busy", "problem"])
        self._offer()
        notes = self.bound(lambda _: "\n".join(self.attributions.shown().notes), self.visibility.param.revision)
        pane = self.plot_pane(drawn, sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-compare-attributions"])
        return pn.Column(pane, plain(notes, "aa-compare-attributions-notes"), sizing_mode="stretch_width")

    def export(self) -> Export:
        """Every word with its scores and shares."""
        return Export("compare-attributions", self.attributions.table(), self._bars())

    def _bars(self, **_: Any) -> hv.Overlay:
        shown = self.attributions.shown()
        hooks = {"bars": self.faults.hooks(self._hears), "marked": self.faults.hooks([self.marks.hook])}
        rows = [
            Bars("Share on A", shown.a, shown.signed, shown.top),
            Bars("Share on B", shown.b, shown.signed, shown.top),
            Bars("B − A", shown.difference, signed=True, top=shown.top),
        ]
        marked = self.attributions.marked()
        return score_bars(shown.words, shown.groups, rows, marked, dark=self.dark, hooks=hooks, height=HEIGHT)

    def _mark(self) -> None:
        shown = self.attributions.shown()
        self.marks.outline(selected_boxes(shown.groups, self.attributions.marked(), ROWS))

    def _offer(self) -> None:
        """Let the control offer the methods that both sides can run, and the button what it can start."""
        missing, chosen = self.attributions.missing(), self.attributions.choices.method
        offered = {DEFINITIONS[name].title: name for name in METHODS if name not in missing or name == chosen}
        self.method.param.update(options=offered, value=chosen)
        self._free()

    def _free(self) -> None:
        self.button.disabled = not self.attributions.can_start

    @gesture
    def _put_method(self, event: Any) -> None:
        if event.new:
            self.attributions.choices.method = event.new

    @gesture
    def _press(self) -> None:
        self.attributions.start()

    @gesture
    def _tapped(self, x: float, _: float, *, additive: bool = False) -> None:  # noqa: ARG002
        at = token_at(self.attributions.shown().groups, x)
        if at is not None:
            self.attributions.choose(at, self.key)


def no_bars() -> hv.Overlay:
    """No words at all."""
    return score_bars((), (), (), height=HEIGHT)
