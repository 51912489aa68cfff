"""The Map: every head of a kind on one deep-zoom sheet."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui
from bokeh.core.properties import value
from holoviews import streams

from atlas.ids import HeadId
from atlas.plots import map as map_plot
from atlas.plots.colours import BACKGROUND, FONT, raster_palette
from atlas.plots.frame import number
from atlas.plots.marks import FOCUS, HEADS, marks
from atlas.plots.plane import ticks
from atlas.plots.raster import GAP, Array, Box, Scale, Viewport, quantised, rectangles, scale
from atlas.state.map import FINE, FINE_CELLS, Layout, MapLens
from atlas.state.workspace import Workspace
from atlas.tracing.statistics import THUMBNAIL
from atlas.views.base import TIGHT, Export, gesture
from atlas.views.canvas import FROM_QUERY, HEIGHT, PLOT, TO_KEY, TOOLS, Ticks, named_axes, readout
from atlas.views.glyph import Glyph
from atlas.views.raster import Picture, RasterView

ORIGIN = "map"

NAMED = 70
"""Pixels a head must be wide for its name to be written into it."""

NAME_GROUND = 0.75
"""Opacity of the ground of a name: without one it cannot be read on a dark cell, and a whole one would hide the cell."""

HATCHED = 48
"""Pixels along the side of a head from which what is masked is hatched; smaller, the lines would be taken for weights."""

FILLS = 0.7
"""Share of the plot's width one head must fill for its tokens to take the axes over."""

BORDER = {"plot.min_border_left": 52, "plot.min_border_bottom": 44, "plot.min_border_right": 12, "plot.min_border_top": 8}
"""Pixels beside the sheet that numbers of layers and heads need. Names of tokens take more, and then the sheet shrinks."""

POINT = "Point at a cell for its weight; tap a head to select it, draw a box to select several."


