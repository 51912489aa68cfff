"""A plane as pixels: rows x columns of numbers with two named axes, drawn for the part that is on screen."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Collection, Sequence

import holoviews as hv
import numpy as np

from atlas.plots.colours import BACKGROUND, LEVELS, theme
from atlas.plots.raster import GAP, Array, Box, Scale, Viewport, pooled, pooled_signed, quantised, quantised_signed, rectangles

NAME = 14
"""Pixels that a name needs along its axis."""

ARROW = " → "
"""Between the names of a pair."""

TICK_LETTERS = 14
"""Most letters of a name on an axis; the line under the plot has the whole name."""

SLANT = 1.05
"""Angle of long names, in radians."""

LETTER, WIDE = 6.5, 11.0
"""Pixels of a letter on an axis, and of a letter of a wide script."""

BESIDE = 48
"""Pixels to the right of the plane, where slanted names end: room for the longest name over the last column."""

Window = Callable[[float, float, float, float], tuple[Array, float, float, float, float]]
"""(row0, row1, column0, column1) -> values, and the rows and columns that they cover."""


def plane_raster(window: Window, view: Viewport, *, signed: bool = False) -> Array:
    """Values of every pixel of a part of the plane, whose cells have side 1; rows run downwards.

    Magnitudes are coded as in `plots.raster`, and a pixel shows the largest one it covers. Signed values are not coded, missing
    cells are NaN, and a pixel shows the value furthest from 0.
    """
    values, row0, row1, column0, column1 = window(view.y0, view.y1, view.x0, view.x1)
    if not values.size:
        return np.full((view.height, view.width), 0 if signed else GAP, np.float32)
    # A thumbnail has fewer cells than its plane.
    down, across = values.shape[0] / (row1 - row0), values.shape[1] / (column1 - column0)
    pool = pooled_signed if signed else pooled
    return pool(values, (view.y_edges - row0) * down, (view.x_edges - column0) * across)


def plane_pixels(values: Array, how: Scale, threshold: float = 0.0) -> Array:
    """Bytes of the values of `plane_raster`.

    `threshold` hides smaller values where the palette cannot, because above the ceiling values on both sides of the threshold
    have the same colour.
    """
    pixels = quantised_signed(values, how) if how.signed else quantised(values, how)
    if threshold > how.ceiling:
        with np.errstate(invalid="ignore"):
            weak = np.abs(values) < threshold if how.signed else (values > GAP) & (values < threshold)
        pixels[weak] = BACKGROUND
    return pixels


def cut_palette(palette: Sequence[str], how: Scale, steps: int) -> list[str]:
    """A palette with this number of steps from 0 on in the background colour, as the threshold slider does in the browser."""
    paper = palette[BACKGROUND]
    return [paper if at < LEVELS and abs(at - how.zero) < steps else colour for at, colour in enumerate(palette)]


def bands(boxes: Sequence[Box], colour: str) -> hv.Rectangles:
    """Frames around selected rows, columns or cells."""
    return rectangles(boxes).opts(fill_color=colour, line_color=colour, fill_alpha=0.08, line_width=2)


def cell_centres(cells: Collection[tuple[int, int]], n_rows: int, n_columns: int) -> dict[str, list[float]]:
    """The middles of single cells, (row, column), of a plane of side 1, as columns."""
    chosen = sorted(cells)
    return {"x": [(x + 0.5) / n_columns for _, x in chosen], "y": [(y + 0.5) / n_rows for y, _ in chosen]}


def dots(cells: Collection[tuple[int, int]], n_rows: int, n_columns: int, *, dark: bool) -> hv.Points:
    """A dot in each of these cells, seen on every colour: paper with an edge of ink."""
    around = theme(dark=dark)
    points = hv.Points(cell_centres(cells, n_rows, n_columns), ["x", "y"])
    return points.opts(size=7, marker="circle", fill_color=around.paper, line_color=around.ink, line_width=1.5)


def tick_step(count: int, low: float, high: float, pixels: int) -> int:
    """1 where all of so many names are readable in a window from `low` to `high`, else the k of every k-th."""
    first, last = _in_view(count, low, high)
    # The window may reach beyond the names, which then have a part of the pixels.
    shown = max(float(last - first), high - low)
    # No step beyond the names in view: an axis without a name says nothing.
    return max(1, min(math.ceil(shown * NAME / max(pixels, NAME)), last - first))


def ticks(names: Sequence[str], low: float, high: float, pixels: int) -> list[tuple[float, str]]:
    """Positions and names for an axis: every one while they are readable, then every k-th, which `stepped` says."""
    first, last = _in_view(len(names), low, high)
    step = tick_step(len(names), low, high, pixels)
    start = -(-first // step) * step
    # HoloViews cannot draw an axis without a tick, so an invisible one is put beyond the plane.
    return [((index + 0.5) / len(names), short(names[index])) for index in range(start, last, step)] or [(-1.0, "")]


def stepped(title: str, step: int) -> str:
    """The title of an axis, which says so where names are left out: a sentence of every second word would read wrong."""
    return title if step == 1 else f"{title}, every {ordinal(step)} is named"


def ordinal(count: int) -> str:
    """'2nd', '3rd', '11th'."""
    last = "th" if count % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{count:,}{last}"


def _in_view(count: int, low: float, high: float) -> tuple[int, int]:
    return max(0, int(np.floor(low))), min(count, int(np.ceil(high)))


def on_canvas(found: list[tuple[float, str]], low: float, high: float, pixels: int) -> list[tuple[float, str]]:
    """Slanted names cut so that they end on the canvas: Bokeh would push the last of the others over to another token."""
    scale = pixels / (high - low)
    return [(place, _cut(name, (high - place) * scale + BESIDE)) for place, name in found]


def _cut(name: str, room: float) -> str:
    kept = name
    while len(kept) > 1 and reach(kept) > room:
        kept = f"{kept.removesuffix('…')[:-1]}…" if len(kept) > 2 else "…"
    return kept


def reach(name: str) -> float:
    """Pixels by which a slanted name extends to the right of its position."""
    return math.cos(SLANT) * sum(WIDE if unicodedata.east_asian_width(letter) in "WF" else LETTER for letter in name)


def short(name: str, most: int = TICK_LETTERS) -> str:
    """A name cut to fit an axis; of a pair, such as 'teenagers → pensioners', something of both stays."""
    if len(name) <= most:
        return name
    one, arrow, other = name.partition(ARROW)
    room = most - len(arrow)
    if not (one and other and room > 1):
        return f"{name[: most - 1]}…"
    half = max(room // 2, room - len(other))
    return f"{short(one, half)}{arrow}{short(other, room - min(half, len(one)))}"


def rows_of(positions: Collection[int], count: int) -> list[Box]:
    """Frames around these rows of a plane of side 1; neighbouring rows share a frame."""
    return [(0.0, start / count, 1.0, stop / count) for start, stop in runs(positions)]


def columns_of(positions: Collection[int], count: int) -> list[Box]:
    """Frames around these columns, as in `rows_of`."""
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


def cells_of(cells: Collection[tuple[int, int]], n_rows: int, n_columns: int) -> list[Box]:
    """Frames around single cells, (row, column), of a plane of side 1."""
    return [(x / n_columns, y / n_rows, (x + 1) / n_columns, (y + 1) / n_rows) for y, x in sorted(cells)]
