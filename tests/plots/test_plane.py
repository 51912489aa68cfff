"""The matrix as pixels: exact cells or thumbnails, in one place; names that are readable; frames around what is selected."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.plots.colours import BACKGROUND, LEVELS, SIGNED_LEVELS, raster_palette
from atlas.plots.plane import (
    BESIDE,
    NAME,
    TICK_LETTERS,
    cells_of,
    columns_of,
    cut_palette,
    on_canvas,
    plane_raster,
    reach,
    rows_of,
    runs,
    short,
    stepped,
    tick_step,
    ticks,
)
from atlas.plots.raster import GAP, Viewport, pooled, scale, signed_scale, spans
from atlas.tracing.statistics import THUMBNAIL, block_maxima
from tests.plots.looking import NEAR, blocks, drawn, largest, near, viewports


def cut(block, asked=None):
    """A window function on a block, as a lens gives it: whole cells, those in view alone."""

    def window(row0, row1, column0, column1):
        rows = slice(max(0, int(np.floor(row0))), min(block.shape[0], int(np.ceil(row1))))
        columns = slice(max(0, int(np.floor(column0))), min(block.shape[1], int(np.ceil(column1))))
        if asked is not None:
            asked.append((rows, columns))
        return block[rows, columns], rows.start, rows.stop, columns.start, columns.stop

    return window


@given(st.data(), blocks())
def test_every_pixel_is_the_largest_weight_it_covers(data, block):
    view = data.draw(viewports(block.shape[1], block.shape[0]))
    asked = []
    found = plane_raster(cut(block, asked), view)
    assert found.shape == (view.height, view.width)
    assert drawn(found, block, view.y_edges, view.x_edges)
    ((rows, columns),) = asked
    assert (rows.stop - rows.start, columns.stop - columns.start) <= (view.y1 - view.y0 + 2, view.x1 - view.x0 + 2)


def test_a_window_on_nothing_is_paper():
    view = Viewport(0, 1, 0, 1, 7, 3)
    found = plane_raster(lambda *_: (np.empty((0, 4)), 0, 0, 0, 4), view)
    assert found.shape == (3, 7)
    assert (found == GAP).all()


@settings(max_examples=60)
@given(st.data(), st.sampled_from([65, 100, 130, 193, 513]))
def test_thumbnails_are_where_the_cells_are_that_they_stand_for(data, n):
    """The last cell of a thumbnail stands for fewer tokens: it reaches beyond the plane, and the others stay in their place."""
    block = np.random.default_rng(data.draw(st.integers(0, 99))).random((n, n)).astype(np.float32)
    block[~np.tri(n, dtype=bool)] = np.nan
    thumbnail = block_maxima(block)
    step = -(-n // THUMBNAIL)
    reach = float(step * len(thumbnail))
    view = data.draw(viewports(n, n, most=40))
    found = plane_raster(lambda *_: (thumbnail, 0.0, reach, 0.0, reach), view)
    # A pixel that falls on one block shows what that block holds of the block itself.
    y, x = ((edges[:-1] + edges[1:]) / 2 for edges in (view.y_edges, view.x_edges))
    fine = [(edges[1] - edges[0]) / step < 1 - NEAR for edges in (view.y_edges, view.x_edges)]
    for row, at_y in enumerate(y):
        for column, at_x in enumerate(x):
            inside = all(NEAR < at / step % 1 < 1 - NEAR for at in (at_y, at_x))
            if all(fine) and inside:
                rows, columns = (range(int(at // step) * step, min((int(at // step) + 1) * step, n)) for at in (at_y, at_x))
                assert found[row, column] == np.float32(largest(block, rows, columns))
    if all(width[1] - width[0] >= step for width in (view.y_edges, view.x_edges)):
        every = pooled(block, view.y_edges, view.x_edges)
        assert (every <= np.max(list(near(found)), axis=0)).all()


# -- names -------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 5_000), st.floats(-20, 6_000), st.floats(0.01, 6_000), st.integers(0, 2_000))
def test_names_are_at_their_cells_as_many_as_are_readable(count, low, wide, pixels):
    names = [str(i) for i in range(count)]
    found = ticks(names, low, low + wide, pixels)
    first, last = max(0, int(np.floor(low))), min(count, int(np.ceil(low + wide)))
    if first >= last:
        assert found == [(-1.0, "")]  # off the plane, since HoloViews cannot draw an axis without any
        return
    at = [int(name) for _, name in found]
    assert at, "an axis without a name says nothing"
    assert all(place == pytest.approx((index + 0.5) / count) for (place, _), index in zip(found, at, strict=True))
    assert all(first <= index < last for index in at)
    shown = max(last - first, low + wide - low)  # a window that reaches beyond the names gives them a part of the pixels
    if shown * NAME <= pixels:
        assert at == list(range(first, last))
        return
    assert len(found) <= pixels / NAME + 1
    # Every k-th, of a k that stays the same while one moves along: names do not dance.
    step = min(math.ceil(shown * NAME / max(pixels, NAME)), last - first)
    assert at == [index for index in range(first, last) if index % step == 0]
    assert step * max(pixels, NAME) >= NAME * (last - first)


def test_a_single_name_and_none():
    assert ticks(["a"], 0, 1, 400) == [(0.5, "a")]
    assert ticks(["a"], 0, 1, 0) == [(0.5, "a")]
    assert ticks([], 0, 1, 400) == [(-1.0, "")]


@pytest.mark.parametrize("name", ["", "a", "x" * TICK_LETTERS, "x" * (TICK_LETTERS + 1), "x" * 10_000, "<script>x</script>"])
def test_a_name_fits(name):
    said = short(name)
    assert len(said) <= TICK_LETTERS
    assert said == (name if len(name) <= TICK_LETTERS else name[: TICK_LETTERS - 1] + "…")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("he → she", "he → she"),
        ("fourteenth → fourth", "four… → fourth"),
        ("teenagers → pensioners", "teen… → pensi…"),
        ("grandmother → he", "grandmot… → he"),
        ("he → grandmother", "he → grandmot…"),
    ],
)
def test_of_a_pair_something_of_both_names_stays(name, said):
    assert short(name) == said
    assert len(said) <= TICK_LETTERS


# -- frames ------------------------------------------------------------------------------------------------------------


@given(st.frozensets(st.integers(0, 60)))
def test_neighbours_share_a_frame(positions):
    found = runs(positions)
    assert set().union(*(range(start, stop) for start, stop in found)) == positions
    assert all(start < stop for start, stop in found)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(found))


def test_frames_are_around_rows_and_columns():
    np.testing.assert_allclose(rows_of({1, 2, 5}, 10), [[0, 0.1, 1, 0.3], [0, 0.5, 1, 0.6]])
    np.testing.assert_allclose(columns_of({0}, 4), [[0, 0, 0.25, 1]])
    assert rows_of((), 3) == columns_of((), 3) == []


def test_a_slanted_name_that_would_end_beyond_the_canvas_is_cut_and_none_is_left_out():
    names = [(0.2, "a name of 12"), (0.9, "ab"), (0.99, "東" * 12), (0.995, "x")]
    found = on_canvas(names, 0.0, 1.0, 300)
    assert [place for place, _ in found] == [place for place, _ in names]
    assert [name for _, name in found[:2]] == ["a name of 12", "ab"]
    assert re.fullmatch("東{2,10}…", found[2][1])
    assert all(reach(name) <= (1 - place) * 300 + BESIDE for place, name in found)
    assert on_canvas(names, 0.0, 1.0, 30_000) == names
    assert reach("a" * 12) <= BESIDE < reach("東" * 12)


@pytest.mark.parametrize(("low", "high", "pixels"), [(0, 40, 400), (-10, 50, 600), (30, 100, 500), (0, 7.5, 640)])
def test_names_are_as_far_apart_as_they_need_and_the_title_says_which_are_left_out(low, high, pixels):
    """Of a head that fills a part of the plot only, all names would have gone into that part."""
    count = 40
    places = [place * count for place, _ in ticks([str(at) for at in range(count)], low, high, pixels)]
    apart = np.diff(places) * pixels / (high - low)
    assert (apart >= NAME - 1e-9).all()
    step = tick_step(count, low, high, pixels)
    assert set(np.diff(places).round(6)) == {step}
    assert (stepped("to (key)", step) == "to (key)") == (step == 1)


def test_a_title_says_which_names_are_there():
    said = [stepped("to (key)", step) for step in (1, 2, 3, 11, 22)]
    assert said == ["to (key)", *(f"to (key), every {nth} is named" for nth in ("2nd", "3rd", "11th", "22nd"))]


@given(st.data(), blocks())
def test_every_pixel_of_a_signed_plane_is_the_value_furthest_from_0_that_it_covers(data, block):
    view = data.draw(viewports(block.shape[1], block.shape[0]))
    signs = np.where(np.indices(block.shape).sum(0) % 2, 1, -1)
    values = (block * signs).astype(np.float32)
    found = plane_raster(cut(values), view, signed=True)
    assert found.shape == (view.height, view.width)
    (top, bottom), (left, right) = (spans(edges, n) for edges, n in zip((view.y_edges, view.x_edges), block.shape, strict=True))
    offset = [max(0, int(np.floor(low))) for low in (view.y0, view.x0)]
    assert offset[0] <= top.min() <= bottom.max() <= block.shape[0]
    for row, column in itertools.product(range(view.height), range(view.width)):
        cells = values[top[row] : bottom[row], left[column] : right[column]]
        known = cells[~np.isnan(cells)]
        if not len(known):
            assert np.isnan(found[row, column])
        else:
            assert abs(found[row, column]) == np.abs(known).max()
            assert found[row, column] in known


@pytest.mark.parametrize("limit", [0.3, 1.0, 42.0])
def test_a_signed_scale_is_symmetric_and_0_is_in_the_middle_of_its_colour(limit):
    how = signed_scale(limit)
    assert how.ceiling == pytest.approx(limit)
    values = np.linspace(0, 1.2 * limit, 1_001)[1:]
    near_edge = np.isclose(values[:, None], how.edges[None, :], rtol=1e-9).any(1)
    above, below = how.level(values)[~near_edge] - how.zero, how.level(-values)[~near_edge] - how.zero
    np.testing.assert_array_equal(above, -below)
    assert how.level(np.array([0.0]))[0] == how.zero
    assert (how.level(np.array([-9 * limit]))[0], how.level(np.array([9 * limit]))[0]) == (0, SIGNED_LEVELS - 1)
    for dark in (False, True):
        palette = raster_palette(dark=dark, signed=True)
        assert palette[how.zero] == palette[BACKGROUND]
        assert palette[LEVELS:] == raster_palette(dark=dark)[LEVELS:]


@pytest.mark.parametrize("steps", [0, 1, 40, 119])
@pytest.mark.parametrize("how", [signed_scale(1.0), scale("linear", 1.0)], ids=["signed", "magnitude"])
def test_a_cut_palette_hides_what_is_nearer_to_0_and_nothing_else(how, steps):
    palette = raster_palette(dark=False, signed=how.signed)
    found, threshold = cut_palette(palette, how, steps), how.begins(steps)
    middles = (how.edges[:-1] + how.edges[1:]) / 2
    for value in middles:
        colour = found[how.level(np.array([value]))[0]]
        assert colour == (palette[BACKGROUND] if steps and abs(value) < threshold else palette[how.level(np.array([value]))[0]])


def test_frames_around_cells_lie_on_their_rows_and_columns():
    assert cells_of({(1, 2), (0, 0)}, 2, 4) == [(0.0, 0.0, 0.25, 0.5), (0.5, 0.5, 0.75, 1.0)]
