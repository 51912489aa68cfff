"""The Map without a page: cells lie where their names say, whichever way they are drawn."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pandas as pd
import pytest
from bokeh.events import Tap

import atlas
from atlas.attribution import Target, head_effects, head_importance
from atlas.ids import HeadId
from atlas.plots.colours import LEVELS, MASKED, MASKED_LINE, raster_palette, text_on
from atlas.plots.map_axes import token_names
from atlas.plots.raster import GAP, HIDDEN, Viewport
from atlas.single_flight import renewed
from atlas.state.heads import HeadsLens
from atlas.state.map import FINE, NUMBER, MapLens
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.views.map import POINT, POINT_AT_NUMBER, MapView
from tests.attribution.own import model, traced
from tests.state.readers import CROSS, DECODER, ENCODER, both, never, single, workspace


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
        names = token_names("", list(map(str, range(n))), column, 2, gaps.across, (0, 2), 10_000)
        ticks = {name: place for place, name in names.ticks}
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
    order = [HeadId(ENCODER, int(at) // 5, int(at) % 5) for at in np.argsort(-weights.ravel(), kind="stable")]
    assert view.map.layout().ids == order
    view.tap(0.5 / 5, 0.5 / 2)
    assert room.selection.focus == order[0]
    view.tap(2.5 / 5, 1.5 / 2)
    assert room.selection.heads == {order[7]}


def test_a_ranking_says_so_on_its_axes_and_names_every_head():
    room = workspace(single(layers=2, heads=4))
    view = MapView(room)
    room.display.order = "previous"
    view.size.event(width=400, height=300)
    figure = hv.render(view.plot())
    assert (figure.xaxis[0].axis_label, figure.yaxis[0].axis_label) == ("place in the row", "rank by Previous token")
    assert list(figure.yaxis[0].major_label_overrides.values()) == ["1–4", "5–8"]
    assert [word.text for word in view._named()] == [str(head) for head in view.map.layout().ids]
    assert view.lens.line.endswith("all heads by Previous token, the largest first")


# -- one number a head -------------------------------------------------------------------------------------------------


def colours_of_heads(view):
    """The byte in the middle of every head's square, (row, column), of all of the Map."""
    found, layout = view.picture(), view.map.layout()
    high, wide = (size / count for size, count in zip(found.pixels.shape, (layout.n_rows, layout.n_columns), strict=True))
    rows, columns = ((np.arange(count) + 0.5) for count in (layout.n_rows, layout.n_columns))
    return found.pixels[(rows * high).astype(int)[:, None], (columns * wide).astype(int)[None]]


def weight_on(weights, queries, keys):
    """(layer, head) mean over the rows of the weight they give to these columns."""
    return weights[:, :, sorted(queries)][..., sorted(keys)].sum(-1).mean(-1)


