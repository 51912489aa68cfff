"""Predictions: what the model expects at a position, and which of it is to be explained."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.components.bar_list import BarList, Press
from atlas.state.predictions import EVERY, ONE_BY_ONE, SELECTED, TOGETHER, UNMASKED, PredictionsLens
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.predictions import without_predictions
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "predictions"

POSITIONS = {"selected tokens": SELECTED, "every position": EVERY}
MASKING = {"one by one": ONE_BY_ONE, "selected together": TOGETHER, "not at all": UNMASKED}

ONE_BAR, TWO_BARS, STEPS = 236, 400, 560
"""Pixels a group needs: with one number a row, with two and their difference, with the sentences of the steps. Two groups of the
first stand beside each other in a card of half a window of 1440."""


class PredictionsView(View):
    """The likeliest outcomes with their probabilities; a click on one makes it what the other views explain."""

    key: ClassVar = "predictions"
    title: ClassVar = "Predictions"
    question: ClassVar = "What does the model expect here?"
    help: ClassVar = (
        "Each bar is the probability of an outcome; all outcomes of a position together have 1, unless each label has a "
        "probability of its own. A model that fills masks is asked about every token by masking it, one by one or the selected "
        "ones together. Click an outcome: it is the prediction that is explained, here step by step and by other views. Click "
        "another one with Shift: the first is held against it. Click again to let go. Click a heading to select its token. "
        "In text: what the text itself has there; #8: it is the eighth likeliest. Without these heads: the text is run again "
        "with the selected heads switched off (their output is zero); each outcome has two bars, before and after. ␣: the "
        "outcome begins with a space, and another one differs by it alone."
    )
    defines: ClassVar = ("prediction_probability", "prediction_difference")
    lens_type: ClassVar = PredictionsLens
    predictions = Shows(PredictionsLens)

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.bars = BarList(dark=self.param.dark)
        self.steps = BarList(dark=self.param.dark, width_of_group=STEPS, margin=(12, 5, 5, 5))
        self.filled = plain("", "aa-filled")
        self.pages = plain("", "aa-pages", sizing_mode="fixed", width=220, margin=(8, 6))
        look: dict[str, Any] = {"variant": "text", "size": "small", "margin": (2, 2)}
        self.back = pmui.Button(label="Previous", css_classes=["aa-back"], **look)
        self.forth = pmui.Button(label="Next", css_classes=["aa-forth"], **look)
        self.pager = pn.Row(self.back, self.forth, self.pages, margin=0)
        self.bars.on_press(self._pressed)
        self.back.on_click(lambda _: self._turn(-1))
        self.forth.on_click(lambda _: self._turn(1))

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A recording has no predictions, nor has a model without an output that can be read."""
        return without_predictions(trace)

    def tools(self) -> list[Any]:
        """How many outcomes, where, how tokens are masked, and the run without the selected heads."""
        choices, space = self.predictions.choices.param, self.workspace
        can_mask = pn.bind(lambda *_: self.predictions.can_mask(), space.param.revision)
        idle = pn.bind(lambda _: self._idle(), self.visibility.param.revision)
        return [
            pmui.IntInput.from_param(choices.k, label="Top k", size="small", margin=TIGHT, width=108),
            pmui.Select.from_param(choices.shown, label="Positions", options=POSITIONS, size="small", margin=TIGHT, width=172),
            pmui.Select.from_param(
                choices.mask, label="Masked", options=MASKING, size="small", margin=TIGHT, width=176, visible=can_mask
            ),
            pmui.Switch.from_param(
                choices.without,
                label="Without these heads",
                size="small",
                margin=TIGHT,
                disabled=idle,
                css_classes=["aa-without"],
            ),
        ]

    def _idle(self) -> bool:
        """Whether there is no run without heads to ask for."""
        heads = self.workspace.selection.heads and self.predictions.can_run
        return not self.predictions.choices.without and not heads

    def body(self) -> Any:
        """Bars, and under them the steps of one."""
        self._draw()
        self.visibility.follow_revision(self._draw)
        return pn.Column(self.filled, self.pager, self.bars, self.steps, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """The outcomes on screen."""
        return Export("predictions", self.predictions.table(), None)

    def _draw(self) -> None:
        shown = self.predictions.shown()
        self.bars.param.update(groups=list(shown.groups), width_of_group=TWO_BARS if shown.compared else ONE_BAR)
        self.steps.groups = list(shown.steps)
        self.filled.param.update(object=shown.filled, visible=bool(shown.filled))
        self.pages.object = f"page {shown.page + 1:,} of {shown.pages:,}, {shown.positions:,} positions"
        self.back.disabled, self.forth.disabled = shown.page == 0, shown.page == shown.pages - 1
        self.pager.visible = shown.pages > 1

    @gesture
    def _turn(self, by: int) -> None:
        shown = self.predictions.shown()
        self.predictions.choices.page = min(max(shown.page + by, 0), shown.pages - 1)

    @gesture
    def _pressed(self, press: Press) -> None:
        kind, _, position = press["key"].partition(" ")
        if kind == "at":
            self.workspace.selection.toggle_tokens(
                [int(position)], axis=self.workspace.display.axis, side=self.predictions.side, origin=ORIGIN
            )
        else:
            self.predictions.choose(press["key"], against=press["shift"])
