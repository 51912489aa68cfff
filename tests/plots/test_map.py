"""The Map is a map: two ways to draw a head that agree where its cells are, and only what is in view is worked out."""

from __future__ import annotations

import functools
import itertools
import subprocess
import sys

import holoviews as hv
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.plots import map as map_plot
from atlas.plots.map import THUMBNAIL_CELLS, cells_in_view, exact, margins, mosaic, overview
from atlas.plots.raster import GAP, HIDDEN, RASTER_PIXELS, Viewport, coded, quantised, rectangles, scale
from atlas.trace import Trace
from atlas.tracing.record import Attention, Layer, Mask
from atlas.tracing.statistics import THUMBNAIL, block_maxima
from tests.places import REPO
from tests.plots.looking import NEAR, largest, near, viewports

INSIDE = np.s_[1:-1, 1:-1]
"""Without the outermost pixels: what one way of drawing moves by a pixel may come in from outside there."""

counts = st.one_of(st.integers(1, 70), st.sampled_from([1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 130, 193, 257]))


def heads_of(layers, heads, n_queries, n_keys, seed=0, *, causal=False):
    """(layer, head, query, key) random weights."""
    weights = np.random.default_rng(seed).random((layers, heads, n_queries, n_keys)).astype(np.float32)
    if causal:
        weights[..., ~np.tri(n_queries, n_keys, dtype=bool)] = np.nan
    return weights


def small(weights):
    """Their thumbnails."""
    return np.stack([[block_maxima(head) for head in layer] for layer in weights])


def window_of(weights, asked=None):
    """A window function on weights that are there, which remembers what it was asked for."""

    def window(layer, column, rows, columns):
        if asked is not None:
            asked.append((layer, column, rows, columns))
        return weights[layer, column, rows, columns]

    return window


def gaps_of(weights):
    return margins(*weights.shape[2:], THUMBNAIL)


# -- gaps --------------------------------------------------------------------------------------------------------------


@given(counts, counts)
def test_the_gaps_of_the_mosaic_are_the_margins(n_queries, n_keys):
    plane = mosaic(small(heads_of(2, 3, n_queries, n_keys)))
    gaps = margins(n_queries, n_keys, THUMBNAIL)
    height, width = plane.shape[0] / 2, plane.shape[1] / 3
    assert gaps.down == pytest.approx(1 / height)
    assert gaps.across == pytest.approx(1 / width)
    for layer in range(2):
        for head in range(3):
            rows, columns = (slice(int(at * size), int((at + 1) * size)) for at, size in ((layer, height), (head, width)))
            square = plane.to_numpy()[rows, columns]
            assert (square[0] == GAP).all()
            assert (square[-1] == GAP).all()
            assert (square[:, 0] == GAP).all()
            assert (square[:, -1] == GAP).all()
            assert (square[1:-1, 1:-1] >= 0).all()
    assert max(gaps.across, gaps.down) <= 1 / (THUMBNAIL_CELLS + 2)


def test_every_cell_of_a_thumbnail_is_as_large_as_any_other():
    weights = heads_of(1, 2, 5, 40)
    plane = mosaic(weights).to_numpy()
    for head in range(2):
        inner = plane[1:-1, head * 42 + 1 : head * 42 + 41]
        np.testing.assert_array_equal(inner, np.repeat(weights[0, head], 7, axis=0))


def test_hidden_cells_are_hidden_in_the_mosaic():
    plane = mosaic(heads_of(1, 1, 40, 40, causal=True)).to_numpy()
    assert plane[1, 2] == HIDDEN
    assert plane[2, 1] >= 0
    assert not np.isnan(plane).any()


# -- both ways against loops -------------------------------------------------------------------------------------------


def cell_at(place, count, gap):
    """The token of the head at a place on an axis; None in the gap."""
    inside = (place % 1 - gap) / (1 - 2 * gap)
    return int(inside * count) if 0 <= inside < 1 else None


