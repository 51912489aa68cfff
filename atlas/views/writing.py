"""Writing: how the model goes on with the text, and what else it could have written."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.components.bar_list import BarList
from atlas.components.bar_list import Press as RowPress
from atlas.components.chips import Chips
from atlas.components.chips import Press as ChipPress
from atlas.components.token_strip import Pick, TokenStrip
from atlas.plots.colours import sequential
from atlas.state.outcome_line import percent
from atlas.state.workspace import Workspace
from atlas.state.writing import WritingLens
from atlas.trace import Trace
from atlas.tracing.spans import spans_of
from atlas.tracing.writing import WrittenToken, without_writing
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "writing"

ALTERNATIVES = 420
"""Pixels of the list of alternatives."""


class WritingView(View):
    """Lets the model write on; each written token is shaded by its probability and opens its alternatives."""

    key: ClassVar = "writing"
    title: ClassVar = "Writing"
    question: ClassVar = "How does the text go on?"
    help: ClassVar = (
        "The model writes on after the text on screen, token by token, with the same heads and edges switched off. An "
        "encoder-decoder writes its target. The colour of a token is its probability: the model's own, before temperature and "
        "top-p. Click a token to see what else could have stood there; click one of these to write on from it. The model stops "
        "at the number of tokens, where it ends the text itself, or where its positions are used up. What is set above takes "
        "effect when the model next writes. Analyse this text runs the text with what was written through the model, so that "
        "all views show it. The chips select the tokens of the prompt, of what was written, or of one role of a conversation."
    )
    defines: ClassVar = ("prediction_probability", "sampling")
    lens_type: ClassVar = WritingLens
    writing = Shows(WritingLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        own = self.param
        self.strip = TokenStrip(label="Written tokens", lines=6, meaning="probability", dark=own.dark, css_classes=["aa-written"])
        self.bars = BarList(dark=own.dark, width_of_group=ALTERNATIVES, css_classes=["aa-alternatives"])
        self.chips = Chips(inline=True, dark=own.dark, css_classes=["aa-spans"])
        self.note = plain("", "aa-writing-note")
        look: dict[str, Any] = {"size": "small", "margin": (4, 4)}
        self.write = pmui.Button(label="Write on", color="primary", variant="contained", css_classes=["aa-write"], **look)
        self.anew = pmui.Button(label="Start anew", variant="text", css_classes=["aa-anew"], **look)
        self.analyse = pmui.Button(label="Analyse this text", variant="outlined", css_classes=["aa-analyse"], **look)
        self.write.on_click(lambda _: self._write())
        self.anew.on_click(lambda _: self._anew())
        self.analyse.on_click(lambda _: self._analyse())
        self.strip.on_pick(self._picked)
        self.bars.on_press(self._chosen)
        self.chips.on_chip(self._pressed)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A model that does not write has nothing to show, unless the text itself has spans."""
        spans = any(spans_of(trace, side) for side in trace.token_tables)
        return "" if spans else without_writing(trace)

    def tools(self) -> list[Any]:
        """How many tokens, how each is chosen, and what is done."""
        choices = self.writing.choices.param
        drawn = {"size": "small", "margin": TIGHT, "visible": choices.sample}
        return [
            pmui.IntInput.from_param(choices.tokens, label="Tokens", size="small", margin=TIGHT, width=116),
            pmui.Switch.from_param(choices.sample, label="Sample", size="small", margin=TIGHT, css_classes=["aa-sample"]),
            pmui.FloatInput.from_param(choices.temperature, label="Temperature", step=0.1, width=116, **drawn),
            pmui.FloatInput.from_param(choices.top_p, label="Top-p", step=0.05, width=116, **drawn),
            pmui.IntInput.from_param(choices.seed, label="Seed", width=116, **drawn),
            # Here and not in the body, which is hidden while there is a problem: they are the way out of one.
            self.write,
            self.anew,
            self.analyse,
        ]

    def body(self) -> Any:
        """The written tokens, the alternatives of one, and the spans."""
        self._draw()
        self.visibility.follow_revision(self._draw)
        self.visibility.follow_marks(self._mark)
        self.writing.param.watch(lambda _: self.writing.attempt_drawing(self._draw_coming), "waiting")
        self.writing.param.watch(lambda _: self.writing.attempt_drawing(self._free), "busy")
        self.param.watch(lambda _: self.writing.attempt_drawing(self._draw), "dark")
        return pn.Column(self.strip, self.note, self.bars, self.chips, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """The text, the written tokens and their alternatives."""
        return Export("writing", self.writing.table(), None)

    def _draw(self) -> None:
        lens, shown = self.writing, self.writing.shown()
        palette = list(sequential(dark=self.dark))
        if self.strip.palette != palette:
            self.strip.palette = palette
        self._show(shown.tokens, shown.start, shown.picked)
        self.bars.param.update(groups=list(shown.alternatives), visible=bool(shown.alternatives))
        self.note.param.update(object=shown.note, visible=bool(shown.note))
        self._free()
        self.anew.visible = lens.begun
        self.analyse.visible = lens.can_analyse
        self._mark()

    def _free(self) -> None:
        """Whether the button can be pressed: also after what failed."""
        self.write.disabled = bool(self.writing.reason) or self.writing.busy

    def _draw_coming(self) -> None:
        """The tokens so far, while the model writes."""
        if self.writing.busy:
            self._show(self.writing.coming(), self.writing.start, None)

    def _show(self, tokens: tuple[WrittenToken, ...], start: int, picked: int | None) -> None:
        marked = [] if picked is None else [start + picked]
        self.strip.param.update(
            tokens=[_row(at, token) for at, token in enumerate(tokens, start)],
            weights=[token.probability for token in tokens],
            values=[percent(token.probability) for token in tokens],
            selected_from=marked,
            selected_to=marked,
            visible=bool(tokens),
        )

    def _mark(self) -> None:
        groups = list(self.writing.spans())
        self.chips.param.update(groups=groups, visible=bool(groups))

    @gesture
    def _write(self) -> None:
        self.writing.write_on()

    @gesture
    def _anew(self) -> None:
        self.writing.start_anew()

    @gesture
    def _analyse(self) -> None:
        self.writing.analyse()

    @gesture
    def _picked(self, pick: Pick) -> None:
        if pick["positions"] and not self.writing.busy:
            self.writing.pick(pick["positions"][0] - self.writing.shown().start)
        elif self.writing.shown().picked is not None:
            self.writing.pick(-1)

    @gesture
    def _chosen(self, press: RowPress) -> None:
        self.writing.choose(press["key"])

    @gesture
    def _pressed(self, press: ChipPress) -> None:
        side, _, name = press["key"].partition(":")
        positions = spans_of(self.writing.trace, side).get(name, [])
        active = any(chip["key"] == press["key"] and chip["active"] for group in self.chips.groups for chip in group["chips"])
        selection, axis = self.workspace.selection, self.workspace.display.axis
        change = selection.toggle_tokens if press["additive"] or active else selection.select_tokens
        change(positions, axis=axis, side=side, origin=ORIGIN)


def _row(at: int, token: WrittenToken) -> dict[str, Any]:
    """A token as `TokenStrip` takes it: its letters, and the space before them."""
    letters = token.text.lstrip() or token.text
    gap = token.text[: len(token.text) - len(letters)]
    return {"position": at, "text": letters or token.token, "gap": gap}