@pytest.mark.parametrize("order", ["index", "previous"])
def test_with_tokens_selected_the_map_is_one_number_a_head_beside_chance(order):
    trace = single(layers=2, heads=4)
    room = workspace(trace)
    view = MapView(room)
    room.display.order = order
    view.size.event(width=400, height=300)
    room.selection.select_pairs([1, 4], [2, 5])
    values = weight_on(trace.attention().to_numpy().astype(float), [1, 4], [2, 5])
    layout = view.map.layout()
    expected = np.array([[values[head.layer, head.head] for head in row] for row in layout.rows])
    np.testing.assert_allclose(view.map.numbers().values, expected, atol=1e-6)
    np.testing.assert_allclose(view.map.numbers().chance, 2 / 8)
    # The same as in the table of heads.
    table = room.lens(HeadsLens).table().set_index(["layer", "head"])
    for head in layout.ids:
        assert view.map.number_of(head) == tuple(table.loc[(head.layer, head.head), ["selected", "selected_uniform"]])
    top = max(expected.max(), 2 / 8)
    steps = np.floor(expected / top * (LEVELS - 1))
    assert np.abs(colours_of_heads(view).astype(int) - steps).max() <= 1
    assert view.scale().ceiling == pytest.approx(top)
    assert "Weight on selected keys: by chance 0.25" in view._ramp()
    assert ", Weight on selected keys of every head · only from: the, she · to: doctor, ran" in view.lens.line
    # The number of the head under the pointer, its chance value, and its place where there is a ranking.
    head = layout.rows[1][2]
    view._pointed(2.5 / 4, 1.5 / 2)
    said = f"{head}   Weight on selected keys {values[head.layer, head.head]:.3g}   by chance 0.25"
    assert view.under.object == said + ("" if order == "index" else "   place 7 of 8 by Previous token")
    words = [word.text for word in view._named()]
    named = [str(head) for head in layout.ids] if order != "index" else []
    assert sorted(words) == sorted([*named, *(f"{value:.3f}" for value in expected.ravel())])
    # Every word in the ink that is read on its own square, without a ground.
    figure = hv.render(view.plot())
    (text,) = (each for each in figure.renderers if type(each.glyph).__name__ == "Text")
    colours, palette = colours_of_heads(view), raster_palette(dark=False)
    assert list(text.data_source.data["ink"]) == [text_on(palette[colours[word.row, word.column]]) for word in view._named()]
    assert len(set(text.data_source.data["ink"])) == 2
    assert set(text.data_source.data["ground"]) == {0.0}
    assert (text.glyph.text_color, text.glyph.background_fill_alpha) == ("ink", "ground")
    assert sorted(type(tool).__name__ for tool in figure.tools) == sorted(
        ["SaveTool", "PanTool", "WheelZoomTool", "ResetTool", "BoxSelectTool"]
    )
    pd.testing.assert_series_equal(
        view.export().table["selected"], pd.Series(expected.ravel(), name="selected"), check_exact=False, atol=1e-6
    )
    room.selection.clear()
    assert not view.map.shows_numbers
    assert view.under.object == POINT or "→" in view.under.object


def test_which_number_is_shown_can_be_chosen_and_so_can_attention():
    room = workspace(single(layers=2, heads=3))
    view = MapView(room)
    choices, table = view.map.choices, room.trace.heads
    thumbnails = view.raster(view.window(3, 2))
    choices.show = "number"
    assert view.map.metric == room.display.metric == "entropy_norm"
    np.testing.assert_allclose(view.map.numbers().values.ravel(), table["entropy_norm"])
    room.display.metric = "distance"
    np.testing.assert_allclose(view.map.numbers().values.ravel(), table["distance"])
    choices.number = "self"
    np.testing.assert_allclose(view.map.numbers().values.ravel(), table["self"])
    np.testing.assert_allclose(view.map.numbers().chance.ravel(), table["self_uniform"])
    room.selection.select_tokens([2], axis="from")
    np.testing.assert_allclose(view.map.numbers().values, room.trace.attention().to_numpy()[:, :, 2, 2], atol=1e-6)
    choices.number = "selected"  # no key is selected
    assert np.isnan(view.map.numbers().values).all()
    assert "known once tokens are selected as" in view._ramp()
    assert set(np.unique(colours_of_heads(view))) <= {MASKED, MASKED_LINE}
    room.selection.clear()
    choices.show = "thumbnails"
    np.testing.assert_array_equal(view.raster(view.window(3, 2)), thumbnails)


@pytest.mark.parametrize(("name", "kind"), [("GPT-2", DECODER), ("T5", "cross")])
def test_the_map_can_show_the_importance_of_heads_for_the_prediction_that_is_explained(name, kind):
    trace = traced(name)
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace)
    room.selection.show_kind(kind)
    view = MapView(room)
    view.map.choices.param.update(show="number", number="importance")
    for target in (Target(), Target(7, "she", "he")):
        room.target.param.update(position=target.position, outcome=target.outcome or "", against=target.against or "")
        found = head_importance(model(name), trace, target, None)
        own = found[found["kind"] == kind]["importance"].to_numpy().reshape(trace.n_layers(kind), trace.n_heads(kind))
        np.testing.assert_allclose(view.map.numbers().values, own, rtol=1e-3, atol=1e-5)
        assert np.isnan(view.map.numbers().chance).all()
    room.selection.select_tokens([2, 3], axis="to", origin="test")
    np.testing.assert_allclose(view.map.numbers().values, own, rtol=1e-3, atol=1e-5)
    assert "Importance by gradient of every head" in view.lens.line
    assert view.problem == ""
    recorded = MapView(workspace(single()))
    recorded.map.choices.param.update(show="number", number="importance")
    recorded.map.numbers()
    assert "model" in recorded.problem


