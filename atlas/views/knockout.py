"""Cut by layer: from where, and in which layers, the prediction reads."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import panel as pn
import panel_material_ui as pmui

from atlas.components.chips import Chips, Press
from atlas.numbers import three
from atlas.patches.panes import Markup
from atlas.plots.knockout import HEIGHT, NO_BAND, Band, Curve, curves_over_layers, looks_of, nearest
from atlas.state.knockout import ALL, SELECTED, KnockoutLens, in_layers
from atlas.state.outcome_line import percent
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.knockout import Knockout, without_knockout
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.colour_key import key_markup
from atlas.views.events import on_tap
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "knockout"

SMALL = 0.001

HEADS = {"all heads": ALL, "selected heads": SELECTED}


class KnockoutView(View):
    """By how much the outcome changes when attention to a group of tokens is cut around each layer."""

    key: ClassVar = "knockout"
    title: ClassVar = "Cut by layer"
    question: ClassVar = "From where, and in which layers, does the prediction read?"
    help: ClassVar = (
        "The token that predicts may no longer look at a group of tokens, in a few layers around each one; its attention goes to "
        "the other tokens. A curve is a group, and says in nats how much likelier the outcome becomes, or below 0 how much less "
        "likely: −0.7 halves its probability, −2.3 leaves a tenth of it. At the right, apart from the "
        "curves, all layers are cut. Where a curve dips, the prediction reads those tokens there; what was read in layers before "
        "and stands in the states of other tokens is not cut. Groups are the tokens you select as 'to', else the sentences, of a "
        "single sentence its words; and beside them the token itself, special and first tokens, and everything else. Tokens you "
        "select as 'from' are those that no longer look; without any, the one that predicts. Grey: as many other tokens drawn at "
        "random, for one group, which the sentence above names: 95 % of the draws, dashed their mean. A filled mark lies beyond "
        "that group's own band also after correction for all groups and windows; a hollow one does not, or has no chance level. "
        "Where the band is wide, some random tokens matter too. Click a point of a curve, or a group below, to select its tokens "
        "and what looks at them. Nothing runs until you press Run; what is on screen stays until you press again."
    )
    defines: ClassVar = ("attention_knockout",)
    lens_type: ClassVar = KnockoutLens
    cuts = Shows(KnockoutLens)
    wide: ClassVar = True
    beside: ClassVar = 220

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.chips = Chips(dark=self.param.dark, css_classes=["aa-knockout-groups"])
        self.chips.on_chip(self._pressed)
        look: dict[str, Any] = {"size": "small", "margin": TIGHT}
        self.run = pmui.Button(label="Run", color="primary", variant="contained", css_classes=["aa-knockout-run"], **look)
        self.run.on_click(lambda _: self._run())
        self.window = pmui.IntSlider(label="Layers cut at once", start=1, end=2, value=1, width=230, **look)
        self.window.param.watch(lambda event: self._windowed(event.new), "value_throttled")
        self.results = pn.Column(sizing_mode="stretch_width", margin=0, visible=False)
        self._hears = [on_tap(self._tapped)]

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Without its model, or where its attention cannot be reached, nothing can be cut."""
        return without_knockout(trace)

    def tools(self) -> list[Any]:
        """How many layers at once, which heads, and the press."""
        choices = self.cuts.choices.param
        self._fit_slider()
        return [
            self.window,
            pmui.Select.from_param(choices.heads, label="Cuts", options=HEADS, width=165, size="small", margin=TIGHT),
            # Here and not in the body, which is hidden while there is a problem: it is the way out of one.
            self.run,
        ]

    def body(self) -> Any:
        """The curves, what their colours mean, the groups, and what has to be known."""
        changes = self.visibility
        changes.follow_revision(self._list)
        self.cuts.param.watch(lambda _: self.cuts.attempt_drawing(self._free), ["busy", "problem"])
        drawn = hv.DynamicMap(
            self.drawing(self._curves, lambda: no_curves(dark=self.dark)),
            streams=[self.follows(changes, ["revision"]), self.follows(self, ["dark"])],
        )
        pane = self.plot_pane(drawn, sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-knockout"])
        key = Markup(self.bound(self._key, changes.param.revision), sizing_mode="stretch_width", margin=(0, 8))
        notes = self.bound(lambda _: "\n".join(self.cuts.notes()), changes.param.revision)
        self.results.objects = [pane, key, self.chips, plain(notes, "aa-knockout-notes")]
        self._list()
        return self.results

    def export(self) -> Export:
        """Every point of every curve with its level of chance, and the plot."""
        return Export("knockout", self.cuts.table(), self._curves())

    # -- plot --------------------------------------------------------------------------------------------------------------

    def _curves(self, **_: Any) -> hv.Overlay:
        found = self.cuts.found() if self.workspace.trace is not None else None
        if found is None:
            return no_curves(dark=self.dark)
        band = Band(*found.band(self.cuts.shown_group(found)))
        label = f"change of {found.of}" + ("" if found.of == "logit" else ", nats")
        return curves_over_layers(
            drawn(found), band, found.plan.n_layers, label=label, dark=self.dark, hooks=self.faults.hooks(self._hears)
        )

    def _key(self, _: object) -> str:
        """What the colours mean, and whose band it is."""
        found = self.cuts.found() if self.workspace.trace is not None else None
        if found is None:
            return ""
        looks = looks_of([group.role for group in found.groups])
        shown = self.cuts.shown_group(found)
        band = f"grey: as many random tokens as {found.groups[shown].name}; " if len(found.random[shown]) else ""
        return key_markup(
            [(group.name, look.category) for group, look in zip(found.groups, looks, strict=True)],
            after=f"{band}filled: beyond the group's own chance",
        )

    def _list(self, *_: object) -> None:
        self.chips.groups = self.cuts.chips()
        self.results.visible = bool(self.chips.groups)
        self._fit_slider()
        self._free()

    def _free(self) -> None:
        """Whether the button can be pressed."""
        self.run.disabled = not self.cuts.can_start

    def _fit_slider(self) -> None:
        """The slider goes to as many layers as there are; of one layer there is nothing to choose."""
        if self.workspace.trace is None:
            return
        layers = self.cuts.n_layers
        self.window.param.update(
            end=max(layers, 2), value=self.cuts.window, visible=layers > 1, label=f"Layers cut at once (of {layers})"
        )

    # -- gestures ----------------------------------------------------------------------------------------------------------

    @gesture
    def _run(self) -> None:
        self.cuts.start()

    @gesture
    def _windowed(self, size: int) -> None:
        if self.workspace.trace is not None and size != self.cuts.window:
            self.cuts.choose_window(size)

    @gesture
    def _pressed(self, press: Press) -> None:
        self.cuts.select(int(press["key"]), ORIGIN)

    @gesture
    def _tapped(self, x: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002  (a tap has no other meaning)
        found = self.cuts.found()
        at = nearest(drawn(found), found.plan.n_layers, x, y) if found is not None else None
        if at is not None:
            self.cuts.select(at, ORIGIN)


def drawn(found: Knockout) -> list[Curve]:
    """The curves as the plot takes them."""
    looks, marked = looks_of([group.role for group in found.groups]), found.marked
    return [
        Curve(group.name, looks[at], found.change[at], marked[at], [_about(found, at, column) for column in columns(found)])
        for at, group in enumerate(found.groups)
    ]


def columns(found: Knockout) -> range:
    """The layers, and all of them."""
    return range(found.change.shape[1])


def _about(found: Knockout, at: int, column: int) -> str:
    whole = column == found.plan.n_layers
    lines = ["all layers cut" if whole else f"{in_layers(found.window(column))} cut"]
    if found.says_probability:
        after = found.probability_after(float(found.change[at, column]))
        lines.append(f"probability {percent(found.target.probability)} to {percent(after)}")
    low, mean, high = (end[column] for end in found.band(at))
    if len(found.random[at]):
        lines.append(f"random tokens {three(low)} to {three(high)}, mean {three(mean)}; q {_corrected(found.q[at, column])}")
    else:
        lines.append("no level of chance: too few other tokens")
    return "\n".join(lines)


def _corrected(q: float) -> str:
    """A q; what is far beyond chance is not known so exactly."""
    return "under 0.001" if q < SMALL else three(q)


def no_curves(*, dark: bool = False) -> hv.Overlay:
    """No curves at all."""
    return curves_over_layers([], NO_BAND, 1, label="", dark=dark)
