"""The ground of the Map and of all planes: one image of the part that is on screen, and frames over it."""

from __future__ import annotations

import html
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import ref

import holoviews as hv
import numpy as np
import param
from bokeh.models.glyphs import Image
from bokeh.models.renderers import GlyphRenderer
from holoviews import streams

from atlas.patches.panes import Markup
from atlas.plots.cell_hover import HOVER_CELLS, add_cell_hover
from atlas.plots.colours import BACKGROUND, MASKED, MASKED_LINE, raster_palette
from atlas.plots.frame import Hook, number
from atlas.plots.raster import RASTER_PIXELS, Array, Scale, Viewport, bounds, raster_image
from atlas.plots.zoom import bound_zoom, inside, nearest_share
from atlas.state.plane import CellsRead
from atlas.views.base import View, gesture
from atlas.views.canvas import on_screen, viewport
from atlas.views.events import Range, on_range, on_tap
from atlas.views.glyph import Raster

if TYPE_CHECKING:
    from atlas.trace import Trace

WHOLE = (0.0, 1.0)
"""From where to where a plane goes, on both axes."""

NEARLY = 0.999
"""Share of the nearest zoom that counts as it, because the browser reaches it by steps."""


PICTURE = "The picture has the pixels it had on screen: zoomed in, it becomes no sharper."
UNREAD = " It has too many cells for their numbers to be in this file."


@dataclass(frozen=True)
class Picture:
    """The part of a plane that is on screen: its pixels, where it lies on a plane of `n_x` by `n_y` units, colours and names."""

    pixels: Array
    view: Viewport
    n_x: int
    n_y: int
    palette: list[str]
    hook: Hook


class RasterView(View):
    """A view of one image. Another image on the same axes goes to the data source; other axes are drawn by HoloViews."""

    fills: ClassVar = True

    most_pixels: ClassVar[int] = RASTER_PIXELS
    """Pixels of the image: a byte each, at every gesture that changes it."""

    redrawn = param.Integer(default=0, doc="Counts the changes that only a whole new drawing can show.")

    def __init__(self, *given: Any, **params: Any) -> None:
        super().__init__(*given, **params)
        self.sheet = Raster()
        self.size = streams.PlotSize()
        self.size.add_subscriber(self._sized)
        self._ranges: tuple[Range, Range] = (None, None)
        self._hears = [on_tap(self.tap), on_range(self._moved)]
        self._drawn_on: Hashable = None
        self._drawn_of: Callable[[], Trace | None] = lambda: None
        self.visibility.follow_revision(self._redraw)
        self.visibility.follow_marks(self.mark)

    def take_over(self, other: View) -> None:
        """The part that is on screen there, on as many pixels."""
        super().take_over(other)
        if isinstance(other, RasterView):
            self._ranges = other.seen
            self.size.update(width=other.size.width, height=other.size.height)

    @property
    def seen(self) -> tuple[Range, Range]:
        """The part of the plane that is on screen, across and down; None: all of it."""
        return self._ranges

    def read_cells(self, most: int) -> CellsRead | None:  # noqa: ARG002  (a subclass knows its cells)
        """What the pointer reads of the whole plane where no server answers; None: more cells than `most`."""
        return None

    def stand_alone(self, figure: Any) -> str:
        """The numbers under the pointer, which the page asks the server for, are in the file where they are few enough."""
        if not has_image(figure):
            return super().stand_alone(figure)
        read = self.read_cells(HOVER_CELLS)
        if read is None:
            return PICTURE + UNREAD
        add_cell_hover(figure, read.values, read.names, read.reading)
        return PICTURE

    def axes(self) -> Hashable:
        """What is on the axes."""
        raise NotImplementedError

    def picture(self) -> Picture:
        """The part of the plane that is on screen."""
        raise NotImplementedError

    def cells(self) -> int:
        """Cells along the longer side of the plane, which say how near a reader may come."""
        raise NotImplementedError

    def tap(self, x: float, y: float, *, additive: bool = False) -> None:
        """The plane was tapped, inside or beside what is on it; `additive`: with Shift or Ctrl held."""
        raise NotImplementedError

    def waits(self) -> bool:
        """Whether there is nothing to draw because what was asked for has not come yet."""
        return False

    def mark(self) -> None:
        """Put the frames around what is selected now."""
        raise NotImplementedError

    def write(self) -> None:
        """Put the words into the picture that are in it, where there are any."""

    def scale(self) -> Scale:
        """How values become colours."""
        raise NotImplementedError

    def key_of_colours(self) -> Any:
        """What the colours mean, under the plot."""
        changes = self.visibility.param.revision, self.workspace.display.param.scale, self.param.dark
        return Markup(self.bound(self._ramp, *changes), sizing_mode="stretch_width", margin=(0, 8), css_classes=["aa-ramp"])

    def _ramp(self, *_: object) -> str:
        if self.workspace.trace is None:
            return ""
        return ramp(self.scale(), self.palette(), self.missing(), self.said_of_colours(), beyond=self.beyond())

    def beyond(self) -> bool:
        """Whether there may be values beyond the ends of the scale, which have the colours of its ends."""
        return True

    def said_of_colours(self) -> str:
        """What else is to be known of the colours, in words; empty: nothing."""
        return ""

    def palette(self) -> tuple[str, ...]:
        """The colours of the theme."""
        return raster_palette(dark=self.dark)

    def missing(self) -> str:
        """What a hatched cell means."""
        return "may not look"

    def window(self, n_x: int, n_y: int) -> Viewport:
        """The part of a plane of so many units that is on screen."""
        return viewport(*self._ranges, self.size.width, self.size.height, n_x, n_y).affordable(self.most_pixels)

    @property
    def pixels(self) -> tuple[int, int]:
        """Pixels of the plot, across and down."""
        return on_screen(self.size.width, self.size.height)

    def parts(self, *others: tuple[Callable[..., Any], Callable[[], Any]]) -> list[hv.DynamicMap]:
        """The image and what lies over it, drawn anew with the colour scale and the theme; each with its blank element.

        All parts have all streams: one that had not would put back the frames it was last drawn with.
        """
        display = self.follows(self.workspace.display, ["scale"], rename={"scale": "colours"})
        all_of_it = [display, self.follows(self, ["dark", "redrawn"])]
        drawn = [self.drawing(self._image, blank_image), *(self.drawing(part, blank) for part, blank in others)]
        made = [hv.DynamicMap(part, streams=all_of_it) for part in drawn]
        self.size.source = made[0]
        return made

    def _look(self) -> tuple[Picture, Hook]:
        """The picture, and the hook that names the axes and bounds the zoom.

        A plane of fewer cells than the last one may be zoomed further in than it can be; then all of it is shown.
        """
        nearest = nearest_share(self.cells())
        too_near = any(seen is not None and abs(seen[1] - seen[0]) < NEARLY * nearest for seen in self._ranges)
        if too_near:
            self._ranges = (None, None)
        found = self.picture()

        def hook(plot: Any, element: Any) -> None:
            found.hook(plot, element)
            bound_zoom(plot.state, WHOLE, WHOLE, nearest)
            if too_near:
                for seen in (plot.state.x_range, plot.state.y_range):
                    seen.update(start=seen.reset_start, end=seen.reset_end)

        return found, hook

    def _image(self, **_: Any) -> hv.Image:
        found, hook = self._look()
        self._drawn_on, trace = self.axes(), self.workspace.trace
        self._drawn_of = (lambda: None) if trace is None else ref(trace)
        image = raster_image(found.pixels, found.view, found.n_x, found.n_y)
        return image.opts(cmap=found.palette, hooks=self.faults.hooks([hook, self.sheet.hook, *self._hears]))

    @gesture
    def _moved(self, x_range: Range, y_range: Range) -> None:
        # What the browser moves back inside the limits right after it has told where it is.
        self._ranges = tuple(None if seen is None else inside(*seen, *WHOLE) for seen in (x_range, y_range))  # type: ignore[assignment]
        self._redraw()

    @gesture
    def _sized(self, **_: Any) -> None:
        self._redraw()

    def _redraw(self) -> None:
        axes = self.axes()
        # The last picture of this trace stays until the next one comes: without its names the plot would change its size, and the
        # browser would ask for the picture twice more.
        if self.waits() and self.workspace.trace is not None and self._drawn_of() is self.workspace.trace:
            return
        if axes != self._drawn_on:
            self.redrawn += 1
            return
        found, hook = self._look()
        if not self.sheet.show(found.pixels, bounds(found.view, found.n_x, found.n_y), found.palette, hook):
            self.redrawn += 1
            return
        self.write()
        self.mark()


