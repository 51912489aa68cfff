"""The Map: every head of a kind on one sheet, as its attention or as one number."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui
from bokeh.core.properties import value
from holoviews import streams

from atlas.ids import HeadId
from atlas.plots import map as map_plot
from atlas.plots.arrows import no_arrows
from atlas.plots.colours import BACKGROUND, FONT, raster_palette, text_on
from atlas.plots.frame import Hook, number
from atlas.plots.map_axes import AxisNames, rank_rows, square_names, token_names
from atlas.plots.map_words import MOST_WORDS, NAME_GROUND, Squares, Word, brief, corner_words, fits, middle_words
from atlas.plots.marks import FOCUS, HEADS, marks
from atlas.plots.raster import GAP, Array, Box, Scale, Viewport, coded, quantised, rectangles, scale
from atlas.state.heads import title_of
from atlas.state.map import AUTO, FINE, FINE_CELLS, NUMBER, THUMBNAILS, MapLens
from atlas.state.map_layout import Layout
from atlas.state.plane import CellsRead
from atlas.state.workspace import Workspace
from atlas.tracing.statistics import THUMBNAIL
from atlas.views.base import TIGHT, Export, gesture
from atlas.views.canvas import FROM_QUERY, HEIGHT, PLOT, TO_KEY, TOOLS, named_axes, readout
from atlas.views.glyph import Glyph
from atlas.views.map_arrows import MapArrows
from atlas.views.raster import Picture, RasterView
from atlas.views.shows import Shows

ORIGIN = "map"

NAMED = 70
"""Pixels a head must be wide for its name to be written over its attention where the axes name it too: it covers cells."""

HATCHED = 48
"""Pixels along the side of a head from which what is masked is hatched; smaller, the lines would be taken for weights."""

FILLS = 0.7
"""Share of the plot's width one head must fill for its tokens to take the axes over."""

BORDER = {"plot.min_border_left": 52, "plot.min_border_bottom": 44, "plot.min_border_right": 12, "plot.min_border_top": 8}
"""Pixels beside the sheet that numbers of layers and heads need. Names of tokens take more, and then the sheet shrinks."""

TAP = "tap a head to select it, Shift+click to add it, draw a box to select several."
POINT = f"Point at a cell for its weight; {TAP}"
POINT_AT_NUMBER = f"Point at a head for its number; {TAP}"

CHOICES = {"auto": AUTO, "weights": THUMBNAILS, "number": NUMBER}


