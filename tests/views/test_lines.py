"""The lines without a page: what is sent and said, the filters and the ceiling, what a gesture selects."""

from __future__ import annotations

import base64
import functools
import json

import numpy as np
import pytest

import atlas
from atlas.ids import HeadId
from atlas.plots.head_look import DASHES, HUES, head_look
from atlas.state.lines import ALL, BETWEEN
from atlas.tracing import links as tracing
from atlas.tracing.links import LINES, several_links
from atlas.views.lines import LinesView
from tests.engine.families import TARGET, TEXT, loaded
from tests.state.readers import CROSS, DECODER, ENCODER, both, rows, single, workspace

GESTURE_BYTES = 300_000
"""What a gesture may send."""

SEGMENT = {"A": 0, "B": 1}


@functools.cache
def traced(name, pair=False):
    model = atlas.load(name) if name.endswith("-mini") else loaded(name)
    if pair:
        return model.trace("the cat ran after the dog", "she was tired", keep="weights", capture=())
    return model.trace(TEXT, keep="weights", capture=(), **({"target": TARGET} if "cross" in model.kinds else {}))


@functools.cache
def long(tokens=512):
    return atlas.from_attention(rows((2, 3, tokens, tokens)), [f"word{at}" for at in range(tokens)], kind=ENCODER)


def view_of(trace, kind=None, **choices):
    room = workspace(trace)
    room.display.sinks = "shown"
    if kind:
        room.selection.show_kind(kind)
    room.choices_of("lines").param.update(**choices)
    view = LinesView(room)
    view.__panel__()
    return room, view


def sent(view):
    """(head, query, key, weight) of the lines as the browser gets them, the strongest first."""
    types = {"head": "<u2", "left": "<u2", "right": "<u2", "weight": "<f4"}
    columns = [np.frombuffer(base64.b64decode(view.plot.links[name]), kind) for name, kind in types.items()]
    return list(zip(*(column.tolist() for column in columns), strict=True))


def plain(trace, kind, layer, heads, between="", hidden=()):
    """The same from the weights, one cell after the other, and the number of cells."""
    segments = [trace.tokens(trace.side(kind, axis)).get("segment") for axis in ("query", "key")]
    found, cells = [], 0
    for head in heads:
        weights = trace.attention(kind, layer=layer, head=head).to_numpy()
        for query, key in np.ndindex(*weights.shape):
            wanted = not between or (segments[0][query], segments[1][key]) == (SEGMENT[between[0]], SEGMENT[between[1]])
            if wanted and key not in hidden and not np.isnan(weights[query, key]):
                cells += 1
                if weights[query, key] > 0:
                    found.append((head, query, key, float(weights[query, key])))
    return sorted(found, key=lambda link: (-link[3], link[0], link[1], link[2])), cells


@pytest.mark.parametrize(
    ("name", "kind"),
    [("BERT", ENCODER), ("GPT-2", DECODER), ("Llama", DECODER), ("T5", ENCODER), ("T5", CROSS), ("bert-mini", ENCODER)],
)
def test_every_head_of_the_layer_in_focus_is_drawn_by_itself(name, kind):
    trace = traced(name)
    room, view = view_of(trace, kind)
    for layer in (0, 1):
        room.selection.focus_on(HeadId(kind, layer, 1))
        heads = range(trace.n_heads(kind))
        expected, cells = plain(trace, kind, layer, heads)
        drawn = expected[:LINES]
        assert sent(view) == drawn
        share = sum(link[3] for link in drawn) / sum(link[3] for link in expected)
        line = f"layer {layer}, all {len(heads)} heads: the strongest {len(drawn):,} of {cells:,} links carry {100 * share:.3g} %"
        assert line in view.lens.line
    names = [list(trace.tokens(trace.side(kind, axis))["token"]) for axis in ("query", "key")]
    assert (len(view.plot.left), len(view.plot.right)) == tuple(map(len, names))
    table = view.export().table
    assert list(table[["head", "query", "key"]].itertuples(index=False, name=None)) == [link[:3] for link in drawn]


