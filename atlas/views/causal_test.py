"""The causal test: heads that look at flagged words are switched off, and so are random ones."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui

from atlas.numbers import three
from atlas.patches.panes import Markup
from atlas.plots.lines import Line, Ranges, key_of_parts, part_lines
from atlas.state.causal_test import ATTENTION, FEW, MANY, SELECTED, CausalTestLens
from atlas.state.lens import counted
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.causal import DOSES, CausalTest, without_decision
from atlas.tracing.verdict import p_words
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.events import on_tap
from atlas.views.head_effects import BECOME
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "causal_test"

WHICH = {"those that look most": ATTENTION, "the selected ones": SELECTED}

SENTENCE_ON = {counted(dose, "head"): dose for dose in DOSES}

DRAWS = {str(FEW): FEW, str(MANY): MANY}

CHOSEN, RANDOM = "ablation", "random"
"""Parts of the plot: the heads on trial, and random ones."""

KEY = {CHOSEN: "these heads", RANDOM: "as many random heads: their mean, and 95 % of them"}

HEIGHT = 240
"""Pixels of the plot."""

REACH = 0.35
"""How far from a dose a tap may be, in doublings."""

SENTENCE = "pre { font-size: 1.02rem; line-height: 1.5; max-width: 96ch; }"


class CausalTestView(View):
    """What the decision on flagged words loses without heads."""

    key: ClassVar = "causal_test"
    title: ClassVar = "Causal test"
    question: ClassVar = "Do the heads that look at flagged words carry the decision?"
    help: ClassVar = (
        "From left to right ever more heads are switched off together, and the plot says how far the decision falls. Of a "
        "detector the decision is the mean probability of the flagged labels at the flagged words; of a language model how much "
        "likelier it finds the words of the text than the same words in its first counterfactual, or the reverse. Grey: as many "
        "random heads of the same layers, their mean and, upright, 95 % of them. The sentence is about the number of "
        "heads that you name, of selected ones about all, and follows from the numbers by rules; its p is not corrected for the "
        "doses you try, q (on a point) is. Where the same "
        "layers have fewer than 19 other sets, no p could be under 0.05, and heads of any layer stand in. A decision that stays "
        "does not prove that heads do nothing: others may stand in for them. It is one text and no statement about the model. "
        "Click a point to select its heads."
    )
    defines: ClassVar = ("causal_test", "attention_bias", "bias_label")
    lens_type: ClassVar = CausalTestLens
    tested = Shows(CausalTestLens)

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self._hears = [on_tap(self._tapped)]
        self.button = pmui.Button(
            label="Test", color="primary", variant="contained", size="small", margin=(4, 4), css_classes=["aa-causal-start"]
        )
        self.button.on_click(lambda _: self._press())
        self.sentence = plain("", "aa-causal-verdict")
        self.sentence.stylesheets = [*self.sentence.stylesheets, SENTENCE]
        self.notes = plain("", "aa-causal-notes")

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """It takes a model here that labels tokens or says how likely a text is."""
        return without_decision(trace)

    def tools(self) -> list[Any]:
        """Which heads, what they become, how many random sets, and the press."""
        choices, look = self.tested.choices.param, {"size": "small", "margin": TIGHT}
        return [
            pmui.Select.from_param(choices.heads, label="Heads", options=WHICH, width=200, **look),
            pmui.Select.from_param(choices.how, label="Removed heads become", options=BECOME, width=160, **look),
            pmui.Select.from_param(choices.dose, label="Sentence on", options=SENTENCE_ON, width=110, **look),
            pmui.Select.from_param(choices.draws, label="Random sets", options=DRAWS, width=110, **look),
            # Here and not in the body, which is hidden while there is a problem: it is the way out of one.
            self.button,
        ]

    def body(self) -> Any:
        """The sentence, what has to be known about it, the curve."""
        drawn = hv.DynamicMap(
            self.drawing(self._lines, lambda: dose_lines(None, dark=self.dark)),
            streams=[self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])],
        )
        pane = self.plot_pane(drawn, sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-causal-test"])
        key = Markup(key_of_parts(KEY), sizing_mode="stretch_width", margin=(0, 8))
        self.plot = pn.Column(pane, key, sizing_mode="stretch_width", margin=0)
        self._draw()
        self.visibility.follow_revision(self._draw)
        self.tested.param.watch(lambda _: self.tested.attempt_drawing(self._free), ["busy", "problem"])
        return pn.Column(self.sentence, self.notes, self.plot, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """Every dose with its heads."""
        return Export("causal_test", self.tested.table(), self._lines())

    def _draw(self) -> None:
        found = self.tested.verdict()
        sentence = "" if found is None else found.sentence
        notes = "" if found is None else "\n".join(found.notes)
        self.sentence.param.update(object=sentence, visible=bool(sentence))
        self.notes.param.update(object=notes, visible=bool(notes))
        self.plot.visible = found is not None
        self._free()

    def _free(self) -> None:
        """Whether the button can be pressed, and what that costs."""
        if self.workspace.trace is not None:
            self.button.param.update(
                label=f"Test (up to {counted(self.tested.cost(), 'run')})", disabled=not self.tested.can_start
            )

    def _lines(self, **_: Any) -> hv.Overlay:
        return dose_lines(self.tested.shown(), dark=self.dark, hooks=self.faults.hooks(self._hears))

    @gesture
    def _press(self) -> None:
        self.tested.start()

    @gesture
    def _tapped(self, x: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002  (a tap has no other meaning)
        found = self.tested.shown()
        if found is None:
            return
        doses = found.table["heads"].to_numpy(dtype=float)
        away = np.abs(np.log2(doses) - x)
        if away.min() > REACH:
            return
        heads = found.dose(int(doses[away.argmin()]))
        selection = self.workspace.selection
        if set(heads) == set(selection.heads):
            selection.clear("heads", origin=ORIGIN)
        else:
            selection.select_heads(heads, origin=ORIGIN, label=f"{counted(len(heads), 'head')} of the causal test")


def dose_lines(found: CausalTest | None, *, dark: bool = False, hooks: Any = ()) -> hv.Overlay:
    """How far the decision falls at each dose, over doublings of the number of heads."""
    empty = np.empty(0)
    if found is None:
        return part_lines(
            [], x_label="heads switched off", x_range=(-0.3, 4.3), label="", ranges=Ranges(RANDOM, empty, empty, empty),
            dark=dark, height=HEIGHT,
        )  # fmt: skip
    table = found.table
    x = np.log2(table["heads"].to_numpy(dtype=float))
    rows = table.to_dict("records")
    said = [
        f"{counted(row['heads'], 'head')}: {three(found.whole)} to {three(row['left'])}; "
        f"p {p_words(row['p'])}, q {p_words(row['q'])}"
        for row in rows
    ]
    random = [
        f"{counted(row['sets'], 'random set')} of {'the same layers' if row['same_layers'] else 'any layer'}: "
        f"{three(row['lo'])} to {three(row['hi'])}"
        for row in rows
    ]
    return part_lines(
        [Line(RANDOM, x, table["random"].to_numpy(), random), Line(CHOSEN, x, table["fall"].to_numpy(), said)],
        x_label="heads switched off",
        x_range=(-0.3, float(x[-1]) + 0.3),
        label="fall of the decision",
        reference=0.0,
        ranges=Ranges(RANDOM, x, table["lo"].to_numpy(), table["hi"].to_numpy()),
        ticks=[(float(at), f"{int(count):,}") for at, count in zip(x, table["heads"], strict=True)],
        dark=dark,
        height=HEIGHT,
        hooks=hooks,
    )