def has_image(figure: Any) -> bool:
    """Whether a Bokeh figure is that of a raster."""
    return any(isinstance(each, GlyphRenderer) and isinstance(each.glyph, Image) for each in figure.renderers)


def blank_image() -> hv.Image:
    """What is drawn under the reason why there is no image."""
    pixels = np.full((1, 1), BACKGROUND, np.uint8)
    return raster_image(pixels, Viewport(0.0, 1.0, 0.0, 1.0, 1, 1), 1, 1).opts(cmap=list(raster_palette(dark=False)))


STOPS = 12
"""Colours told of a ramp: between two of them the browser mixes, and the eye sees no difference."""


def ramp(scale: Scale, palette: Sequence[str], missing: str, note: str = "", *, beyond: bool = True) -> str:
    """The colours from low to high with the values where they begin; what the hatch says, and a note, as text."""
    last = len(scale.edges) - 1
    colours = ", ".join(palette[round(at * last / (STOPS - 1))] for at in range(STOPS))
    values = [number(float(f"{value:.2g}")) for _, value in scale.ticks()]
    less, more = ("≤ ", "≥ ") if beyond else ("", "")
    if scale.signed:
        values = [f"{less}−{values[-1]}", "0", f"{more}{values[-1]}"]
    else:
        values[-1] = f"{more}{values[-1]}"
    numbers = "".join(f"<span>{value}</span>" for value in values)
    edge = "border:1px solid rgb(128 128 128 / 40%)"
    bar = (
        '<div style="width:250px;flex:none">'
        f'<div style="height:9px;{edge};background:linear-gradient(to right, {colours})"></div>'
        f'<div style="display:flex;justify-content:space-between">{numbers}</div></div>'
    )
    if missing:
        hatch = f"repeating-linear-gradient(135deg, {palette[MASKED]} 0 3px, {palette[MASKED_LINE]} 3px 4px)"
        look = f"display:inline-block;width:22px;height:9px;{edge};background:{hatch}"
        bar += f'<div style="white-space:nowrap"><span style="{look}"></span> {html.escape(missing)}</div>'
    look = "display:flex;flex-wrap:wrap;gap:4px 18px;align-items:start;font-size:0.75rem;font-variant-numeric:tabular-nums"
    # Too narrow a place beside the colours would break a note into lines of two words.
    words = f'<div style="flex:1 1 180px">{html.escape(note)}</div>' if note else ""
    return f'<div style="{look}">{bar}{words}</div>'
