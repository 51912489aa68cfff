"""Turns weights into the pixels that are sent to the browser, one byte each for any length of text.

A value is a weight of at least 0, DIM outside the selection, GAP between heads, or HIDDEN where masked. Because
HIDDEN < GAP < DIM < weights, the maximum over the cells of a pixel is a weight whenever the pixel covers one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import holoviews as hv
import numpy as np

from atlas.plots.colours import BACKGROUND, LEVELS, MASKED, MASKED_LINE, OUTSIDE, SIGNED_LEVELS

Array = np.ndarray

Box = tuple[float, float, float, float]
"""Left, bottom, right, top on a plane of side 1; y downwards."""

DIM, GAP, HIDDEN = np.float32(-0.5), np.float32(-1.0), np.float32(-2.0)

RASTER_PIXELS = 200_000
"""Most pixels sent at once, so that a gesture with all linked views stays under 300 kB. A larger plot is drawn more coarsely."""

HATCH = 6
"""Pixels from one hatch line to the next: clearly no colour, and finer than a readable cell."""

LOG_FLOOR = 1e-4
"""Weights below this have the lowest colour of the log scale, because softmax tails below four decades carry no meaning."""

COUNTS = "counts"

SCALES = ("linear", "log", "equalised")


@dataclass(frozen=True)
class Viewport:
    """A part of a plane (x to the right, y downwards) and the number of pixels on which it is drawn."""

    x0: float
    x1: float
    y0: float
    y1: float
    width: int
    height: int

    def within(self, x1: float, y1: float) -> Viewport:
        """The part inside (0, 0) to (x1, y1), with the same pixels per unit; the whole plane if no part is inside."""
        left, right = max(self.x0, 0.0), min(self.x1, x1)
        top, bottom = max(self.y0, 0.0), min(self.y1, y1)
        if right <= left or bottom <= top:
            return Viewport(0.0, x1, 0.0, y1, self.width, self.height)
        width = max(1, round(self.width * (right - left) / (self.x1 - self.x0)))
        height = max(1, round(self.height * (bottom - top) / (self.y1 - self.y0)))
        return Viewport(left, right, top, bottom, width, height)

    def affordable(self, most: int = RASTER_PIXELS) -> Viewport:
        """The same part with at most so many pixels."""
        too_many = self.width * self.height / most
        if too_many <= 1:
            return self
        width = max(1, min(int(self.width / too_many**0.5), most))
        # The width cannot fall below one pixel; then the height is reduced further.
        height = max(1, min(int(self.height / too_many**0.5), most // width))
        return Viewport(self.x0, self.x1, self.y0, self.y1, width, height)

    @property
    def x_edges(self) -> Array:
        """The edges of the columns of pixels."""
        return np.linspace(self.x0, self.x1, self.width + 1)

    @property
    def y_edges(self) -> Array:
        """The edges of the rows of pixels, downwards."""
        return np.linspace(self.y0, self.y1, self.height + 1)


def spans(edges: Array, count: int) -> tuple[Array, Array]:
    """First cell and end of the cells of every pixel, for cells of width 1 that begin at 0.

    A pixel that is narrower than a cell shows the cell under its middle; a wider one shows all cells it touches.
    """
    first, last = np.floor(edges[:-1]), np.ceil(edges[1:])
    if len(edges) > 1 and edges[1] - edges[0] <= 1:
        first = np.floor((edges[:-1] + edges[1:]) / 2)
        last = first + 1
    start = np.clip(first, 0, count - 1).astype(np.int64)
    return start, np.clip(last, start + 1, count).astype(np.int64)


def pooled(block: Array, row_edges: Array, column_edges: Array) -> Array:
    """The largest value in every pixel; the edges are in cells of the block."""
    filled = coded(block)
    for axis, edges in ((0, row_edges), (1, column_edges)):
        filled = maxima(filled, *spans(edges, filled.shape[axis]), axis)
    return filled


def pooled_signed(block: Array, row_edges: Array, column_edges: Array) -> Array:
    """The value furthest from 0 in every pixel, the positive one in a tie; NaN where all cells are missing."""
    missing = np.isnan(block)
    high, low = np.where(missing, -np.inf, block), np.where(missing, -np.inf, -block)
    for axis, edges in ((0, row_edges), (1, column_edges)):
        cells = spans(edges, block.shape[axis])
        high, low = maxima(high, *cells, axis), maxima(low, *cells, axis)
    found = np.where(high >= low, high, -low)
    return np.where(np.isinf(high), np.nan, found).astype(np.float32)


def maxima(values: Array, start: Array, stop: Array, axis: int) -> Array:
    """The largest value of every range of cells along an axis."""
    if np.all(stop - start == 1):
        return np.take(values, start, axis=axis)
    # reduceat reduces the cells from each index to the next, so every second result lies between two pixels and is dropped. An
    # extra line of -inf at the end lets a pixel end where the block ends.
    beyond = np.full_like(np.take(values, [0], axis=axis), -np.inf)
    cuts = np.stack([start, stop], axis=1).ravel()
    found = np.maximum.reduceat(np.concatenate([values, beyond], axis=axis), cuts, axis=axis)
    return np.take(found, np.arange(0, len(cuts), 2), axis=axis)


def coded(block: Array) -> Array:
    """A block with HIDDEN for NaN."""
    return np.where(np.isnan(block), HIDDEN, block).astype(np.float32, copy=False)


@dataclass(frozen=True)
class Scale:
    """Maps values to colours by the lowest value of each colour."""

    name: str
    edges: Array

    signed: bool = False
    """Whether colours go from the most negative value over 0 to the most positive one."""

    @property
    def ceiling(self) -> float:
        """The lowest value of the strongest colour."""
        return float(self.edges[-1])

    @property
    def zero(self) -> int:
        """The colour of 0."""
        return len(self.edges) // 2 if self.signed else 0

    @property
    def steps(self) -> int:
        """The number of colours from that of 0 to the strongest."""
        return len(self.edges) - 1 - self.zero

    def reach(self, value: float) -> int:
        """The number of colours, from that of 0 on, below the colour of this value."""
        return int(self.level(np.array([value]))[0]) - self.zero

    def begins(self, steps: int) -> float:
        """The lowest value of the colour that is this number of colours from that of 0."""
        return float(self.edges[self.zero + steps])

    def level(self, values: Array) -> Array:
        """The colour of each value."""
        return np.clip(np.searchsorted(self.edges, values, side="right") - 1, 0, len(self.edges) - 1)

    def ticks(self) -> list[tuple[int, float]]:
        """Some colours and their lowest values, for a colour bar."""
        return [(level, float(self.edges[level])) for level in np.linspace(0, len(self.edges) - 1, 5).round().astype(int)]


def scale(name: str, ceiling: float, sample: Array | None = None) -> Scale:
    """A scale up to a ceiling; 'equalised' gives every colour the same number of the sample's weights.

    'counts' is for whole numbers: each that occurs is as far from the one before as from the next, and colours begin at whole
    numbers.
    """
    top = ceiling if np.isfinite(ceiling) and ceiling > 0 else 1.0
    if name == "linear":
        return Scale(name, np.linspace(0, top, LEVELS))
    if name == "log":
        floor = min(LOG_FLOOR, top / 10)
        return Scale(name, np.geomspace(floor, top, LEVELS))
    if name not in ("equalised", COUNTS):
        message = f"A colour scale is one of {', '.join(SCALES)}, not {name!r}."
        raise ValueError(message)
    known = sample[np.isfinite(sample) & (sample <= top)] if sample is not None else np.empty(0)
    if not known.size:
        return Scale(name, np.linspace(0, top, LEVELS))
    if name == COUNTS:
        return Scale(name, np.ceil(np.quantile(np.unique(np.append(0.0, known)), np.linspace(0, 1, LEVELS))))
    edges = np.quantile(known, np.linspace(0, 1, LEVELS))
    edges[0] = min(edges[0], 0.0)
    # Many equal weights give equal edges; these are made to increase, so that every colour can be reached.
    return Scale(name, np.maximum.accumulate(edges + np.arange(LEVELS) * np.finfo(np.float32).tiny))


def signed_scale(limit: float) -> Scale:
    """A diverging scale from -limit to limit with equal steps; 0 is in the middle of the middle colour."""
    top = limit if np.isfinite(limit) and limit > 0 else 1.0
    half = SIGNED_LEVELS // 2
    return Scale("signed", (np.arange(SIGNED_LEVELS) - half - 0.5) * (top / (half - 0.5)), signed=True)


def quantised(values: Array, how: Scale, *, hatch: bool = True) -> Array:
    """Bytes of coded values: a colour of the ramp, the gap, or hatched where masked."""
    # Only weights are looked up in the scale, because that is slow and most of a plane is masked, gap or not selected.
    weights, hidden = values >= 0, values == HIDDEN
    found = np.full(values.shape, BACKGROUND, np.uint8)
    found[values == DIM] = OUTSIDE
    found[weights] = how.level(values[weights])
    _hatch(found, hidden, lines=hatch)
    return found


def quantised_signed(values: Array, how: Scale) -> Array:
    """Bytes of signed values: a colour of the diverging ramp, or hatched where a cell is missing."""
    found = how.level(np.nan_to_num(values)).astype(np.uint8)
    _hatch(found, np.isnan(values), lines=True)
    return found


def _hatch(pixels: Array, where: Array, *, lines: bool) -> None:
    if where.any():
        on_line = (np.add.outer(np.arange(pixels.shape[0]), np.arange(pixels.shape[1])) % HATCH) == 0
        pixels[where] = np.where(on_line[where], MASKED_LINE, MASKED) if lines else MASKED


def raster_image(pixels: Array, view: Viewport, n_x: int, n_y: int) -> hv.Image:
    """The pixels of a part of a plane of `n_x` by `n_y` units as an image on a plane of side 1, y downwards.

    The side is always 1, because a plot keeps its ranges when the text or the model changes.
    """
    return hv.Image(pixels[::-1], bounds=bounds(view, n_x, n_y), kdims=["x", "y"], vdims=["level"])


def bounds(view: Viewport, n_x: int, n_y: int) -> Box:
    """The bounds of a part of a plane of `n_x` by `n_y` units on a plane of side 1."""
    return view.x0 / n_x, view.y0 / n_y, view.x1 / n_x, view.y1 / n_y


def rectangles(boxes: Sequence[Box]) -> hv.Rectangles:
    """Frames on a plane of side 1."""
    return hv.Rectangles(list(boxes), kdims=["x", "y", "x1", "y1"])
