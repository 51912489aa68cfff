"""The Map without a page: cells lie where their names say, whichever way they are drawn."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest

from atlas.ids import HeadId
from atlas.plots.raster import GAP, HIDDEN, Viewport
from atlas.state.map import FINE
from atlas.views.map import MapView, _inner
from tests.state.readers import DECODER, ENCODER, single, workspace


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def expected_at(view, viewport):
    """What every pixel shows, worked out one by one: the block of the token that lies under its middle."""
    layout, gaps = view.map.layout(), view._gaps(view.map.layout())
    small = view.map.trace.attention_of(layout.kind).thumbnails
    shape = (layout.n_queries, layout.n_keys)
    per_query, per_key = (-(-count // blocks) for count, blocks in zip(shape, small.shape[2:], strict=True))
    x, y = ((edges[:-1] + edges[1:]) / 2 for edges in (viewport.x_edges, viewport.y_edges))
    found = np.full((viewport.height, viewport.width), GAP, np.float32)
    for row, column in np.ndindex(*found.shape):
        cell = layout.cell_at(x[column], y[row], gaps.across, gaps.down)
        if cell is not None:
            head, query, key = cell
            weight = small[head.layer, head.head, query // per_query, key // per_key]
            found[row, column] = HIDDEN if np.isnan(weight) else weight
    return found


@pytest.mark.parametrize("kind", [ENCODER, DECODER])
@pytest.mark.parametrize("n", [64, 65, 97, 130])
def test_the_cells_of_a_thumbnail_are_where_their_names_are(kind, n):
    """Of 65 tokens 33 blocks of two, the last of one: drawn as large as the others, all of them moved by up to half a token."""
    trace = single(kind, layers=2, heads=4, tokens=tuple(map(str, range(n))))
    view = MapView(workspace(trace))
    viewport = Viewport(0.7, 3.3, 0.4, 1.9, round(2.6 * 82), round(1.5 * 82))
    assert 76 < viewport.width / (viewport.x1 - viewport.x0) < FINE  # from thumbnails, and a pixel is no larger than a cell
    np.testing.assert_array_equal(view.raster(viewport), expected_at(view, viewport))


def test_the_name_of_a_token_stands_over_its_column():
    n = 65
    trace = single(layers=1, heads=2, tokens=tuple(map(str, range(n))))
    view = MapView(workspace(trace))
    layout, gaps = view.map.layout(), view._gaps(view.map.layout())
    view.size.event(width=160, height=80)  # 80 pixels a head
    found = view.picture()
    assert found.pixels.shape == (80, 160)
    coded = view.raster(found.view)
    small = trace.attention_of(ENCODER).thumbnails
    for column in range(2):
        ticks = {name: place for place, name in _inner(list(map(str, range(n))), column, 2, gaps.across, (0, 2), 10_000)}
        for name, place in ticks.items():
            head, query, key = layout.cell_at(place * 2, 0.5, gaps.across, gaps.down)
            assert (head.head, str(key)) == (column, name)
            pixel = int(place * 160)
            middle = (pixel + 0.5) / 80  # where the pixel looks may be the next token, never the one after it
            seen = layout.cell_at(middle, 0.5, gaps.across, gaps.down)
            assert abs(seen[2] - key) <= 1
            row = layout.cell_at(middle, 40.5 / 80, gaps.across, gaps.down)[1]
            assert coded[40, pixel] == small[0, column, row // 2, seen[2] // 2]
            assert abs(query - row) <= 1


def test_the_axes_of_a_head_that_fills_the_plot_say_which_it_is():
    view = MapView(workspace(single(layers=2, heads=4)))
    figure = hv.render(view.plot())
    assert (figure.xaxis[0].axis_label, figure.yaxis[0].axis_label) == ("head", "layer")
    view._moved((0.5, 0.75), (0.5, 1.0))
    figure = hv.render(view.plot())
    assert (figure.xaxis[0].axis_label, figure.yaxis[0].axis_label) == ("L1 H2: to (key)", "L1 H2: from (query)")


def test_heads_lie_in_the_order_of_what_they_do_in_the_selected_rows():
    room = workspace(single(layers=2, heads=5, seed=4))
    view = MapView(room)
    room.display.order = "self"
    room.selection.select_tokens([3], axis="from")
    weights = room.trace.attention().to_numpy()[:, :, 3, 3]
    for layer in range(2):
        best = int(weights[layer].argmax())
        assert view.map.layout().column_of(HeadId(ENCODER, layer, best)) == 0
        view.tap(0.5 / 5, (layer + 0.5) / 2)
        assert room.selection.focus == HeadId(ENCODER, layer, best)