def places(edges, count, gap):
    """(square, token or None) under the middle of every pixel, and under the points next to it."""
    return [{(int(np.floor(at)), cell_at(at, count, gap)) for at in (middle - NEAR, middle + NEAR)} for middle in middles(edges)]


def under(weights, rows, columns):
    """What lies under a pixel: GAP, HIDDEN or a weight."""
    for (layer, row), (head, column) in itertools.product(rows, columns):
        there = 0 <= layer < weights.shape[0] and 0 <= head < weights.shape[1]
        if row is None or column is None or not there:
            yield GAP
        else:
            yield np.float32(largest(weights[layer, head], [row], [column]))


def middles(edges):
    return (edges[:-1] + edges[1:]) / 2


@st.composite
def scenes(draw, most=9):
    """Some heads and a window on them, in which a pixel is narrower than a cell."""
    layers, heads, n_queries, n_keys = (draw(st.integers(1, top)) for top in (3, 3, most, most))
    weights = heads_of(layers, heads, n_queries, n_keys, draw(st.integers(0, 99)), causal=draw(st.booleans()))
    view = draw(viewports(heads, layers, most=12))
    gaps = gaps_of(weights)
    wide = (view.x1 - view.x0) / view.width / (1 - 2 * gaps.across) * n_keys
    high = (view.y1 - view.y0) / view.height / (1 - 2 * gaps.down) * n_queries
    return weights, view, gaps, wide < 1 - NEAR and high < 1 - NEAR


@settings(max_examples=60)
@given(scenes())
def test_magnified_both_ways_show_the_cell_under_every_pixel(scene):
    weights, view, gaps, magnified = scene
    plane = mosaic(weights)
    large = exact(window_of(weights), view, weights.shape[2:], gaps)
    thumb = overview(plane, view, weights.shape[2:])
    finest = (view.x1 - view.x0) / view.width * plane.shape[1] / weights.shape[1] <= 1
    finest = finest and (view.y1 - view.y0) / view.height * plane.shape[0] / weights.shape[0] <= 1
    rows, columns = places(view.y_edges, weights.shape[2], gaps.down), places(view.x_edges, weights.shape[3], gaps.across)
    for at in np.ndindex(*large.shape):
        expected = set(under(weights, rows[at[0]], columns[at[1]]))
        assert not magnified or large[at] in expected
        assert not finest or thumb[at] in expected


@settings(max_examples=60)
@given(scenes(most=40), st.booleans())
def test_the_two_ways_put_a_cell_in_one_place_to_a_pixel(scene, said):
    weights, view, gaps, _ = scene
    large = exact(window_of(weights), view, weights.shape[2:], gaps)
    thumb = overview(mosaic(weights), view, weights.shape[2:] if said else None)
    # A pixel of gap and of hidden cells is gap to one and hidden to the other: weights are what is compared.
    large, thumb = np.maximum(large, GAP), np.maximum(thumb, GAP)
    # Each shows nothing but what the other has within a pixel, and loses nothing of it.
    for one, other in ((large, thumb), (thumb, large)):
        assert (one <= np.max(list(near(other)), axis=0))[INSIDE].all()


@settings(max_examples=30)
@given(st.data(), st.sampled_from([65, 97, 130, 200, 513]))
def test_a_cell_of_a_long_text_is_where_its_block_is_drawn(data, n):
    """Thumbnails whose last cell stands for fewer tokens than the others: one hot cell, looked for in both."""
    row, column = (data.draw(st.integers(0, n - 1)) for _ in range(2))
    head = np.zeros((n, n), np.float32)
    head[row, column] = 1
    thumbnails = block_maxima(head)[None, None].repeat(2, axis=1)
    gaps = margins(n, n, THUMBNAIL)
    zoom = data.draw(st.sampled_from([90, 300, 700]))
    view = Viewport(0.5, 1.5, 0.0, 1.0, zoom, zoom)  # half of one head and half of the next
    large = exact(window_of(np.stack([[head, head]])), view, (n, n), gaps)
    thumb = overview(mosaic(thumbnails), view, (n, n))
    assert (large <= np.max(list(near(thumb)), axis=0))[INSIDE].all()
    # And not because all of it is hot: the block is a sixtieth of the head, and lies around the cell.
    hot = np.argwhere(thumb == 1)
    for at, token in ((0, row), (1, column)):
        start = gaps.down + (1 - 2 * gaps.down) * token / n
        places = {start * zoom, (start - 0.5) * zoom, (start + 0.5) * zoom} if at else {start * zoom}
        assert all(min(abs(pixel - place) for place in places) <= zoom / 30 + 2 for pixel in hot[:, at])


