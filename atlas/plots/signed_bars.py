"""Signed parts of a sum as bars to both sides of zero, one a row, with words at both ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import holoviews as hv
import numpy as np

from atlas.plots.colours import diverging, theme
from atlas.plots.frame import Hook, frame, tooltip
from atlas.plots.row_words import row_words

ROW_HEIGHT = 24
"""Pixels of a row."""

HALF = 0.36
"""Half of a bar's thickness, in rows."""

STRONG = 0.12
"""Place of a bar's colour on the ramp of differences, from its end: a short bar is still seen on the paper."""

PLACE = ["x0", "y0", "x1", "y1"]


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
    around, colours = theme(dark=dark), diverging(dark=dark)
    at, parts = np.arange(float(len(bars))), np.array([bar.part for bar in bars], dtype=float)
    low, high = colours[int(STRONG * len(colours))], colours[-1 - int(STRONG * len(colours))]
    # Objects, because a list without rows becomes a column of numbers, and HoloViews fails where that follows one of colours.
    names, about, shades = (
        np.array(each, dtype=object)
        for each in ([bar.name for bar in bars], [bar.about for bar in bars], [low if part < 0 else high for part in parts])
    )
    columns = np.minimum(parts, 0), at - HALF, np.maximum(parts, 0), at + HALF, names, about, shades
    room = 1.04 * (largest or 1.0)
    shared = frame(
        dark=dark, x_label=label, y_label="", x_range=(-room, room), y_range=(rows - 0.4, -0.6), height=height_of(rows)
    )
    shared |= {"default_tools": [], "toolbar": None}
    drawn = hv.Rectangles(columns, PLACE, ["name", "about", "colour"]).opts(
        **(shared | {"hooks": [*shared["hooks"], *hooks]}), color="colour", line_alpha=0, tools=["hover"],
        hover_tooltips=tooltip("name", "about"),
    )  # fmt: skip
    zero = hv.Segments([(0.0, -0.6, 0.0, rows - 0.4)], ["x0", "y0", "x1", "y1"]).opts(color=around.muted, line_width=1.0)
    words = row_words([bar.name for bar in bars], [bar.words for bar in bars], around)
    return hv.Overlay([drawn, zero]).opts(**(shared | {"hooks": [*shared["hooks"], words]}), show_legend=False)


def height_of(rows: int) -> int:
    """Pixels of a plot with room for so many rows."""
    return ROW_HEIGHT * rows + 48