IMPORTANCES = {
    "importance": lambda made, trace: head_importance(made, trace, None, None)["importance"],
    "importance_integrated": lambda made, trace: head_effects(made, trace, how="integrated_gradients")["effect"].abs(),
    "importance_removal": lambda made, trace: head_effects(made, trace)["effect"].abs(),
}


@pytest.mark.parametrize(("name", "kind"), [("GPT-2", DECODER), ("T5", "cross")])
def test_the_map_can_be_ordered_by_any_importance_and_show_another(name, kind):
    trace = traced(name)
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace)
    room.selection.show_kind(kind)
    view = MapView(room)
    heads = [head for head in trace.head_ids if head.kind == kind]
    places = [head.kind == kind for head in trace.head_ids]
    found = {number: work(model(name), trace).to_numpy()[places] for number, work in IMPORTANCES.items()}
    for order in IMPORTANCES:
        assert order in view.map.metrics()
        room.display.order = order
        layout = view.map.layout()
        own = dict(zip(heads, found[order], strict=True))
        values = np.array([own[head] for head in layout.ids])
        assert (np.diff(values) <= 1e-3 * values.max()).all()
        assert set(layout.ids) == set(heads)
        assert f"all heads by {layout.ranked_by}, the largest first" in view.lens.line
        for number in IMPORTANCES:
            view.map.choices.param.update(show="number", number=number)
            shown = dict(zip(view.map.layout().ids, view.map.numbers().values.ravel(), strict=True))
            np.testing.assert_allclose([shown[head] for head in heads], found[number], rtol=1e-2, atol=1e-3 * found[number].max())
    before = view.lens.revision
    room.target.param.update(position=7, outcome="she", against="he")
    assert view.lens.revision > before  # the order is that of the prediction that is explained
    assert view.problem == ""
    recorded = MapView(workspace(single(layers=2, heads=4)))
    recorded.workspace.display.order = "importance_removal"
    assert [str(head) for head in recorded.map.layout().ids][:2] == ["L0 H0", "L0 H1"]
    assert "in the order of their numbers" in recorded.lens.line


def test_while_clusters_order_the_map_an_importance_does_not_take_their_place(monkeypatch):
    """A lens waits for one thing: asked for both, each would drop the other."""
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(renewed(traced("GPT-2")))  # not divided yet, whatever other tests asked of it
    view = MapView(room)
    asked = []
    monkeypatch.setattr(view.lens, "ask", lambda key, *_, **__: asked.append(key))
    room.display.order = "cluster"
    view.map.choices.param.update(show="number", number="importance")
    view.map.layout()
    assert np.isnan(view.map.numbers().values).all()
    assert set(asked) == {f"clusters {DECODER}"}


def test_a_head_that_filled_the_map_leaves_it_whole_for_the_numbers():
    """Zoomed into the tokens of one head, one number a head would be one colour."""
    room = workspace(single(layers=2, heads=4))
    view = MapView(room)
    plot = hv.renderer("bokeh").get_plot(view.plot())
    view._moved((0.5, 0.75), (0.5, 1.0))
    assert (plot.state.x_range.min_interval, plot.state.x_range.max_interval) == (4 / 32, 1)
    plot.state.x_range.update(start=0.5, end=0.75)
    room.selection.select_tokens([2])
    assert (view.window(4, 2).x0, view.window(4, 2).x1) == (0, 4)
    assert (plot.state.x_range.start, plot.state.x_range.end, plot.state.x_range.min_interval) == (0, 1, 0.5)
    assert (plot.state.y_range.start, plot.state.y_range.end) == (1, 0)


