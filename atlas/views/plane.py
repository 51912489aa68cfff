"""A plane: rows x columns of numbers with two named axes, as a raster of the size of the screen.

A view of a plane names its lens, and adds controls or help; image, axes, readout, marks, threshold and selection are here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
from holoviews import streams

from atlas.errors import AtlasError
from atlas.plots import plane as plots
from atlas.plots.colours import BACKGROUND, LEVELS, raster_palette
from atlas.plots.frame import number
from atlas.plots.marks import FROM, HEADS, TO, marks
from atlas.plots.raster import COUNTS, Array, Box, Scale, Viewport, rectangles, scale, signed_scale
from atlas.state.plane import Axis, Cell, CellsRead, PlaneLens, Window
from atlas.state.workspace import Workspace
from atlas.views.base import Export, gesture
from atlas.views.canvas import HEIGHT, PLOT, TOOLS, Ticks, named_axes, readout
from atlas.views.glyph import Glyph
from atlas.views.plain import NO_TITLE, plain
from atlas.views.raster import Picture, RasterView
from atlas.views.shows import Shows

POINT = "Point at a cell for its numbers; click it, or a name beside it, to select its row and its column."

HEAD_HINT = "Point at a head for its numbers; click it to show and select it, or a name to select all heads beside it."
"""The same of a plane of heads."""

THRESHOLD = """
const zero = source.end < levels - 1 ? source.end : 0;
const all = palettes[color_mapper.palette[ground]][zero ? 1 : 0];
const weak = (level) => level < levels && Math.abs(level - zero) < source.value;
color_mapper.palette = all.map((colour, level) => (weak(level) ? all[ground] : colour));
"""
"""Paints weak colours as paper, in the browser: a slider that asked Python at every step would stutter. The colour of the paper
in the palette says which theme is shown; the end of the slider, whether the scale has two sides."""

COARSE_PIXELS = 40_000
"""Pixels of a picture that an exact one follows: both whole would be more than a gesture may send."""

COLOURS = {"rows": FROM, "columns": TO, "cells": HEADS}
"""What can be marked, and what its colour means."""


class PlaneView(RasterView):
    """The numbers of a plane, and those of the cell under the pointer."""

    lens_type: ClassVar[type[PlaneLens]] = PlaneLens
    plane = Shows(PlaneLens)
    colours: ClassVar[Mapping[str, str]] = COLOURS
    """What can be marked, and the meaning whose colour it has."""
    hint: ClassVar[str] = POINT
    """What is written while the pointer is elsewhere."""

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.under = readout(self.hint)
        self._pointer: tuple[float | None, float | None] = (None, None)
        self.image: hv.DynamicMap | None = None
        self.bands = {what: Glyph() for what in self.plane.marking}

    def body(self) -> Any:
        """The plane, its colours, the numbers under the pointer, and the threshold."""
        return pn.Column(self._pane(), self.key_of_colours(), self.under, self._threshold(), sizing_mode="stretch_width")

    def export(self) -> Export:
        """The whole plane with its names, and the part of it that is on screen as a picture."""
        return Export(self.key, self.plane.table(), None if self.image is None else self.image[()])

    def read_cells(self, most: int) -> CellsRead | None:
        """All cells of the plane."""
        return self.plane.read_cells(most)

    # -- the threshold -------------------------------------------------------------------------------------------------

    @property
    def threshold(self) -> float:
        """Values nearer to 0 than this are hidden."""
        return float(self.plane.thresholds.threshold)

    def _threshold(self) -> Any:
        """A slider over the colours that hides the weak ones; its label says from which value on they show."""
        changes = self.workspace.display.param.scale, self.visibility.param.revision
        threshold = self.plane.thresholds.param.threshold

        def bind(rule: Callable[[], int], *params: Any) -> Any:
            return pn.bind(lambda *_: rule(), *params)

        # A reader who follows a link, or goes back, finds the slider where the threshold lies on the colours of now.
        level = pn.widgets.IntSlider(
            start=0, end=bind(self._steps, *changes), value=bind(self._level, threshold, *changes),
            label="Threshold", show_value=False, tooltips=False, sizing_mode="stretch_width", css_classes=["aa-threshold"],
            margin=(0, 10), stylesheets=[NO_TITLE],
        )  # fmt: skip
        palettes = {
            raster_palette(dark=dark)[BACKGROUND]: [list(raster_palette(dark=dark, signed=signed)) for signed in (False, True)]
            for dark in (False, True)
        }
        level.jslink(self.image, code={"value": THRESHOLD}, args={"palettes": palettes, "levels": LEVELS, "ground": BACKGROUND})
        level.param.watch(self._cut, "value_throttled")
        text = self.bound(lambda *_: cut_words(self.threshold, signed=self.plane.signed), threshold, *changes)
        words = plain(text, "aa-cut", width=210, sizing_mode=None)
        return pn.Row(words, level, sizing_mode="stretch_width")

    def _steps(self) -> int:
        return self.scale().steps if self.workspace.trace is not None else LEVELS - 1

    def _level(self) -> int:
        return self.scale().reach(self.threshold) if self.threshold > 0 and self.workspace.trace is not None else 0

    @gesture
    def _cut(self, event: Any) -> None:
        # The slider also reports where `_level` has put it. The colour there begins lower, and that is no wish of the reader's.
        if self.workspace.trace is not None and event.new != self._level():
            self.plane.thresholds.param.update(threshold=self.scale().begins(event.new) if event.new else 0.0)

    # -- drawing -------------------------------------------------------------------------------------------------------

    def raster(self, view: Viewport, read: dict[Box, Window] | None = None) -> Array:
        """Values of the pixels of a part of the plane; `read` holds the windows that were read for it."""
        windows = {} if read is None else read

        def window(row0: float, row1: float, column0: float, column1: float) -> tuple[Array, float, float, float, float]:
            bounds = row0, row1, column0, column1
            found = windows.get(bounds)
            if found is None:
                found = windows[bounds] = self.plane.window(*bounds)
            return found.values, found.row0, found.row1, found.column0, found.column1

        return plots.plane_raster(window, view, signed=self.plane.signed)

    def waits(self) -> bool:
        """Whether the plane was asked for and has not come yet."""
        return not self.plane.plane().rows and self.plane.busy

    def scale(self) -> Scale:
        """How values become colours."""
        lens = self.plane
        if lens.signed:
            return signed_scale(lens.ceiling())
        how = lens.scale_name()
        return scale(how, lens.ceiling(), lens.spread() if how in ("equalised", COUNTS) else None)

    def beyond(self) -> bool:
        """Whether a value exceeds the scale; where only windows of the plane are read, one may."""
        whole = self.plane.plane().whole
        return whole is None or bool(np.nanmax(np.abs(whole), initial=0.0) > self.plane.ceiling())

    def axes(self) -> Hashable:
        """The names of rows and columns."""
        plane = self.plane.plane()
        return plane.rows, plane.columns

    def cells(self) -> int:
        """Rows or columns, whichever are more."""
        plane = self.plane.plane()
        return max(len(plane.rows), len(plane.columns))

    def palette(self) -> tuple[str, ...]:
        """The colours of the theme."""
        return raster_palette(dark=self.dark, signed=self.plane.signed)

    def missing(self) -> str:
        """What a hatched cell means."""
        return self.plane.missing

    def picture(self) -> Picture:
        """The part of the plane that is on screen."""
        plane = self.plane.plane()
        across, down = max(1, len(plane.columns)), max(1, len(plane.rows))
        view = self.window(across, down)
        pixels = np.full((view.height, view.width), BACKGROUND, np.uint8)
        if plane.rows:
            view, pixels = self.plane.attempt(lambda: self._quantised(view), (view, pixels))
        hook = named_axes(*self._ticks(view, *self.pixels), titles=self._titles(view, *self.pixels), clicked=self._name_clicked)
        palette = plots.cut_palette(self.palette(), self.scale(), self._level())
        return Picture(pixels, view, across, down, palette, hook)

    def _quantised(self, view: Viewport) -> tuple[Viewport, Array]:
        """The pixels, and the part they are of: fewer of a coarse picture that an exact one follows."""
        read: dict[Box, Window] = {}
        values = self.raster(view, read)
        if self.plane.busy and not all(window.exact for window in read.values()):
            view = view.affordable(min(COARSE_PIXELS, self.most_pixels))
            values = self.raster(view, read)
        return view, plots.plane_pixels(values, self.scale(), self.threshold)

    def _ticks(self, view: Viewport, wide: int, high: int) -> tuple[Ticks, Ticks]:
        plane = self.plane.plane()
        names, each = plane.named
        across, rows = max(1, len(plane.columns)), plots.ticks(names, view.y0 / each, view.y1 / each, high)
        columns = plots.ticks(plane.columns, view.x0, view.x1, wide)
        return plots.on_canvas(columns, view.x0 / across, view.x1 / across, wide), rows

    def _titles(self, view: Viewport, wide: int, high: int) -> tuple[str, str]:
        plane = self.plane.plane()
        names, each = plane.named
        down, across = self.plane.titles()
        return (
            plots.stepped(across, plots.tick_step(len(plane.columns), view.x0, view.x1, wide)),
            plots.stepped(down, plots.tick_step(len(names), view.y0 / each, view.y1 / each, high)),
        )

    def _boxes(self) -> dict[str, list[Box]]:
        """Around the selected rows, columns and cells."""
        plane, marked = self.plane.plane(), self.plane.marked()
        down, across = max(1, len(plane.rows)), max(1, len(plane.columns))
        found = {
            "rows": plots.rows_of(marked.rows, down),
            "columns": plots.columns_of(marked.columns, across),
            "cells": plots.cells_of(marked.cells, down, across),
        }
        return {what: found[what] for what in self.bands}

    def mark(self) -> None:
        """Move the bands to the selected rows, columns and cells."""
        for what, boxes in self._boxes().items():
            self.bands[what].outline(boxes)

    def _band(self, what: str) -> Callable[..., hv.Rectangles]:
        def drawn(**_: Any) -> hv.Rectangles:
            colour = marks(dark=self.dark)[self.colours[what]]
            return plots.bands(self._boxes()[what], colour).opts(hooks=[self.bands[what].hook], default_tools=[])

        return drawn

    # -- gestures ------------------------------------------------------------------------------------------------------

    def _cell(self, x: float | None, y: float | None) -> tuple[int, int] | None:
        plane = self.plane.plane()
        if x is None or y is None or not plane.rows or not (0 <= x < 1 and 0 <= y < 1):
            return None
        return int(y * len(plane.rows)), int(x * len(plane.columns))

    @gesture
    def tap(self, x: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002  (a cell is not added to others)
        """Select what the cell under the point stands for."""
        found = self._cell(x, y)
        if found is not None:
            self.plane.select_cell(*found, origin=self.key)

    @gesture
    def _name_clicked(self, axis: str, place: float) -> None:
        """Select what a name beside the plane stands for: a row, or above it a column."""
        plane = self.plane.plane()
        if plane.rows and 0 <= place < 1:
            of: Axis = "row" if axis == "y" else "column"
            names = plane.rows if axis == "y" else plane.columns
            self.plane.select_name(of, int(place * len(names)), origin=self.key)

    @gesture
    def _pointed(self, x: float | None = None, y: float | None = None) -> None:
        self._pointer = (x, y)
        self.write()

    def write(self) -> None:
        """Write the numbers of the cell under the pointer; they change with the selection though the pointer rests."""
        found = self._cell(*self._pointer)
        if found is None:
            self.under.object = self.hint
            return
        try:
            cell = self.plane.cell(*found)
        except AtlasError as error:
            self.under.object = str(error)
            return
        self.under.object = cell_words(cell, self.plane.reading(), self.plane.whose())

    # -- the plot ------------------------------------------------------------------------------------------------------

    def over(self) -> list[tuple[Callable[..., Any], Callable[[], Any]]]:
        """What lies over the image, from back to front, each with its blank element."""
        return [(self._band(what), no_bands) for what in self.bands]

    def _pane(self) -> Any:
        image, *over = self.parts(*self.over())
        pointer = streams.PointerXY(source=image)
        pointer.add_subscriber(self._pointed)
        # The object that is drawn: a link to the one before its options would find nothing.
        self.image = image.opts(clim=(0, 255), default_tools=list(TOOLS), active_tools=["pan"])
        drawn = self.image
        for part in over:
            drawn = drawn * part
        look = PLOT | {"backend_opts": PLOT["backend_opts"] | {"plot.min_border_right": plots.BESIDE}}
        down, across = self.plane.titles()
        overlay = drawn.opts(xlabel=across, ylabel=down, xaxis="top", xrotation=60, xlim=(0, 1), ylim=(0, 1), **look)
        return self.plot_pane(overlay, sizing_mode="stretch_width", height=HEIGHT, css_classes=[f"aa-{self.key}"])


class HeadPlaneView(PlaneView):
    """A plane whose cells are heads."""

    colours: ClassVar[Mapping[str, str]] = {"cells": HEADS}
    hint: ClassVar = HEAD_HINT


def no_bands() -> hv.Rectangles:
    """No bands at all."""
    return rectangles([])


def cut_words(threshold: float, *, signed: bool) -> str:
    """What the threshold hides."""
    if threshold <= 0:
        return "Hide values near 0 … " if signed else "Hide values under … "
    return f"Values within ±{number(threshold)} are hidden" if signed else f"Values under {number(threshold)} are hidden"


def cell_words(cell: Cell, reading: str, whose: str) -> str:
    """The numbers of a cell in one line, and whose they are."""
    if not cell:
        return POINT
    others = {name: value for name, value in cell.items() if name not in {"row", "column", "value", "rank", "of"}}
    parts = [*filter(None, [whose]), " → ".join(str(cell[name]) for name in ("row", "column") if name in cell)]
    if others.get("softmax") != cell["value"]:
        parts.append(f"{reading} {number(float(cell['value']))}")
    parts += [f"{name} {number(float(value))}" for name, value in others.items()]
    if "rank" in cell:
        parts.append(f"rank {cell['rank']} of {cell['of']} in its row")
    return "   ".join(parts)
