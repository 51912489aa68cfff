"""The flow: attention as ribbons from token to token."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui
import param

from atlas.plots.flow import ELEMENTS, Look, flow_columns, flow_plot, marked_columns
from atlas.plots.ribbons import Column, Flow, Ribbons, Step, heads_flow, layers_flow, ribbon_at, token_at
from atlas.state.flow import CATEGORY, HEADS, LAYERS, ONE, FlowLens, ShownFlow
from atlas.state.links import percent, select_end
from atlas.state.workspace import Workspace
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.events import Range, on_range, on_tap
from atlas.views.glyph import Glyph
from atlas.views.plain import NO_TITLE, plain
from atlas.views.shows import Shows

ORIGIN = "flow"

THROUGH = {"these heads": HEADS, "layer by layer": LAYERS}
COLOURS = {"one": ONE, "kind of token": CATEGORY}

LEAST, MOST, PER_TOKEN = 420, 1_000, 13
"""Pixels of the plot: so many a token, between these ends."""

AROUND = 40
"""Pixels of the plot above and below the ribbons."""

REACH = 5
"""Pixels from a ribbon at which a tap is still on it."""

KEY = "Orange: from special tokens. Purple: from punctuation. Green: from words."
"""What the colours mean where they mean something."""


class FlowView(View):
    """Ribbons from the tokens that look to those that are looked at."""

    key: ClassVar = "flow"
    title: ClassVar = "Flow"
    question: ClassVar = "Where does the attention flow?"
    help: ClassVar = (
        "These heads: a ribbon goes from a query at the left to a key at the right (in cross-attention from the target to the "
        "source) and is as high as its weight at both ends; a bar is as high as what the token gives or receives in all, so bare "
        "bar is attention that is not drawn. Layer by layer: a ribbon between two columns goes from the token that is read, at "
        "the left, to the token that reads it, at the right; the residual stream, which carries each token along, is not drawn. "
        "The strongest links of the whole picture (of each layer) are drawn until they carry the share of the attention that the "
        "slider says; a query whose attention is spread thin may then have none. Between words, as the switch beside the tabs "
        "says: to a word the weights of its tokens are summed, from it averaged. Click a ribbon to select its query and key, or "
        "a token to select it; what is not selected fades."
    )
    defines: ClassVar = ("flow_share", "flow_link", "word_weight")
    lens_type: ClassVar = FlowLens
    links = Shows(FlowLens)
    wide: ClassVar = True

    redrawn = param.Integer(default=0, doc="Counts the changes that only a whole new drawing can show.")

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.glyphs = {name: Glyph() for name in ELEMENTS}
        self._hears = [on_tap(self._tapped), on_range(self._moved)]
        self._view: Range = None
        self._made: tuple[ShownFlow, Flow] | None = None
        self._sent: Flow = NOTHING
        """The flow that the plot has the ribbons of."""
        self._pane: Any = None

    def tools(self) -> list[Any]:
        """Which heads, and what the colours mean."""
        choices = self.links.choices.param
        return [
            pmui.Select.from_param(choices.through, label="Through", options=THROUGH, size="small", margin=TIGHT, width=150),
            pmui.Select.from_param(choices.colour, label="Colour", options=COLOURS, size="small", margin=TIGHT, width=144),
        ]

    def body(self) -> Any:
        """The ribbons, and which share of the attention they are."""
        drawn = hv.DynamicMap(self.drawing(self._plot, no_flow), streams=[self.follows(self, ["dark", "redrawn"])])
        self.visibility.follow_revision(self._update)
        self.visibility.follow_marks(self._mark)
        self._pane = self.plot_pane(drawn, sizing_mode="stretch_width", height=self._wanted(), css_classes=["aa-flow"])
        key = self.bound(lambda colour: KEY if colour == CATEGORY else "", self.links.choices.param.colour)
        return pn.Column(self._pane, self._slider(), plain(key, "aa-flow-key"), sizing_mode="stretch_width")

    def export(self) -> Export:
        """Every drawn link."""
        return Export("flow", self.links.table(), self._plot())

    def flow(self) -> Flow:
        """Where the ribbons lie."""
        shown = self.links.shown()
        if shown is None:
            return NOTHING
        if self._made is None or self._made[0] is not shown:
            self._made = shown, _placed(shown)
        return self._made[1]

    # -- drawing -------------------------------------------------------------------------------------------------------

    def _slider(self) -> Any:
        choices = self.links.choices
        low, high = choices.param.share.bounds
        slider = pn.widgets.FloatSlider(
            start=low, end=high, step=0.01, value=choices.param.share, show_value=False, tooltips=False,
            label="Share of the attention shown", stylesheets=[NO_TITLE], sizing_mode="stretch_width", margin=(0, 10),
            css_classes=["aa-flow-share"],
        )  # fmt: skip
        slider.param.watch(self._cut, "value_throttled")
        words = self.bound(lambda share: f"Share of the attention shown: {percent(share)}", choices.param.share)
        return pn.Row(plain(words, "aa-flow-words", width=250, sizing_mode=None), slider, sizing_mode="stretch_width")

    @gesture
    def _cut(self, event: Any) -> None:
        self.links.choices.share = event.new

    def _wanted(self) -> int:
        """The height of the plot: so that tokens can be read, as far as a screen is high."""
        shown = self.links.shown()
        return min(max(PER_TOKEN * max(len(shown.queries), len(shown.keys)) + AROUND, LEAST), MOST) if shown else LEAST

    def _look(self) -> Look:
        shown, level = self.links.shown(), self.links.level
        queries, keys, categories = (shown.queries, shown.keys, shown.categories) if shown else ((), (), ())
        height = self._pane.height if self._pane is not None else self._wanted()
        view = self._view or (0.0, 1.0)
        return Look(
            queries, keys, self.links.marked(), categories, view, max(height - AROUND, AROUND), dark=self.dark,
            positions=(level.positions("query"), level.positions("key")),
        )  # fmt: skip

    def _plot(self, **_: Any) -> hv.Overlay:
        hooks = {
            name: self.faults.hooks([glyph.hook, *(self._hears if name == "ribbons" else ())])
            for name, glyph in self.glyphs.items()
        }
        self._sent = self.flow()
        return flow_plot(self._sent, self._look(), height=self._pane.height if self._pane else self._wanted(), hooks=hooks)

    def _update(self) -> None:
        """Other links on the same axes."""
        self.set_height(self._wanted(), self._pane)
        self._sent = self.flow()
        self._show(flow_columns(self._sent, self._look()))

    def _mark(self) -> None:
        """Other tokens are selected. Ribbons that came meanwhile are drawn too: there are as many marks as ribbons."""
        if self.flow() is self._sent:
            self._show(marked_columns(self._sent, self._look()))
        else:
            self._update()

    def _show(self, columns: dict[str, dict[str, Any]]) -> None:
        drawn = [self.glyphs[name].mark(found) for name, found in columns.items()]
        if not all(drawn):
            self.redrawn += 1

    # -- gestures ------------------------------------------------------------------------------------------------------

    @gesture
    def _moved(self, _: Range, y_range: Range) -> None:
        """Another part is on screen, which has room for other names."""
        if y_range is not None:
            low, high = sorted(y_range)
            view = (max(low, 0.0), min(high, 1.0))
            self._view = None if view == (0.0, 1.0) or view[0] >= view[1] else view
            self._mark()

    @gesture
    def _tapped(self, x: float, y: float, *, additive: bool = False) -> None:
        """A tap on a ribbon, or outside of them on the name of a token."""
        flow = self.flow()
        low, high = self._view or (0.0, 1.0)
        height = max(self._pane.height if self._pane is not None else LEAST, 1)
        if 0 <= y <= 1 and flow.columns and not _inside(flow.columns, x):
            column = flow.columns[0] if x < 0.5 else flow.columns[-1]
            at = token_at(column, y)
            if at is not None:
                select_end(self.workspace, self.links.level.tokens(column.axis, at), column.axis, ORIGIN, additive=additive)
            return
        found = ribbon_at(flow.ribbons, x, y, REACH * (high - low) / height)
        if found is not None:
            self.links.select_link(int(flow.ribbons.query[found]), int(flow.ribbons.key[found]), ORIGIN)


EDGE = 0.006
"""How far from a column a tap is still on its bars."""


def _inside(columns: tuple[Column, ...], x: float) -> bool:
    return columns[0].x + EDGE < x < columns[-1].x - EDGE


def _placed(shown: ShownFlow) -> Flow:
    steps = [Step(step.query, step.key, step.weight, step.chance, step.sent, step.received) for step in shown.steps]
    return heads_flow(steps[0]) if shown.through == HEADS else layers_flow(steps)


NOTHING = Flow(Ribbons(*(np.empty(0, dtype) for dtype in (*"fffff", *"ii", *"ff", "i"))), (), ())
"""No ribbons."""


def no_flow() -> hv.Overlay:
    """A plot without ribbons."""
    return flow_plot(NOTHING, Look((), ()), height=LEAST)
