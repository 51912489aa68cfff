"""Pruning: how few heads the prediction needs."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui

from atlas.patches.panes import Markup
from atlas.plots.lines import Line, Ranges, key_of_parts, part_lines
from atlas.state.lens import counted
from atlas.state.pruning import KL, ORDERS, PROBABILITY, VALUE, Curve, PruningLens
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.explained import without_model
from atlas.tracing.pruning import RANDOM
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.events import on_tap
from atlas.views.head_effects import REPLACED_BY
from atlas.views.shows import Shows

ORIGIN = "pruning"

SHOWN = {"probability of the outcome": PROBABILITY, "target logit": VALUE, "whole output (KL)": KL}

LABELS = {PROBABILITY: "probability", VALUE: "target logit", KL: "KL, nats"}

HEIGHT = 300
"""Pixels of the plot."""

REACH = 0.04
"""How far from a point a tap may be, as a share of either axis: some 15 pixels."""


class PruningView(View):
    """What is left of the prediction when heads go from the least important on."""

    key: ClassVar = "pruning"
    title: ClassVar = "Pruning"
    question: ClassVar = "How few heads does the prediction need?"
    help: ClassVar = (
        "From left to right ever more heads of the kind on screen are removed together, the least important first: by the size "
        "of their gradient (all from one backward pass), or of the effect of removing each alone; by a switch also of integrated "
        "gradients on their attention weights. Grey: random orders, their mean and, upright, from the lowest to the highest of "
        "them. A curve that stays far above grey for long says that few heads carry this prediction in this text; it is no "
        "statement about the model. Where heads stand in for each other, "
        "each alone seems to be of no importance, and both go early. Click a point of a curve to select the heads that are left "
        "there."
    )
    defines: ClassVar = ("pruning", "head_effect_gradient", "importance_integrated")
    lens_type: ClassVar = PruningLens
    pruning = Shows(PruningLens)

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self._hears = [on_tap(self._tapped)]

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Without its model, or without predictions, no head can be removed."""
        return without_model(trace)

    def tools(self) -> list[Any]:
        """What is left of, and what heads become."""
        choices, look = self.pruning.choices.param, {"size": "small", "margin": TIGHT}
        return [
            pmui.Select.from_param(choices.show, label="What is left of", options=SHOWN, width=238, **look),
            pmui.Select.from_param(choices.how, label="Removed heads become", options=REPLACED_BY, width=160, **look),
            pmui.Switch.from_param(choices.integrated, label="Integrated gradients", size="small", margin=(14, 8, 0, 8)),
        ]

    def body(self) -> Any:
        """The curves, and what their colours mean."""
        drawn = hv.DynamicMap(
            self.drawing(self._lines, lambda: no_curves(dark=self.dark)),
            streams=[self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])],
        )
        pane = self.plot_pane(drawn, sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-pruning"])
        key = self.bound(lambda *_: key_of_parts(self.pruning.orders()), self.pruning.choices.param.integrated)
        return pn.Column(pane, Markup(key, sizing_mode="stretch_width", margin=(0, 8)), sizing_mode="stretch_width")

    def export(self) -> Export:
        """Every point of every order, with the heads that are left."""
        return Export("pruning", self.pruning.table(), self._lines())

    def _lines(self, **_: Any) -> hv.Overlay:
        curves = self.pruning.curves()
        if not curves:
            return no_curves(dark=self.dark)
        label, last = LABELS[self.pruning.choices.show], float(curves[0].removed[-1])
        chance = next(curve for curve in curves if curve.order == RANDOM)
        return part_lines(
            [_line(curve) for curve in curves],
            x_label="heads removed",
            x_range=(-0.02 * last, 1.02 * last),
            label=label,
            ranges=Ranges(RANDOM, chance.removed, chance.low, chance.high),
            dark=self.dark,
            height=HEIGHT,
            hooks=self.faults.hooks(self._hears),
        )

    @gesture
    def _tapped(self, x: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002  (a tap has no other meaning)
        curves = self.pruning.curves()
        found = nearest(curves, x, y)
        heads = () if found is None else self.pruning.kept(*found)
        selection = self.workspace.selection
        if not heads or found is None:
            return
        if set(heads) == set(selection.heads):
            selection.clear("heads", origin=ORIGIN)
        else:
            label = f"{counted(len(heads), 'head')} left {ORDERS[found[0]]}"
            selection.select_heads(heads, origin=ORIGIN, label=label)


def nearest(curves: tuple[Curve, ...], x: float, y: float) -> tuple[str, int] | None:
    """The order and the heads removed of the point that a tap is at; None where there is none near."""
    if not curves:
        return None
    values = np.concatenate([curve.values for curve in curves])
    wide, high = float(curves[0].removed[-1]) or 1.0, float(np.ptp(np.append(values, 0.0))) or 1.0
    far = [(np.hypot((curve.removed - x) / wide, (curve.values - y) / high), curve) for curve in curves]
    least, at, curve = min(((float(away.min()), int(away.argmin()), curve) for away, curve in far), key=lambda each: each[0])
    return (curve.order, int(curve.removed[at])) if least <= REACH else None


def _line(curve: Curve) -> Line:
    last = int(curve.removed[-1])
    names = [f"{ORDERS[curve.order]}: {last - int(removed):,} of {last:,} heads left" for removed in curve.removed]
    return Line(curve.order, curve.removed.astype(float), curve.values, names)


def no_curves(*, dark: bool = False) -> hv.Overlay:
    """No curves at all, in the colours of the page: those of a first drawing stay to be seen along the edges of the plot."""
    empty = np.empty(0)
    return part_lines(
        [],
        x_label="heads removed",
        x_range=(0.0, 1.0),
        label="",
        ranges=Ranges(RANDOM, empty, empty, empty),
        dark=dark,
        height=HEIGHT,
    )
