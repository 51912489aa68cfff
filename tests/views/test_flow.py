"""The flow without a page: what is drawn and said, what a gesture selects, and how much of it travels."""

from __future__ import annotations

import functools
import json
import weakref

import holoviews as hv
import numpy as np
import panel as pn
import pytest
from bokeh.models import GlyphRenderer, HoverTool, Patches

import atlas
from atlas.ids import HeadId
from atlas.plots.colours import BLUE, ORANGE, category
from atlas.plots.flow import FADED, HALF_LIT, STRONGEST, packed
from atlas.state.flow import CATEGORY, HEADS, LAYERS
from atlas.state.plane import Array
from atlas.tracing.links import DRAWN_LINKS
from atlas.views import flow as module
from atlas.views.flow import FlowView
from tests.engine.families import TARGET, TEXT, loaded
from tests.state.readers import CROSS, DECODER, ENCODER, both, rows, single, workspace

GESTURE_BYTES = 300_000
"""What a gesture may send."""


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(name):
    model = atlas.load(name) if name.endswith("-mini") else loaded(name)
    return model.trace(TEXT, keep="weights", capture=(), **({"target": TARGET} if "cross" in model.kinds else {}))


@functools.cache
def long(tokens=512, layers=2):
    weights = rows((layers, 2, tokens, tokens))
    return atlas.from_attention(weights, [f"word{at}" for at in range(tokens)], kind=ENCODER)


def view_of(trace, kind=None, **choices):
    room = workspace(trace)
    if kind:
        room.selection.show_kind(kind)
    room.choices_of("flow").param.update(**choices)
    view = FlowView(room)
    drawn(view)
    return room, view


def drawn(view):
    """The columns of every glyph, by its name in the plot; the same after every gesture."""
    if view not in ROOTS:
        ROOTS[view] = pn.panel(view).get_root()
    glyphs = list(ROOTS[view].select({"type": GlyphRenderer}))
    glyphs.sort(key=lambda each: int(each.id.removeprefix("p")))
    assert isinstance(glyphs[0].glyph, Patches)
    return dict(zip(("ribbons", "bars", "left", "right", "titles"), (each.data_source.data for each in glyphs), strict=True))


ROOTS = weakref.WeakKeyDictionary()
"""View -> what a browser would be sent of it."""


def opacity(source) -> Array:
    return (np.asarray(source["colour"]) & 255) / 255


@pytest.mark.parametrize("through", [HEADS, LAYERS])
@pytest.mark.parametrize(
    ("name", "kind"), [("BERT", ENCODER), ("GPT-2", DECODER), ("Llama", DECODER), ("T5", CROSS), ("bert-mini", ENCODER)]
)
def test_what_is_drawn_is_the_strongest_links_that_carry_the_share(name, kind, through):
    trace = traced(name)
    room, view = view_of(trace, kind, through=through, share=0.5)
    room.display.sinks = "shown"
    layered = through == LAYERS and kind != CROSS
    weights = np.nan_to_num(trace.attention(kind).to_numpy().astype(float))
    parts = weights.mean(1) if layered else weights[:1, 0]
    source = drawn(view)["ribbons"]
    expected, mass, links = [], 0.0, 0
    for part in parts:
        ordered = np.sort(part.ravel())[::-1]
        count = int(np.searchsorted(np.cumsum(ordered), 0.5 * ordered.sum() - 1e-6)) + 1
        expected += ordered[:count].tolist()
        mass += ordered.sum()
        links += (~np.isnan(trace.attention(kind, layer=0, head=0).to_numpy())).sum()
    np.testing.assert_allclose(source["weight"], expected, rtol=1e-4)
    assert f"the strongest {len(expected):,} of {links:,} links carry {100 * sum(expected) / mass:.3g} % of" in view.lens.line
    assert ("no flow from layer to layer" in view.lens.line) == (through == LAYERS and kind == CROSS)
    table = view.export().table
    assert len(table) == len(expected)
    assert ("layer" in table) == layered
    np.testing.assert_allclose(table["weight"], expected, rtol=1e-4)
    for link, query, key, weight in zip(source["link"], table["query"], table["key"], table["weight"], strict=True):
        assert f"({query}) → " in link
        assert link.endswith(f"({key})")
        assert 0 < weight <= 1