@settings(max_examples=8)
@given(st.data())
def test_demagnified_nothing_is_lost_and_nothing_invented(data):
    weights = heads_of(3, 4, data.draw(st.integers(20, 64)), data.draw(st.integers(20, 64)), data.draw(st.integers(0, 9)))
    plane = mosaic(weights)
    view = Viewport(0, 4, 0, 3, *(int(size / data.draw(st.floats(1.05, 6))) for size in plane.shape[::-1]))
    found = overview(plane, view)
    assert found.shape == (view.height, view.width)
    height, width = plane.shape
    covers = np.array(
        [
            [
                plane.to_numpy()[
                    int(np.floor(y0 * height / 3)) : int(np.ceil(y1 * height / 3)),
                    int(np.floor(x0 * width / 4)) : int(np.ceil(x1 * width / 4)),
                ].max()
                for x0, x1 in zip(view.x_edges[:-1], view.x_edges[1:], strict=True)
            ]
            for y0, y1 in zip(view.y_edges[:-1], view.y_edges[1:], strict=True)
        ]
    )  # fmt: skip
    assert (found <= np.max(list(near(covers)), axis=0)).all()
    assert (covers <= np.max(list(near(found)), axis=0)).all()


# -- only what is in view ----------------------------------------------------------------------------------------------

LONG = 4_096


@pytest.mark.parametrize(
    "view",
    [
        Viewport(3.40, 3.41, 7.20, 7.21, 500, 400),  # some forty cells of one head
        Viewport(3.0, 4.0, 7.0, 8.0, 500, 400),  # one head
        Viewport(3.9, 4.1, 7.9, 8.1, 500, 400),  # the corners of four
        Viewport(0.0, 12.0, 0.0, 12.0, 500, 400),  # all of them
        Viewport(3.0001, 3.0002, 7.0, 8.0, 500, 400),  # in the gap
    ],
)
def test_of_a_long_text_only_what_is_in_view_is_asked_for(view):
    asked = []

    def window(layer, column, rows, columns):
        asked.append((layer, column, rows, columns))
        # As large as the answer, and no larger: what is not kept is worked out from q and k.
        return np.broadcast_to(np.float32(0.5), (rows.stop - rows.start, columns.stop - columns.start))

    gaps = margins(LONG, LONG, THUMBNAIL)
    if view.x1 - view.x0 < 12:
        found = exact(window, view, (LONG, LONG), gaps)
        assert found.shape == (400, 500)
        assert found.size <= RASTER_PIXELS
    estimate = cells_in_view(view, (LONG, LONG), gaps)
    if view.x1 - view.x0 == 12:
        assert estimate > 2e9  # said before anything is worked out
        return
    worked = sum((rows.stop - rows.start) * (columns.stop - columns.start) for _, _, rows, columns in asked)
    assert worked == estimate
    for layer, column, rows, columns in asked:
        for place, low, high, part in ((column, view.x0, view.x1, columns), (layer, view.y0, view.y1, rows)):
            assert low - 1 < place < high
            first, last = (((edge - place - gaps.across) / (1 - 2 * gaps.across)) * LONG for edge in (low, high))
            assert 0 <= part.start < part.stop <= LONG
            assert first - 1 <= part.start
            assert part.stop <= last + 1
    inside = (view.x1 - view.x0) * LONG * (view.y1 - view.y0) * LONG / (1 - 2 * gaps.across) ** 2
    assert worked <= 1.2 * inside + 4 * LONG
    if view.x0 == 3.0001:
        assert asked == []
        assert (found == GAP).all()
    else:
        assert (found == 0.5).any()


