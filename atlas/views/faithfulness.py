"""Faithfulness: whether the tokens that a method puts first are those that the prediction needs."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui

from atlas.components.chips import Chips, Press
from atlas.patches.panes import Markup
from atlas.plots.faithfulness import HEIGHT, ORDERS, SCORES_HEIGHT, TITLES, Band, Drawn, Scored, falling, nearest, scores
from atlas.state.faithfulness import FaithfulnessLens, title_of
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.explained import without_model
from atlas.tracing.faithfulness import ATTENTION, COMPREHENSIVENESS, DELETE, MASK, SUFFICIENCY, Curves
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.colour_key import key_markup
from atlas.views.events import on_tap
from atlas.views.method_selects import method_selects
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "faithfulness"

REMOVED = {"replacing it": MASK, "leaving it out": DELETE, "hiding it": ATTENTION}

DELETION, INSERTION = "deletion", "insertion"
LABELS = {DELETION: "tokens taken out", INSERTION: "tokens put in"}


class FaithfulnessView(View):
    """Deletion and insertion curves, comprehensiveness and sufficiency of some methods, beside random and extreme orders."""

    key: ClassVar = "faithfulness"
    title: ClassVar = "Faithfulness curves"
    question: ClassVar = "Does the prediction need the tokens that a method puts first?"
    help: ClassVar = (
        "Left: what is left of the prediction while tokens are taken out, those first that the method puts first; a faithful "
        "method falls early. Right: what is there once only these are put in; a faithful method rises early. The grey band holds "
        "nine of ten random orders, dashed inside it their mean. The other dashed lines are the best and the worst order that "
        "were found: where a method is no nearer to the best than random orders are, it does not say what this prediction hangs "
        "on. Below: both scores of each order beside those of random ones. A text without some tokens may be unusual for the "
        "model, so compare ways of taking them out: something empty in their place, leaving them out, or hiding them from "
        "attention. Raw scores do not compare across models or texts. Choose the prediction in the card 'Predictions'. Click a "
        "curve to select the tokens that come first up to there, or a method below the plots to select the first fifth of its "
        "tokens. Nothing runs until you press Run; then the curves follow what you choose for this text."
    )
    defines: ClassVar = ("comprehensiveness", "sufficiency", "naopc")
    lens_type: ClassVar = FaithfulnessLens
    curves = Shows(FaithfulnessLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.chips = Chips(dark=self.param.dark, css_classes=["aa-faithful-methods"])
        self.chips.on_chip(self._pressed)
        self.run = pmui.Button(
            label="Run", color="primary", variant="contained", size="small", margin=TIGHT, css_classes=["aa-faithful-run"]
        )
        self.run.on_click(lambda _: self._run())
        self.results = pn.Column(sizing_mode="stretch_width", margin=0, visible=False)
        self._hears = {DELETION: [on_tap(self._tapped_deletion)], INSERTION: [on_tap(self._tapped_insertion)]}

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Without its model, or without predictions, nothing can be taken out."""
        return without_model(trace)

    def tools(self) -> list[Any]:
        """Three methods, and how tokens are taken out."""
        choices = self.curves.choices.param
        look: dict[str, Any] = {"size": "small", "margin": TIGHT}
        return [
            *method_selects(choices),
            pmui.Select.from_param(choices.remove, label="Takes a token out by", options=REMOVED, width=158, **look),
            self.run,
        ]

    def body(self) -> Any:
        """Both plots of curves, the scores, the methods, and what has to be known."""
        changes = self.visibility
        changes.follow_revision(self._list)
        changes.follow_marks(self._list)
        self._list()
        panes = {part: self._pane(partial(self._falling, part), HEIGHT, part) for part in (DELETION, INSERTION)}
        below = self._pane(self._scores, SCORES_HEIGHT, "scores")
        key = Markup(self.bound(self._key, changes.param.revision), sizing_mode="stretch_width", margin=(0, 8))
        notes = self.bound(lambda _: "\n".join(self.curves.notes()), changes.param.revision)
        curves = pn.Row(*panes.values(), sizing_mode="stretch_width")
        self.results.objects = [curves, key, below, self.chips, plain(notes, "aa-faithful-notes")]
        return self.results

    def export(self) -> Export:
        """Every step of every order, and the plots."""
        picture = hv.Layout([self._falling(DELETION), self._falling(INSERTION), self._scores()]).cols(1)
        return Export("faithfulness", self.curves.table(), picture)

    def _pane(self, draw: Any, height: int, name: str) -> Any:
        drawn = hv.DynamicMap(
            self.drawing(draw, partial(no_curves, name)),
            streams=[self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])],
        )
        return self.plot_pane(drawn, sizing_mode="stretch_width", height=height, css_classes=[f"aa-faithful-{name}"])

    def _falling(self, part: str, **_: Any) -> hv.Overlay:
        found = self.curves.found()
        if found is None:
            return no_curves(part)
        band = Band(*self.curves.band(found, part))
        return falling(
            shares_of(found), drawn_of(found, part), band, x_label=f"share of the {LABELS[part]}", label=label_of(found),
            dark=self.dark, hooks=self.faults.hooks(self._hears[part]),
        )  # fmt: skip

    def _scores(self, **_: Any) -> hv.Overlay:
        found = self.curves.found()
        if found is None:
            return no_curves("scores")
        shown = [curve for curve in (*found.found, *found.bounds) if not curve.reason]
        titles = {curve.name: title_of(curve.name) for curve in shown}
        rows = [
            Scored(score, {curve.name: getattr(curve, score) for curve in shown}, titles, self.curves.chance(found, score))
            for score in (COMPREHENSIVENESS, SUFFICIENCY)
        ]
        return scores(rows, dark=self.dark)

    def _key(self, _: object) -> str:
        """What the colours mean."""
        found = self.curves.found() if self.workspace.trace is not None else None
        if found is None:
            return ""
        names = [curve.name for curve in (*found.found, *found.bounds) if not curve.reason]
        return key_markup(
            [(title_of(name), ORDERS[name]) for name in names],
            after="grey: random orders (dashed: their mean); best and worst: by what is taken out",
        )

    def _list(self, *_: object) -> None:
        self.chips.groups = self.curves.groups()
        self.results.visible = bool(self.chips.groups)

    @gesture
    def _run(self) -> None:
        self.curves.start()

    @gesture
    def _pressed(self, press: Press) -> None:
        self.curves.select(press["key"], None, ORIGIN)

    @gesture
    def _tapped_deletion(self, x: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002
        self._tapped(DELETION, x, y)

    @gesture
    def _tapped_insertion(self, x: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002
        self._tapped(INSERTION, x, y)

    def _tapped(self, part: str, x: float, y: float) -> None:
        found = self.curves.found()
        at = nearest(shares_of(found), drawn_of(found, part), x, y) if found is not None else None
        if found is not None and at is not None:
            self.curves.select(at[0], found.steps[at[1]], ORIGIN)


def shares_of(found: Curves) -> np.ndarray:
    """Steps as shares of the tokens."""
    return np.asarray(found.steps) / len(found.places)


def drawn_of(found: Curves, part: str) -> list[Drawn]:
    """The curves of methods, then those at the bounds."""
    methods = [curve for curve in found.found if not curve.reason]
    return [Drawn(curve.name, title_of(curve.name), getattr(curve, part)) for curve in methods] + [
        Drawn(curve.name, title_of(curve.name), getattr(curve, part), bound=True) for curve in found.bounds
    ]


def label_of(found: Curves) -> str:
    """What of the target is measured."""
    return found.of if found.target.against_id is None else f"difference in {found.of}"


def no_curves(name: str) -> hv.Overlay:
    """No curves at all."""
    if name == "scores":
        return scores([Scored(title, {}, {}, (np.nan, np.nan, np.nan)) for title in TITLES])
    return falling(np.empty(0), [], None, x_label=f"share of the {LABELS[name]}", label="probability")
