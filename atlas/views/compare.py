"""Sides A and B: the card that sets side B."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.state.compare import PRESETS, WITHOUT_HEADS, CompareLens
from atlas.state.inputs import LONGEST_TEXT
from atlas.state.second import PRECISIONS
from atlas.state.second_lens import AUTO
from atlas.state.workspace import Workspace
from atlas.tracing.two_heads import BY_INDEX, BY_PATTERN
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.plain import plain
from atlas.views.shows import Shows

SAME = "as on side A"

BY = {"as the shapes allow": AUTO, "by layer and number": BY_INDEX, "by similar patterns": BY_PATTERN}


class CompareView(View):
    """What is compared with what."""

    key: ClassVar = "compare"
    title: ClassVar = "Sides A and B"
    question: ClassVar = "What is compared with what?"
    help: ClassVar = (
        "Side A is the text on screen, side B what it is held against: press a button, or set model, text and precision and "
        "press Run side B. What is left as it is is as on side A. All views of this tab then show both sides, and every "
        "difference is B − A. Words are aligned by the text, whatever the tokenizers: equal words in their order, and between "
        "them as many words of one text with as many of the other. A word that only one side has is without partner, and so are "
        "special tokens that the other side has not. Heads are paired by layer and number where both sides have as many; else "
        "so that the sum of their similarities is largest, each with one partner at most. A selection on any view is that of "
        "side A; side B follows by its partners. The link keeps both sides."
    )
    defines: ClassVar = ("matched_similarity",)
    lens_type: ClassVar = CompareLens
    compare = Shows(CompareLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        look: dict[str, Any] = {"size": "small", "margin": (4, 4)}
        self.presets = {
            name: pmui.Button(label=label, variant="outlined", css_classes=[f"aa-preset-{name}"], **look)
            for name, label in PRESETS.items()
        }
        for name, button in self.presets.items():
            button.on_click(partial(self._preset, name))
        self.model = pmui.Select(
            label="Model of B", searchable=True, options=[SAME], value=SAME, width=230, css_classes=["aa-b-model"], **look
        )
        self.dtype = pmui.Select(
            label="Precision of B", options={SAME: "", **{name: name for name in PRECISIONS if name}}, value="", width=150, **look
        )
        self.text = pmui.TextAreaInput(
            label="Text of B (empty: that of side A)", max_length=LONGEST_TEXT, rows=2, max_rows=6, auto_grow=True,
            sizing_mode="stretch_width", css_classes=["aa-b-text"], margin=(4, 4),
        )  # fmt: skip
        self.run = pmui.Button(label="Run side B", color="primary", variant="contained", css_classes=["aa-run-b"], **look)
        self.stop = pmui.Button(label="Remove side B", variant="text", css_classes=["aa-no-b"], **look)
        self.run.on_click(lambda _: self._run())
        self.stop.on_click(lambda _: self._clear())
        self.note = plain("", "aa-compare-note")
        self.sides = plain("", "aa-compare-sides")

    def tools(self) -> list[Any]:
        """How heads are paired."""
        by = self.compare.choices.param.by
        return [pmui.Select.from_param(by, label="Heads are paired", options=BY, size="small", margin=TIGHT, width=190)]

    def body(self) -> Any:
        """The presets, what both sides are, and the fields that set side B."""
        names = self.compare.names()
        self.model.options = [SAME, *names]
        second = self.workspace.second
        second.param.watch(lambda *_: self.compare.attempt_drawing(self._fill_in), ["model", "dtype", "text"])
        self._fill_in()
        self._draw()
        self.visibility.follow_revision(self._draw)
        self.compare.param.watch(lambda *_: self.compare.attempt_drawing(self._draw), "note")
        return pn.Column(
            pn.FlexBox(*self.presets.values(), margin=0, sizing_mode="stretch_width"),
            self.note,
            self.sides,
            pn.Row(self.model, self.dtype, self.text, sizing_mode="stretch_width", margin=(10, 0, 0, 0)),
            pn.Row(self.run, self.stop, margin=0),
            sizing_mode="stretch_width",
            margin=0,
        )

    def export(self) -> Export:
        """The words of both sides."""
        return Export("compare", self.compare.table(), None)

    def _fill_in(self) -> None:
        """Write into the fields what side B is made of: a preset, or a link, has set it."""
        second = self.workspace.second
        if second.model and second.model not in self.model.options:
            self.model.options = [*self.model.options, second.model]
        self.model.value = second.model or SAME
        self.dtype.value, self.text.value = second.dtype, second.text

    def _draw(self) -> None:
        lens, second = self.compare, self.workspace.second
        there = self.workspace.trace is not None
        heads = lens.shown_heads()
        several = len(heads)
        self.presets[WITHOUT_HEADS].label = "Without this head" if several == 1 else f"Without these {several:,} heads"
        self.presets[WITHOUT_HEADS].disabled = not heads
        self.sides.object = "\n".join(f"{name}: {said}" for name, said in lens.rows()) if there else ""
        self.note.param.update(object=lens.note, visible=bool(lens.note))
        self.run.label = "Run side B again" if second.used else "Run side B"
        self.stop.visible = bool(second.used or second.trace is not None)

    @gesture
    def _preset(self, name: str, _: Any) -> None:
        self.compare.preset(name)

    @gesture
    def _run(self) -> None:
        model = "" if self.model.value == SAME else str(self.model.value)
        self.compare.run(model, self.text.value or "", str(self.dtype.value))

    @gesture
    def _clear(self) -> None:
        self.compare.clear()
