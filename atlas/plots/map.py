"""The Map as pixels: all heads on one plane, each in a square of side 1, from thumbnails or from the weights in view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import datashader as ds
import holoviews as hv
import numpy as np
import xarray as xr

from atlas.plots.raster import GAP, HIDDEN, Array, Box, Viewport, coded, maxima, pooled, spans

THUMBNAIL_CELLS = 32
"""The cells of smaller thumbnails are repeated up to this number, so that the gap of one cell beside them is thin."""

Window = Callable[[int, int, slice, slice], Array]
"""(layer, column, rows, columns) -> weights of the head at that place."""


def mosaic(thumbnails: Array) -> xr.DataArray:
    """One plane of all thumbnails, (layer, column, row, column), with a gap of one cell around each; x right, y down."""
    layers, heads, rows, columns = thumbnails.shape
    down, across = -(-THUMBNAIL_CELLS // rows), -(-THUMBNAIL_CELLS // columns)
    height, width = rows * down + 2, columns * across + 2
    squares = np.full((layers, height, heads, width), GAP, np.float32)
    large = thumbnails if down == across == 1 else np.repeat(np.repeat(thumbnails, down, axis=2), across, axis=3)
    squares[:, 1:-1, :, 1:-1] = large.transpose(0, 2, 1, 3)
    np.copyto(squares, HIDDEN, where=np.isnan(squares))
    plane = squares.reshape(layers * height, heads * width)
    y, x = (np.arange(layers * height) + 0.5) / height, (np.arange(heads * width) + 0.5) / width
    about = {"squares": (layers, heads), "cells": (rows, columns), "repeated": (down, across)}
    return xr.DataArray(plane, coords={"y": y, "x": x}, dims=("y", "x"), attrs=about)


def overview(plane: xr.DataArray, view: Viewport, shape: tuple[int, int] | None = None) -> Array:
    """The largest value in every pixel of a part of the mosaic, coded; row 0 is the top.

    `shape` is (queries, keys) of a head; it is needed because the last cell of a thumbnail may stand for fewer tokens.
    """
    axes = [_Axis.of(plane, axis, edges, shape) for axis, edges in ((0, view.y_edges), (1, view.x_edges))]
    if any(axis.magnified for axis in axes):
        # Not by Datashader, which shifts magnified cells by up to half a cell, away from their names.
        return _pooled_cells(plane.to_numpy(), axes)
    canvas = ds.Canvas(view.width, view.height, x_range=(view.x0, view.x1), y_range=(view.y0, view.y1))
    found = canvas.raster(plane, agg="max", interpolate="nearest").to_numpy()
    return np.where(np.isnan(found), GAP, found).astype(np.float32)


def compiled() -> None:
    """Let Datashader compile its code for a whole plane and for a part: a second each, for which the first reader would wait."""
    plane = mosaic(np.zeros((2, 2, THUMBNAIL_CELLS, THUMBNAIL_CELLS), np.float32))
    for side in (2.0, 1.5):
        overview(plane, Viewport(0.0, side, 0.0, side, THUMBNAIL_CELLS, THUMBNAIL_CELLS))


@dataclass(frozen=True)
class _Axis:
    """One axis of a mosaic, and the edges of the pixels on which it is drawn."""

    edges: Array
    squares: int
    size: int
    """Cells of the mosaic along a square, including its gaps."""
    repeated: int
    held: float
    """Cells of a thumbnail that stand for tokens, as a fraction, because the last one may be only partly filled."""

    @classmethod
    def of(cls, plane: xr.DataArray, axis: int, edges: Array, shape: tuple[int, int] | None) -> _Axis:
        squares, cells, repeated = (plane.attrs[name][axis] for name in ("squares", "cells", "repeated"))
        held = cells if shape is None else shape[axis] / -(-shape[axis] // cells)
        return cls(edges, squares, cells * repeated + 2, repeated, held)

    @property
    def magnified(self) -> bool:
        """Whether a pixel is narrower than a cell."""
        return bool((self.edges[1] - self.edges[0]) * self.size <= 1)

    def covered(self) -> tuple[Array, Array]:
        """First cell and end of the cells of every pixel; if magnified, only the cell under its middle."""
        if not self.magnified:
            return spans(self.edges * self.size, self.squares * self.size)
        middle = (self.edges[:-1] + self.edges[1:]) / 2
        square = np.clip(np.floor(middle), 0, self.squares - 1)
        inside = ((middle - square) * self.size - 1) / (self.size - 2)
        cell = np.where((inside >= 0) & (inside < 1), 1 + np.floor(inside * self.held * self.repeated), 0)
        start = (square * self.size + cell).astype(np.int64)
        return start, start + 1


def _pooled_cells(plane: Array, axes: Sequence[_Axis]) -> Array:
    found = plane
    for axis, about in enumerate(axes):
        start, stop = about.covered()
        # Only the cells in view are read, because the mosaic of a thousand heads is large.
        low, high = int(start.min()), int(stop.max())
        found = maxima(found.take(np.arange(low, high), axis=axis), start - low, stop - low, axis)
    return found


@dataclass(frozen=True)
class Margins:
    """The gap at each side of a head's square, as a share of it: left and right, above and below."""

    across: float
    down: float