@pytest.mark.parametrize("between", BETWEEN[1:])
@pytest.mark.parametrize("name", ["BERT", "bert-mini"])
def test_of_a_pair_only_the_links_from_one_text_to_one_text_are_drawn(name, between):
    trace = traced(name, pair=True)
    room, view = view_of(trace)
    assert view._between.visible
    room.choices_of("lines").between = between
    heads = range(trace.n_heads(ENCODER))
    expected, cells = plain(trace, ENCODER, 0, heads, between)
    assert 0 < len(expected) < LINES
    assert sent(view) == expected
    every, _ = plain(trace, ENCODER, 0, heads)
    share = sum(link[3] for link in expected) / sum(link[3] for link in every)
    said = f"{len(expected):,} of {cells:,} links carry 100 % of their attention from text {between[0]} to text {between[1]}"
    assert f"{said}, which is {100 * share:.3g} % of all" in view.lens.line
    room.choices_of("lines").between = ALL
    assert sent(view) == every[:LINES]


def test_a_text_alone_has_no_such_choice_and_shows_all():
    _, view = view_of(traced("BERT"), between="AB")
    assert not view._between.visible
    assert len(sent(view)) == len(plain(traced("BERT"), ENCODER, 0, range(4))[0][:LINES])
    _, view = view_of(single(), between="AB")
    assert len(sent(view)) == len(plain(single(), ENCODER, 0, range(3))[0])


@pytest.mark.parametrize("most", [1, 50, 400])
def test_the_ceiling_keeps_the_strongest_of_all_heads_together(most):
    trace = traced("BERT")
    found = several_links(trace, trace.head_ids[:4], most=most)
    expected, cells = plain(trace, ENCODER, 0, range(4))
    links = zip(*(getattr(found, name).tolist() for name in ("head", "query", "key", "weight")), strict=True)
    assert list(links) == expected[:most]
    assert found.cells == cells
    assert found.mass == found.whole == pytest.approx(sum(link[3] for link in expected), rel=1e-5)
    assert found.share == pytest.approx(sum(link[3] for link in expected[:most]) / found.mass, rel=1e-5)


def test_a_long_text_sends_so_many_links_that_a_gesture_stays_small_and_says_so():
    room, view = view_of(long())
    room.selection.pick(HeadId(ENCODER, 1, 2))
    room.selection.clear("heads")
    links = sent(view)
    assert len(links) == LINES
    weights = np.sort(long().attention(layer=1).to_numpy().ravel().astype(float))[::-1]
    assert f"{LINES:,} of {3 * 512 * 512:,} links carry {100 * weights[:LINES].sum() / weights.sum():.3g} %" in view.lens.line
    assert f"at most {LINES:,} links are drawn" in view.lens.line
    params = {name: getattr(view.plot, name) for name in view.plot.one_way}
    assert len(json.dumps(view.plot.to_browser(params))) < GESTURE_BYTES


def test_sinks_that_are_hidden_are_left_out_and_that_is_said():
    room, view = view_of(traced("GPT-2"))
    room.display.sinks = "auto"
    expected, _ = plain(traced("GPT-2"), DECODER, 0, range(4), hidden=[0])
    assert sent(view) == expected[:LINES]
    share = 1 - sum(link[3] for link in expected) / sum(link[3] for link in plain(traced("GPT-2"), DECODER, 0, range(4))[0])
    assert f"left out as sinks: the (0), which receives {100 * share:.3g} % of all" in view.lens.line