def test_a_tap_with_shift_adds_a_head_and_takes_it_away_again():
    room = workspace(single(layers=2, heads=4))
    view = MapView(room)
    plot = hv.renderer("bokeh").get_plot(view.plot())

    def tap(x, y, **held):
        modifiers = {"shift": False, "ctrl": False, "alt": False} | held
        plot.state._trigger_event(Tap(plot.state, x=x / 4, y=y / 2, modifiers=modifiers))

    first, second = HeadId(ENCODER, 0, 1), HeadId(ENCODER, 1, 3)
    tap(1.5, 0.5)
    tap(3.5, 1.5, shift=True)
    assert room.selection.heads == {first, second}
    tap(1.5, 0.5, shift=True)
    assert room.selection.heads == {second}
    tap(1.5, 0.5)
    assert room.selection.heads == {first}


@pytest.mark.parametrize(
    ("tokens", "weights", "said"),
    [
        (["a", "b", "c"], [0.2, 0.2, 0.6], "no sinks in this text"),
        (["[CLS]", "b", "c"], [0.7, 0.2, 0.1], "sinks hidden: with them the scale would end at 0.7"),
        (["[CLS]", "b", "c"], [0.1, 0.2, 0.7], "hiding the sinks changes no colour: other weights are as large"),
        (["[CLS]", "[SEP]", "[SEP]"], [0.1, 0.2, 0.7], "every token is a sink: none is hidden"),
    ],
)
def test_what_hiding_the_sinks_changes_is_said_under_the_plot(tokens, weights, said):
    trace = atlas.from_attention(np.broadcast_to(np.array(weights, np.float32), (1, 2, 3, 3)), tokens)
    room = workspace(trace)
    view = MapView(room)
    assert "sink" not in view._ramp()
    room.display.sinks = "hidden"
    assert said in view._ramp()
    highest = max(weight for token, weight in zip(tokens, weights, strict=True) if "sinks hidden" not in said or token != "[CLS]")
    assert view.scale().ceiling == pytest.approx(highest)


def test_another_kind_or_order_is_sent_as_data_and_is_what_a_new_map_draws():
    """Encoder 2 x 4 heads of 8 x 8 tokens, decoder 3 x 2 of 5 x 5, cross 3 x 2 of 5 x 8."""
    room = workspace(both())
    view = MapView(room)
    figure, drawn = hv.render(view._pane().object), view.redrawn

    def shown(figure):
        """Glyph by glyph what is in the data, and what the axes say."""
        axes = [(axis.axis_label, list(axis.ticker.ticks), dict(axis.major_label_overrides)) for axis in figure.axis]
        return [dict(each.data_source.data) for each in figure.renderers], axes

    def check():
        anew = MapView(room)
        anew.take_over(view)
        (found, axes), (expected, expected_axes) = shown(figure), shown(hv.render(anew._pane().object))
        assert axes == expected_axes
        for own, others in zip(found, expected, strict=True):
            assert own.keys() == others.keys()
            for name in own:
                np.testing.assert_array_equal(np.asarray(own[name]), np.asarray(others[name]), err_msg=name)

    for kind in (DECODER, CROSS, ENCODER, CROSS):
        room.selection.show_kind(kind)
        check()
    room.display.order = "entropy"
    check()
    view._moved((0.0, 0.3), (0.0, 0.3))
    for kind in (ENCODER, DECODER):
        room.selection.show_kind(kind)
        check()
    assert (view.redrawn, view.problem) == (drawn, "")
    room.pipeline.show(both(seed=3))
    check()


def test_a_map_of_numbers_asks_to_point_at_a_head_from_the_first_moment():
    room = workspace(single(DECODER))
    room.lens(MapLens).choices.show = NUMBER
    view = MapView(room)
    view.body()
    assert view.under.object == (POINT_AT_NUMBER if view.map.shows_numbers else POINT)
    assert view.map.shows_numbers
