"""Counterfactuals: the text with identity terms exchanged, beside the text."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.components.bar_list import BarList, Press
from atlas.state.counterfactuals import MOVED, RATIO, CounterfactualsLens
from atlas.state.validate import LONGEST_NAME
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.chance import BEYOND
from atlas.tracing.labelled import without_text
from atlas.views.base import TIGHT, gesture
from atlas.views.dotted import DottedPlaneView
from atlas.views.plain import plain
from atlas.views.shows import Shows

VALUES = {"beyond neutral swaps": RATIO, "as it is": MOVED}

TWO_TEXTS = "this trace has two texts, and a counterfactual is made of one"

LIST, NUMBERS = 2_000, 380
"""Pixels of a group: the texts below each other, the numbers beside each other."""

HIGH = 280
"""Pixels of the list, downwards: a nationality has a dozen counterparts, and the numbers stand below."""


class CounterfactualsView(DottedPlaneView):
    """What changes where an identity is exchanged."""

    key: ClassVar = "counterfactuals"
    title: ClassVar = "Counterfactuals"
    question: ClassVar = "What changes if it were somebody else?"
    help: ClassVar = (
        "The text with the words of one identity exchanged for those of another: all of them at once, with case, a/an, number "
        "and possessives kept; «» marks what changed. Words that mean other things too (white, straight, old) count where the "
        "parser says that they describe a person; it is sometimes wrong, and first names, many nationalities and more than two "
        "genders are not in the list. Type a swap of your own: doctor -> nurse; several at once after a semicolon; nothing after "
        "the arrow removes the word. Choose a row, and Compare: its button says how many runs that takes at most. Then: first "
        "bar the text, second bar the counterfactual. Below, each cell is a head: how far its attention between words moved "
        "(words aligned; special tokens are looked at and do not look), over what neutral words (“visitor”, “quiet”, names for "
        "pronouns) of the same kind and number of tokens at the same places do. The paper's colour: as much; orange more, purple "
        "less, by the logarithm to the base 2. A dot: beyond neutral swaps (q ≤ 0.05). A difference in one text "
        "is no proof of bias: compare several texts. Click a head to show and select it, the name of a layer to select its heads."
    )
    defines: ClassVar = ("counterfactual_likelihood", "counterfactual_reaction", "bias_label")
    lens_type: ClassVar = CounterfactualsLens
    counterfactuals = Shows(CounterfactualsLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        own = self.param
        scrolls = {"max-height": f"{HIGH}px", "overflow-y": "auto"}
        self.list = BarList(dark=own.dark, width_of_group=LIST, css_classes=["aa-counterfactuals-list"], styles=scrolls)
        self.numbers = BarList(dark=own.dark, width_of_group=NUMBERS, letters=20, margin=(12, 5, 5, 5))
        self.note = plain("", "aa-counterfactuals-note")
        look: dict[str, Any] = {"size": "small", "margin": (4, 4)}
        self.compare = pmui.Button(label="Compare", color="primary", variant="contained", css_classes=["aa-compare"], **look)
        self.analyse = pmui.Button(label="Open this text", variant="outlined", css_classes=["aa-analyse"], **look)
        self.compare.on_click(lambda _: self._compare())
        self.analyse.on_click(lambda _: self._analyse())
        self.list.on_press(self._pressed)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Words are exchanged in a text."""
        return without_text(trace) or (TWO_TEXTS if trace.texts.pair is not None else "")

    def said_of_colours(self) -> str:
        """What a number and a dot say."""
        number = "log₂ of the ratio to neutral swaps (1: twice as much)" if self.plane.signed else "attention of words that moved"
        return f"{number}; dot: beyond neutral swaps, q ≤ {BEYOND}"

    def dotted(self) -> frozenset[tuple[int, int]]:
        """The heads that react beyond neutral swaps."""
        return self.counterfactuals.beyond()

    def tools(self) -> list[Any]:
        """The reader's own swap, what a cell says, and what is done."""
        choices, look = self.counterfactuals.choices.param, {"size": "small", "margin": TIGHT}
        return [
            pmui.TextInput.from_param(
                choices.own, label="Your swap", placeholder="doctor -> nurse", width=200, max_length=LONGEST_NAME, **look
            ),
            pmui.Select.from_param(choices.value, label="Attention moved", options=VALUES, width=220, **look),
            # Here and not in the body, which is hidden while there is a problem.
            self.compare,
            self.analyse,
        ]

    def body(self) -> Any:
        """The texts, the numbers of the chosen one, and the heads."""
        self.heads = super().body()
        self._draw()
        self.visibility.follow_revision(self._draw)
        self.counterfactuals.param.watch(lambda _: self.counterfactuals.attempt_drawing(self._free), "busy")
        return pn.Column(self.list, self.note, self.numbers, self.heads, sizing_mode="stretch_width", margin=0)

    def _draw(self) -> None:
        lens = self.counterfactuals
        there = self.workspace.trace is not None
        self.list.groups = lens.rows() if there else []
        note = lens.note() if there else ""
        self.note.param.update(object=note, visible=bool(note))
        numbers = lens.numbers() if there else []
        self.numbers.param.update(groups=numbers, visible=bool(numbers))
        self.heads.visible = bool(numbers)
        self._free()

    def _free(self) -> None:
        """What can be pressed, and what it costs."""
        lens = self.counterfactuals
        if self.workspace.trace is None:
            return
        self.compare.param.update(label=f"Compare (up to {lens.cost():,} runs)", disabled=not lens.can_compare)
        self.analyse.disabled = lens.attempt(lens.chosen, None) is None

    @gesture
    def _pressed(self, press: Press) -> None:
        self.counterfactuals.choose(press["key"])

    @gesture
    def _compare(self) -> None:
        self.counterfactuals.compare()

    @gesture
    def _analyse(self) -> None:
        self.counterfactuals.analyse()
