"""One row of attention step by step: the vectors, their product, the scores, the weights, and what is written."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import param
from holoviews import streams

from atlas.components.bar_list import BarList
from atlas.plots.colours import raster_palette, theme
from atlas.plots.frame import number
from atlas.plots.steps import (
    NOTHING,
    Block,
    Strips,
    in_numbers,
    named,
    strip_bounds,
    strip_columns,
    strip_pixels,
    strip_plot,
    strip_ranges,
    strip_under,
)
from atlas.state.steps import MOST_KEYS, ShownRow, StepsLens
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.steps import Written, without_steps
from atlas.views.base import Export, View, gesture
from atlas.views.canvas import readout
from atlas.views.events import on_tap
from atlas.views.glyph import Glyph, Raster
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "steps"

ROW = 23
"""Pixels of a row."""

HEIGHT = ROW * (MOST_KEYS + 1) + 40
"""Pixels of the plot of the keys: q, the keys and the titles."""

VALUE_HEIGHT = ROW * 3 + 40
"""Pixels of the plot of the values."""

ALONE = 0.42
"""Share of the plot of the values that its strips take."""

POINT = "Point at a cell of a strip for its number; click a row to select its key."


class StripsPlot:
    """A plot of strips that takes other numbers without being drawn again."""

    def __init__(self) -> None:
        self.image = Raster()
        self.glyphs = {name: Glyph() for name in strip_columns(NOTHING)}

    def draw(self, view: StepsView, strips: Strips, height: int, hears: Any = ()) -> hv.Overlay:
        """The whole plot."""
        hooks = {"image": view.faults.hooks([self.image.hook, *hears])}
        hooks |= {name: view.faults.hooks([glyph.hook]) for name, glyph in self.glyphs.items()}
        return strip_plot(strips, height=height, dark=view.dark, hooks=hooks)

    def show(self, strips: Strips, *, dark: bool) -> bool:
        """Other numbers, on as many rows as they take; False where it has to be drawn again."""
        palette = raster_palette(dark=dark, signed=True)
        # Bokeh has the first line of an image at its bottom, which is at the top of an axis that runs downwards.
        left, bottom, right, top = strip_bounds(strips)
        names, (bottom_row, top_row) = named(strips, theme(dark=dark)), strip_ranges(strips)[1]

        def hook(plot: Any, element: Any) -> None:
            names(plot, element)
            plot.state.y_range.update(start=bottom_row, end=top_row)

        if not self.image.show(strip_pixels(strips), (left, bottom, right, top), palette, hook):
            return False
        return all(self.glyphs[name].mark(data) for name, data in strip_columns(strips).items())


class StepsView(View):
    """How one weight is computed, and what is done with it."""

    key: ClassVar = "steps"
    title: ClassVar = "Step by step"
    question: ClassVar = "How is one attention weight computed?"
    help: ClassVar = (
        "The row of one query in the head in focus. A strip is a vector, a cell of it a dimension: orange is positive, purple "
        "negative, and ± says where the colour is strongest. Under q stand the keys with the largest weights, and those that are "
        "selected; beside each k is q × k, dimension by dimension, whose sum is q·k. From there each column is worked out from "
        "the one before: scaled, capped, with the position bias, and after softmax the weight. All are of this head alone. Click "
        "a row to select its key: the list tells its numbers with their formulas, and below stands what is done with its value. "
        "The head is the one in focus, the query the first that is selected."
    )
    defines: ClassVar = ("attention_steps", "head_written")
    lens_type: ClassVar = StepsLens
    steps = Shows(StepsLens)
    wide: ClassVar = True

    redrawn = param.Integer(default=0, doc="Counts the changes that only a whole new drawing can show.")

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.keys, self.values = StripsPlot(), StripsPlot()
        self.list = BarList(dark=self.param.dark, width_of_group=560, margin=(4, 8))
        self.under = readout(POINT)
        self._hears = [on_tap(self._tapped)]
        self._pointer: tuple[bool, float | None, float | None] = (True, None, None)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Weights that were recorded alone cannot be taken apart."""
        return without_steps(trace)

    def body(self) -> Any:
        """The keys, the numbers of one, and its value."""
        follows = [self.follows(self, ["dark", "redrawn"])]
        keys = hv.DynamicMap(self.drawing(self._keys, lambda: strip_plot(NOTHING, height=HEIGHT)), streams=follows)
        values = hv.DynamicMap(self.drawing(self._values, lambda: strip_plot(NOTHING, height=VALUE_HEIGHT)), streams=follows)
        for plot, above in ((keys, True), (values, False)):
            streams.PointerXY(source=plot).add_subscriber(self._pointed_above if above else self._pointed_below)
        self.visibility.follow_revision(self._update)
        self.list.groups = [self.steps.steps()]
        look: dict[str, Any] = {"sizing_mode": "stretch_width"}
        notes = self.bound(lambda _: self.steps.notes(), self.visibility.param.revision)
        return pn.Column(
            self.plot_pane(keys, height=HEIGHT, css_classes=["aa-steps"], **look),
            self.plot_pane(values, height=VALUE_HEIGHT, css_classes=["aa-step-values"], **look),
            self.under, self.list, plain(notes, "aa-step-notes"), **look,
        )  # fmt: skip

    def export(self) -> Export:
        """Every number of the rows on screen."""
        return Export("steps", self.steps.table(), self._keys())

    # -- drawing -------------------------------------------------------------------------------------------------------

    def key_strips(self) -> Strips:
        """q, and under it the keys."""
        shown = self.steps.shown()
        if shown is None:
            return NOTHING
        row, keys = shown.row, list(shown.keys)
        count, nothing = len(keys), np.full((1, len(row.q)), np.nan, np.float32)
        k, products = row.k[keys], row.products[keys]
        limits = [_strongest(row.q), *[_strongest(k)] * count]
        columns = shown.columns | {"weight": shown.weights}
        return Strips(
            names=(f"q of {shown.query_name}", *shown.names),
            blocks=(
                Block(
                    f"q (±{number(limits[0])}), and k of each key (±{number(_strongest(k))})",
                    np.concatenate([row.q[None], k]),
                    np.array(limits),
                ),
                Block(
                    f"q × k (±{number(_strongest(products))})",
                    np.concatenate([nothing, products]),
                    np.full(count + 1, _strongest(products)),
                ),
            ),
            numbers={title: ["", *in_numbers(values)] for title, values in columns.items()},
            bars=np.array([np.nan, *shown.weights]),
            chosen=None if shown.chosen is None else shown.chosen + 1,
            room=MOST_KEYS + 1,
        )

    def value_strips(self) -> Strips:
        """The value of the chosen key, with its weight, and the sum over all keys."""
        shown = self.steps.shown()
        if shown is None or shown.chosen is None or shown.row.v is None or shown.row.mix is None:
            return NOTHING._replace(room=3, width=ALONE)
        found, _ = self.steps.written()
        return _value_strips(shown, shown.keys[shown.chosen], found)

    def _keys(self, **_: Any) -> hv.Overlay:
        return self.keys.draw(self, self.key_strips(), HEIGHT, self._hears)

    def _values(self, **_: Any) -> hv.Overlay:
        return self.values.draw(self, self.value_strips(), VALUE_HEIGHT)

    def _update(self) -> None:
        """Another row, or another key of it."""
        drawn = (self.keys, self.key_strips()), (self.values, self.value_strips())
        shown = [plot.show(strips, dark=self.dark) for plot, strips in drawn]
        if not all(shown):
            self.redrawn += 1
        self.list.groups = [self.steps.steps()]
        self._write()

    # -- gestures ------------------------------------------------------------------------------------------------------

    @gesture
    def _tapped(self, x: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002  (a whole row is one key)
        self.steps.select_row(int(np.floor(y)) - 1, ORIGIN, additive=additive)

    @gesture
    def _pointed_above(self, x: float | None = None, y: float | None = None) -> None:
        self._pointer = (True, x, y)
        self._write()

    @gesture
    def _pointed_below(self, x: float | None = None, y: float | None = None) -> None:
        self._pointer = (False, x, y)
        self._write()

    def _write(self) -> None:
        """The number of the cell under the pointer."""
        above, x, y = self._pointer
        strips = self.key_strips() if above else self.value_strips()
        found = None if x is None or y is None else strip_under(strips, x, y)
        if found is None:
            self.under.object = POINT
            return
        block, row, dimension = found
        name = strips.names[row] if not above or row == 0 else f"{'k' if block == 0 else 'q × k'} of {strips.names[row]}"
        self.under.object = f"{name}   dimension {dimension}   {number(float(strips.blocks[block].values[row, dimension]))}"


def _value_strips(shown: ShownRow, key: int, found: Written | None) -> Strips:
    row = shown.row
    assert row.v is not None
    assert row.mix is not None
    weighted = row.v[key] * row.weights[key]
    vectors = np.stack([row.v[key], weighted, row.mix])
    lengths = np.linalg.norm(vectors.astype(float), axis=-1)  # in single precision the squares of tiny weights are 0
    written = np.array([np.nan, np.nan, np.nan] if found is None else [np.nan, found.by_key[key], found.mix])
    name = shown.names[shown.chosen or 0]
    return Strips(
        names=(f"v of {name}", "weight × v", "mix of all keys"),
        blocks=(Block(f"value (±{number(_strongest(vectors))})", vectors, np.full(3, _strongest(vectors))),),
        numbers={"length": in_numbers(lengths), "written": in_numbers(written)},
        room=3,
        width=ALONE,
    )


def _strongest(values: np.ndarray) -> float:
    return float(np.abs(values).max()) if values.size else 1.0
