"""From weights to bytes: every pixel the largest weight it covers, every byte the colour of it, and never too many of them."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from atlas.plots.colours import BACKGROUND, COLOURS, LEVELS, MASKED, MASKED_LINE
from atlas.plots.raster import (
    COUNTS,
    GAP,
    HATCH,
    HIDDEN,
    LOG_FLOOR,
    RASTER_PIXELS,
    SCALES,
    Scale,
    Viewport,
    coded,
    maxima,
    pooled,
    quantised,
    raster_image,
    scale,
    spans,
)
from tests.plots.looking import blocks, drawn, viewports

# -- the window --------------------------------------------------------------------------------------------------------

anywhere = st.floats(-50, 150, allow_nan=False)
sizes = st.integers(1, 5_000)


@given(anywhere, st.floats(1e-3, 300), anywhere, st.floats(1e-3, 300), sizes, sizes)
def test_what_is_left_of_a_window_lies_on_the_plane_at_the_same_scale(x0, wide, y0, high, width, height):
    view = Viewport(x0, x0 + wide, y0, y0 + high, width, height)
    cut = view.within(40, 25)
    assert 0 <= cut.x0 < cut.x1 <= 40
    assert 0 <= cut.y0 < cut.y1 <= 25
    assert cut.width >= 1
    assert cut.height >= 1
    if max(x0, 0) < min(x0 + wide, 40) and max(y0, 0) < min(y0 + high, 25):
        assert cut.width <= view.width
        assert cut.height <= view.height
        assert abs(cut.width - width * (cut.x1 - cut.x0) / wide) <= 1
        assert abs(cut.height - height * (cut.y1 - cut.y0) / high) <= 1
    else:
        assert cut == Viewport(0, 40, 0, 25, width, height)
    assert cut.within(40, 25) == cut


@example(1, 10_000_000)
@example(5_000_000, 2)
@given(st.integers(1, 10_000_000), st.integers(1, 10_000_000))
def test_never_more_pixels_than_may_travel(width, height):
    view = Viewport(0, 3, 1, 2, width, height)
    cheap = view.affordable()
    assert 1 <= cheap.width <= width
    assert 1 <= cheap.height <= height
    assert cheap.width * cheap.height <= RASTER_PIXELS
    assert (cheap.x0, cheap.x1, cheap.y0, cheap.y1) == (0, 3, 1, 2)
    if width * height <= RASTER_PIXELS:
        assert cheap is view
    elif min(cheap.width, cheap.height) > 20:
        assert cheap.width / cheap.height == pytest.approx(width / height, rel=0.1)
        assert cheap.width * cheap.height > 0.9 * RASTER_PIXELS


def test_edges_are_where_pixels_meet():
    view = Viewport(1.0, 4.0, 10.0, 11.0, 6, 4)
    np.testing.assert_allclose(view.x_edges, [1, 1.5, 2, 2.5, 3, 3.5, 4])
    np.testing.assert_allclose(view.y_edges, [10, 10.25, 10.5, 10.75, 11])


# -- pixels ------------------------------------------------------------------------------------------------------------


@given(st.data(), blocks())
def test_every_pixel_is_the_largest_weight_it_covers(data, block):
    view = data.draw(viewports(block.shape[1], block.shape[0]))
    found = pooled(block, view.y_edges, view.x_edges)
    assert found.shape == (view.height, view.width)
    assert found.dtype == np.float32
    assert drawn(found, block, view.y_edges, view.x_edges)


@given(st.data(), st.integers(1, 400))
def test_no_cell_in_view_is_lost_and_no_pixel_is_empty(data, count):
    view = data.draw(viewports(count, 1, most=60))
    start, stop = spans(view.x_edges, count)
    assert (stop > start).all()
    assert (start >= 0).all()
    assert (stop <= count).all()
    assert (np.diff(start) >= 0).all()
    if view.x_edges[1] - view.x_edges[0] > 1:
        shown = set().union(*(range(low, high) for low, high in zip(start, stop, strict=True)))
        assert shown == set(range(start[0], stop[-1]))
        assert start[0] == np.floor(view.x0)
        assert stop[-1] == np.ceil(view.x1)


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(1, 6)), min_size=1, max_size=12), st.integers(0, 1))
def test_the_largest_of_stretches_that_overlap_jump_or_stand_alone(stretches, axis):
    values = np.random.default_rng(0).random((20, 20)).astype(np.float32)
    start = np.array([low for low, _ in stretches])
    stop = np.minimum(start + [length for _, length in stretches], 20)
    found = maxima(values, start, stop, axis)
    expected = [values.take(range(low, high), axis=axis).max(axis=axis) for low, high in zip(start, stop, strict=True)]
    np.testing.assert_array_equal(found, np.stack(expected, axis=axis))


def test_one_weight_in_sight_beats_what_is_hidden_and_what_is_gap():
    assert HIDDEN < GAP < 0
    block = np.full((40, 40), np.nan, np.float32)
    block[17, 23] = 0.0
    edges = np.linspace(0, 40, 3)
    found = pooled(block, edges, edges)
    assert found[0, 1] == 0.0
    assert (found.ravel()[[0, 2, 3]] == HIDDEN).all()
    block[:] = GAP
    block[3, 3] = np.nan
    assert (pooled(block, edges, edges) == GAP).all()


def test_one_cell_fills_the_screen():
    assert (pooled(np.array([[0.25]]), np.linspace(0, 1, 9), np.linspace(0.2, 0.3, 5)) == np.float32(0.25)).all()
    assert pooled(np.array([[np.nan]]), np.linspace(0, 1, 2), np.linspace(0, 1, 2)) == HIDDEN


def test_a_block_is_left_as_it_was():
    block = np.array([[np.nan, 0.5]])
    coded(block)[:] = 9
    pooled(block, np.array([0.0, 1.0]), np.array([0.0, 1.0, 2.0]))[:] = 9
    np.testing.assert_array_equal(block, [[np.nan, 0.5]])


# -- colours -----------------------------------------------------------------------------------------------------------

ceilings = st.floats(1e-6, 50)
samples = st.one_of(
    st.integers(0, 99).map(lambda seed: np.random.default_rng(seed).random(2_000).astype(np.float32) ** 6),
    st.integers(0, 99).map(lambda seed: np.random.default_rng(seed).integers(0, 4, 500) / np.float32(4)),
    st.just(np.full(7, 0.25)),
    st.just(np.zeros(9)),
    st.just(np.array([np.nan, np.inf, 0.1])),
    st.just(np.full(3, np.nan)),
    st.just(np.empty(0)),
    st.none(),
)


@given(st.sampled_from(SCALES), ceilings, samples, st.lists(st.floats(0, 60), min_size=1, max_size=40))
def test_a_larger_weight_is_never_a_weaker_colour_and_the_edges_say_which(name, ceiling, sample, values):
    how = scale(name, ceiling, sample)
    values = np.sort(np.array(values))
    levels = how.level(values)
    assert len(how.edges) == LEVELS
    assert np.isfinite(how.edges).all()
    assert (np.diff(how.edges) >= 0).all()
    assert (np.diff(levels) >= 0).all()
    assert levels.min() >= 0
    assert levels.max() < LEVELS
    for value, level in zip(values, levels, strict=True):
        # What the colour bar says of a colour is true of every weight that has it.
        assert value >= how.edges[level] or level == 0
        assert level == LEVELS - 1 or value < how.edges[level + 1]
    assert (how.level(np.array([how.ceiling, how.ceiling * 2, 1e9])) == LEVELS - 1).all()
    ticks = how.ticks()
    assert [level for level, _ in ticks] == sorted({level for level, _ in ticks})
    assert all(value == how.edges[level] for level, value in ticks)
    assert how.ceiling <= max(ceiling, 1e-6)


@given(st.sampled_from(["linear", "log"]), ceilings)
def test_every_colour_begins_where_its_edge_says(name, ceiling):
    how = scale(name, ceiling)
    np.testing.assert_array_equal(how.level(how.edges), np.arange(LEVELS))
    assert how.ceiling == pytest.approx(ceiling)


def test_the_scales_are_what_they_are_called():
    linear, log = scale("linear", 0.5), scale("log", 0.5)
    np.testing.assert_allclose(np.diff(linear.edges), 0.5 / (LEVELS - 1))
    np.testing.assert_allclose(np.diff(np.log(log.edges)), np.log(0.5 / LOG_FLOOR) / (LEVELS - 1))
    assert log.level(np.array([0.0, LOG_FLOOR / 2])).tolist() == [0, 0]
    assert scale("log", 1e-5).edges[0] == pytest.approx(1e-6)  # where all of it is below the floor, the floor gives way


def test_equalised_gives_every_colour_to_as_many_weights():
    sample = np.random.default_rng(0).random(LEVELS * 100) ** 8
    how = scale("equalised", 1.0, sample)
    counts = np.bincount(how.level(sample), minlength=LEVELS)
    assert 99 <= counts[:-1].min() <= counts[:-1].max() <= 102
    assert counts[-1] == 1  # the strongest begins at the ceiling, as on every scale


def test_what_is_beyond_the_ceiling_does_not_take_colours():
    sample = np.concatenate([np.linspace(0, 0.2, 1_000), np.full(1_000, 0.9)])  # a sink
    assert scale("equalised", 0.2, sample).ceiling == pytest.approx(0.2)


def test_nothing_at_all_is_the_lowest_colour():
    for name in SCALES:
        assert scale(name, 0.7, np.concatenate([np.zeros(5_000), [0.7]])).level(np.array([0.0]))[0] == 0


@pytest.mark.parametrize("ceiling", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("name", SCALES)
def test_a_ceiling_that_is_none_is_one(name, ceiling):
    assert scale(name, ceiling).ceiling == 1.0


def test_counts_that_occur_are_equally_far_from_each_other_and_colours_begin_at_whole_numbers():
    found = scale(COUNTS, 43.0, np.array([[0.0, 43.0, 1.0], [2.0, 1.0, np.nan]]))
    np.testing.assert_array_equal(found.level(np.array([0, 1, 2, 43])), np.floor((LEVELS - 1) * np.array([0, 1, 2, 3]) / 3))
    assert [value for _, value in found.ticks()] == [0, 1, 2, 13, 43]
    np.testing.assert_array_equal(found.edges, np.ceil(found.edges))


def test_a_scale_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="one of linear, log, equalised, not 'cubic'"):
        scale("cubic", 1.0)


@given(st.data(), blocks(), st.sampled_from(SCALES))
def test_bytes_are_the_colours_of_the_largest_weights(data, block, name):
    view = data.draw(viewports(block.shape[1], block.shape[0], most=14))
    how = scale(name, 0.8, block)
    values = pooled(block, view.y_edges, view.x_edges)
    values[0, 0] = GAP
    pixels = quantised(values, how)
    assert pixels.dtype == np.uint8
    for at in np.ndindex(*pixels.shape):
        if values[at] == GAP:
            assert pixels[at] == BACKGROUND
        elif values[at] == HIDDEN:
            assert pixels[at] == (MASKED_LINE if sum(at) % HATCH == 0 else MASKED)
        else:
            level = sum(values[at] >= edge for edge in how.edges) - 1
            assert pixels[at] == min(max(level, 0), LEVELS - 1)


def test_the_hatch_is_in_the_pixels_and_can_be_left_out():
    hidden = np.full((30, 30), HIDDEN)
    pixels = quantised(hidden, scale("linear", 1.0))
    assert set(np.unique(pixels)) == {MASKED, MASKED_LINE}
    rows, columns = np.nonzero(pixels == MASKED_LINE)
    assert set((rows + columns) % HATCH) == {0}
    assert len(rows) == 150
    assert (quantised(hidden, scale("linear", 1.0), hatch=False) == MASKED).all()


def test_a_raster_has_room_for_all_its_meanings():
    assert max(BACKGROUND, MASKED, MASKED_LINE) < COLOURS
    assert len({BACKGROUND, MASKED, MASKED_LINE} | set(range(LEVELS))) == LEVELS + 3
    full = quantised(np.linspace(0, 2, 900, dtype=np.float32).reshape(30, 30), Scale("linear", np.linspace(0, 1, LEVELS)))
    assert full.max() == LEVELS - 1


# -- images ------------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.data(), st.integers(1, 1_300), st.integers(1, 1_300))
def test_a_pixel_lies_where_its_cell_does_on_a_plane_of_side_one(data, n_x, n_y):
    view = data.draw(viewports(n_x, n_y, most=9))
    pixels = np.arange(view.height * view.width, dtype=np.uint8).reshape(view.height, view.width)
    image = raster_image(pixels, view, n_x, n_y)
    x, y = (view.x_edges[:-1] + view.x_edges[1:]) / 2 / n_x, (view.y_edges[:-1] + view.y_edges[1:]) / 2 / n_y
    np.testing.assert_allclose(image.dimension_values("x", expanded=False), x, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(image.dimension_values("y", expanded=False), y, rtol=1e-9, atol=1e-12)
    # y runs downwards on the plane: the first row of pixels is at the smallest y.
    np.testing.assert_array_equal(image.dimension_values("level", flat=False), pixels)
    for row in range(view.height):
        for column in range(view.width):
            assert image[x[column], y[row]] == pixels[row, column]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_a_single_row_or_column_is_drawn_and_travels_as_bytes(shape):
    height, width = shape
    pixels = np.arange(height * width, dtype=np.uint8).reshape(shape)
    image = raster_image(pixels, Viewport(3.2, 3.21, 0.5, 0.52, width, height), 48, 25)
    source = hv.renderer("bokeh").get_plot(image).handles["source"].data["image"][0]
    assert source.dtype == np.uint8
    np.testing.assert_array_equal(source, pixels)