def margins(n_queries: int, n_keys: int, thumbnail: int) -> Margins:
    """The gaps of a mosaic for this number of tokens, so that `overview` and `exact` draw each cell at the same place."""

    def gap(count: int) -> float:
        cells = min(count, thumbnail)
        cells = -(-count // -(-count // thumbnail)) if count > thumbnail else cells
        return 1.0 / (cells * -(-THUMBNAIL_CELLS // cells) + 2)

    return Margins(gap(n_keys), gap(n_queries))


def exact(window: Window, view: Viewport, shape: tuple[int, int], gaps: Margins) -> Array:
    """Every head in view, drawn from its own weights, coded; `shape` is (queries, keys) of a head."""
    found = np.full((view.height, view.width), GAP, np.float32)
    x, y = view.x_edges, view.y_edges
    for layer in range(int(np.floor(view.y0)), int(np.ceil(view.y1))):
        for column in range(int(np.floor(view.x0)), int(np.ceil(view.x1))):
            rows, row_edges = _inside(y, layer, gaps.down, shape[0])
            columns, column_edges = _inside(x, column, gaps.across, shape[1])
            if rows.stop <= rows.start or columns.stop <= columns.start:
                continue
            cells = _covered(row_edges, shape[0]), _covered(column_edges, shape[1])
            block = window(layer, column, *cells)
            found[rows, columns] = pooled(block, row_edges - cells[0].start, column_edges - cells[1].start)
    return found


def cells_in_view(view: Viewport, shape: tuple[int, int], gaps: Margins) -> int:
    """The number of weights that `exact` would compute."""
    tall = sum(
        _length(_covered(_inside(view.y_edges, layer, gaps.down, shape[0])[1], shape[0]))
        for layer in range(int(np.floor(view.y0)), int(np.ceil(view.y1)))
    )
    wide = sum(
        _length(_covered(_inside(view.x_edges, column, gaps.across, shape[1])[1], shape[1]))
        for column in range(int(np.floor(view.x0)), int(np.ceil(view.x1)))
    )
    return tall * wide


def _length(part: slice) -> int:
    return max(0, part.stop - part.start)


def _inside(edges: Array, place: int, gap: float, count: int) -> tuple[slice, Array]:
    """The pixels whose middle lies on a cell of the square at `place`, and their edges in cells."""
    scaled = (edges - place - gap) / (1 - 2 * gap) * count
    middle = (scaled[:-1] + scaled[1:]) / 2
    hit = np.flatnonzero((middle >= 0) & (middle < count))
    if not len(hit):
        return slice(0, 0), np.empty(0)
    first, last = int(hit[0]), int(hit[-1])
    found = scaled[first : last + 2].copy()
    if scaled[1] - scaled[0] > 1:
        # The outermost pixels also show the cells under their neighbours in the gap. One of those cells is the first token, the
        # attention sink.
        found[0] = min(found[0], 0.0) if first > 0 else found[0]
        found[-1] = max(found[-1], count) if last + 1 < len(middle) else found[-1]
    return slice(first, last + 1), found


def _covered(edges: Array, count: int) -> slice:
    if not len(edges):
        return slice(0, 0)
    return slice(max(0, int(np.floor(edges[0]))), min(count, int(np.ceil(edges[-1]))))


NUMBER_GAP = 0.03
"""Share of a square that is left free on each side where it has one colour, so that neighbours of one colour are two."""


def numbers_raster(values: Array, view: Viewport) -> Array:
    """One value in every square, (row, column), coded: HIDDEN where it is not known, a gap around each."""
    row, in_row = _squares(view.y_edges, values.shape[0])
    column, in_column = _squares(view.x_edges, values.shape[1])
    found = coded(values)[np.ix_(row, column)]
    found[~(in_row[:, None] & in_column[None])] = GAP
    return found


def _squares(edges: Array, count: int) -> tuple[Array, Array]:
    """The square under the middle of every pixel, and whether the middle is not in its gap."""
    middle = (edges[:-1] + edges[1:]) / 2
    square = np.clip(np.floor(middle), 0, count - 1).astype(np.int64)
    return square, np.abs(middle - square - 0.5) <= 0.5 - NUMBER_GAP


def outlines(places: Sequence[tuple[int, int]], n_heads: int, n_layers: int) -> list[Box]:
    """A frame around each square at (column, layer), on a plane of side 1."""
    return [(x / n_heads, y / n_layers, (x + 1) / n_heads, (y + 1) / n_layers) for x, y in places]


def labels(places: Sequence[tuple[float, float, str]]) -> hv.Labels:
    """Texts at points of the plane."""
    return hv.Labels(list(places), kdims=["x", "y"], vdims=["text"])
