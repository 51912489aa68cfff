"""The matrix: one head large, or the selected heads together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui
from holoviews import streams

from atlas.errors import AtlasError
from atlas.plots import matrix
from atlas.plots.colours import BACKGROUND, LEVELS, raster_palette
from atlas.plots.frame import number
from atlas.plots.marks import FROM, TO, marks
from atlas.plots.raster import GAP, Array, Box, Scale, Viewport, quantised, rectangles, scale
from atlas.state.matrix import MatrixLens, Plane
from atlas.state.workspace import Workspace
from atlas.views.base import TIGHT, Export, bind_rule, gesture
from atlas.views.canvas import FROM_QUERY, HEIGHT, PLOT, TO_KEY, Ticks, named_axes, readout
from atlas.views.glyph import Glyph
from atlas.views.plain import plain
from atlas.views.raster import Picture, RasterView

ORIGIN = "matrix"

POINT = "Point at a cell for its numbers; click it, or a name beside it, to select its row and its column."

THRESHOLD = """
const all = palettes[color_mapper.palette[ground]];
color_mapper.palette = all.map((colour, level) => (level < Math.min(levels, source.value) ? all[ground] : colour));
"""
"""Weak colours become paper, in the browser: a slider that asked Python for every step would stutter. Which of the two palettes
is shown, light or dark, is told by the colour of the paper in it."""

LABELS = {"weight": "weight", "column": "column share", "rollout": "rollout", "moved": "moved"}


class MatrixView(RasterView):
    """Every weight of what is selected, with the numbers it is made of."""

    key: ClassVar = "matrix"
    title: ClassVar = "Matrix"
    question: ClassVar = "Who looks at whom?"
    help: ClassVar = (
        "Rows are the tokens that look (queries), columns the tokens that are looked at (keys); a row sums to 1. "
        "weight = softmax(mask(q·k × scaling + bias)). Column share: each column divided by its sum (0 for a key "
        "that receives nothing). Rollout: product over layers of (mean over heads + identity) / 2 (Abnar & Zuidema 2020). Moved: "
        "weight × ‖v Wₒ‖, the length of what is written for it (Kobayashi et al. 2020). Hatched: the query may not look there. "
        "Where a pixel covers several cells it shows the largest."
    )

    lens_type: ClassVar = MatrixLens

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.under = readout(POINT)
        self._pointed_at: tuple[float | None, float | None] = (None, None)
        self.image: hv.DynamicMap | None = None
        self.bands = {FROM: Glyph(), TO: Glyph()}
        self.cut_words = bind_rule(workspace.display.param.threshold, cut_words)

    @property
    def matrix(self) -> MatrixLens:
        """What is shown."""
        assert isinstance(self.lens, MatrixLens)
        return self.lens

    def tools(self) -> list[Any]:
        """Layer and head of the one shown large; reading, level and aggregate."""
        display, space = self.workspace.display, self.workspace
        # Several heads are shown together, whichever of them is the one in focus.
        several = pn.bind(lambda *_: len(self.matrix.heads()) > 1, *(space.selection.param[name] for name in ("heads", "focus")))
        look: dict[str, Any] = {
            "width": 50, "height": 40, "sizing_mode": "fixed", "margin": (4, 6, 4, 2), "tooltips": False, "disabled": several,
        }  # fmt: skip
        return [
            pn.widgets.IntSlider.from_param(space.layer.param.layer, label="Layer", css_classes=["aa-layer"], **look),
            pn.widgets.IntSlider.from_param(space.head.param.head, label="Head", css_classes=["aa-head"], **look),
            pmui.Select.from_param(display.param.mode, label="Reading", size="small", margin=TIGHT, width=104),
            pmui.Select.from_param(display.param.level, label="Level", size="small", margin=TIGHT, width=92),
            pmui.Select.from_param(display.param.aggregate, label="Together", size="small", margin=TIGHT, width=88),
        ]

    def body(self) -> Any:
        """The matrix, the numbers under the pointer, and the threshold."""
        pane = self._pane()
        return pn.Column(pane, self.key_of_colours(), self.under, self._threshold(), sizing_mode="stretch_width")

    def export(self) -> Export:
        """The whole matrix with its names, and the part of it that is on screen as a picture."""
        return Export("matrix", self.matrix.table(), None if self.image is None else self.image[()])

    def _threshold(self) -> Any:
        """A slider over the colours that hides the weak ones; its label says from which value on they show."""
        display = self.workspace.display.param
        # Whoever follows a link, or goes back, finds the slider where the threshold lies on the colours of now.
        there = pn.bind(lambda *_: self._level(), display.threshold, display.scale, self.visibility.param.revision)
        level = pn.widgets.IntSlider(
            start=0, end=LEVELS - 1, value=there, label="", show_value=False, tooltips=False, sizing_mode="stretch_width",
            css_classes=["aa-threshold"], margin=(0, 10),
        )  # fmt: skip
        palettes = {raster_palette(dark=dark)[BACKGROUND]: list(raster_palette(dark=dark)) for dark in (False, True)}
        level.jslink(
            self.image, code={"value": THRESHOLD},
            args={"palettes": palettes, "levels": LEVELS, "ground": BACKGROUND},
        )  # fmt: skip
        level.param.watch(self._cut, "value_throttled")
        return pn.Row(plain(self.cut_words, "aa-cut", width=210, sizing_mode=None), level, sizing_mode="stretch_width")

    def _beyond(self) -> bool:
        """Whether the threshold lies above where the colours end, so that one colour holds what is hidden and what is not."""
        display = self.workspace.display
        return display.threshold > self.scale().ceiling

    def _level(self) -> int:
        threshold = self.workspace.display.threshold
        return int(self.scale().level(np.array([threshold]))[0]) if threshold > 0 and self.workspace.trace is not None else 0

    @gesture
    def _cut(self, event: Any) -> None:
        # Put where the threshold lies, the slider says so too: its colour begins lower, and that is no wish of the reader's.
        if self.workspace.trace is not None and event.new != self._level():
            self.workspace.display.threshold = float(self.scale().edges[event.new]) if event.new else 0.0

    # -- drawing -------------------------------------------------------------------------------------------------------

    def raster(self, view: Viewport) -> Array:
        """Coded values of a part of the matrix."""

        def window(row0: float, row1: float, column0: float, column1: float) -> tuple[Array, float, float, float, float]:
            found = self.matrix.picture(row0, row1, column0, column1)
            return found.values, found.row0, found.row1, found.column0, found.column1

        return matrix.matrix_raster(window, view)

    def scale(self) -> Scale:
        """How values become colours."""
        display = self.workspace.display
        # What is no weight has no share of the weights' colours to be equal to.
        how = display.scale if display.mode == "weight" else ("log" if display.scale == "log" else "linear")
        return scale(how, self.matrix.ceiling(), self.matrix.spread() if how == "equalised" else None)

    def axes(self) -> Hashable:
        """The names of rows and columns."""
        plane = self.matrix.plane()
        return plane.rows, plane.columns

    def picture(self) -> Picture:
        """The part of the matrix that is on screen."""
        plane = self.matrix.plane()
        across, down = max(1, len(plane.columns)), max(1, len(plane.rows))
        view = self.window(across, down)
        pixels = np.full((view.height, view.width), BACKGROUND, np.uint8)
        if plane.rows:
            pixels = self.matrix.attempt(lambda: self._quantised(view), pixels)
        hook = named_axes(*self._ticks(plane, view, *self.pixels), clicked=self._named)
        return Picture(pixels, view, across, down, cut(raster_palette(dark=self.dark), self._level()), hook)

    def _quantised(self, view: Viewport) -> Array:
        values = self.raster(view)
        pixels = quantised(values, self.scale())
        if self._beyond():
            pixels[(values > GAP) & (values < self.workspace.display.threshold)] = BACKGROUND
        return pixels

    @staticmethod
    def _ticks(plane: Plane, view: Viewport, wide: int, high: int) -> tuple[Ticks, Ticks]:
        across, rows = max(1, len(plane.columns)), matrix.ticks(plane.rows, view.y0, view.y1, high)
        columns = matrix.ticks(plane.columns, view.x0, view.x1, wide)
        return matrix.on_canvas(columns, view.x0 / across, view.x1 / across, wide), rows

    def _rows(self, **_: Any) -> hv.Rectangles:
        return self._bands(FROM, self._boxes()[0])

    def _columns(self, **_: Any) -> hv.Rectangles:
        return self._bands(TO, self._boxes()[1])

    def _bands(self, axis: str, boxes: list[Box]) -> hv.Rectangles:
        colour = marks(dark=self.dark)[axis]
        return rectangles(boxes).opts(fill_color=colour, line_color=colour, hooks=[self.bands[axis].hook])

    def _boxes(self) -> tuple[list[Box], list[Box]]:
        """Around the selected rows and columns, and those of words that have a selected token."""
        plane, selection = self.matrix.plane(), self.workspace.selection
        if not plane.rows:
            return [], []
        rows, columns = plane.places("query", selection.queries), plane.places("key", selection.keys)
        return matrix.rows_of(rows, len(plane.rows)), matrix.columns_of(columns, len(plane.columns))

    def mark(self) -> None:
        """Bands along the selected rows and columns."""
        for axis, boxes in zip((FROM, TO), self._boxes(), strict=True):
            self.bands[axis].outline(boxes)

    # -- gestures ------------------------------------------------------------------------------------------------------

    def _cell(self, x: float | None, y: float | None) -> tuple[int, int] | None:
        plane = self.matrix.plane()
        if x is None or y is None or not plane.rows or not (0 <= x < 1 and 0 <= y < 1):
            return None
        return int(y * len(plane.rows)), int(x * len(plane.columns))

    @gesture
    def tap(self, x: float, y: float) -> None:
        """Select the row and the column of the cell under the point."""
        found = self._cell(x, y)
        if found is None:
            return
        # The switch of the text holds here too: from: its row, to: its column, both: the two of them.
        self._choose(*found, self.workspace.display.axis)

    @gesture
    def _named(self, axis: str, place: float) -> None:
        """A name beside the matrix selects its row, one above it its column."""
        plane = self.matrix.plane()
        if plane.rows and 0 <= place < 1:
            row, column = int(place * len(plane.rows)), int(place * len(plane.columns))
            self._choose(row, column, "from" if axis == "y" else "to")

    def _choose(self, row: int, column: int, axis: str) -> None:
        selection, plane = self.workspace.selection, self.matrix.plane()
        rows = plane.tokens("query", row) if axis != "to" else selection.queries
        columns = plane.tokens("key", column) if axis != "from" else selection.keys
        if selection.queries == rows and selection.keys == columns:
            selection.clear({"from": "queries", "to": "keys"}.get(axis, "tokens"), origin=ORIGIN)
        else:
            selection.select_pairs(rows, columns, origin=ORIGIN)

    @gesture
    def _pointed(self, x: float | None = None, y: float | None = None) -> None:
        self._pointed_at = (x, y)
        self._read()

    def _read(self) -> None:
        """The numbers of the cell under the pointer; they change with the heads though the pointer rests."""
        found = self._cell(*self._pointed_at)
        if found is None:
            self.under.object = POINT
            return
        try:
            cell = self.matrix.cell(*found)
        except AtlasError as error:
            self.under.object = str(error)
            return
        self.under.object = said(cell, LABELS[self.workspace.display.mode], self.matrix.whose())

    def write(self) -> None:
        """What is said of the cell under the pointer."""
        self._read()

    # -- the plot ------------------------------------------------------------------------------------------------------

    def _pane(self) -> Any:
        image, rows, columns = self.parts((self._rows, no_rectangles), (self._columns, no_rectangles))
        pointer = streams.PointerXY(source=image)
        pointer.add_subscriber(self._pointed)
        # The very object that is drawn: a link to the one before its options would find nothing.
        self.image = image.opts(clim=(0, 255), active_tools=["wheel_zoom", "pan"])
        band = {"fill_alpha": 0.08, "line_width": 2}
        drawn = self.image * rows.opts(**band) * columns.opts(**band)
        look = PLOT | {"backend_opts": PLOT["backend_opts"] | {"plot.min_border_right": matrix.BESIDE}}
        overlay = drawn.opts(xlabel=TO_KEY, ylabel=FROM_QUERY, xaxis="top", xrotation=60, xlim=(0, 1), ylim=(0, 1), **look)
        return self.plot_pane(overlay, sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-matrix"])


def no_rectangles() -> hv.Rectangles:
    """No bands at all."""
    return rectangles([])


def cut(palette: Sequence[str], level: int) -> list[str]:
    """A palette whose weak colours are paper: what the browser made of it, said again with every new picture."""
    return [palette[BACKGROUND] if at < min(level, LEVELS) else colour for at, colour in enumerate(palette)]


def cut_words(threshold: float) -> str:
    """What the threshold hides."""
    return f"Values under {number(threshold)} are hidden" if threshold > 0 else "Hide values under … "


def said(cell: dict[str, float | int | str], reading: str, whose: str) -> str:
    """The numbers of a cell in one line, and whose they are."""
    if not cell:
        return POINT
    parts = [whose, f"{cell['row']} → {cell['column']}"]
    if "softmax" not in cell or cell["softmax"] != cell["value"]:
        parts.append(f"{reading} {number(float(cell['value']))}")
    parts += [f"{name} {number(float(cell[name]))}" for name in ("q·k", "scaled", "masked", "softmax") if name in cell]
    if "rank" in cell:
        parts.append(f"rank {cell['rank']} of {cell['of']} in its row")
    return "   ".join(parts)