def test_a_click_on_a_head_draws_it_or_not_and_a_double_click_draws_it_alone():
    room, view = view_of(single())

    def heads():
        assert {link[0] for link in sent(view)} == {each["head"] for each in view.plot.heads if each["drawn"]}
        return [each["head"] for each in view.plot.heads if each["drawn"]]

    assert heads() == [0, 1, 2]
    for action, head, expected in (
        ("toggle", 1, [0, 2]), ("toggle", 0, [2]), ("toggle", 1, [1, 2]), ("only", 0, [0]), ("toggle", 0, [0, 1, 2]),
        ("only", 2, [2]), ("all", -1, [0, 1, 2]),
    ):  # fmt: skip
        view._pressed(head, action)
        assert heads() == expected
    assert room.selection.is_empty
    view._pressed(1, "toggle")
    assert "2 heads: H0, H2" in view.lens.line
    assert room.choices_of("lines").heads == "0,2"


def test_a_click_with_shift_selects_the_head_and_selected_heads_are_what_is_drawn():
    room, view = view_of(single())
    view._pressed(0, "toggle")
    view._pressed(2, "select")
    assert room.selection.heads == {HeadId(ENCODER, 0, 2)}
    assert room.selection.origin == "lines"
    assert [(each["drawn"], each["selected"]) for each in view.plot.heads] == [(False, False), (False, False), (True, True)]
    assert {link[0] for link in sent(view)} == {2}
    assert "layer 0, selected: H2:" in view.lens.line
    view._pressed(1, "toggle")
    assert {link[0] for link in sent(view)} == {1, 2}
    room.selection.select_heads([HeadId(ENCODER, 0, 0), HeadId(ENCODER, 1, 1)])
    assert {link[0] for link in sent(view)} == {0}
    room.selection.focus_on(HeadId(ENCODER, 1, 0))
    assert {link[0] for link in sent(view)} == {1}
    room.selection.clear("heads")
    assert {link[0] for link in sent(view)} == {0, 1, 2}


def test_heads_that_a_link_names_stay_when_its_selection_comes():
    room, view = view_of(single(), heads="1,9")
    room.selection.restore(HeadId(ENCODER, 1, 0), [HeadId(ENCODER, 1, 2)], [], [], "")
    assert {link[0] for link in sent(view)} == {1}
    room.choices_of("lines").heads = "nonsense"
    assert {link[0] for link in sent(view)} == {2}


def test_the_layer_follows_the_focus_and_moves_it():
    room, view = view_of(both(), CROSS)
    assert (list(view._layer.options), view._layer.value) == ([0, 1, 2], 0)
    room.selection.focus_on(HeadId(CROSS, 2, 1))
    assert view._layer.value == 2
    view._layer.value = 1
    assert room.selection.focus == HeadId(CROSS, 1, 1)
    assert "cross layer 1" in view.lens.line
    room.selection.show_kind(ENCODER)
    assert (list(view._layer.options), view._layer.value) == ([0, 1], 1)


def test_a_click_on_a_token_selects_a_query_at_the_left_and_a_key_at_the_right():
    room, view = view_of(both(), CROSS)
    for sent_, expected in (
        ({"side": "left", "at": 3}, ({3}, set())), ({"side": "right", "at": 6}, ({3}, {6})),
        ({"side": "right", "at": 2, "additive": True}, ({3}, {2, 6})), ({"side": "left", "at": 3}, (set(), {2, 6})),
    ):  # fmt: skip
        view.plot._handle_msg(sent_)
        assert (room.selection.queries, room.selection.keys) == expected
        assert (set(view.plot.selected_left), set(view.plot.selected_right)) == expected


def test_the_first_24_heads_of_a_layer_look_different():
    looks = [head_look(head) for head in range(len(HUES) * len(DASHES))]
    assert len(set(looks)) == 24
    assert head_look(24) == head_look(0)


def test_too_many_weights_are_refused_in_words(monkeypatch):
    room, view = view_of(single())
    monkeypatch.setattr(tracing, "LINK_CELLS", 2 * 8 * 8)
    room.selection.focus_on(HeadId(ENCODER, 1, 0))
    assert "Select fewer heads" in view.lens.problem
    view._pressed(1, "only")
    assert view.lens.problem == ""
    assert {link[0] for link in sent(view)} == {1}
