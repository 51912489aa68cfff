"""What the Map and the planes share: the window that is on screen, the look of a plot, the line under it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from bokeh.events import AxisClick
from bokeh.models import FixedTicker

from atlas.plots.frame import Hook, tick_label
from atlas.plots.plane import SLANT
from atlas.plots.raster import Viewport
from atlas.views.events import Range
from atlas.views.plain import plain

DEFAULT_SIZE = (640, 420)
"""Pixels of a plot before the browser has said how large it is."""

SMALLEST = 16
"""Pixels: a plot in a hidden tab reports 0."""

Ticks = list[tuple[float, str]]

TO_KEY, FROM_QUERY = "to (key)", "from (query)"
"""Titles of axes whose names are tokens."""

REST = 100
"""Milliseconds the wheel must rest before the window it has come to is drawn; Bokeh waits for half a second."""

HEIGHT = 460
"""Pixels of a plot. Fixed, because a plot that stretches both ways falls back to its least height."""

TOOLS = ("save", "pan", "wheel_zoom", "reset")
"""Tools of a raster. No box zoom: it stretches one axis."""

PLOT: dict[str, Any] = {
    "responsive": True,
    "height": HEIGHT,
    "invert_yaxis": True,
    # Beside the plot: above it, it takes pixels that a low window does not have, and inside it, it lies over what is tapped.
    "toolbar": "right",
    "autohide_toolbar": True,
    "fontsize": {"ticks": "8pt", "labels": "9pt"},
    "backend_opts": {"plot.toolbar.logo": None, "plot.lod_timeout": REST},
}


def viewport(
    x_range: Range,
    y_range: Range,
    width: int | None,
    height: int | None,
    n_x: int,
    n_y: int,
) -> Viewport:
    """The part of a plane of `n_x` by `n_y` units that is on screen; plots themselves are on a plane of side 1."""
    x0, x1 = sorted(x_range) if x_range is not None else (0.0, 1.0)
    y0, y1 = sorted(y_range) if y_range is not None else (0.0, 1.0)
    wide, high = on_screen(width, height)
    whole = Viewport(x0 * n_x, x1 * n_x, y0 * n_y, y1 * n_y, wide, high)
    return whole.within(n_x, n_y).affordable()


def on_screen(width: int | None, height: int | None) -> tuple[int, int]:
    """Pixels of a plot, as far as they are known."""
    return max(int(width or DEFAULT_SIZE[0]), SMALLEST), max(int(height or DEFAULT_SIZE[1]), SMALLEST)


def named_axes(
    x_ticks: Ticks,
    y_ticks: Ticks,
    *,
    titles: tuple[str, str] = (TO_KEY, FROM_QUERY),
    slanted: bool = True,
    clicked: Callable[[str, float], None] | None = None,
) -> Hook:
    """HoloViews hook that names places on both axes. HoloViews sets the ticks of an overlay once; these follow the window.

    `clicked`: a method of a view, called with "x" or "y" and the place after a click on an axis. It is held weakly: HoloViews
    keeps the hooks of a plot for as long as the plot lives, in a place all sessions share, and the view refers to the plot.
    """
    view_method = WeakMethod(clicked) if clicked is not None else None

    def hook(plot: Any, _: Any) -> None:
        figure = plot.state
        across, down = titles
        for name, axis, ticks, title in (("x", figure.xaxis[0], x_ticks, across), ("y", figure.yaxis[0], y_ticks, down)):
            axis.axis_label = title
            places = [place for place, _ in ticks]
            if isinstance(axis.ticker, FixedTicker):
                axis.ticker.update(ticks=places)
            else:
                axis.ticker = FixedTicker(ticks=places)
                if view_method is not None and (method := view_method()) is not None:
                    axis.on_event(
                        AxisClick, lambda event, name=name, method=method: method(name, clicked_place(event.value, figure, name))
                    )
            axis.major_label_overrides = {place: tick_label(name) for place, name in ticks}
        figure.xaxis[0].major_label_orientation = SLANT if slanted else 0.0

    return hook


def clicked_place(value: float, figure: Any, axis: str) -> float:
    """Where on the plane an axis was clicked: Bokeh counts from the left and the top, and upwards always."""
    first, last = (figure.x_range.start, figure.x_range.end) if axis == "x" else (figure.y_range.end, figure.y_range.start)
    share = abs(value - first) / abs(last - first)
    return float(first + share * (last - first))


def readout(text: str) -> Any:
    """The numbers under the pointer, below the plot: plain text with room for two lines, so that nothing below moves."""
    return plain(text, "aa-readout", height=38)