def test_sinks_that_are_hidden_are_left_out_and_that_is_said():
    trace = traced("GPT-2")
    room, view = view_of(trace)
    weights = np.nan_to_num(trace.attention(layer=0, head=0).to_numpy().astype(float))
    share = weights[:, 0].sum() / weights.sum()
    assert 0 not in set(view.export().table["key"])
    assert f"left out as sinks: the (0), which receives {100 * share:.3g} % of all" in view.lens.line
    room.display.sinks = "shown"
    assert 0 in set(view.export().table["key"])
    assert "left out" not in view.lens.line


def test_selected_heads_are_shown_together_and_the_line_says_over_how_many():
    trace = single()
    room, view = view_of(trace)
    heads = [HeadId(ENCODER, 0, 1), HeadId(ENCODER, 1, 2)]
    room.selection.select_heads(heads)
    weights = trace.attention().to_numpy().astype(float)
    for aggregate, expected in (("mean", (weights[0, 1] + weights[1, 2]) / 2), ("max", np.maximum(weights[0, 1], weights[1, 2]))):
        room.display.aggregate = aggregate
        table = view.export().table
        np.testing.assert_allclose(table["weight"], expected[table["query"], table["key"]], rtol=1e-5)
        said = {"mean": "mean of L0 H1, L1 H2: ", "max": "largest of L0 H1, L1 H2: "}[aggregate]
        assert view.lens.line.startswith(said)
    room.choices_of("flow").through = LAYERS
    assert view.export().table["layer"].nunique() == 2
    assert "largest of the 2 selected heads in 2 layers:" in view.lens.line
    room.selection.select_heads(heads[:1])
    assert "; the other layers: of all their heads" in view.lens.line


def test_the_tooltip_names_the_ends_the_weight_and_chance_in_three_digits():
    _, view = view_of(single())
    (hover,) = (tool for tool in ROOTS[view].select({"type": HoverTool}) if "@{link}" in str(tool.tooltips))
    assert "weight @{weight}{%.3g}" in hover.tooltips
    assert hover.formatters == {"@{weight}": "printf", "@{chance}": "printf"}
    assert [type(renderer.glyph) for renderer in hover.renderers] == [Patches]
    table = view.export().table
    names = [f"{row['from']} ({row['query']}) → {row['to']} ({row['key']})" for _, row in table.iterrows()]
    assert list(drawn(view)["ribbons"]["link"]) == names
    np.testing.assert_allclose(drawn(view)["ribbons"]["chance"], 1 / 8)


def test_no_more_links_are_drawn_than_the_ceiling_and_the_line_says_so():
    trace = long()
    _, view = view_of(trace, share=0.9)
    assert len(drawn(view)["ribbons"]["weight"]) == DRAWN_LINKS
    weights = np.sort(trace.attention(layer=0, head=0).to_numpy().ravel().astype(float))[::-1]
    assert f"carry {100 * weights[:DRAWN_LINKS].sum() / weights.sum():.3g} % of the attention" in view.lens.line
    assert f"at most {DRAWN_LINKS:,} links are drawn, 90 % would take more" in view.lens.line
    _, short = view_of(single(), share=0.9)
    assert "at most" not in short.lens.line


@pytest.mark.parametrize("through", [HEADS, LAYERS])
def test_a_gesture_sends_less_than_its_bytes_and_draws_no_plot(through):
    room, view = view_of(long(), share=0.9, through=through)
    sent = []
    for glyph in view.glyphs.values():
        real = glyph.mark
        glyph.mark = lambda columns, *more, real=real: sent.append(columns) or real(columns, *more)
    before = view.redrawn
    room.selection.pick(HeadId(ENCODER, 1, 1))
    of_all = sum(size(column) for columns in sent for column in columns.values())
    sent.clear()
    room.selection.select_pairs([3, 200], [7])
    of_marks = sum(size(column) for columns in sent for column in columns.values())
    assert 0 < of_marks < of_all < GESTURE_BYTES
    assert view.redrawn == before


def size(column) -> int:
    return column.nbytes if isinstance(column, np.ndarray) else len(json.dumps(list(column), ensure_ascii=False).encode())


