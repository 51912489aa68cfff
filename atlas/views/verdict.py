"""The verdict: whether the attention on screen is the reason for the prediction, in one sentence."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.components.bar_list import BarList
from atlas.definitions import DEFINITIONS
from atlas.state.verdict import METHODS, VerdictLens
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.explained import without_model
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.head_effects import REPLACED_BY
from atlas.views.plain import plain
from atlas.views.shows import Shows

TITLES = {DEFINITIONS[name].title: name for name in METHODS}

SENTENCE = "pre { font-size: 1.02rem; line-height: 1.5; max-width: 96ch; }"

BESIDE = 380
"""Pixels of a group of numbers."""

LETTERS = 24
"""Of the longest name of a number."""


class VerdictView(View):
    """One sentence that follows from numbers by stated rules; a press works it out."""

    key: ClassVar = "verdict"
    title: ClassVar = "Verdict"
    question: ClassVar = "Is this attention the reason?"
    help: ClassVar = (
        "The sentence is about the selected heads, or the one in focus, their attention from the selected tokens, if any are, "
        "and the prediction that is explained. It holds three "
        "things together: whether the tokens they attend to are those that matter by gradients and by occlusion; how far two "
        "gradient methods agree with each other (the ceiling) and random heads with the scores (the floor); and whether removing "
        "the heads changes the prediction more than removing as many random heads of the same layers. Where these layers have "
        "fewer than 19 other sets of as many heads, no p could be under 0.05, and heads of any layer are drawn. The sentence "
        "follows from the numbers by rules alone, which the switch lists; its limit is p = 0.05 for each, not corrected for the "
        "number of verdicts you ask for. A bar is the size of a number. A verdict of chance on a short text may be for want of "
        "tokens: see how wide the interval is."
    )
    defines: ClassVar = ("verdict_agreement", "verdict_removal", "head_agreement", "head_effect")
    lens_type: ClassVar = VerdictLens
    judged = Shows(VerdictLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.button = pmui.Button(
            label="Judge this", color="primary", variant="contained", size="small", margin=(4, 4), css_classes=["aa-judge"]
        )
        self.button.on_click(lambda _: self._press())
        self.sentence = plain("", "aa-verdict")
        self.sentence.stylesheets = [*self.sentence.stylesheets, SENTENCE]
        self.notes = plain("", "aa-verdict-notes")
        self.bars = BarList(dark=self.param.dark, width_of_group=BESIDE, letters=LETTERS, css_classes=["aa-verdict-numbers"])
        self.rules = BarList(dark=self.param.dark, width_of_group=2 * BESIDE, letters=LETTERS, css_classes=["aa-verdict-rules"])

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Without its model, or without predictions, there is nothing to judge."""
        return without_model(trace)

    def tools(self) -> list[Any]:
        """What the attention is held against, how heads are removed, and the press."""
        choices = self.judged.choices.param
        look: dict[str, Any] = {"size": "small", "margin": TIGHT}
        return [
            pmui.Select.from_param(choices.method, label="Gradients by", options=TITLES, width=212, **look),
            pmui.Select.from_param(choices.how, label="Removed heads become", options=REPLACED_BY, width=160, **look),
            pmui.Switch.from_param(choices.rules, label="All rules", css_classes=["aa-all-rules"], **look),
            # Here and not in the body, which is hidden while there is a problem: it is the way out of one.
            self.button,
        ]

    def body(self) -> Any:
        """The sentence, what has to be known about it, its numbers and the rules."""
        self._draw()
        self.visibility.follow_revision(self._draw)
        self.judged.param.watch(lambda _: self.judged.attempt_drawing(self._free), ["busy", "problem"])
        return pn.Column(self.sentence, self.notes, self.bars, self.rules, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """The sentence, its numbers and the rules."""
        return Export("verdict", self.judged.table(), None)

    def _draw(self) -> None:
        shown = self.judged.shown()
        numbers, rules = shown.groups[:-1], shown.groups[-1:]
        self.sentence.param.update(object=shown.sentence, visible=bool(shown.sentence))
        notes = "\n".join(filter(None, (shown.cost, *shown.notes)))
        self.notes.param.update(object=notes, visible=bool(notes))
        self.bars.param.update(groups=list(numbers), visible=bool(numbers))
        self.rules.param.update(groups=list(rules), visible=bool(rules))
        self._free()

    def _free(self) -> None:
        """Whether the button can be pressed."""
        self.button.disabled = not self.judged.can_start

    @gesture
    def _press(self) -> None:
        self.judged.start()