class MapView(RasterView):
    """All heads at a glance, and every weight when one looks closer."""

    key: ClassVar = "map"
    title: ClassVar = "Map"
    question: ClassVar = "What does every head look at?"
    help: ClassVar = (
        "Every square is one head: rows are the tokens that look (queries, downwards), columns the tokens that are looked at "
        "(keys). Layers go down, heads go across. A pixel shows the largest weight it covers, so nothing disappears when many "
        "tokens share one; zoomed in until cells are larger than pixels, every cell is exact. Hatched: a query may not look "
        "there. Tap a head to show it large and select it; draw a box to select several. Ctrl and the wheel zoom, or the wheel "
        "alone after a click; a double click shows all again."
    )

    lens_type: ClassVar = MapLens

    beside: ClassVar = 76

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.under = readout(POINT)
        self._mosaic: tuple[Layout, Any] | None = None
        self.framed, self.focused, self.named = Glyph(), Glyph(), Glyph()

    @property
    def map(self) -> MapLens:
        """What is shown."""
        assert isinstance(self.lens, MapLens)
        return self.lens

    def tools(self) -> list[Any]:
        """Order of heads, and how weights become colours."""
        display = self.workspace.display
        orders = {"by number": "index", "by cluster": "cluster"} | {title: name for name, title in self.map.metrics().items()}
        return [
            pmui.Select.from_param(
                display.param.order, label="Order of heads", options=orders, size="small", margin=TIGHT, width=150
            ),
            pmui.Select.from_param(display.param.scale, label="Colour scale", size="small", margin=TIGHT, width=120),
            pmui.Select.from_param(display.param.sinks, label="Sinks in the scale", size="small", margin=TIGHT, width=130),
        ]

    def body(self) -> Any:
        """The sheet and the line under it."""
        return pn.Column(self._pane(), self.key_of_colours(), self.under, sizing_mode="stretch_width")

    def export(self) -> Export:
        """The thumbnails of all heads, a row a block of weights, and the picture that is on screen."""
        return Export("map", self.map.table(), self.plot()[()])

    # -- drawing -------------------------------------------------------------------------------------------------------

    def raster(self, view: Viewport) -> Array:
        """Coded weights of a part of the sheet: from thumbnails, or from the weights themselves once heads are large enough."""
        layout = self.map.layout()
        if not layout.n_layers:
            return np.full((view.height, view.width), GAP, np.float32)
        shape, gaps = (layout.n_queries, layout.n_keys), self._gaps(layout)
        large = min(view.width / (view.x1 - view.x0), view.height / (view.y1 - view.y0)) >= FINE
        coarse = max(shape) > THUMBNAIL
        if coarse and large and map_plot.cells_in_view(view, shape, gaps) <= FINE_CELLS:
            return map_plot.exact(self._window, view, shape, gaps)
        if self._mosaic is None or self._mosaic[0] is not layout:
            self._mosaic = (layout, map_plot.mosaic(self.map.thumbnails()))
        return map_plot.overview(self._mosaic[1], view, shape)

    def scale(self) -> Scale:
        """How weights become colours."""
        how = self.workspace.display.scale
        return scale(how, self.map.ceiling(), self.map.spread() if how == "equalised" else None)

    def axes(self) -> Layout:
        """Where the heads lie."""
        return self.map.layout()

    def picture(self) -> Picture:
        """The part of the sheet that is on screen."""
        layout = self.map.layout()
        across, down = max(1, layout.n_heads), max(1, layout.n_layers)
        view = self.window(across, down)
        coded = self.raster(view)
        large = min(view.width / (view.x1 - view.x0), view.height / (view.y1 - view.y0)) >= HATCHED
        pixels = quantised(coded, self.scale(), hatch=large) if layout.n_layers else np.zeros(coded.shape, np.uint8)
        x_ticks, y_ticks = self._ticks(layout, view, *self.pixels)
        filling = self._filling(layout, view)
        # Its own name has left the picture when it fills it.
        titles = ("head", "layer") if filling is None else (f"{filling}: {TO_KEY}", f"{filling}: {FROM_QUERY}")
        hook = named_axes(x_ticks, y_ticks, titles=titles, slanted=filling is not None)
        cells = max(across * layout.n_keys, down * layout.n_queries)
        return Picture(pixels, view, across, down, list(raster_palette(dark=self.dark)), hook, cells)

    def _frames(self, **_: Any) -> hv.Rectangles:
        return rectangles(self._around_heads()).opts(line_color=marks(dark=self.dark)[HEADS], hooks=[self.framed.hook])

    def _focus(self, **_: Any) -> hv.Rectangles:
        return rectangles(self._around_focus()).opts(line_color=marks(dark=self.dark)[FOCUS], hooks=[self.focused.hook])

    def mark(self) -> None:
        """Frames around the selected heads and the one in focus."""
        self.framed.outline(self._around_heads())
        self.focused.outline(self._around_focus())

    def _around_heads(self) -> list[Box]:
        layout = self.map.layout()
        return self._around(layout, self.workspace.selection.heads_of(layout.kind))

    def _around_focus(self) -> list[Box]:
        layout, focus = self.map.layout(), self.workspace.selection.focus
        return self._around(layout, (focus,) if focus is not None and focus.kind == layout.kind else ())

    def _around(self, layout: Layout, heads: tuple[HeadId, ...]) -> list[Box]:
        places = [(layout.column_of(head), head.layer) for head in heads if head.layer < layout.n_layers]
        return map_plot.outlines(places, max(1, layout.n_heads), max(1, layout.n_layers))

    def _names(self, **_: Any) -> hv.Labels:
        ground = raster_palette(dark=self.dark)[BACKGROUND]
        return map_plot.labels(self._named()).opts(
            text_color=marks(dark=self.dark)[FOCUS],
            background_fill_color=ground,
            background_fill_alpha=NAME_GROUND,
            hooks=[self.named.hook],
        )

    def write(self) -> None:
        """The names of the heads in view."""
        self.named.write(self._named())

    def _named(self) -> list[tuple[float, float, str]]:
        """Where the names of heads stand, once a head is large enough for one."""
        layout = self.map.layout()
        view = self.window(max(1, layout.n_heads), max(1, layout.n_layers))
        if not layout.n_layers or view.width / (view.x1 - view.x0) < NAMED:
            return []
        gap = self._gaps(layout).across
        return [
            ((column + gap) / layout.n_heads, (layer + 0.01) / layout.n_layers, f"L{layer} H{layout.columns[layer][column]}")
            for layer in range(int(view.y0), int(np.ceil(view.y1)))
            for column in range(int(view.x0), int(np.ceil(view.x1)))
        ]

    def _ticks(self, layout: Layout, view: Viewport, wide: int, high: int) -> tuple[Ticks, Ticks]:
        """Heads and layers; the tokens of the one head that fills the plot."""
        head = self._filling(layout, view)
        if head is None:
            order = self.workspace.display.order
            columns = [str(i) if order == "index" else f"#{i + 1}" for i in range(layout.n_heads)]
            return ticks(columns, view.x0, view.x1, wide), ticks([str(i) for i in range(layout.n_layers)], view.y0, view.y1, high)
        gaps, column = self._gaps(layout), layout.column_of(head)
        return (
            _inner(self.map.names("key"), column, layout.n_heads, gaps.across, (view.x0, view.x1), wide),
            _inner(self.map.names("query"), head.layer, layout.n_layers, gaps.down, (view.y0, view.y1), high),
        )

    def _filling(self, layout: Layout, view: Viewport) -> HeadId | None:
        """The head in the middle, where hardly anything else is in view."""
        middle = layout.head_at((view.x0 + view.x1) / 2, (view.y0 + view.y1) / 2)
        wide = view.x1 - view.x0
        return middle if middle is not None and wide <= 1 / FILLS else None

    def _gaps(self, layout: Layout) -> map_plot.Margins:
        return map_plot.margins(layout.n_queries, layout.n_keys, THUMBNAIL)

    def _window(self, layer: int, column: int, rows: slice, columns: slice) -> Array:
        layout = self.map.layout()
        return self.map.exact(HeadId(layout.kind, layer, layout.columns[layer][column]), rows, columns)

    # -- gestures ------------------------------------------------------------------------------------------------------

    @gesture
    def tap(self, x: float, y: float) -> None:
        """Show the head under the point large, and select it."""
        layout = self.map.layout()
        head = layout.head_at(x * layout.n_heads, y * layout.n_layers)
        if head is not None:
            self.workspace.selection.pick(head, origin=ORIGIN)

    @gesture
    def _boxed(self, bounds: tuple[float, float, float, float] | None = None) -> None:
        """Every head whose middle is in the box."""
        layout = self.map.layout()
        if bounds is None or not layout.n_layers:
            return
        left, right = sorted((bounds[0] * layout.n_heads, bounds[2] * layout.n_heads))
        top, bottom = sorted((bounds[1] * layout.n_layers, bounds[3] * layout.n_layers))
        chosen = [
            HeadId(layout.kind, layer, heads[column])
            for layer, heads in enumerate(layout.columns)
            for column in range(layout.n_heads)
            if left <= column + 0.5 <= right and top <= layer + 0.5 <= bottom
        ]
        self.workspace.selection.select_heads(chosen, origin=ORIGIN, label="a box on the Map")

    @gesture
    def _pointed(self, x: float | None = None, y: float | None = None) -> None:
        layout = self.map.layout()
        if x is None or y is None or not layout.n_layers:
            return
        gaps = self._gaps(layout)
        found = layout.cell_at(x * layout.n_heads, y * layout.n_layers, gaps.across, gaps.down)
        if found is None:
            self.under.object = POINT
            return
        head, query, key = found
        weight = self.map.weight(head, query, key)
        said = "not visible" if np.isnan(weight) else number(weight)
        names = self.map.names("query")[query], self.map.names("key")[key]
        self.under.object = f"{head}   {names[0]} ({query}) → {names[1]} ({key})   {said}"

    # -- the plot ------------------------------------------------------------------------------------------------------

    def _pane(self) -> Any:
        return self.plot_pane(self.plot(), sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-map", "aa-heads"])

    def plot(self) -> Any:
        """The sheet with its frames and names, following what it shows."""
        image, frames, focus, names = self.parts(
            (self._frames, no_rectangles), (self._focus, no_rectangles), (self._names, no_labels)
        )
        box, pointer = streams.BoundsXY(source=image), streams.PointerXY(source=image)
        box.add_subscriber(self._boxed)
        pointer.add_subscriber(self._pointed)
        drawn = (
            image.opts(clim=(0, 255), tools=["box_select"], default_tools=list(TOOLS), active_tools=["pan"])
            * frames.opts(fill_alpha=0, line_width=2)
            * focus.opts(fill_alpha=0, line_width=3)
            * names.opts(text_font=value(FONT), text_font_size="8pt", text_align="left", text_baseline="top")
        )
        look = PLOT | {"backend_opts": PLOT["backend_opts"] | BORDER}
        return drawn.opts(xlabel="head", ylabel="layer", xlim=(0, 1), ylim=(0, 1), **look)


def no_rectangles() -> hv.Rectangles:
    """No frames at all."""
    return rectangles([])


def no_labels() -> hv.Labels:
    """No names at all."""
    return map_plot.labels([])


def _inner(names: list[str], place: int, count: int, gap: float, seen: tuple[float, float], pixels: int) -> Ticks:
    """Names of the tokens of the head at a place, where its cells are on a plane of side 1."""
    first, last = (((edge - place - gap) / (1 - 2 * gap)) * len(names) for edge in seen)
    return [((place + gap + at * (1 - 2 * gap)) / count, name) for at, name in ticks(names, first, last, pixels)]
