"""Randomised weights: whether attributions depend on what the model has learnt."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui

from atlas.components.chips import Chips, Press
from atlas.patches.panes import Markup
from atlas.plots.faithfulness import ORDERS as LOOKS
from atlas.plots.randomised import HEIGHT, LOW_HEIGHT, Stays, nearest, probabilities, staying
from atlas.state.randomised import RandomisedLens, step_title, title_of
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.randomised import ALONE, CASCADE, SCORES, SIZES, TRUE, Randomised, without_weights
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.colour_key import key_markup
from atlas.views.events import on_tap
from atlas.views.method_selects import method_selects
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "randomised"

DRAWN = {"step by step": CASCADE, "one part": ALONE}
"""Short, so that all controls stand in one row at 1440 pixels."""

RANKED_BY = {"score": SCORES, "size": SIZES}


class RandomisedView(View):
    """Correlation of the attributions of the model with those of copies whose weights are drawn anew."""

    key: ClassVar = "randomised"
    title: ClassVar = "Randomised weights"
    question: ClassVar = "Do these attributions depend on what the model has learnt?"
    help: ClassVar = (
        "The attribution of the prediction is made again on copies of the model that forget step by step: first the weights of "
        "the output are drawn anew, then those of the last layer too, down to the embeddings. Each line is a method: the rank "
        "correlation of its scores with those that it gives on the model as it is, mean of five draws; upright, the lowest and "
        "the highest of them. Grey: chance, where 95 % of the means lie when the true scores are shuffled over the tokens, the "
        "widest of the methods. On the right nothing is left that was learnt. A line that is still above grey there tells of the "
        "text and of the architecture, not of the model's knowledge; a line in grey has passed this test, which does not yet "
        "make it right. Below: the probability that the copies give to the outcome. One part drawn, every other keeps its "
        "weights, and the last step draws all. Every tensor keeps its own numbers in random places, gains and biases of norms "
        "too, and an output table that is shared with the embeddings is drawn by itself. The model is only copied. Click a "
        "line or a method below the plots to select the fifth of the tokens that it puts first when nothing is learnt. Nothing "
        "runs until you press Run; then the lines follow what you choose for this text."
    )
    defines: ClassVar = ("weight_randomisation",)
    lens_type: ClassVar = RandomisedLens
    weights = Shows(RandomisedLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.chips = Chips(dark=self.param.dark, css_classes=["aa-randomised-methods"])
        self.chips.on_chip(self._pressed)
        self.run = pmui.Button(
            label="Run", color="primary", variant="contained", size="small", margin=TIGHT, css_classes=["aa-randomised-run"]
        )
        self.run.on_click(lambda _: self._run())
        self.results = pn.Column(sizing_mode="stretch_width", margin=0, visible=False)
        self._hears = [on_tap(self._tapped)]

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Without its model, without predictions, or where layers were not found, no weights can be drawn."""
        return without_weights(trace)

    def tools(self) -> list[Any]:
        """Three methods, what is drawn together, and what is ranked."""
        choices = self.weights.choices.param
        look: dict[str, Any] = {"size": "small", "margin": TIGHT}
        return [
            *method_selects(choices),
            pmui.Select.from_param(choices.order, label="Draws weights", options=DRAWN, width=138, **look),
            pmui.Select.from_param(choices.ranked, label="Ranks by", options=RANKED_BY, width=92, **look),
            self.run,
        ]

    def body(self) -> Any:
        """Both plots, the methods, and what the last step says of each."""
        changes = self.visibility
        changes.follow_revision(self._list)
        changes.follow_marks(self._list)
        self._list()
        lines = self._pane(self._staying, HEIGHT, "aa-randomised-lines")
        below = self._pane(self._probabilities, LOW_HEIGHT, "aa-randomised-probability")
        key = Markup(self.bound(self._key, changes.param.revision), sizing_mode="stretch_width", margin=(0, 8))
        notes = self.bound(lambda _: "\n".join(self.weights.notes()), changes.param.revision)
        self.results.objects = [lines, key, self.chips, plain(notes, "aa-randomised-notes"), below]
        return self.results

    def export(self) -> Export:
        """Every step of every method, and the plots."""
        return Export("randomised", self.weights.table(), hv.Layout([self._staying(), self._probabilities()]).cols(1))

    def _pane(self, draw: Any, height: int, name: str) -> Any:
        drawn = hv.DynamicMap(
            self.drawing(draw, lambda: draw(nothing=True)),
            streams=[self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])],
        )
        return self.plot_pane(drawn, sizing_mode="stretch_width", height=height, css_classes=[name])

    def _staying(self, *, nothing: bool = False, **_: Any) -> hv.Overlay:
        found = None if nothing else self.weights.found()
        if found is None:
            return staying([], [], [], dark=self.dark)
        return staying(found.steps, about(found), self._drawn(found), dark=self.dark, hooks=self.faults.hooks(self._hears))

    def _probabilities(self, *, nothing: bool = False, **_: Any) -> hv.Overlay:
        found = None if nothing else self.weights.found()
        if found is None:
            return probabilities([], [], np.empty((0, 0)), dark=self.dark)
        return probabilities(found.steps, about(found), found.probability, dark=self.dark)

    def _drawn(self, found: Randomised) -> list[Stays]:
        ranks = {kept.name: self.weights.ranks(kept) for kept in found.found if not kept.reason}
        return [
            Stays(name, title_of(name), each.mean, each.lowest, each.highest, each.low, each.high) for name, each in ranks.items()
        ]

    def _key(self, _: object) -> str:
        """What the colours mean."""
        found = self.weights.found() if self.workspace.trace is not None else None
        if found is None:
            return ""
        names = [kept.name for kept in found.found if not kept.reason]
        return key_markup(
            [(title_of(name), LOOKS[name]) for name in names],
            after="upright: lowest and highest draw; grey: chance, the true scores shuffled (the widest of these methods)",
        )

    def _list(self, *_: object) -> None:
        self.chips.groups = self.weights.groups()
        self.results.visible = bool(self.chips.groups)

    @gesture
    def _run(self) -> None:
        self.weights.start()

    @gesture
    def _pressed(self, press: Press) -> None:
        self.weights.select(press["key"], ORIGIN)

    @gesture
    def _tapped(self, x: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002  (a tap has no other meaning)
        found = self.weights.found()
        name = nearest(self._drawn(found), x, y) if found is not None else None
        if name is not None:
            self.weights.select(name, ORIGIN)


def about(found: Randomised) -> list[str]:
    """What is drawn at each step, in words."""
    return [
        "the model as it is" if step == TRUE else f"drawn anew: {step_title(step, found.order)} ({number:,})"
        for step, number in zip(found.steps, found.numbers, strict=True)
    ]