@given(scenes(most=60))
def test_the_estimate_is_what_is_asked_for(scene):
    weights, view, gaps, _ = scene
    asked = []
    exact(window_of(weights, asked), view, weights.shape[2:], gaps)
    worked = sum((rows.stop - rows.start) * (columns.stop - columns.start) for _, _, rows, columns in asked)
    assert worked == cells_in_view(view, weights.shape[2:], gaps)


@functools.cache
def long_trace():
    """Two heads over 4,096 tokens, held as q and k: their weights would be 134 MB."""
    generator = np.random.default_rng(0)
    query, key = (generator.normal(size=(2, LONG, 8)).astype(np.float32) for _ in range(2))
    layer = Layer(2, mask=Mask(causal=True), query=query, key=key, scaling=0.8)
    bare = Attention("decoder", 2, LONG, LONG, layers=(layer,))
    made = Attention("decoder", 2, LONG, LONG, layers=(layer,), stats={"log_sum_exp": bare.log_sum_exp()})
    table = pd.DataFrame({"token": [f"w{i}" for i in range(LONG)], "id": range(LONG), "special": False})
    return Trace({"decoder": made}, {"source": table}, {})


@pytest.mark.parametrize("middle", [0.02, 0.5, 0.93])
def test_at_4096_tokens_zoomed_to_cells_the_pixels_are_the_weights(middle):
    """A few dozen cells on the screen, on the diagonal, so that hatched ones are among them."""
    trace, gaps = long_trace(), margins(LONG, LONG, THUMBNAIL)
    attention = trace.attention_of("decoder")
    high = 40 / LONG
    view = Viewport(1 + middle, 1 + middle + high, middle, middle + high, 480, 400)
    how = scale("log", 0.3)
    pixels = quantised(exact(attention.block, view, (LONG, LONG), gaps), how)
    rows = [cell_at(y, LONG, gaps.down) for y in middles(view.y_edges)]
    columns = [cell_at(x, LONG, gaps.across) for x in middles(view.x_edges)]
    assert None not in rows + columns
    asked = [np.unique(cells) for cells in (rows, columns)]
    weights = trace.attention("decoder", 0, 1, queries=asked[0], keys=asked[1]).to_numpy()
    # Every pixel of a cell has the value of that cell of `trace.attention`, of which there are some 42 x 42.
    assert weights.size > 1_600
    at = np.ix_(np.searchsorted(asked[0], rows), np.searchsorted(asked[1], columns))
    np.testing.assert_array_equal(pixels, quantised(coded(weights)[at], how))
    assert len(np.unique(pixels)) > 20


def test_at_4096_tokens_one_head_on_the_screen_is_its_quantised_block():
    trace, gaps = long_trace(), margins(LONG, LONG, THUMBNAIL)
    attention = trace.attention_of("decoder")
    view = Viewport(gaps.across, 1 - gaps.across, gaps.down, 1 - gaps.down, 300, 240)
    found = exact(attention.block, view, (LONG, LONG), gaps)
    weights = trace.attention("decoder", 0, 0).to_numpy()
    wide, high = np.linspace(0, LONG, 301), np.linspace(0, LONG, 241)
    expected = np.empty((240, 300), np.float32)
    for row in range(240):
        # The pixels of a row share its cells: their maxima first, then those of each pixel.
        band = weights[int(np.floor(high[row] + NEAR)) : int(np.ceil(high[row + 1] - NEAR))]
        tops = np.where(np.isnan(band), HIDDEN, band).max(axis=0)
        for column in range(300):
            cells = slice(int(np.floor(wide[column] + NEAR)), int(np.ceil(wide[column + 1] - NEAR)))
            expected[row, column] = tops[cells].max()
    how = scale("log", 0.3)
    # Edges that meet a cell's edge fall on either side of it by a float's last digit.
    same = quantised(found, how) == quantised(expected, how)
    assert same.mean() > 0.97
    # From q and k by parts, and by whole rows: the same to a float's last digits.
    assert (found - 1e-6 <= np.max(list(near(expected)), axis=0))[INSIDE].all()
    assert (expected - 1e-6 <= np.max(list(near(found)), axis=0))[INSIDE].all()


