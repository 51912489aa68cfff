"""The view of one edge, without a page: its rows against the API and the trace, its choice of an edge, and what a tap does."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest

import atlas
from atlas.attribution import cut_writer, why
from atlas.ids import HeadId
from atlas.plots.frame import number
from atlas.state.why import KEY, PAIR, QUERY, WRITERS
from atlas.tasks import TASKS
from atlas.views.why import WhyView
from tests.engine.families import TARGET, TEXT, loaded
from tests.state.readers import single, workspace

CASES = [("BERT", "encoder"), ("Llama", "decoder"), ("Gemma2", "decoder"), ("T5", "cross"), ("gpt-mini", "decoder")]


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(name):
    model = atlas.load(name) if name.endswith("-mini") else loaded(name)
    return model.trace(TEXT, **({"target": TARGET} if "cross" in model.kinds else {}))


def view_of(name, head=None):
    room = workspace(traced(name))
    room.tasks = TASKS
    if head is not None:
        room.selection.focus_on(head)
    return room, WhyView(room)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_without_a_selection_the_strongest_edge_of_the_last_token_is_taken_apart(name, kind):
    head = HeadId(kind, 2, 1)
    _, view = view_of(name, head)
    shown, trace = view.why.shown(), traced(name)
    row = trace.attention(kind, layer=2, head=1).values[-1]
    assert (shown.edge.query, shown.edge.key) == (len(trace.attention(kind, layer=2, head=1)) - 1, 1 + int(np.nanargmax(row[1:])))
    assert "the last token" in view.lens.line
    assert "its strongest key" in view.lens.line
    assert ("after the first token" in view.lens.line) == bool(np.isfinite(row[0]))  # a window may hide the first
    found = why(trace, 2, 1, shown.edge.query, shown.edge.key, kind)
    for rows, table in ((shown.query, found.q), (shown.key, found.k), (shown.pair, found.table)):
        assert sum(each.part for each in rows) == pytest.approx(found.score, rel=1e-6, abs=1e-6)
        assert [each.part for each in rows[:WRITERS]] == pytest.approx(table["part"].head(WRITERS).tolist())
    for rows, table in ((shown.query, found.q), (shown.key, found.k)):
        assert [each.without for each in rows[:WRITERS]] == pytest.approx(table["weight_without"].head(WRITERS).tolist())
    assert f"score {number(found.score)}" in view.lens.line
    assert f"weight {number(float(row[shown.edge.key]))}" in view.lens.line


def test_the_selected_query_and_key_are_the_edge():
    room, view = view_of("gpt-mini", HeadId("decoder", 1, 4))
    room.selection.select_pairs({9}, {3, 5})
    assert (view.why.shown().edge.query, view.why.shown().edge.key) == (9, 3)
    room.selection.select_pairs({9}, {12})  # the future: it has no score
    assert view.why.shown().edge.key < 10
    room.selection.select_pairs({0}, ())
    assert view.why.shown().edge.key == 0


def test_the_bars_are_the_parts_and_say_the_weight_that_remains():
    _, view = view_of("gpt-mini", HeadId("decoder", 1, 4))
    shown = view.why.shown()
    for name, rows in ((QUERY, shown.query), (KEY, shown.key), (PAIR, shown.pair)):
        drawn = view.drawer(name)()
        columns = drawn.get(0).dframe()
        assert (columns["x0"] + columns["x1"]).tolist() == pytest.approx([row.part for row in rows])
        assert columns["name"].tolist() == [row.name for row in rows]
        assert len(set(columns["colour"][[row.part > 0 for row in rows]])) == 1
    bar = view.bars(KEY)[0]
    assert bar.words.endswith(f"→ {number(shown.key[0].without)}")
    assert shown.key[-1].name.startswith("the other ")
    assert len(view.export().table) == len(shown.query) + len(shown.key) + len(shown.pair)


def test_a_tap_on_a_head_focuses_it_and_any_other_row_does_nothing():
    room, view = view_of("gpt-mini", HeadId("decoder", 1, 4))
    rows = view.why.shown().key
    other = next(at for at, row in enumerate(rows) if row.name == "L0 feed-forward")
    view.tap(KEY, other + 0.2)
    view.tap(KEY, 40.0)
    assert room.selection.focus == HeadId("decoder", 1, 4)
    place = next(at for at, row in enumerate(rows) if row.name == "L0 H6")
    view.tap(KEY, place - 0.3)
    assert room.selection.focus == HeadId("decoder", 0, 6)
    assert view.why.shown().edge.head == HeadId("decoder", 0, 6)


def test_a_head_of_the_encoder_is_focused_from_the_keys_of_cross_attention():
    room, view = view_of("T5", HeadId("cross", 1, 2))
    place = next(at for at, row in enumerate(view.why.shown().key) if row.head is not None)
    wanted = view.why.shown().key[place].head
    view.tap(KEY, float(place))
    assert wanted.kind == "encoder"
    assert room.selection.focus == wanted


def test_a_press_with_shift_runs_the_block_without_the_writer_and_a_second_one_with_it():
    room, view = view_of("gpt-mini", HeadId("decoder", 1, 4))
    shown = view.why.shown()
    place = next(at for at, row in enumerate(shown.key) if row.name == "L0 H6")
    view.tap(KEY, float(place), additive=True)
    assert room.selection.focus == HeadId("decoder", 1, 4)
    assert room.choices_of("why").cut == "k L0 H6"
    wanted = cut_writer(traced("gpt-mini"), 1, 4, shown.edge.query, shown.edge.key, "L0 H6")
    assert view.why.shown().cut == wanted
    words = view.why.cut_in_words()
    for value in (wanted.weight, wanted.predicted, wanted.held, wanted.anew):
        assert number(value) in words
    row = view.export().table.set_index(["list", "writer"]).loc[(KEY, "L0 H6")]
    assert (row["weight_run"], row["weight_run_norms_anew"]) == pytest.approx((wanted.held, wanted.anew))
    view.tap(KEY, float(place), additive=True)
    assert view.why.shown().cut is None
    assert view.why.cut_in_words() == ""


def test_the_choice_of_what_is_cut_has_the_writers_of_the_edge_and_waits_for_one_that_another_edge_has():
    room, view = view_of("gpt-mini", HeadId("decoder", 2, 1))
    view.body()
    assert {"", "k L1 H3", "q L0 feed-forward"} < set(view._cut.options.values())
    assert "k biases" not in view._cut.options.values()
    view._cut.value = "q L1 H3"
    assert view.why.shown().cut.side == "q"
    room.selection.focus_on(HeadId("decoder", 1, 4))  # no head of layer 1 wrote its query
    assert view.why.shown().cut is None
    assert (view._cut.value, room.choices_of("why").cut) == ("", "q L1 H3")
    room.selection.focus_on(HeadId("decoder", 2, 1))
    assert view.why.shown().cut.writer == "L1 H3"


def test_what_a_model_does_beside_the_sum_is_said():
    _, view = view_of("Gemma2", HeadId("decoder", 1, 1))
    assert "The model caps scores softly" in view.why.notes()


def test_a_recording_has_no_such_view():
    assert "weights only" in WhyView.fits(single())
    assert WhyView.fits(traced("BERT")) == ""
