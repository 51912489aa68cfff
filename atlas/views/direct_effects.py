"""Direct effects: who writes the prediction, and from which tokens."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui
import param

from atlas.ids import HeadId
from atlas.plots.attribution import AXIS, ROW_HEIGHT, Bars, score_bars, selected_boxes, token_at
from atlas.plots.signed_bars import Bar, height_of, signed_bars
from atlas.state.direct_effects import ALONE, DirectEffectsLens
from atlas.state.direct_lists import WRITERS, signed
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.chance import BEYOND
from atlas.tracing.direct_effects import without_direct_effects
from atlas.views.base import TIGHT, Export, gesture
from atlas.views.dotted import DottedPlaneView
from atlas.views.events import on_tap
from atlas.views.glyph import Glyph
from atlas.views.plain import plain
from atlas.views.shows import Shows

DOTS = f"dot: beyond chance (q ≤ {BEYOND})"

ROWS = WRITERS + 1
"""Rows of the list of writers: the last one is the others together."""

PLANE_HEIGHT = 340
"""Pixels of the plane: no higher than the list beside it, so that the bars below are soon seen."""

LIST_WIDTH = 440
"""Pixels of the list beside the plane."""

BARS_HEIGHT = ROW_HEIGHT + AXIS
"""Pixels of a row of bars with its names."""


class DirectEffectsView(DottedPlaneView):
    """The parts of a prediction by writer: heads on a plane, the strongest in a list, all of them by depth, heads by token."""

    key: ClassVar = "direct"
    title: ClassVar = "Direct effects"
    question: ClassVar = "Who writes the prediction?"
    help: ClassVar = (
        "The logit of an outcome is a sum: every embedding, head, feed-forward block and bias adds its own part to the residual "
        "stream, and the outcome reads the stream at its end. The line says what the parts add up to and what the model gives. "
        "Orange speaks for the outcome, purple against it. Left: the heads, layer by layer; right: the largest parts of all "
        "writers; below: all parts in the order of writing; at the bottom: the tokens from which the selected head took what "
        "it wrote, which add up to its part. Choose the outcome in the card 'Predictions'. A logit by itself has no zero: what "
        "all outcomes get alike changes no probability. Hold it against another outcome to see what decides between the "
        "two. Chance: what the same head adds to 200 outcomes drawn at random from the vocabulary (to 200 random pairs, where "
        "two are compared). A head has a dot where its part lies outside 95 % of these and q, corrected for the number of heads, "
        f"is at most {BEYOND}. The likeliest outcome is chosen because its sum is large, so its parts are larger than those of a "
        "random one for that alone. This is what is written directly; what later heads and blocks make of it counts as theirs, "
        "so a head may matter without a direct effect: 'Head effects' switches it off. Click a head to show and select it, a bar "
        "of a layer's heads to select them, a token to select it as key."
    )
    defines: ClassVar = ("direct_effect", "direct_effect_token")
    lens_type: ClassVar = DirectEffectsLens
    direct = Shows(DirectEffectsLens)
    wide: ClassVar = True
    fills: ClassVar = False

    resplit = param.Integer(default=0, doc="Counts the changes of the heads whose parts are split by token.")

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Without its model, predictions, or a stream that adds up, nobody is known to have written anything."""
        return without_direct_effects(trace)

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.keys = Glyph()
        self._hears_row, self._hears_step, self._hears_token = (
            [on_tap(each)] for each in (self._row_tapped, self._step_tapped, self._token_tapped)
        )
        self._split: tuple[tuple[HeadId, ...], str] = (), ""
        self._against = pmui.Select(
            label="Held against", options={"nothing": ""}, value="", size="small", margin=TIGHT, width=250
        )
        self._against.param.watch(self._chosen, "value")

    def tools(self) -> list[Any]:
        """What the outcome is held against."""
        self._offer()
        return [self._against]

    def said_of_colours(self) -> str:
        """What a dot means."""
        return DOTS if self.dotted() else ""

    def dotted(self) -> frozenset[tuple[int, int]]:
        """The heads beyond chance."""
        return self.direct.beyond()

    def body(self) -> Any:
        """The plane beside the list of writers, all parts by depth, the tokens of heads, and what is held."""
        changes = self.visibility.param.revision
        theme, data = self.follows(self, ["dark"]), self.follows(self.visibility, ["revision"])
        listed = self._pane_of(self._list, [data, theme], "list", height_of(ROWS))
        steps = self._pane_of(self._by_depth, [data, theme], "steps", BARS_HEIGHT)
        split = [data, self.follows(self, ["dark", "resplit"])]
        tokens = self._pane_of(self._tokens, split, "tokens", BARS_HEIGHT)
        words = self.bound(lambda *_: self._token_words(), changes, self.param.resplit)
        notes = self.bound(lambda _: self.direct.notes(), changes)
        self._offer()
        self.visibility.follow_revision(self._offer)
        beside = pn.Column(
            plain("The largest parts, with their share of the sum of all sizes", "aa-direct-list-words"),
            listed, sizing_mode="fixed", width=LIST_WIDTH, margin=(0, 0, 0, 12),
        )  # fmt: skip
        plane = super().body()
        for pane in plane.select(pn.pane.HoloViews):
            pane.height = PLANE_HEIGHT
        return pn.Column(
            pn.Row(plane, beside, sizing_mode="stretch_width", margin=0),
            plain("All parts in the order of writing (FFN: a feed-forward block)", "aa-direct-steps-words"),
            steps,
            plain(words, "aa-direct-tokens-words"),
            tokens,
            plain(notes, "aa-direct-notes"),
            sizing_mode="stretch_width",
            margin=0,
        )

    def _pane_of(self, draw: Any, streams: list[Any], name: str, height: int) -> Any:
        blank = nothing_listed if name == "list" else nothing_barred
        drawn = hv.DynamicMap(self.drawing(draw, blank), streams=streams)
        return self.plot_pane(drawn, sizing_mode="stretch_width", height=height, css_classes=[f"aa-direct-{name}"])

    def export(self) -> Export:
        """Every writer; the tokens of the head on screen beside it; the plots."""
        tokens = self.direct.tokens_table()
        plane = [] if self.image is None else [self.image[()]]
        picture = hv.Layout([*plane, self._list(), self._by_depth(), self._tokens()]).cols(1)
        return Export(self.key, self.direct.table(), picture, {} if tokens is None else {"tokens": tokens})

    # -- drawing -------------------------------------------------------------------------------------------------------

    def bars(self) -> list[Bar]:
        """The rows of the list."""
        return [
            Bar(row.name, row.part, f"{signed(row.part)} · {100 * abs(row.share):.0f} %", row.about)
            for row in self.direct.strongest()
        ]

    def _list(self, **_: Any) -> hv.Overlay:
        bars = self.bars()
        largest = max((abs(bar.part) for bar in bars), default=1.0)
        hooks = self.faults.hooks(self._hears_row)
        return signed_bars(bars, rows=ROWS, largest=largest, label=self.direct.reading(), dark=self.dark, hooks=hooks)

    def _by_depth(self, **_: Any) -> hv.Overlay:
        steps = self.direct.steps()
        rows = [Bars(self.direct.reading(), np.array([step.part for step in steps]), signed=True)] if steps else []
        hooks = {"bars": self.faults.hooks(self._hears_step)}
        names = [step.name for step in steps]
        return score_bars(names, ["all"] * len(steps), rows, dark=self.dark, hooks=hooks, height=BARS_HEIGHT)

    def _tokens(self, **_: Any) -> hv.Overlay:
        tokens = self.direct.tokens()
        self._split = ((), "") if tokens is None else (tokens.heads, tokens.why)
        # HoloViews keeps the hooks of the first drawing, which is made before the parts are there.
        hooks = {"bars": self.faults.hooks(self._hears_token), "marked": self.faults.hooks([self.keys.hook])}
        if tokens is None or not tokens.names:
            return score_bars((), (), (), dark=self.dark, hooks=hooks, height=BARS_HEIGHT)
        rows = [Bars(self.direct.reading(), tokens.parts, signed=True)]
        sides = [tokens.side] * len(tokens.names)
        marked = self.direct.marked_tokens()
        return score_bars(tokens.names, sides, rows, marked, dark=self.dark, hooks=hooks, height=BARS_HEIGHT)

    def mark(self) -> None:
        """Move the frames and the dots, and split the parts of other heads."""
        super().mark()
        tokens = self.direct.tokens()
        if tokens is None:
            return
        if (tokens.heads, tokens.why) != self._split:
            self.resplit += 1
            return
        sides = [tokens.side] * len(tokens.names)
        self.keys.outline(selected_boxes(sides, self.direct.marked_tokens(), 1))

    def _token_words(self) -> str:
        return self.direct.tokens_in_words() if self.workspace.trace is not None else ""

    def _offer(self) -> None:
        """The outcomes of the prediction on screen."""
        options = self.direct.offered()
        chosen = self.direct.choices.against
        self._against.param.update(options=options, value=chosen if chosen in options.values() else ALONE)

    # -- gestures ------------------------------------------------------------------------------------------------------

    @gesture
    def _chosen(self, event: Any) -> None:
        # An outcome that this prediction does not offer leaves the choice as it is: the next prediction may offer it.
        if event.new or self.direct.choices.against in self.direct.offered().values():
            self.direct.choices.against = event.new or ALONE

    @gesture
    def _row_tapped(self, _: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002
        self.direct.select_row(round(y), self.key)

    @gesture
    def _step_tapped(self, x: float, _: float, *, additive: bool = False) -> None:  # noqa: ARG002
        at = token_at(["all"] * len(self.direct.steps()), x)
        if at is not None:
            self.direct.select_step(at, self.key)

    @gesture
    def _token_tapped(self, x: float, _: float, *, additive: bool = False) -> None:  # noqa: ARG002
        tokens = self.direct.tokens()
        at = None if tokens is None else token_at([tokens.side] * len(tokens.names), x)
        if at is not None:
            self.direct.select_token(at, self.key)


def nothing_listed() -> hv.Overlay:
    """No writers at all."""
    return signed_bars([], rows=ROWS, largest=1.0, label="")


def nothing_barred() -> hv.Overlay:
    """No bars at all."""
    return score_bars((), (), (), height=BARS_HEIGHT)
