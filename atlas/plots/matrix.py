"""The matrix as pixels: one head, or several together, in the window that is on screen."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Collection, Sequence

import numpy as np

from atlas.plots.raster import GAP, Array, Box, Viewport, pooled

NAME = 14
"""Pixels a name needs along its axis."""

TICK_LETTERS = 12
"""Letters of a name on an axis; the whole of it is in the line under the plot."""

SLANT = 1.05
"""Radians by which long names lean."""

LETTER, WIDE = 6.5, 11.0
"""Pixels of a letter on an axis, and of one of the wide scripts."""

BESIDE = 30
"""Pixels to the right of the matrix, where slanted names end."""

Window = Callable[[float, float, float, float], tuple[Array, float, float, float, float]]
"""(row0, row1, column0, column1) wanted -> values and the rows and columns they are of."""


def matrix_raster(window: Window, view: Viewport) -> Array:
    """Coded values of every pixel of a part of the plane, one cell a unit, rows downwards."""
    values, row0, row1, column0, column1 = window(view.y0, view.y1, view.x0, view.x1)
    if not values.size:
        return np.full((view.height, view.width), GAP, np.float32)
    # A thumbnail has fewer cells than the plane it stands for.
    down, across = values.shape[0] / (row1 - row0), values.shape[1] / (column1 - column0)
    return pooled(values, (view.y_edges - row0) * down, (view.x_edges - column0) * across)


def ticks(names: Sequence[str], low: float, high: float, pixels: int) -> list[tuple[float, str]]:
    """Positions and names for an axis: every one while they are readable, then every k-th."""
    first, last = max(0, int(np.floor(low))), min(len(names), int(np.ceil(high)))
    step = max(1, -(-(last - first) * NAME // max(pixels, NAME)))
    start = -(-first // step) * step
    # HoloViews cannot draw an axis without a single tick; one beyond the plane is never seen.
    return [((index + 0.5) / len(names), short(names[index])) for index in range(start, last, step)] or [(-1.0, "")]


def on_canvas(found: list[tuple[float, str]], low: float, high: float, pixels: int) -> list[tuple[float, str]]:
    """The slanted names that end on the canvas: Bokeh would push the last of the others over to another token."""
    scale = pixels / (high - low)
    kept = [(place, name) for place, name in found if (high - place) * scale + BESIDE >= reach(name)]
    return kept or [(-1.0, "")]


def reach(name: str) -> float:
    """Pixels a slanted name reaches to the right of its place."""
    return math.cos(SLANT) * sum(WIDE if unicodedata.east_asian_width(letter) in "WF" else LETTER for letter in name)


def short(name: str, most: int = TICK_LETTERS) -> str:
    """A name that fits an axis."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def rows_of(positions: Collection[int], count: int) -> list[Box]:
    """Frames around some of the rows of a plane of side 1; neighbours share one."""
    return [(0.0, start / count, 1.0, stop / count) for start, stop in runs(positions)]


def columns_of(positions: Collection[int], count: int) -> list[Box]:
    """The same around columns."""
    return [(start / count, 0.0, stop / count, 1.0) for start, stop in runs(positions)]


def runs(positions: Collection[int]) -> list[tuple[int, int]]:
    """Neighbouring positions as (start, stop)."""
    found: list[tuple[int, int]] = []
    for position in sorted(positions):
        if found and found[-1][1] == position:
            found[-1] = (found[-1][0], position + 1)
        else:
            found.append((position, position + 1))
    return found
