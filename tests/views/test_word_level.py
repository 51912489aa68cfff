"""Words instead of tokens in the flow, the lines and the attributions: one switch, the same numbers, what a click selects."""

from __future__ import annotations

import functools
import json

import holoviews as hv
import numpy as np
import pytest
from scipy import stats

import atlas
from atlas.app import AttentionAtlas
from atlas.attribution import attribute, compare
from atlas.ids import HeadId
from atlas.patches.panes import PlainText
from atlas.plots.attribution import frame_of, places
from atlas.state.attribution import ONE_AT_A_TIME
from atlas.state.flow import LAYERS
from atlas.state.share import decode, encode
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing import levels, windows
from atlas.views.attribution import AttributionView
from atlas.views.flow import FlowView
from atlas.views.level_switch import beside_tabs
from atlas.views.lines import LinesView
from atlas.views.matrix import MatrixView
from tests.engine.families import loaded
from tests.state.readers import never, single

BROKEN = "The immunologists unquestionably misunderstood her hypothermia."

WHOLE = [("gpt-mini", "The old doctor said that she was tired"), ("bert-mini", "the cat ran.")]
"""No word is several tokens."""

GESTURE_BYTES = 300_000


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(name, text=BROKEN):
    model = atlas.load(name) if name.endswith("-mini") else loaded(name)
    return model.trace(text, **({"target": "the doctors said that she was tired"} if name == "T5" else {}))


def view_of(view_type, trace, kind=None, level="word"):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace)
    room.display.param.update(level=level, sinks="shown")
    if kind:
        room.selection.show_kind(kind)
    view = view_type(room)
    view.__panel__()
    return room, view


def tokens_of(text):
    return {int(at) for at in text.split()}


@pytest.mark.parametrize(("name", "kind"), [("bert-mini", "encoder"), ("gpt-mini", "decoder"), ("T5", "cross")])
def test_flow_and_lines_show_the_numbers_of_the_word_matrix(name, kind):
    trace = traced(name)
    for view_type, key in ((FlowView, "links"), (LinesView, "lines")):
        room, view = view_of(view_type, trace, kind)
        matrix = windows.words(trace, [room.selection.focus])
        lens = getattr(view, key)
        if view_type is FlowView:
            lens.choices.share = 0.9
        else:
            lens.only(0)
        table = view.export().table
        assert len(table) > 5
        assert list(table["to"]) == [matrix.keys[matrix.key_of[min(tokens_of(key_))]] for key_ in table["key"]]
        for row in table.itertuples(index=False):
            query, key_ = tokens_of(row.query), tokens_of(row.key)
            unit = matrix.query_of[min(query)], matrix.key_of[min(key_)]
            assert query == set(np.flatnonzero(matrix.query_of == unit[0]))
            assert key_ == set(np.flatnonzero(matrix.key_of == unit[1]))
            assert row.weight == pytest.approx(matrix.weights[unit], rel=1e-6)
        assert ", words: the strongest" in view.lens.line
        room.display.level = "token"
        assert "words" not in view.lens.line
        assert view.export().table["query"].dtype.kind == "i"


@pytest.mark.parametrize(("name", "text"), WHOLE)
def test_where_no_word_is_broken_both_settings_show_the_same(name, text):
    for view_type in (FlowView, LinesView, AttributionView):
        room, view = view_of(view_type, traced(name, text), level="token")
        before = view.export().table
        room.display.level = "word"
        after = view.export().table
        numbers = [column for column in before if before[column].dtype.kind == "f"]
        assert numbers
        assert len(before) == len(after)
        for column in numbers:
            np.testing.assert_allclose(after[column], before[column], rtol=1e-6)
        names = [column for column in ("from", "to") if column in before]
        for column in names:
            assert list(after[column]) == list(before[column])


