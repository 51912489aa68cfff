"""The matrix without a page: its pixels against the weights themselves."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest

import atlas
from atlas.ids import HeadId
from atlas.plots.colours import BACKGROUND, LEVELS, MASKED, MASKED_LINE, raster_palette
from atlas.state.heads import HeadsLens
from atlas.views.matrix import MatrixView
from atlas.views.plane import COARSE_PIXELS, cell_words
from tests.engine.families import loaded
from tests.state.readers import DECODER, ENCODER, SOURCE, rows, single, workspace


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def cells_of(found):
    """The row and the column of every pixel of a picture of few tokens."""
    view = found.view
    down, across = ((edges[:-1] + edges[1:]) / 2 for edges in (view.y_edges, view.x_edges))
    return np.ix_(down.astype(int), across.astype(int))


def weights_of(trace, head):
    return trace.attention(head.kind, layer=head.layer, head=head.head).to_numpy()


def parked():
    """Causal attention whose first token takes more than all others, another share in every row."""
    weights = rows((1, 2, 8, 8), causal=True)
    share = np.linspace(0.9, 0.6, 8, dtype=np.float32)[:, None]
    weights *= 1 - share
    weights[..., 0] += share[:, 0]
    return atlas.from_attention(weights, SOURCE, kind=DECODER)


def test_a_picture_that_an_exact_one_follows_is_light_and_shows_the_same_part():
    view = MatrixView(workspace(parked()))
    view.size.update(width=900, height=600)
    lens, exact = view.plane, view.picture()
    lens._windowed = lambda *bounds: type(lens)._windowed(lens, *bounds)._replace(exact=False)
    assert view.picture().pixels.size == exact.pixels.size > COARSE_PIXELS, "nothing follows: this is the picture"
    lens.busy = True
    coarse = view.picture()
    assert coarse.pixels.size <= COARSE_PIXELS
    ends = ("x0", "x1", "y0", "y1")
    assert [getattr(coarse.view, end) for end in ends] == [getattr(exact.view, end) for end in ends]
    assert set(np.unique(coarse.pixels)) <= set(np.unique(exact.pixels)) | {MASKED, MASKED_LINE}


@pytest.mark.parametrize("scale", ["linear", "log", "equalised"])
def test_a_threshold_above_the_colours_hides_what_is_below_it_and_nothing_else(scale):
    trace = parked()
    room = workspace(trace)
    view = MatrixView(room)
    room.display.scale = scale
    head = HeadId(DECODER, 0, 1)
    room.selection.focus_on(head)
    weights = weights_of(trace, head)
    above = np.unique(weights[weights > view.scale().ceiling])  # on the first token, which is left out of the scale
    assert len(above) >= 3
    threshold = float((above[0] + above[1]) / 2)
    room.display.threshold = threshold
    assert view._level() == LEVELS - 1
    found = view.picture()
    expected = weights[cells_of(found)]
    hidden = np.isnan(expected)
    assert set(np.unique(found.pixels[hidden])) == {MASKED, MASKED_LINE}
    assert (found.pixels[~hidden & (expected < threshold)] == BACKGROUND).all()
    assert (found.pixels[~hidden & (expected >= threshold)] == LEVELS - 1).all()
    assert (expected[~hidden] < threshold).any()
    assert (expected[~hidden] >= threshold).any()
    # And the strongest colour is the only one that is no paper.
    palette, paper = raster_palette(dark=False), raster_palette(dark=False)[BACKGROUND]
    assert found.palette[: LEVELS - 1] == [paper] * (LEVELS - 1)
    assert found.palette[LEVELS - 1 :] == list(palette[LEVELS - 1 :])


def test_a_threshold_among_the_colours_is_the_browsers_and_leaves_the_pixels_alone():
    room = workspace(single(DECODER))
    view = MatrixView(room)
    before = view.picture().pixels
    room.display.threshold = view.matrix.ceiling() / 2
    found = view.picture()
    np.testing.assert_array_equal(found.pixels, before)
    level = view._level()
    assert 0 < level < LEVELS - 1
    paper = raster_palette(dark=False)[BACKGROUND]
    assert [colour == paper for colour in found.palette[level - 1 : level + 1]] == [True, False]


def test_a_threshold_above_everything_leaves_paper_and_what_may_not_be_seen():
    room = workspace(single(DECODER))
    view = MatrixView(room)
    room.display.threshold = 2.0
    assert set(np.unique(view.picture().pixels)) == {BACKGROUND, MASKED, MASKED_LINE}


def test_a_reading_that_is_refused_is_an_empty_picture_with_its_reason():
    room = workspace(single())
    view = MatrixView(room)
    room.display.param.update(mode="moved", threshold=0.1)
    found = view.picture()
    assert (found.pixels == BACKGROUND).all()
    assert "holds weights only" in view.matrix.problem
    assert view.scale().ceiling == 1.0
    assert view._boxes() == {"rows": [], "columns": []}
    view.body()
    view.tap(0.5, 0.5)
    assert room.selection.is_empty


def test_a_tap_on_a_word_selects_its_tokens_and_the_bands_are_around_the_word():
    trace = loaded("BERT").trace("the doctors said that the cats ran", capture=())
    room = workspace(trace)
    view = MatrixView(room)
    room.display.level = "word"
    plane = view.matrix.plane()
    row, column = plane.rows.index("doctors"), plane.columns.index("cats")
    n = len(plane.rows)
    words = [set(np.flatnonzero(trace.tokens()["word"] == trace.tokens()["word"].max() - back)) for back in (5, 1)]
    assert [len(word) for word in words] == [2, 2]
    view.tap((column + 0.5) / n, (row + 0.5) / n)
    assert [room.selection.queries, room.selection.keys] == words
    assert view._boxes() == {
        "rows": [(0.0, row / n, 1.0, (row + 1) / n)],
        "columns": [(column / n, 0.0, (column + 1) / n, 1.0)],
    }
    view.tap((column + 0.5) / n, (row + 0.5) / n)
    assert room.selection.is_empty
    view._name_clicked("y", (row + 0.5) / n)
    assert (room.selection.queries, room.selection.keys) == (words[0], frozenset())
    room.selection.select_tokens([min(words[0])], axis="from")  # one of its tokens, as a click on the text selects it
    assert view._boxes()["rows"] == [(0.0, row / n, 1.0, (row + 1) / n)]


def test_the_numbers_under_the_pointer_follow_the_heads_though_it_rests():
    trace = single()
    room = workspace(trace)
    view = MatrixView(room)
    hv.render(view._pane().object)
    view._pointed((2 + 0.5) / 8, (1 + 0.5) / 8)
    first = weights_of(trace, HeadId(ENCODER, 0, 0))[1, 2]
    assert view.under.object.startswith(f"L0 H0   the (1) → {SOURCE[2]} (2)   ")
    assert f"softmax {first:.3g}" in view.under.object
    room.selection.pick(HeadId(ENCODER, 1, 2))
    second = weights_of(trace, HeadId(ENCODER, 1, 2))[1, 2]
    view.write()
    assert view.under.object.startswith("L1 H2   the (1) → ")
    assert f"softmax {second:.3g}" in view.under.object
    view._pointed()
    assert view.under.object.startswith("Point at a cell")


def test_what_is_said_of_a_cut_edge_is_infinite_and_not_unknown():
    cell = {"row": "a (0)", "column": "b (1)", "value": 0.0, "masked": -np.inf, "softmax": 0.0}
    assert cell_words(cell, "weight", "L0 H0") == "L0 H0   a (0) → b (1)   masked −∞   softmax 0"


def test_two_views_of_one_page_draw_from_one_workspace():
    room = workspace(single())
    view, lens = MatrixView(room), room.lens(HeadsLens)
    room.selection.pick(HeadId(ENCODER, 1, 1))
    assert view.matrix.heads() == (HeadId(ENCODER, 1, 1),)
    assert lens.points()["selected"].sum() == 1
