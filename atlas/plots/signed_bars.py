"""Signed parts of a sum as bars to both sides of zero, one a row, with words at both ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np

from atlas.plots.colours import diverging, theme
from atlas.plots.frame import Hook, Limits, frame, hold, tooltip
from atlas.plots.row_words import row_words

ROW_HEIGHT = 24
"""Pixels of a row."""

HALF = 0.36
"""Half of a bar's thickness, in rows."""

STRONG = 0.12
"""Place of a bar's colour on the ramp of differences, from its end: a short bar is still seen on the paper."""

TICKS = 4
"""Numbers along the axis, about."""

PLACE = ["x0", "y0", "x1", "y1"]

COLUMNS = ("left", "bottom", "right", "top", "name", "about", "colour")
"""Bokeh's names of a bar's places, and its words."""


class Bar(NamedTuple):
    """One row."""

    name: str
    part: float
    words: str
    """Beside the bar."""
    about: str
    """For the tooltip."""


def signed_bars(
    bars: Sequence[Bar], *, rows: int, largest: float, label: str, dark: bool = False, hooks: Sequence[Hook] = ()
) -> hv.Overlay:
    """Bars from zero, the first at the top; `largest` is the length that fills one side, so that plots can be compared.

    The plot has room for `rows` rows, however many there are: a change of their number moves no row.
    """
    columns, around, hook = bar_columns(bars, dark=dark), theme(dark=dark), bar_hook(bars, rows=rows, largest=largest, dark=dark)
    x_range, y_range = _ranges(rows, largest)
    shared = frame(dark=dark, x_label=label, y_label="", x_range=x_range, y_range=y_range, height=height_of(rows))
    # Few, because three of these stand beside each other.
    shared |= {"default_tools": [], "toolbar": None, "xticks": TICKS}
    drawn = hv.Rectangles(tuple(columns[name] for name in COLUMNS), PLACE, ["name", "about", "colour"]).opts(
        **(shared | {"hooks": [*shared["hooks"], coloured_by_column, *hooks]}), line_alpha=0, tools=["hover"],
        hover_tooltips=tooltip("name", "about"),
    )  # fmt: skip
    zero = hv.Segments([(0.0, -0.6, 0.0, rows - 0.4)], ["x0", "y0", "x1", "y1"]).opts(color=around.muted, line_width=1.0)
    return hv.Overlay([drawn, zero]).opts(**(shared | {"hooks": [*shared["hooks"], hook]}), show_legend=False)


def bar_columns(bars: Sequence[Bar], *, dark: bool = False) -> dict[str, Any]:
    """What Bokeh's data source of the bars holds."""
    colours, at, parts = diverging(dark=dark), np.arange(float(len(bars))), np.array([bar.part for bar in bars], dtype=float)
    low, high = colours[int(STRONG * len(colours))], colours[-1 - int(STRONG * len(colours))]
    # Objects, because a list without rows becomes a column of numbers, and HoloViews fails where that follows one of colours.
    names, about, shades = (
        np.array(each, dtype=object)
        for each in ([bar.name for bar in bars], [bar.about for bar in bars], [low if part < 0 else high for part in parts])
    )
    places = np.minimum(parts, 0), at - HALF, np.maximum(parts, 0), at + HALF
    # Under HoloViews' names too, which it puts beside Bokeh's for the tooltip: the columns of a source are of one length.
    return dict(zip((*COLUMNS, *PLACE), (*places, names, about, shades, *places), strict=True))


def coloured_by_column(plot: Any, _: Any) -> None:
    """HoloViews hook: every bar has the colour of its row. HoloViews makes no column for a colour that all bars share."""
    plot.handles["glyph_renderer"].glyph.fill_color = "colour"


def bar_hook(bars: Sequence[Bar], *, rows: int, largest: float, dark: bool = False) -> Hook:
    """HoloViews hook: words at both ends of the rows, and axes that end where the longest bar of all plots does."""
    words = row_words([bar.name for bar in bars], [bar.words for bar in bars], theme(dark=dark))
    held = hold(*_ranges(rows, largest))

    def hook(plot: Any, element: Any) -> None:
        words(plot, element)
        held(plot, element)

    return hook


def _ranges(rows: int, largest: float) -> tuple[Limits, Limits]:
    room = 1.04 * (largest or 1.0)
    return (-room, room), (rows - 0.4, -0.6)


def height_of(rows: int) -> int:
    """Pixels of a plot with room for so many rows."""
    return ROW_HEIGHT * rows + 48