def test_selected_tokens_are_lit_and_the_others_fade():
    room, view = view_of(single(), share=0.9)
    before = opacity(drawn(view)["ribbons"])
    table = view.export().table
    assert before.max() == pytest.approx(STRONGEST, abs=0.01)
    for queries, keys in (({1, 2}, set()), (set(), {3}), ({1, 2}, {3}), ({2}, {2})):
        room.selection.select_pairs(queries, keys)
        shares = opacity(drawn(view)["ribbons"]) / before
        for share, query, key in zip(shares, table["query"], table["key"], strict=True):
            ends = [end for end, chosen in ((query in queries, queries), (key in keys, keys)) if chosen]
            assert share == pytest.approx(1 if all(ends) else HALF_LIT if any(ends) else FADED, abs=0.03)


def test_colours_are_one_or_what_the_query_is():
    trace = traced("BERT")
    room, view = view_of(trace, share=0.9)
    assert {int(colour) >> 8 for colour in drawn(view)["ribbons"]["colour"]} == {packed(BLUE) >> 8}
    room.choices_of("flow").colour = CATEGORY
    special = trace.tokens()["special"].to_numpy(bool)
    colours = np.asarray(drawn(view)["ribbons"]["colour"]) >> 8
    for colour, query in zip(colours, view.export().table["query"], strict=True):
        assert colour == packed(ORANGE if special[query] else category("content words").colour) >> 8


@pytest.mark.parametrize(("trace", "kind"), [(single(), ENCODER), (both(), CROSS)])
def test_a_tap_on_a_ribbon_selects_its_ends_and_the_same_again_lets_go(trace, kind):
    room, view = view_of(trace, kind)
    ribbons, table = view.flow().ribbons, view.export().table
    for at in (0, len(table) - 1):
        for expected in (({table["query"][at]}, {table["key"][at]}), (set(), set())):
            view._tapped(0.02, float(ribbons.y0[at]))
            assert (room.selection.queries, room.selection.keys) == expected
    assert room.selection.origin == "flow"


def test_a_tap_on_a_name_selects_a_query_at_the_left_and_a_key_at_the_right():
    room, view = view_of(both(), CROSS)
    left, right = view.flow().columns
    view._tapped(-0.05, float(left.middle[3]))
    assert (room.selection.queries, room.selection.keys) == ({3}, set())
    view._tapped(1.05, float(right.middle[6]))
    assert (room.selection.queries, room.selection.keys) == ({3}, {6})
    view._tapped(1.05, float(right.middle[2]), additive=True)
    assert room.selection.keys == {2, 6}
    view._tapped(-0.05, float(left.middle[3]))
    assert room.selection.queries == set()


def test_layer_by_layer_a_name_selects_as_the_switch_of_the_text_says():
    room, view = view_of(single(), through=LAYERS)
    place = float(view.flow().columns[0].middle[4])
    view._tapped(1.05, place)
    assert (room.selection.queries, room.selection.keys) == ({4}, {4})
    view._tapped(-0.05, place)
    assert room.selection.is_empty
    room.display.axis = "to"
    view._tapped(-0.05, place)
    assert (room.selection.queries, room.selection.keys) == (set(), {4})


def test_a_long_text_has_a_higher_plot_and_names_that_do_not_touch():
    heights = {}
    for trace in (single(), long()):
        _, view = view_of(trace)
        heights[len(trace.tokens())] = view._pane.height
        names = drawn(view)["left"]
        gaps = np.diff(np.sort(np.asarray(names["y"], float))) * (view._pane.height - module.AROUND)
        assert len(names["text"]) > 5
        assert gaps.min() > 9
    assert heights == {8: module.LEAST, 512: module.MOST}
    room, view = view_of(single())
    room.pipeline.show(long())
    assert view._pane.height == module.MOST
    assert len(drawn(view)["ribbons"]["weight"]) > 100


def test_zoomed_in_more_names_are_shown():
    _, view = view_of(long())
    few = list(drawn(view)["right"]["text"])
    view._moved((0.0, 1.0), (0.55, 0.45))
    shown = list(drawn(view)["right"]["text"])
    assert len(shown) > len(few) / 10
    assert set(shown) - set(few)


def test_too_many_weights_are_refused_in_words(monkeypatch):
    monkeypatch.setattr("atlas.tracing.links.LINK_CELLS", 8 * 8 * 3)
    room, view = view_of(single())
    room.selection.select_heads(single().head_ids[:4])
    assert "Select fewer heads" in view.problem
    room.selection.select_heads(single().head_ids[:3])
    assert view.problem == ""
    assert len(view.export().table)
