"""Hidden states: the tokens as points in the residual stream, and their paths through the layers."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import pandas as pd
import panel as pn
import panel_material_ui as pmui
import param

from atlas.patches.panes import Markup
from atlas.plots.colours import key_of
from atlas.plots.frame import on_axes
from atlas.plots.heads import chosen_rows
from atlas.plots.hidden import (
    HEIGHT,
    MARKED,
    MOST_PATHS,
    layer_mark,
    likeness,
    marked_columns,
    point_places,
    ranges,
    token_cloud,
)
from atlas.state.hidden import HiddenLens
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.hidden import without_hidden
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.colour_key import key_markup
from atlas.views.events import on_reset, on_select, on_tap
from atlas.views.glyph import Glyph
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "hidden"


class HiddenView(View):
    """The states of the tokens at a layer, or through all of them."""

    key: ClassVar = "hidden"
    title: ClassVar = "Hidden states"
    question: ClassVar = "How do the tokens move through the layers?"
    help: ClassVar = (
        "A point is a token: its state in the residual stream that enters a layer, on the two directions in which the states "
        "differ most (PCA). Each layer has axes of its own, so a token that stands elsewhere in the next layer need not have "
        "moved; with one PCA for all layers the axes are the same, and the lines are the paths of the selected tokens (of all, "
        "in a short text without a selection). States grow with depth, and one token's may be far longer than the others: scaled "
        "to length 1, only directions count. In cross-attention the tokens are the decoder's. At the right: the mean cosine "
        "between two tokens. Near 1, all states point the same way, and a cosine between two of them says little; without their "
        "mean, the shared direction is gone. Click a token, or draw a box or a lasso, to select; click in the right plot to go "
        "to a layer."
    )
    defines: ClassVar = ("state_variance", "state_cosine", "state_cosine_centred")
    lens_type: ClassVar = HiddenLens
    states = Shows(HiddenLens)
    wide: ClassVar = True

    redrawn = param.Integer(default=0, doc="Counts the changes that only a new drawing can show.")

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.glyphs = {name: Glyph() for name in MARKED}
        self.layer_mark = Glyph()
        self._drawn_for: Hashable = None
        self._hears = [on_select(self._picked), on_reset(self._show_selection)]
        self._layers = [on_tap(self._tapped)]
        self.slider = pn.widgets.IntSlider(
            label="Layer", start=0, end=1, width=150, margin=(8, 8, 2, 4), css_classes=["aa-hidden-layer"]
        )
        self.slider.param.watch(self._slid, "value")

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A recording of attention alone has no states."""
        return without_hidden(trace)

    def tools(self) -> list[Any]:
        """Which layer, one PCA for all of them, and the scale."""
        choices = self.states.choices.param
        look = {"size": "small", "margin": TIGHT}
        return [
            self.slider,
            pmui.Switch.from_param(choices.joint, label="One PCA for all layers", **look),
            pmui.Switch.from_param(choices.unit, label="Length 1", **look),
        ]

    def body(self) -> Any:
        """The cloud beside the likeness of its tokens, and what both say."""
        own = self.visibility.param
        self.visibility.follow_revision(self._fit_slider)
        self._fit_slider()
        self.visibility.follow_marks(self._mark)
        self.visibility.follow_revision(self._update)
        changes = [self.follows(self, ["dark", "redrawn"])]
        # Widths of columns, not of the panes: a card sets those of its figures when it is enlarged.
        columns = [
            pn.Column(
                self.plot_pane(
                    hv.DynamicMap(self.drawing(draw, blank), streams=changes),
                    sizing_mode="stretch_width", height=HEIGHT, css_classes=[name],
                ),
                sizing_mode="stretch_width", margin=0, **width,
            )
            for draw, blank, name, width in (
                (self._cloud, no_cloud, "aa-hidden-cloud", {"min_width": 360}),
                (self._likeness, no_likeness, "aa-hidden-likeness", {"max_width": 420}),
            )
        ]  # fmt: skip
        words = self.bound(self._words, own.revision, own.marks)
        key = self.bound(self._key, own.revision, self.param.dark)
        return pn.Column(
            pn.Row(*columns, sizing_mode="stretch_width", margin=0),
            Markup(key, sizing_mode="stretch_width", margin=(0, 8), css_classes=["aa-key"]),
            plain(words, "aa-hidden-words"),
            sizing_mode="stretch_width",
        )

    def export(self) -> Export:
        """Where every token stands."""
        return Export("hidden-states", self.states.table(), self._cloud())

    def _cloud(self, **_: Any) -> hv.Overlay:
        states = self.states
        hooks = {
            name: self.faults.hooks([glyph.hook, *(self._hears if name == "points" else ())])
            for name, glyph in self.glyphs.items()
        }
        self._drawn_for = self._frame()
        return token_cloud(states.points(), states.paths(), states.axes(), dark=self.dark, hooks=hooks)

    def _frame(self) -> Hashable:
        """What the glyphs are of: where it changes, all is drawn anew. None before there is anything to draw."""
        states = self.states
        return None if self.workspace.trace is None or states.cloud() is None else (self.workspace.trace, states.side)

    def _update(self) -> None:
        """Another layer, or other axes: the same tokens elsewhere, sent as columns."""
        frame, states = self._frame(), self.states
        found = states.cloud()
        if frame is None or found is None or frame != self._drawn_for:
            self.redrawn += 1
            return
        points, paths, axes = states.points(), states.paths(), states.axes()
        self.glyphs["points"].mark(point_places(points, axes), hook=on_axes(axes, *ranges(points, paths)))
        self.layer_mark.mark(layer_mark(found.cosine, found.cosine_centred, states.layer))
        self._mark()

    def _mark(self) -> None:
        """Other tokens are selected: points stay, names and paths change."""
        points = self.states.points()
        columns = marked_columns(points, self.states.paths())
        for name, glyph in self.glyphs.items():
            glyph.mark(columns.get(name, {}), chosen_rows(points) if name == "points" else None)

    def _likeness(self, **_: Any) -> hv.Overlay:
        found, nothing = self.states.cloud(), np.empty(0)
        # With hooks also while there is nothing to draw: HoloViews keeps those of the first drawing.
        hooks, marks = self.faults.hooks(self._layers), self.faults.hooks([self.layer_mark.hook])
        raw, centred, layer = (nothing, nothing, 0) if found is None else (found.cosine, found.cosine_centred, self.states.layer)
        return likeness(raw, centred, layer, dark=self.dark, hooks=hooks, mark_hooks=marks)

    def _words(self, *_: object) -> str:
        states = self.states
        many = len(states.selected()) > MOST_PATHS and len(states.paths()) > 0
        return states.words() + (f" Paths are drawn of the first {MOST_PATHS} selected tokens." if many else "")

    def _key(self, *_: object) -> str:
        return key_markup(key_of(self.states.points()["category"].astype(str)).items())

    def _fit_slider(self) -> None:
        """Let the slider say the layer on screen."""
        if self.workspace.trace is not None:
            self.slider.param.update(end=self.states.last, value=self.states.layer)

    @gesture
    def _slid(self, event: Any) -> None:
        if self.workspace.trace is not None:
            self.states.show_layer(int(event.new))

    @gesture
    def _tapped(self, x: float, _: float, **__: Any) -> None:
        layer = round(x)
        if 0 <= layer <= self.states.last:
            self.states.show_layer(layer)

    @gesture
    def _picked(self, rows: list[int]) -> None:
        """A tap, a box or a lasso; one that holds no token lets go of the tokens of this side."""
        selection, axis = self.workspace.selection, self.workspace.display.axis
        if set(rows) != self.states.selected():
            selection.select_tokens(rows, axis=axis, side=self.states.side, origin=ORIGIN)

    @gesture
    def _show_selection(self) -> None:
        """To reset the plot is to see all of it again, not to let go of tokens."""
        self._mark()


def no_cloud() -> hv.Overlay:
    """No tokens at all."""
    columns: dict[str, list[Any]] = {name: [] for name in ("position", "label", "x", "y", "category", "selected")}
    return token_cloud(pd.DataFrame(columns), np.empty((0, 0, 2)), ("component 1", "component 2"))


def no_likeness() -> hv.Overlay:
    """No layers at all."""
    return likeness(np.empty(0), np.empty(0), 0)
