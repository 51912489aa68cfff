"""Planes looked at through a window, pixel by pixel, as plain loops would draw them."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from atlas.plots.raster import GAP, HIDDEN, Viewport

NEAR = 1e-7
"""A pixel whose middle or edge is this near to the edge of a cell may show either side of it: floats are no nearer to truth."""


@st.composite
def viewports(draw, n_x, n_y, most=24):
    """A part of a plane: now and then all of it, now and then a fraction of a cell."""
    x0, x1 = _stretch(draw, n_x)
    y0, y1 = _stretch(draw, n_y)
    return Viewport(x0, x1, y0, y1, draw(st.integers(1, most)), draw(st.integers(1, most)))


def _stretch(draw, length):
    width = draw(st.one_of(st.just(float(length)), st.floats(length / 1_000, length)))
    low = draw(st.floats(0, 1)) * (length - width)
    return low, min(low + width, float(length))


def cells_of(low, high, count):
    """The cells a pixel from `low` to `high` shows: those it touches, or the one under its middle where it is no wider."""
    if high - low <= 1 + NEAR:
        middle = (low + high) / 2
        narrow = [{min(max(int(np.floor(middle + shift)), 0), count - 1)} for shift in (-NEAR, NEAR)]
        if high - low <= 1 - NEAR:
            return narrow
        return [*narrow, *_touched(low, high, count)]
    return _touched(low, high, count)


def _touched(low, high, count):
    ways = ((low + NEAR, high - NEAR), (low - NEAR, high + NEAR), (low + NEAR, high + NEAR), (low - NEAR, high - NEAR))
    return [{cell for cell in range(count) if cell < end and cell + 1 > begin} for begin, end in ways]


def largest(block, rows, columns):
    """The largest weight of some cells, HIDDEN where there is none to be seen."""
    seen = [block[row, column] for row in rows for column in columns if not np.isnan(block[row, column])]
    return max(seen) if seen else HIDDEN


def drawn(found, block, row_edges, column_edges):
    """Whether every pixel shows the largest weight it covers."""
    for row, column in np.ndindex(*found.shape):
        ways = itertools.product(
            cells_of(row_edges[row], row_edges[row + 1], block.shape[0]),
            cells_of(column_edges[column], column_edges[column + 1], block.shape[1]),
        )
        may_be = {np.float32(largest(block, rows, columns)) for rows, columns in ways if rows and columns}
        assert found[row, column] in may_be, (row, column, found[row, column], may_be)
    return True


def near(values, reach=1):
    """Every array of the values moved by up to so many pixels each way; GAP comes in from outside."""
    framed = np.pad(values, reach, constant_values=GAP)
    height, width = values.shape
    for down, across in itertools.product(range(2 * reach + 1), repeat=2):
        yield framed[down : down + height, across : across + width]


def blocks(most=14):
    """Attention as it comes: NaN where a query may not look."""

    @st.composite
    def made(draw):
        rows, columns = draw(st.integers(1, most)), draw(st.integers(1, most))
        generator = np.random.default_rng(draw(st.integers(0, 2**20)))
        block = generator.random((rows, columns)).astype(np.float32)
        mask = draw(st.sampled_from(["none", "causal", "some", "all"]))
        if mask == "causal":
            block[~np.tri(rows, columns, dtype=bool)] = np.nan
        if mask == "some":
            block[generator.random(block.shape) < 0.4] = np.nan
        if mask == "all":
            block[:] = np.nan
        return block

    return made()