def test_a_click_on_a_word_selects_all_its_tokens_and_one_selected_token_marks_its_word():
    trace = traced("bert-mini")
    word = trace.tokens()["word"].to_numpy()
    tokens = set(np.flatnonzero(word == word[4]))
    assert len(tokens) > 2
    place = levels.level_of(trace, "encoder", "word").places("query", tokens)
    assert len(place) == 1
    (at,) = place
    room, view = view_of(FlowView, trace)
    left, right = view.flow().columns
    view._tapped(-0.05, float(left.middle[at]))
    assert (room.selection.queries, room.selection.keys) == (tokens, set())
    view._tapped(-0.05, float(left.middle[at]))
    assert room.selection.queries == set()
    view._tapped(1.05, float(right.middle[at]), additive=True)
    assert room.selection.keys == tokens
    room.selection.select_tokens([min(tokens)], axis="from")
    assert view.links.marked()[0] == {at}
    view._tapped(-0.05, float(left.middle[at]))
    assert room.selection.queries == tokens  # the rest of a word of which one token was selected
    room.selection.clear()
    ribbons = view.flow().ribbons
    strongest = view.links.level.tokens("query", int(ribbons.query[0])), view.links.level.tokens("key", int(ribbons.key[0]))
    view._tapped(0.02, float(ribbons.y0[0]))
    assert (room.selection.queries, room.selection.keys) == strongest
    view._tapped(0.02, float(ribbons.y0[0]))
    assert room.selection.is_empty

    room, view = view_of(LinesView, trace)
    view.plot._handle_msg({"side": "left", "at": at})
    assert (room.selection.queries, room.selection.keys) == (tokens, set())
    room.selection.select_tokens([max(tokens)], axis="to")
    assert (view.plot.selected_left, view.plot.selected_right) == ([at], [at])
    assert view.plot.left_at[at] == f"{min(tokens)}–{max(tokens)}"
    room.display.level = "token"
    assert view.plot.selected_right == [max(tokens)]
    assert view.plot.left_at == []

    room, view = view_of(AttributionView, trace)
    shown = view.attribution.shown()
    x = float(frame_of(shown.sides, 2).x(places(shown.sides)[at]))
    view._tapped(x, 0)
    assert (room.selection.queries, room.selection.keys) == (tokens, tokens)
    room.selection.select_tokens([max(tokens)])
    assert view.attribution.marked() == (at,)


@pytest.mark.parametrize("name", ["bert-mini", "gpt-mini", "T5"])
def test_the_score_of_a_word_is_the_sum_over_its_tokens_and_the_correlation_is_over_words(name):
    trace = traced(name)
    _, view = view_of(AttributionView, trace)
    view.attribution.choices.param.update(first="input_x_gradient", second="occlusion")
    table = view.export().table
    kept, sums = [], {"input_x_gradient": [], "occlusion": []}
    found = {method: attribute(trace.live.model, trace, view.attribution.target(), method) for method in sums}
    for side, words in ((side, trace.tokens(side)["word"].to_numpy()) for side in trace.token_tables):
        special = trace.tokens(side)["special"].to_numpy(bool)
        seen = []
        for at, word in enumerate(words):
            here = [at] if word < 0 else np.flatnonzero(words == word).tolist()
            if here in seen:
                continue
            seen.append(here)
            kept.append(not special[here].any())
            for method, each in found.items():
                sums[method].append(each.side(side)[here].sum())
    for method, expected in sums.items():
        np.testing.assert_allclose(table[method], expected, rtol=1e-3, atol=1e-5)
    assert len(table) < sum(map(len, trace.token_tables.values()))
    total = {method: each.tokens["score"].sum() for method, each in found.items()}
    for method, value in total.items():
        assert table[method].sum() == pytest.approx(value, rel=1e-3, abs=1e-5)
    if name != "T5":  # there the last tokens of the target come after what is explained
        kept = np.array(kept)
        rho = stats.spearmanr(*(np.asarray(each)[kept] for each in sums.values())).statistic
        said = view.attribution.shown().notes[-1]
        assert f"ρ = {rho:.2f}".replace("-", "−") in said
        assert f"signed scores of {kept.sum()} words that are not special" in said
    assert f"Occlusion of a word of several tokens: {ONE_AT_A_TIME['occlusion']}." in view.attribution.shown().notes


