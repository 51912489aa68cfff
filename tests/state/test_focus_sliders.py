"""LayerModel and HeadModel: the focus as two numbers, both ways, with bounds that follow the trace."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.ids import KINDS, HeadId
from tests.state.readers import CROSS, DECODER, ENCODER, Listener, both, single, workspace


def at(room):
    """What the sliders say, and how far they reach."""
    layer, head = room.layer, room.head
    return (layer.layer, layer.param.layer.bounds), (head.head, head.param.head.bounds)


def test_before_a_trace_they_stand_at_the_first_head():
    assert at(workspace()) == ((0, (0, None)), (0, (0, None)))


def test_bounds_follow_the_trace_as_it_grows_and_shrinks():
    room = workspace(single(layers=2, heads=3))
    assert at(room) == ((0, (0, 1)), (0, (0, 2)))
    room.pipeline.show(single(layers=5, heads=7))
    assert at(room) == ((0, (0, 4)), (0, (0, 6)))
    room.selection.focus_on(HeadId(ENCODER, 4, 6))
    room.pipeline.show(single(layers=5, heads=2))
    # The head is not there any more: the first one is shown, and both numbers say so.
    assert room.selection.focus == HeadId(ENCODER, 0, 0)
    assert at(room) == ((0, (0, 4)), (0, (0, 1)))
    room.pipeline.show(single(layers=1, heads=1))
    assert at(room) == ((0, (0, 0)), (0, (0, 0)))


def test_what_is_still_there_stays_where_it_was():
    room = workspace(single(layers=5, heads=7))
    room.selection.focus_on(HeadId(ENCODER, 1, 2))
    room.pipeline.show(single(layers=2, heads=3))
    assert at(room) == ((1, (0, 1)), (2, (0, 2)))


def test_bounds_follow_the_kind_on_screen():
    room = workspace(both(encoder=(2, 4), decoder=(3, 2)))
    assert at(room) == ((0, (0, 1)), (0, (0, 3)))
    room.selection.show_kind(CROSS)
    assert at(room) == ((0, (0, 2)), (0, (0, 1)))


def test_a_head_beyond_the_bounds_of_the_kind_before_is_followed():
    room = workspace(both(encoder=(2, 4), decoder=(3, 2)))
    # The encoder has two layers; the third layer of the decoder is one tap away.
    room.selection.pick(HeadId(DECODER, 2, 1))
    assert at(room) == ((2, (0, 2)), (1, (0, 1)))
    room.selection.pick(HeadId(ENCODER, 1, 3))
    assert at(room) == ((1, (0, 1)), (3, (0, 3)))


def test_a_slider_moves_the_focus_and_the_focus_the_slider():
    room = workspace(single(layers=4, heads=4))
    room.layer.layer = 2
    room.head.head = 3
    assert room.selection.focus == HeadId(ENCODER, 2, 3)
    assert room.selection.origin == "slider"
    room.selection.step(1, -1, origin="keys")
    assert (room.layer.layer, room.head.head) == (3, 2)
    assert room.selection.origin == "keys"


def test_a_slider_keeps_the_kind_and_what_is_selected():
    room = workspace(both())
    room.selection.show_kind(CROSS)
    room.selection.select_heads([HeadId(CROSS, 0, 0), HeadId(CROSS, 1, 1)], label="a box")
    room.selection.select_pairs([1], [2])
    room.layer.layer = 2
    assert room.selection.focus == HeadId(CROSS, 2, 0)
    assert room.selection.heads == {HeadId(CROSS, 0, 0), HeadId(CROSS, 1, 1)}
    assert (room.selection.label, room.selection.queries, room.selection.keys) == ("a box", {1}, {2})


def test_beyond_the_bounds_is_refused_and_nothing_moves():
    room = workspace(single(layers=2, heads=3))
    with pytest.raises(ValueError, match="at most 1"):
        room.layer.layer = 2
    with pytest.raises(ValueError, match="at least 0"):
        room.head.head = -1
    assert room.selection.focus == HeadId(ENCODER, 0, 0)


def test_no_echo():
    room = workspace(single(layers=4, heads=4))
    heard = {name: Listener(getattr(room, name)) for name in ("selection", "layer", "head")}
    room.layer.layer = 2
    assert [len(each.take()) for each in heard.values()] == [1, 1, 0]
    room.selection.focus_on(HeadId(ENCODER, 1, 3))
    assert heard["selection"].take() == [{"focus": HeadId(ENCODER, 1, 3), "origin": ""}]
    assert heard["layer"].take() == [{"layer": 1}]
    assert heard["head"].take() == [{"head": 3}]


def test_a_new_trace_moves_the_focus_once():
    room = workspace(single(layers=4, heads=4))
    room.selection.focus_on(HeadId(ENCODER, 3, 3))
    listener = Listener(room.selection, ["focus"])
    room.pipeline.show(single(layers=2, heads=2))
    assert listener.take() == [{"focus": HeadId(ENCODER, 0, 0)}]


def test_two_workspaces_have_bounds_of_their_own():
    one, other = workspace(single(layers=2, heads=2)), workspace(single(layers=7, heads=9))
    assert at(one) == ((0, (0, 1)), (0, (0, 1)))
    other.layer.layer = 6
    assert at(one) == ((0, (0, 1)), (0, (0, 1)))
    assert at(workspace()) == ((0, (0, None)), (0, (0, None)))


TRACES = (
    both(),
    both(encoder=(5, 1), decoder=(1, 5)),
    single(layers=1, heads=1),
    single(layers=6, heads=2),
    single(DECODER, 2, 7),
)

STEPS = st.one_of(
    st.tuples(st.just("trace"), st.integers(0, len(TRACES) - 1)),
    st.tuples(st.just("pick"), st.builds(HeadId, st.sampled_from(KINDS), st.integers(0, 6), st.integers(0, 7))),
    st.tuples(st.just("kind"), st.sampled_from(KINDS)),
    st.tuples(st.just("layer"), st.integers(0, 6)),
    st.tuples(st.just("head"), st.integers(0, 7)),
)


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=14))
def test_there_is_one_truth_whatever_happens(steps):
    room = workspace(TRACES[0])
    for what, value in steps:
        trace = room.trace
        if what == "trace":
            room.pipeline.show(TRACES[value])
        elif what == "pick":
            room.selection.pick(value)
        elif what == "kind" and value in trace.kinds:
            room.selection.show_kind(value)
        elif what == "layer" and value < trace.n_layers(room.kind):
            room.layer.layer = value
        elif what == "head" and value < trace.n_heads(room.kind):
            room.head.head = value
        focus, trace = room.selection.focus, room.trace
        assert at(room) == (
            (focus.layer, (0, trace.n_layers(focus.kind) - 1)),
            (focus.head, (0, trace.n_heads(focus.kind) - 1)),
        )
