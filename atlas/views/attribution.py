"""Attribution: which tokens decide the prediction that is explained, by two methods beside each other."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import holoviews as hv
import panel as pn
import panel_material_ui as pmui

from atlas.definitions import DEFINITIONS
from atlas.plots.attribution import AXIS, ROW_HEIGHT, Bars, score_bars, selected_boxes, token_at
from atlas.state.attribution import METHODS, AttributionLens
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.explained import LOGIT, MASK, MEAN, PAD, PROBABILITY, ZERO, without_model
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.events import on_tap
from atlas.views.glyph import Glyph
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "attribution"

TITLES = {DEFINITIONS[name].title: name for name in METHODS}

EXPLAINED = {"logit": LOGIT, "probability": PROBABILITY}

INSTEAD_OF = {"integrated_gradients": "Baseline", "occlusion": "Occludes by"}
REPLACEMENTS = {"mask": MASK, "padding": PAD, "zeros": ZERO, "mean": MEAN}
"""Short, so that both controls stand in one row with the others at 1280 pixels; the line above says them in full."""


class AttributionView(View):
    """Scores of all tokens for one prediction; a click on a token selects it everywhere."""

    key: ClassVar = "attribution"
    title: ClassVar = "Attribution"
    question: ClassVar = "Which tokens decide the prediction?"
    help: ClassVar = (
        "Each row of bars is a method, each bar a token of the text; its height is a share of the largest score of its row. "
        "Methods with a sign have bars upwards for tokens that speak for the prediction, downwards for those against it; others "
        "have magnitudes only. Choose the prediction in the card 'Predictions': a click explains it, a click with Shift holds "
        "it against another outcome. Where two methods disagree, at least one of them is wrong about this prediction; attention "
        "methods are the same for every outcome at a position. The probability saturates: where it is near 1, its gradients are "
        "near 0, so the logit is explained by default. Integrated gradients start from a text without contents (the baseline), "
        "and occlusion puts something in the place of each token: the vector of the mask or of the padding token, zeros, or the "
        "mean of all token vectors. Scores are relative to it: see whether they stay with another one. Special tokens are kept "
        "by every baseline, so they have no score there, and they are left out of the correlation. Where words are shown, as "
        "the switch beside the tabs says, a bar is the sum over the tokens of the word, and the correlation is over words. Click "
        "a token or word to select it."
    )
    defines: ClassVar = (*METHODS, "word_score")
    lens_type: ClassVar = AttributionLens
    attribution = Shows(AttributionLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.marks = Glyph()
        self._hears = [on_tap(self._tapped)]
        # Not from_param: what is offered hangs on the model, and a choice of the reader may be none of it.
        self.instead = {
            method: pmui.Select(label=label, options={}, width=128, size="small", margin=TIGHT, visible=False)
            for method, label in INSTEAD_OF.items()
        }
        self._echo = False
        for method, control in self.instead.items():
            control.param.watch(partial(self._put_instead, method), "value")

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Without its model, or without predictions, there is nothing to explain."""
        return without_model(trace)

    def tools(self) -> list[Any]:
        """Two methods, and what of the outcome is explained."""
        choices = self.attribution.choices.param
        look: dict[str, Any] = {"size": "small", "margin": TIGHT}
        return [
            pmui.Select.from_param(choices.first, label="Method", options=TITLES, width=245, **look),
            pmui.Select.from_param(choices.second, label="Beside it", options=TITLES, width=245, **look),
            pmui.Select.from_param(choices.of, label="Explains", options=EXPLAINED, width=128, **look),
            *self.instead.values(),
        ]

    def body(self) -> Any:
        """The bars, and under them what has to be known about them."""
        drawn = hv.DynamicMap(
            self.drawing(self._bars, score_bars_of_nothing),
            streams=[self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])],
        )
        self.visibility.follow_marks(self._mark)
        self.visibility.follow_revision(self._offer)
        self._offer()
        notes = self.bound(lambda _: "\n".join(self.attribution.shown().notes), self.visibility.param.revision)
        pane = self.plot_pane(drawn, sizing_mode="stretch_width", height=2 * ROW_HEIGHT + AXIS, css_classes=["aa-attribution"])
        return pn.Column(pane, plain(notes, "aa-attribution-notes"), sizing_mode="stretch_width")

    def export(self) -> Export:
        """Every token with its scores."""
        return Export("attribution", self.attribution.table(), self._bars())

    def _bars(self, **_: Any) -> hv.Overlay:
        shown = self.attribution.shown()
        hooks = {"bars": self.faults.hooks(self._hears), "marked": self.faults.hooks([self.marks.hook])}
        rows = [Bars(scored.title, scored.values, scored.signed) for scored in shown.scored]
        return score_bars(shown.names, shown.sides, rows, self.attribution.marked(), dark=self.dark, hooks=hooks)

    def _offer(self) -> None:
        """Let the controls of the methods on screen offer what the model can have."""
        offered = self.attribution.baselines().offered
        self._echo = True
        try:
            for method, control in self.instead.items():
                value = self.attribution.instead(method)
                options = {name: key for name, key in REPLACEMENTS.items() if key in offered}
                control.param.update(options=options, value=value or None, visible=bool(value))
        finally:
            self._echo = False

    @gesture
    def _put_instead(self, method: str, event: Any) -> None:
        if event.new and not self._echo and event.new != self.attribution.instead(method):
            self.attribution.put_instead(method, event.new)

    def _mark(self) -> None:
        shown = self.attribution.shown()
        self.marks.outline(selected_boxes(shown.sides, self.attribution.marked(), len(shown.scored)))

    @gesture
    def _tapped(self, x: float, _: float, *, additive: bool = False) -> None:  # noqa: ARG002
        shown = self.attribution.shown()
        at = token_at(shown.sides, x)
        if at is not None:
            self.attribution.choose(at, ORIGIN)


def score_bars_of_nothing() -> hv.Overlay:
    """No tokens at all."""
    return score_bars((), (), ())
