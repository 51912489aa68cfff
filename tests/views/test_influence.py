"""The influence view without a page: what is drawn is what is computed, a gesture selects, and nothing is too large to send."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import param
import pytest
from bokeh.core.serialization import Serializer
from bokeh.document import Document
from bokeh.events import Tap

import atlas
from atlas.ids import HeadId
from atlas.plots.influence import EDGE_WIDTHS, NODE_SIZES, NODES, STATE, influence_graph, influence_strip, tapped
from atlas.state.influence import EDGES_DRAWN, PARTS_DRAWN, TREE
from atlas.tracing import mixing
from atlas.tracing.influence import graph, influence, totals
from atlas.views.influence import InfluenceView, no_graph, no_strip
from tests.engine.families import TARGET, TEXT, loaded
from tests.state.readers import CROSS, DECODER, ENCODER, both, rows, single, workspace

GESTURE_BYTES = 300_000


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(name):
    model = atlas.load(name) if name.endswith("mini") else loaded(name)
    return model.trace(TEXT, **({"target": TARGET} if "cross" in model.kinds else {}))


def view_of(trace, kind=None):
    room = workspace(trace)
    if kind:
        room.selection.show_kind(kind)
    return room, InfluenceView(room)


def at_of(view, node):
    """Where a token is on the plot."""
    drawing, nodes = view.graph()
    index = nodes.index(node)
    return drawing.node_x[index], drawing.node_y[index]


def happens(figure, x, y):
    figure.document.callbacks.trigger_event(Tap(figure, x=x, y=y, modifiers={}))


def shown(overlay):
    figure = hv.render(overlay)
    Document().add_root(figure)
    return figure


@pytest.mark.parametrize(("name", "kind"), [("GPT-2", DECODER), ("BERT", ENCODER), ("T5", CROSS), ("gpt-mini", DECODER)])
def test_sizes_widths_and_bars_are_the_numbers(name, kind):
    trace = traced(name)
    room, view = view_of(trace, kind)
    room.selection.select_tokens([3])
    stream = "decoder" if kind == CROSS else kind
    n_steps = sum(trace.n_layers(each) for each in trace.kinds if each != CROSS) if name == "T5" else trace.n_layers(stream)
    found = influence(trace, 3, kind=stream, mass=0.8, most=EDGES_DRAWN // n_steps)
    drawing, nodes = view.graph()
    assert view.lens.line.startswith("contribution into")
    assert "the first selected token" in view.lens.line
    n_tokens = len(found.nodes)
    of_node = {tuple(node): at for at, node in enumerate(nodes[:n_tokens])}
    assert len(of_node) == n_tokens
    assert drawing.kinds == [STATE] * n_tokens + found.parts["part"].tolist()
    assert [tuple(node) for node in nodes[n_tokens:]] == list(found.parts[["kind", "layer", "token"]].itertuples(index=False))
    np.testing.assert_allclose(drawing.share[n_tokens:], found.parts["flow"], atol=1e-6)
    for row in found.nodes.itertuples():
        assert drawing.share[of_node[row.kind, row.layer, row.token]] == pytest.approx(row.share, abs=1e-6)
    flow = [*found.edges["flow"], *found.parts["flow"]]
    assert np.sort(drawing.flow) == pytest.approx(np.sort(flow), abs=1e-6)
    edges, points = (element.dframe().dropna() for element in influence_graph(drawing).values())
    np.testing.assert_allclose(points["size"], NODE_SIZES[0] + (NODE_SIZES[1] - NODE_SIZES[0]) * np.sqrt(drawing.share))
    np.testing.assert_allclose(
        np.sort(edges["width"]), np.sort(EDGE_WIDTHS[0] + (EDGE_WIDTHS[1] - EDGE_WIDTHS[0]) * np.array(flow)), rtol=1e-5
    )
    assert points["marker"].tolist() == [NODES[kind].marker for kind in drawing.kinds]
    view.influence.choices.parts = False
    assert len(view.graph()[0].share) == n_tokens
    lines, names, places = view.strip()
    for row in lines:
        expected = totals(trace, 3, row.title, stream)
        values = np.concatenate([each.influence for each in expected])
        even = np.concatenate([each.even for each in expected])
        real = [at for at, place in enumerate(places) if place is not None]
        np.testing.assert_array_equal(row.values[real], values)
        np.testing.assert_array_equal(row.even[real], even)
    assert [row.title for row in lines] == ["rollout", "contribution"]
    bars = influence_strip(lines, names, 3).values()[1].dframe().dropna()
    highest = max(np.nanmax(row.values) for row in lines)
    upper = bars[bars["about"].str.startswith("contribution")]
    known = lines[1].values[~np.isnan(lines[1].values)]
    reach = max(highest, *(np.nanmax(row.even) for row in lines))
    np.testing.assert_allclose(upper["y1"] - upper["y0"], 0.8 * known / reach, atol=1e-6)


def test_value_zeroing_is_measured_when_the_reader_asks_for_it_and_stays():
    trace = loaded("BERT").trace(TEXT)
    room, view = view_of(trace)
    room.selection.select_tokens([3])
    assert [row.title for row in view.strip()[0]] == ["rollout", "contribution"]
    assert not mixing.measured(trace, "value_zeroing", "encoder")
    view.influence.choices.method = "value_zeroing"
    assert view.influence.shown().graph.method == "value_zeroing"
    assert view.lens.line.startswith("value zeroing into")
    assert not view.influence.shown().parts
    lines, names, _ = view.strip()
    assert [row.title for row in lines] == ["value zeroing", "rollout", "contribution"]
    np.testing.assert_array_equal(lines[0].values, totals(trace, 3, "value_zeroing", "encoder")[0].influence)
    bars = influence_strip(lines, names, 3).values()[1].dframe().dropna()
    assert bars["about"].str.startswith("value zeroing").sum() == len(names)
    view.influence.choices.method = "contribution"
    assert [row.title for row in view.strip()[0]] == ["value zeroing", "rollout", "contribution"]


def test_the_root_is_the_first_selected_token_else_what_the_text_is_about():
    room, view = view_of(traced("GPT-2"))
    last = len(traced("GPT-2").tokens()) - 1
    assert view.influence.root()[:2] == ("decoder", last)
    assert view.influence.shown().graph.root.token == last
    assert "(21), the last token" in view.lens.line
    room.selection.select_tokens([7, 4], axis="from")
    assert view.influence.root()[:2] == ("decoder", 4)
    masked = loaded("BERT").trace("the cat [MASK] after the dog")
    assert view_of(masked)[1].influence.root()[1:] == (3, "the first mask")
    assert view_of(traced("BERT"))[1].influence.root()[1:] == (12, "the token in the middle")
    _, of_two = view_of(both(), DECODER)
    assert of_two.influence.root()[:2] == ("decoder", 4)


def test_a_tap_on_a_token_selects_it_and_the_graph_is_drawn_anew():
    trace = traced("GPT-2")
    room, view = view_of(trace)
    figure = shown(view._graph())
    node = next(node for node in view.graph()[1] if node.token != 21 and node.level == 0)
    happens(figure, *at_of(view, node))
    assert room.selection.queries == room.selection.keys == {node.token}
    assert view.influence.shown().graph.root.token == node.token
    strip = shown(view._strip())
    happens(strip, 9.2, 0.1)
    assert room.selection.queries == {9}


def test_a_source_token_in_a_decoders_graph_is_selected_as_what_is_looked_at():
    room, view = view_of(traced("T5"), DECODER)
    node = next(node for node in view.graph()[1] if node.kind == ENCODER)
    happens(shown(view._graph()), *at_of(view, node))
    assert room.selection.kind == CROSS
    assert room.selection.keys == {node.token}
    assert not room.selection.queries


def test_a_tap_on_an_edge_shows_the_head_that_makes_most_of_it():
    trace = traced("gpt-mini")
    room, view = view_of(trace)
    drawing, nodes = view.graph()
    found = graph(trace, -1, "contribution", "decoder", 0.8, EDGES_DRAWN // 6)
    slanted = np.flatnonzero(drawing.node_x[drawing.edge_to] != drawing.node_x[drawing.edge_from])
    edge = int(slanted[drawing.flow[slanted].argmax()])
    x, y = (
        (axis[drawing.edge_to[edge]] * 0.45 + axis[drawing.edge_from[edge]] * 0.55) for axis in (drawing.node_x, drawing.node_y)
    )
    assert tapped(drawing, x, y) == (-1, edge)
    table = influence(trace, -1, mass=0.8, most=EDGES_DRAWN // 6).edges.iloc[edge]
    assert (table["to"], table["from"]) == (nodes[drawing.edge_to[edge]].token, nodes[drawing.edge_from[edge]].token)
    happens(shown(view._graph()), x, y)
    assert room.selection.focus == HeadId(DECODER, int(table["layer"]), int(table["head"]))
    assert view.influence.shown().graph.root == found.root
    assert tapped(drawing, -0.7, len(drawing.rows) - 0.6) == (-1, -1)


def test_a_tap_on_a_feed_forward_block_or_an_embedding_selects_its_token():
    trace = traced("bert-mini")
    room, view = view_of(trace)
    drawing, nodes = view.graph()
    assert {"feed-forward", "token embedding", "position embedding"} < set(drawing.kinds)
    assert set(drawing.kinds) <= set(NODES)
    for kind in ("feed-forward", "token embedding"):
        at = drawing.kinds.index(kind)
        happens(shown(view._graph()), drawing.node_x[at], drawing.node_y[at])
        assert room.selection.queries == {nodes[at].token}
        drawing, nodes = view.graph()
    assert "■" in view._shapes()
    table = view.influence.table()
    assert table[table["part"] == "feed-forward"]["share"].between(0, 1).all()


def test_the_tree_shows_the_shares_of_each_level_and_says_how_many_it_leaves_out():
    trace = traced("BERT")
    room, view = view_of(trace)
    room.selection.select_tokens([5])
    view.body()
    view.influence.choices.form = TREE
    view.influence.choices.mass = 0.5
    view._grow()
    (group,) = view.bars.groups
    steps = mixing.steps(trace, "contribution", "encoder")
    shares = np.sort(steps[-1].own[5])[::-1]
    listed = [row for row in group["rows"][1:] if "key" in row]
    np.testing.assert_allclose([row["shares"][0] for row in listed], shares[: len(listed)])
    assert sum(shares[: len(listed) - 1]) < 0.5 <= sum(shares[: len(listed)]) + 1e-6
    leaf = group["rows"][-1]
    assert leaf["label"].strip() == f"… and {np.count_nonzero(shares) - len(listed):,} weaker ones"
    assert leaf["shares"][0] == pytest.approx(1 - sum(shares[: len(listed)]), abs=1e-5)
    view._pressed({"key": listed[0]["key"], "shift": False, "control": False})
    below = [row for row in view.bars.groups[0]["rows"] if row.get("key", "").startswith(listed[0]["key"] + " ")]
    first = int(np.argmax(steps[-1].own[5]))
    assert below[0]["shares"][0] == pytest.approx(steps[-2].own[first].max())
    assert below[0]["note"].startswith(f"{100 * shares[0] * steps[-2].own[first].max():.3g} %")
    view._pressed({"key": listed[0]["key"], "shift": False, "control": False})
    assert len(view.bars.groups[0]["rows"]) == len(group["rows"])
    view._pressed({"key": listed[-1]["key"], "shift": True, "control": False})
    assert len(room.selection.queries) == 1
    assert view.influence.shown().graph.root.token == min(room.selection.queries)


def test_a_recording_shows_rollout_and_says_why():
    room, view = view_of(single())
    assert view.influence.shown().graph.method == "rollout"
    assert view.lens.line.startswith("rollout into she (4)")
    assert view.influence.note().startswith("Contributions need values")
    assert not view.problem
    cross = {"source": list("abc"), "target": list("de")}
    only = atlas.from_attention({CROSS: rows((1, 1, 2, 3))}, cross)
    assert "no encoder attention" in InfluenceView.fits(only)
    assert room.selection.is_empty


@pytest.mark.parametrize("count", [8, 64, 512])
def test_a_gesture_sends_little_and_many_heads_are_no_problem(count):
    heads = 300 if count == 8 else 4
    weights = rows((4, heads, count, count), causal=True)
    trace = atlas.from_attention(weights, [f"word{at}" for at in range(count)], kind=DECODER)
    _, view = view_of(trace)
    assert len(view.graph()[0].flow) <= EDGES_DRAWN
    sent = 0
    for element in (view._graph(), view._strip()):
        for renderer in hv.render(element).renderers:
            encoded = Serializer().encode(renderer.data_source.data)
            sent += size_of(encoded)
    assert 2_000 < sent < GESTURE_BYTES
    if count == 512:
        assert "weaker edges" in view.influence.note()


def test_a_full_graph_with_all_its_kinds_of_node_sends_little():
    model = atlas.load("gpt-mini")
    trace = model.trace(" ".join(["Tom lost his red ball in the garden.", "His sister found the ball under a tree."] * 6))
    room, view = view_of(trace)
    room.selection.select_tokens([len(trace.tokens()) - 1])
    view.influence.choices.mass = 1.0
    drawing, _ = view.graph()
    parts = sum(kind != STATE for kind in drawing.kinds)
    assert EDGES_DRAWN / 2 < len(drawing.flow) - parts <= EDGES_DRAWN
    assert parts == PARTS_DRAWN
    assert sum(size_of(Serializer().encode(each.data_source.data)) for each in hv.render(view._graph()).renderers) < GESTURE_BYTES
    assert "weaker embeddings and feed-forward blocks" in view.influence.note()


def size_of(value):
    """Bytes of an encoded value: buffers as they are, the rest as text."""
    if isinstance(value, dict):
        return sum(len(str(key)) + size_of(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return sum(map(size_of, value))
    nbytes = getattr(value, "nbytes", None) or len(getattr(value, "data", b"") or b"")
    return nbytes or len(str(value)) + 3


def test_too_long_a_text_says_what_can_be_done(monkeypatch):
    monkeypatch.setattr(mixing, "CONTRIBUTION_PRODUCTS", 10)
    _, view = view_of(loaded("GPT-2").trace(TEXT))
    assert view.influence.shown().graph.method == "rollout"
    assert "Use a shorter text" in view.influence.note()
    monkeypatch.setattr(mixing, "ROLLOUT_TOKENS", 3)
    _, view = view_of(loaded("GPT-2").trace(TEXT))
    assert view.influence.shown() is None
    assert "billion" in view.problem
    assert len(view._graph().values()) == 2


def test_a_plot_that_was_empty_or_had_one_colour_shows_what_comes_next():
    """Every style keeps its column, and the ranges follow: the first drawing on a page has no data yet."""
    _, view = view_of(traced("GPT-2"))
    for empty, later in ((no_graph, view._graph), (no_strip, view._strip)):
        follows = Listens()
        drawn = hv.DynamicMap(lambda n, empty=empty, later=later: later() if n else empty(), streams=[hv.streams.Params(follows)])
        figure = hv.renderer("bokeh").get_plot(drawn).state
        columns = [set(renderer.data_source.data) for renderer in figure.renderers]
        narrow = figure.x_range.end
        follows.n = 1
        assert figure.x_range.end > narrow
        assert figure.x_range.max_interval == pytest.approx(figure.x_range.end - figure.x_range.start)
        assert [set(renderer.data_source.data) for renderer in figure.renderers] == columns
        assert len(figure.yaxis[0].ticker.ticks) > 1


class Listens(param.Parameterized):
    """What a plot follows."""

    n = param.Integer(default=0)


def test_the_last_graph_of_a_text_stays_while_other_shares_are_measured():
    room, view = view_of(traced("T5"), ENCODER)
    before = len(view._graph().values()[0]), len(view._strip().values()[1])
    assert before > (2, 2)
    room.selection.show_kind(DECODER)
    view.lens.busy = True
    view.influence.shown = lambda: None
    assert (len(view._graph().values()[0]), len(view._strip().values()[1])) == before
    view.lens.busy = False
    assert len(view._graph().values()[0]) == 2  # those that are nowhere
    room.pipeline.show(traced("GPT-2"))
    view.lens.busy = True
    assert len(view._graph().values()[0]) == 2