# -- the smallest and the largest --------------------------------------------------------------------------------------


def test_one_token_one_head():
    weights = np.ones((1, 1, 1, 1), np.float32)
    gaps = gaps_of(weights)
    view = Viewport(0, 1, 0, 1, 68, 68)
    for found in (exact(window_of(weights), view, (1, 1), gaps), overview(mosaic(weights), view, (1, 1))):
        assert (found[2:-2, 2:-2] == 1).all()
        assert (found[0] == GAP).all()
        assert (found[:, -1] == GAP).all()


def test_as_many_heads_as_gpt2_xl():
    weights = heads_of(48, 25, 64, 64)
    plane = mosaic(weights)
    assert plane.shape == (48 * 66, 25 * 66)
    view = Viewport(0, 25, 0, 48, 500, 400).affordable()
    assert view.width * view.height <= RASTER_PIXELS
    found = overview(plane, view)
    assert found.shape == (view.height, view.width)
    assert (found >= 0).mean() > 0.9
    # The last head of the last layer, alone on the screen.
    corner = Viewport(24, 25, 47, 48, 660, 660).affordable()
    found = overview(plane, corner)
    at = lambda token: int((1 / 66 + (token + 0.5) / 66) * corner.width)
    assert found[at(63), at(63)] == weights[47, 24, 63, 63]
    assert found[at(0), at(63)] == weights[47, 24, 0, 63]


def test_a_window_that_hangs_over_the_edge_by_a_float_is_drawn():
    weights = heads_of(2, 3, 10, 10)
    view = Viewport(2.999999999, 3.0, 1.999999999, 2.0, 5, 5)
    assert (overview(mosaic(weights), view) == GAP).all()
    assert (exact(window_of(weights), view, (10, 10), gaps_of(weights)) == GAP).all()


# -- frames and names --------------------------------------------------------------------------------------------------


def test_frames_are_around_the_squares():
    frames = map_plot.outlines([(0, 0), (24, 47)], 25, 48)
    np.testing.assert_allclose(frames, [[0, 0, 1 / 25, 1 / 48], [24 / 25, 47 / 48, 1, 1]])
    assert map_plot.outlines([], 1, 1) == []
    drawn = rectangles(frames)
    assert isinstance(drawn, hv.Rectangles)
    np.testing.assert_allclose(drawn.array(), frames)
    assert len(rectangles([])) == 0


def test_names_are_plain_text_at_points():
    names = map_plot.labels([(0.5, 0.25, "<b>L0 H0</b>")])
    assert names.dimension_values("text").tolist() == ["<b>L0 H0</b>"]
    assert len(map_plot.labels([])) == 0


COMPILED = """
import time
import numpy as np
from atlas.plots import map as map_plot
from atlas.plots.raster import Viewport

begun = time.perf_counter()
map_plot.compiled()
compiling = time.perf_counter() - begun
plane = map_plot.mosaic(np.random.default_rng(0).random((12, 12, 64, 64), dtype=np.float32))
begun = time.perf_counter()
for low, high in ((0.0, 12.0), (1.0, 11.0), (2.5, 9.5)):
    map_plot.overview(plane, Viewport(low, high, low, high, 300, 300))
print((time.perf_counter() - begun) / compiling)
"""


def test_what_was_compiled_before_the_first_reader_is_all_there_is_to_compile():
    share = float(subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=True, cwd=REPO).stdout)
    assert share < 0.25, "three pictures take some milliseconds, to compile what draws one a second"