def test_the_correlation_of_tokens_stays_that_of_tokens_and_the_switch_runs_nothing_again(monkeypatch):
    ranked, own = [], compare._rank
    monkeypatch.setattr(compare, "_rank", lambda *given, **more: (ranked.append(given), own(*given, **more))[1])
    trace = atlas.load("bert-mini").trace(BROKEN)
    room, view = view_of(AttributionView, trace, level="token")
    view.attribution.choices.param.update(first="saliency", second="occlusion")
    n = int((~trace.tokens()["special"]).sum())
    assert f"of {n} tokens that are not special" in view.attribution.shown().notes[-1]
    assert not any("several tokens" in note for note in view.attribution.shown().notes)
    before = len(ranked)
    assert before
    room.display.level = "word"
    assert f"of {n} tokens" not in view.attribution.shown().notes[-1]
    assert len(ranked) == before
    assert sum("several tokens" in note for note in view.attribution.shown().notes) == 2


def test_layer_by_layer_and_a_name_that_says_where_its_tokens_stand():
    trace = traced("gpt-mini")
    room, view = view_of(FlowView, trace)
    view.links.choices.through = LAYERS
    assert "layer by layer" in view.lens.line
    assert ", words: " in view.lens.line
    room.selection.select_heads([HeadId("decoder", 0, 1)])
    look = view._look()
    units = levels.side_words(trace, "source")
    at = int(np.argmax(units.size))
    tokens = np.flatnonzero(units.of_token == at)
    assert look.called("token", at).endswith(f" ({tokens[0]}–{tokens[-1]})")
    assert list(look.queries) == list(look.keys) == [name or "␣" for name in levels.word_names(trace, "source")]


def test_sinks_that_are_left_out_are_named_as_words():
    room, view = view_of(FlowView, traced("gpt-mini", "Immunologists ran after the unbelievable cats."))
    room.display.sinks = "auto"
    assert "left out as sinks: Immunologists, which receives" in view.lens.line
    assert "% of the attention to the other words" in view.lens.line
    room, view = view_of(FlowView, traced("gpt-mini", "Immunologists"))
    room.display.sinks = "auto"
    assert "left out" not in view.lens.line  # else nothing would be left
    assert len(view.export().table) == 1


@pytest.mark.parametrize("view_type", [FlowView, LinesView])
def test_a_recording_has_no_words_and_says_so(view_type):
    room, view = view_of(view_type, single())
    assert view.problem == levels.NO_WORDS
    room.selection.select_tokens([2])  # nothing fails that marks
    room.display.level = "token"
    assert view.problem == ""
    assert len(view.export().table)


def test_a_text_that_is_too_long_for_words_says_so(monkeypatch):
    monkeypatch.setattr(levels, "WORD_TOKENS", 9)
    room, view = view_of(FlowView, traced("bert-mini"))
    assert "are more than 9. Show tokens instead" in view.problem
    room.display.level = "token"
    assert view.problem == ""


def test_words_of_a_long_text_stay_small_on_the_wire():
    text = " ".join(["The immunologists unquestionably misunderstood her hypothermia because she ran."] * 21)
    trace = traced("gpt-mini", text)
    assert len(trace.tokens()) > 480
    _, view = view_of(LinesView, trace)
    params = {name: getattr(view.plot, name) for name in view.plot.one_way}
    assert len(json.dumps(view.plot.to_browser(params))) < GESTURE_BYTES
    _, view = view_of(FlowView, trace)
    view.links.choices.share = 0.99
    columns = view.export().table
    assert 100 < len(columns) <= 2_000


def test_one_switch_stands_beside_the_tabs_and_the_link_keeps_it():
    app = AttentionAtlas()
    display = app.workspace.display
    row = beside_tabs(app.tabs.bar, display)
    (buttons,) = [each for each in row.select() if type(each).__name__ == "RadioButtonGroup"]
    assert buttons.options == {"tokens": "token", "words": "word"}
    (said,) = row.select(PlainText)
    assert said.object == "shown as"
    buttons.value = "word"
    assert display.level == "word"
    assert said.object == "matrix, flow, lines, attribution as"
    display.level = "token"
    assert buttons.value == "token"
    display.level = "word"
    state, complaints = decode(encode(app.workspace).token)
    assert (state.display["level"], complaints) == ("word", [])
    matrix = MatrixView(app.workspace)
    assert not [each for each in matrix.tools() if getattr(each, "label", "") == "Level"]