class MapView(RasterView):
    """All heads at a glance, and every weight when one looks closer."""

    key: ClassVar = "map"
    title: ClassVar = "Map"
    question: ClassVar = "What does every head look at?"
    help: ClassVar = (
        "Every square is one head: rows are the tokens that look (queries, downwards), columns the tokens that are looked at "
        "(keys). Layers go down, heads go across. A pixel shows the largest weight it covers, so nothing disappears when many "
        "tokens share one; zoomed in until cells are larger than pixels, every cell is exact. Hatched: a query may not look "
        "there. Tap a head to show it large and select it, Shift+click to add it to the selected ones; draw a box to select "
        "several. "
        "Ctrl and the wheel zoom, or the wheel alone after a click; a double click shows all again.\n\n"
        "One number a head: its colour is that number, whose name and chance value stand under the plot. With tokens selected "
        "it is the weight on the selected keys, over the selected queries. Importances are worked out when they are chosen, as "
        "number or as order, for the prediction that is explained, whichever tokens are selected. Ordered by a number, the Map "
        "is one ranking of all heads, read row by row. "
        "With Composition on, arrows lead from the earlier heads that the head in focus reads most, by their shares."
    )
    defines: ClassVar = ("composition_share", "importance", "importance_integrated", "importance_removal")

    lens_type: ClassVar = MapLens
    map = Shows(MapLens)

    beside: ClassVar = 76

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.under = readout(POINT)
        self._pointer: tuple[float | None, float | None] = (None, None)
        self._mosaic: tuple[Hashable, Any] | None = None
        self.framed, self.focused, self.named = Glyph(), Glyph(), Glyph()
        self.arrows = MapArrows(self)
        self.visibility.follow_revision(self.read_out)

    def tools(self) -> list[Any]:
        """Order of heads, what is shown of them, and how it becomes colours."""
        display, choices, titles = self.workspace.display, self.map.choices, self.map.metrics()
        orders = {"layer": "index", "cluster": "cluster"} | {title: name for name, title in titles.items()}
        numbered = {"auto": ""} | {titles.get(name, title_of(name)): name for name in choices.param.number.objects if name}
        numbers = pn.bind(lambda *_: self.map.shows_numbers, self.visibility.param.revision)
        weights = pn.bind(lambda *_: not self.map.shows_numbers, self.visibility.param.revision)
        look: dict[str, Any] = {"size": "small", "margin": TIGHT}
        return [
            pmui.Select.from_param(display.param.order, label="Order", options=orders, width=98, **look),
            pmui.Select.from_param(choices.param.show, label="Show", options=CHOICES, width=94, **look),
            pmui.Select.from_param(choices.param.number, label="Number", options=numbered, width=108, visible=numbers, **look),
            pmui.Select.from_param(display.param.scale, label="Colours", width=108, **look),
            pmui.Select.from_param(display.param.sinks, label="Sinks", width=100, visible=weights, **look),
        ]

    def body(self) -> Any:
        """The sheet and the line under it."""
        if self.workspace.trace is not None:
            self.read_out()
        parts = self._pane(), self.key_of_colours(), self.arrows.key, self.under, self.arrows.switch()
        return pn.Column(*parts, sizing_mode="stretch_width")

    def export(self) -> Export:
        """The numbers of all heads, or their thumbnails, a row a block of weights; and the picture that is on screen."""
        return Export("map", self.map.table(), self.plot()[()])

    def read_cells(self, most: int) -> CellsRead | None:
        """The heads, with their number where each has one."""
        return self.map.read_cells(most)

    # -- drawing -------------------------------------------------------------------------------------------------------

    def raster(self, view: Viewport) -> Array:
        """Coded values of a part of the sheet: numbers; else thumbnails, or weights themselves once heads are large enough."""
        layout = self.map.layout()
        if not layout.rows:
            return np.full((view.height, view.width), GAP, np.float32)
        if self.map.shows_numbers:
            return map_plot.numbers_raster(self.map.numbers().values, view)
        shape, gaps = (layout.n_queries, layout.n_keys), self._gaps(layout)
        large = min(view.width / (view.x1 - view.x0), view.height / (view.y1 - view.y0)) >= FINE
        coarse = max(shape) > THUMBNAIL
        if coarse and large and map_plot.cells_in_view(view, shape, gaps) <= FINE_CELLS:
            return map_plot.exact(self._window, view, shape, gaps)
        wanted = self.map.thumbnails_of()
        if self._mosaic is None or self._mosaic[0] != wanted:
            self._mosaic = (wanted, map_plot.mosaic(self.map.thumbnails()))
        return map_plot.overview(self._mosaic[1], view, shape)

    def scale(self) -> Scale:
        """How weights become colours."""
        how = self.workspace.display.scale
        return scale(how, self.map.ceiling(), self.map.spread() if how == "equalised" else None)

    def axes(self) -> Hashable:
        """Layers, heads and tokens of all kinds: another kind or order lies on the same plane, under other names."""
        trace = self.workspace.trace
        if trace is None:
            return None
        records = trace.attentions.items()
        return tuple((kind, trace.n_layers(kind), trace.n_heads(kind), each.n_queries, each.n_keys) for kind, each in records)

    def missing(self) -> str:
        """What a hatched cell means; empty where there is none."""
        if not self.map.shows_numbers:
            return super().missing()
        return "not known" if np.isnan(self.map.numbers().values).any() else ""

    def said_of_colours(self) -> str:
        """Which number the colours are, beside its chance value; or what hiding the sinks has changed."""
        if not self.map.shows_numbers:
            return self.map.sinks_note()
        low, high = map(number, self.map.chance())
        chance = f"by chance {low}" if low == high else f"by chance {low} to {high}"
        return f"{title_of(self.map.metric)}: {self.map.unknown() or chance}"

    def cells(self) -> int:
        """Cells along the longer side: heads where each has one number, else their tokens."""
        layout = self.map.layout()
        if self.map.shows_numbers:
            return max(layout.n_columns, layout.n_rows)
        return max(layout.n_columns * layout.n_keys, layout.n_rows * layout.n_queries)

    def picture(self) -> Picture:
        """The part of the sheet that is on screen."""
        layout = self.map.layout()
        across, down = max(1, layout.n_columns), max(1, layout.n_rows)
        view = self.window(across, down)
        values = self.raster(view)
        large = min(view.width / (view.x1 - view.x0), view.height / (view.y1 - view.y0)) >= HATCHED
        pixels = quantised(values, self.scale(), hatch=large) if layout.rows else np.zeros(values.shape, np.uint8)
        x_axis, y_axis = self._axes(layout, view, *self.pixels)
        slanted = self._filling(layout, view) is not None
        hook = named_axes(x_axis.ticks, y_axis.ticks, titles=(x_axis.title, y_axis.title), slanted=slanted)
        return Picture(pixels, view, across, down, list(raster_palette(dark=self.dark)), hook)

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
        places = [layout.places[head][::-1] for head in heads if head in layout.places]
        return map_plot.outlines(places, max(1, layout.n_columns), max(1, layout.n_rows))

    def _names(self, **_: Any) -> hv.Labels:
        words = self._named()
        hooks = [self.named.hook, looks_of_words(self._looks(words))]
        return map_plot.labels([word[:3] for word in words]).opts(
            background_fill_color=raster_palette(dark=self.dark)[BACKGROUND], hooks=hooks
        )

    def write(self) -> None:
        """The names and numbers of the heads in view, and the arrows between them."""
        words = self._named()
        self.named.write(words, **self._looks(words))
        self.arrows.draw()

    def _looks(self, words: list[Word]) -> dict[str, list[Any]]:
        """The ink of every word, and how opaque the ground is that it stands on: a square of one colour needs none."""
        if not self.map.shows_numbers:
            ink = marks(dark=self.dark)[FOCUS]
            return {"ink": [ink] * len(words), "ground": [NAME_GROUND] * len(words)}
        palette = raster_palette(dark=self.dark)
        levels = quantised(coded(self.map.numbers().values), self.scale(), hatch=False)
        inks = [text_on(palette[levels[word.row, word.column]]) for word in words]
        return {"ink": inks, "ground": [0.0] * len(words)}

    def _named(self) -> list[Word]:
        """Names where the axes do not name the heads, or where there is room to spare; numbers where they fit."""
        layout = self.map.layout()
        if not layout.rows:
            return []
        view = self.window(layout.n_columns, layout.n_rows)
        columns, rows = (range(int(low), int(np.ceil(high))) for low, high in ((view.x0, view.x1), (view.y0, view.y1)))
        wide, high = self.pixels
        squares = Squares(layout.n_columns, layout.n_rows, columns, rows, wide / (view.x1 - view.x0), high / (view.y1 - view.y0))
        if len(rows) * len(columns) > MOST_WORDS:
            return []
        longest = max(map(str, layout.ids), key=len)
        if self.map.shows_numbers:
            values = self.map.numbers().values

            def lines(row: int, column: int) -> list[str]:
                named = [str(layout.rows[row][column])] if layout.ranked_by else []
                return [*named, brief(float(values[row, column]))]

            return middle_words(squares, lines)
        if squares.wide < NAMED and not (layout.ranked_by and fits(longest, squares)):
            return []
        return corner_words(squares, lambda row, column: str(layout.rows[row][column]), self._gaps(layout).across)

    def _axes(self, layout: Layout, view: Viewport, wide: int, high: int) -> tuple[AxisNames, AxisNames]:
        """Heads and layers, or ranks; the tokens of the one head that fills the plot."""
        head, x_seen, y_seen = self._filling(layout, view), (view.x0, view.x1), (view.y0, view.y1)
        if head is not None:
            gaps, (row, column) = self._gaps(layout), layout.places[head]
            # Its own name has left the picture when it fills it.
            x_title, y_title = f"{head}: {TO_KEY}", f"{head}: {FROM_QUERY}"
            return (
                token_names(x_title, self.map.names("key"), column, layout.n_columns, gaps.across, x_seen, wide),
                token_names(y_title, self.map.names("query"), row, layout.n_rows, gaps.down, y_seen, high),
            )
        if layout.ranked_by:
            places = [str(at + 1) for at in range(layout.n_columns)]
            return (
                square_names("place in the row", places, x_seen, wide),
                square_names(f"rank by {layout.ranked_by}", rank_rows(layout.n_rows, layout.n_columns), y_seen, high),
            )
        return (
            square_names("head", [str(at) for at in range(layout.n_columns)], x_seen, wide),
            square_names("layer", [str(at) for at in range(layout.n_rows)], y_seen, high),
        )

    def _filling(self, layout: Layout, view: Viewport) -> HeadId | None:
        """The head in the middle, where hardly anything else than its attention is in view."""
        if self.map.shows_numbers:
            return None
        middle = layout.head_at((view.x0 + view.x1) / 2, (view.y0 + view.y1) / 2)
        wide = view.x1 - view.x0
        return middle if middle is not None and wide <= 1 / FILLS else None

    def _gaps(self, layout: Layout) -> map_plot.Margins:
        return map_plot.margins(layout.n_queries, layout.n_keys, THUMBNAIL)

    def _window(self, row: int, column: int, rows: slice, columns: slice) -> Array:
        return self.map.exact(self.map.layout().rows[row][column], rows, columns)

    # -- gestures ------------------------------------------------------------------------------------------------------

    @gesture
    def tap(self, x: float, y: float, *, additive: bool = False) -> None:
        """Show the head under the point large, and select it; with Shift or Ctrl add it to the selected ones, or take it away."""
        layout, selection = self.map.layout(), self.workspace.selection
        head = layout.head_at(x * layout.n_columns, y * layout.n_rows)
        if head is None:
            return
        if additive:
            selection.toggle_heads([head], origin=ORIGIN)
        else:
            selection.pick(head, origin=ORIGIN)

    @gesture
    def _boxed(self, bounds: tuple[float, float, float, float] | None = None) -> None:
        """Every head whose middle is in the box."""
        layout = self.map.layout()
        if bounds is None or not layout.rows:
            return
        left, right = sorted((bounds[0] * layout.n_columns, bounds[2] * layout.n_columns))
        top, bottom = sorted((bounds[1] * layout.n_rows, bounds[3] * layout.n_rows))
        chosen = [
            head for head, (row, column) in layout.places.items() if left <= column + 0.5 <= right and top <= row + 0.5 <= bottom
        ]
        self.workspace.selection.select_heads(chosen, origin=ORIGIN, label="a box on the Map")

    @gesture
    def _pointed(self, x: float | None = None, y: float | None = None) -> None:
        self._pointer = (x, y)
        self.read_out()

    def read_out(self) -> None:
        """Write the numbers of what is under the pointer; they change with the selection though the pointer rests."""
        layout, (x, y) = self.map.layout(), self._pointer
        said = POINT_AT_NUMBER if self.map.shows_numbers else POINT
        if x is not None and y is not None and layout.rows:
            said = self._said_of(layout, x * layout.n_columns, y * layout.n_rows) or said
        self.under.object = said

    def _said_of(self, layout: Layout, x: float, y: float) -> str:
        """What is known of a point, in squares; empty in a gap."""
        if self.map.shows_numbers:
            head = layout.head_at(x, y)
            if head is None:
                return ""
            value, chance = map(number, self.map.number_of(head))
            rank = f"   place {layout.rank(head)} of {len(layout.ids)} by {layout.ranked_by}" if layout.ranked_by else ""
            return f"{head}   {title_of(self.map.metric)} {value}   by chance {chance}{rank}"
        gaps = self._gaps(layout)
        found = layout.cell_at(x, y, gaps.across, gaps.down)
        if found is None:
            return ""
        head, query, key = found
        weight = self.map.weight(head, query, key)
        said = "not visible" if np.isnan(weight) else number(weight)
        names = self.map.names("query")[query], self.map.names("key")[key]
        return f"{head}   {names[0]} ({query}) → {names[1]} ({key})   {said}"

    # -- the plot ------------------------------------------------------------------------------------------------------

    def _pane(self) -> Any:
        return self.plot_pane(self.plot(), sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-map", "aa-heads"])

    def plot(self) -> Any:
        """The sheet with its frames and names, following what it shows."""
        image, frames, focus, arrows, names = self.parts(
            (self._frames, no_rectangles),
            (self._focus, no_rectangles),
            (self.arrows.element, no_arrows),
            (self._names, no_labels),
        )
        box, pointer = streams.BoundsXY(source=image), streams.PointerXY(source=image)
        box.add_subscriber(self._boxed)
        pointer.add_subscriber(self._pointed)
        drawn = (
            image.opts(clim=(0, 255), tools=["box_select"], active_tools=["pan"], default_tools=list(TOOLS))
            * frames.opts(fill_alpha=0, line_width=2, default_tools=[])
            * focus.opts(fill_alpha=0, line_width=3, default_tools=[])
            * arrows.opts(default_tools=[])
            * names.opts(default_tools=[], text_font=value(FONT), text_font_size="8pt", text_align="left", text_baseline="top")
        )
        look = PLOT | {"backend_opts": PLOT["backend_opts"] | BORDER}
        return drawn.opts(xlabel="head", ylabel="layer", xlim=(0, 1), ylim=(0, 1), **look)


def looks_of_words(looks: dict[str, list[Any]]) -> Hook:
    """HoloViews hook: every word with an ink and a ground of its own. HoloViews has no column for what all words share."""

    def hook(plot: Any, _: Any) -> None:
        renderer = plot.handles["glyph_renderer"]
        renderer.data_source.data.update(looks)
        renderer.glyph.update(text_color="ink", background_fill_alpha="ground")

    return hook


def no_rectangles() -> hv.Rectangles:
    """No frames at all."""
    return rectangles([])


def no_labels() -> hv.Labels:
    """No names at all."""
    return map_plot.labels([])
