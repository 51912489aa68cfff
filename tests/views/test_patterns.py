"""The patterns view, without a page: lists and arcs against the tables, and selection both ways."""

from __future__ import annotations

import functools
import json
from dataclasses import replace

import holoviews as hv
import numpy as np
import panel as pn
import pytest
from bokeh.core.property.vectorization import Field
from bokeh.document import Document
from bokeh.events import Tap
from bokeh.models import GlyphRenderer, MultiLine, Plot

import atlas
from atlas.ids import HeadId
from atlas.plots.arcs import (
    AWAY,
    COLUMNS,
    HIT,
    MISS,
    PARSE,
    Arc,
    Sentence,
    arc_columns,
    arc_plot,
    curve,
    word_places,
    word_under,
)
from atlas.state.outcome_line import percent
from atlas.state.pattern_words import BEST, share, title_of_pattern
from atlas.state.patterns import TOO_SHORT
from atlas.tracing.patterns import DIRECTIONS, arcs, pages, place_patterns, relation_patterns
from atlas.tracing.selected_heads import selected_heads
from atlas.views.patterns import PatternsView
from tests.engine.families import loaded
from tests.state.readers import DECODER, both, rows, single, workspace

TEXT = "The old doctor saw the cat. The cat ran after the big dog, and the doctor said that she was tired of the old dog."
TARGET = "The doctor saw the cat and the dog."

CASES = [("BERT", "encoder"), ("GPT-2", "decoder"), ("T5", "decoder"), ("bert-mini", "encoder")]


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(name):
    model = atlas.load(name) if name.endswith("-mini") else loaded(name)
    return model.trace(TEXT, keep="weights", capture=(), **({"target": TARGET} if "cross" in model.kinds else {}))


def view_of(name, kind=None):
    room = workspace(traced(name))
    if kind:
        room.selection.focus_on(HeadId(kind, 1, 1))
    view = PatternsView(room)
    view.card = pn.panel(view)
    view.root = view.card.get_root()
    return room, view


def test_of_every_pattern_the_best_heads_are_listed_with_score_chance_and_verdict():
    for name, kind in CASES:
        _, view = view_of(name, kind)
        tables = place_patterns(selected_heads(traced(name), kind)), relation_patterns(traced(name), kind)
        for groups, table in zip((view.places.groups, view.relations.groups), tables, strict=True):
            assert groups
            for group in groups:
                pattern = group["rows"][0]["key"].split(" ")[1]
                part = (
                    table[table["pattern"] == pattern]
                    .sort_values(["score", "chance"], ascending=[False, True], kind="stable")
                    .head(BEST)
                )
                for row, found in zip(part.itertuples(), group["rows"], strict=True):
                    assert found["shares"] == pytest.approx([row.score, row.chance])
                    shares = [percent(value) if value else "0 %" for value in (row.score, row.chance)]
                    assert found["number"] == f"{shares[0]} ({shares[1]})"
                    assert found["label"] == f"L{row.layer} H{row.head}"
                    verdict = "" if np.isnan(row.q) else "beyond" if row.q <= 0.05 else f"q {row.q:.2g}"
                    verdict = "beyond chance" if verdict == "beyond" and not row.direction else verdict
                    direction = {"": "", DIRECTIONS[0]: "d→h", DIRECTIONS[1]: "h→d"}[row.direction]
                    assert found["note"] == ", ".join(filter(None, [direction, verdict]))
        if kind == "decoder":
            assert "next" not in [group["rows"][0]["key"].split(" ")[1] for group in view.places.groups]


def test_a_relation_has_the_name_of_the_parser_and_what_it_means():
    assert title_of_pattern("nsubj:pass", relation=True) == "nsubj:pass (subject)"
    assert title_of_pattern("dep", relation=True) == "dep"


def test_a_pressed_head_is_selected_and_a_heading_selects_those_beyond_chance():
    room, view = view_of("bert-mini", "encoder")
    group = next(group for group in view.places.groups if group["key"])
    view._pressed({"key": group["rows"][0]["key"], "shift": False, "control": False})
    head = HeadId("encoder", *map(int, group["rows"][0]["key"].split(" ")[-1].split(".")))
    assert (room.selection.focus, room.selection.heads) == (head, {head})
    state = {row["key"]: row["state"] for each in view.places.groups for row in each["rows"]}
    assert state[group["rows"][0]["key"]] == "chosen"
    view._pressed({"key": group["key"], "shift": False, "control": False})
    table = place_patterns(selected_heads(traced("bert-mini"), "encoder"))
    follow = table[(table["pattern"] == group["key"].split(" ")[1]) & (table["q"] <= 0.05)]
    assert {(each.layer, each.head) for each in room.selection.heads} == set(zip(follow["layer"], follow["head"], strict=True))
    view._pressed({"key": group["key"], "shift": False, "control": False})
    assert not room.selection.heads


def test_selected_queries_measure_places_on_their_rows_and_bring_their_sentence():
    room, view = view_of("BERT", "encoder")
    whole = {group["name"]: group["rows"][0]["shares"] for group in view.places.groups}
    last = len(traced("BERT").tokens()) - 3
    room.selection.select_tokens([last, last - 1, last - 2, last - 3, last - 4, last - 5], axis="from")
    table = place_patterns(selected_heads(traced("BERT"), "encoder", room.selection.queries))
    found = {group["name"]: group["rows"][0]["shares"] for group in view.places.groups}
    assert found["Previous token"][0] == pytest.approx(table[table["pattern"] == "previous"]["score"].max())
    assert found["Previous token"] != whole["Previous token"]
    assert "measured on the rows of" in view.lens.line
    assert view.patterns.page() == len(pages(traced("BERT"), "encoder")) - 1
    assert view.sentence().words[0] == "The"
    view._turn(-1)
    assert view.patterns.page() == 0
    room.selection.select_tokens([last], axis="from")
    assert view.patterns.page() == 1


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_arcs_drawn_are_the_parse_above_and_the_heads_choice_below(name, kind, direction):
    _, view = view_of(name, kind)
    view.patterns.choices.direction = direction
    trace = traced(name)
    found = arcs(trace, HeadId(kind, 1, 1), pages(trace, kind)[0], direction)
    drawn = view.sentence()
    assert [(arc.start, arc.end, arc.label) for arc in drawn.above] == [(head, word, name) for word, head, name in found.parse]
    assert {arc.state for arc in drawn.above} <= {PARSE}
    assert [(arc.start, arc.end, arc.state == HIT) for arc in drawn.below] == [(a, b, hit) for a, b, _, hit in found.found]
    hits = sum(hit for *_, hit in found.found)
    line = view.patterns.arcs_line()
    assert f"finds {hits:,} of {len(found.found) + found.outside:,} arc" in line
    table = relation_patterns(trace, kind)
    mine = table[(table["pattern"] == "all") & (table["direction"] == direction) & (table["layer"] == 1) & (table["head"] == 1)]
    if len(mine):
        assert f"in the whole text {share(mine['score'].iloc[0])} of {mine['n'].iloc[0]}" in line
        assert share(mine["chance"].iloc[0]) in line


def test_a_tap_on_a_word_selects_its_tokens_and_the_sentence_stays():
    room, view = view_of("BERT", "encoder")
    view._turn(1)
    figure = hv.render(view._arcs())
    document = Document()
    document.add_root(figure)
    words = view.sentence().words
    places = word_places(words)
    document.callbacks.trigger_event(Tap(figure, sx=0, sy=0, x=places[2], y=0.0))
    assert room.selection.queries == view.patterns.arcs().tokens[2] == room.selection.keys
    assert view.patterns.page() == 1
    assert view.sentence().selected == {2}
    document.callbacks.trigger_event(Tap(figure, sx=0, sy=0, x=places[2], y=0.8))
    assert room.selection.queries  # an arc is no word


def test_arcs_begin_and_end_at_their_words_on_their_side():
    words = ("the", "doctor", "ran")
    places = word_places(words)
    for start, end, side in ((0, 2, 1), (2, 1, -1)):
        x, y = curve(places[start], places[end], places[2] - places[0], side)
        assert (x[0], x[-1]) == pytest.approx((places[start], places[end]))
        assert (y * side >= AWAY - 1e-9).all()
        assert (y * side <= 1).all()
    assert [word_under(words, place, 0.0) for place in places] == [0, 1, 2]
    assert word_under(words, 1.1, 0.0) is None
    drawn = arc_plot(Sentence(words, (Arc(1, 0, "det", PARSE),), (Arc(0, 1, "det", HIT), Arc(2, 0, "", MISS))))
    figure = hv.render(drawn)
    lines = [each for each in figure.renderers if isinstance(each.glyph, MultiLine)]
    assert [len(each.data_source.data["xs"]) for each in lines] == [1, 1, 1]  # parse, misses, hits
    assert len({each.glyph.line_color for each in lines}) == 3


def test_cross_attention_and_texts_without_a_parse_say_what_there_is_not():
    room, view = view_of("T5", "encoder")
    room.selection.show_kind("cross")
    assert view.patterns.groups() == ([], [])
    assert view.problem == "Patterns compare positions of one text, and cross-attention links two. Choose encoder or decoder."
    room.selection.show_kind("decoder")
    assert view.problem == ""
    assert view.places.groups
    assert PatternsView.fits(both()) == ""
    bare = PatternsView(workspace(single()))
    bare.__panel__()
    assert bare.places.groups
    assert not bare.relations.groups
    assert "need a parse" in bare.patterns.note()
    assert not bare.drawn.visible


def test_what_takes_long_is_asked_for_and_arcs_of_a_long_text_are_not_drawn(monkeypatch):
    monkeypatch.setattr("atlas.state.patterns.QUICK_CELLS", 0)
    trace = loaded("BERT").trace(TEXT, keep="weights", capture=())
    asked = []
    view = PatternsView(workspace(trace))
    ask = view.patterns.ask
    monkeypatch.setattr(view.patterns, "ask", lambda key, *given: asked.append(key) or ask(key, *given))
    view.__panel__()
    assert asked[:1] == ["relations encoder"]
    assert len(view.patterns.relations()) == len(relation_patterns(trace, "encoder"))
    assert view.sentence() == Sentence()
    assert "Arcs are not drawn" in view.patterns.arcs_line()


def drawn(root):
    """The columns of the arcs on the figure, part by part, from back to front."""
    (figure,) = (model for model in root.references() if isinstance(model, Plot))
    return [each.data_source.data for each in figure.renderers if isinstance(each, GlyphRenderer)]


def assert_drawn(view):
    (figure,) = (model for model in view.root.references() if isinstance(model, Plot))
    for renderer, fields in zip(figure.renderers, COLUMNS.values(), strict=True):
        glyph = renderer.glyph
        properties = [getattr(glyph, name) for name in ("xs", "ys", "x", "y", "text", "angle", "text_color", "fill_color")
                      if hasattr(glyph, name)]  # fmt: skip
        read = {found.field if isinstance(found, Field) else found for found in properties}
        assert set(fields) <= read, "a column that no glyph reads"
    for columns, (part, expected) in zip(drawn(view.root), arc_columns(view.sentence()).items(), strict=True):
        assert set(columns) == set(COLUMNS[part])
        for name, values in expected.items():
            assert len(columns[name]) == len(values), (part, name)
            for found, value in zip(columns[name], values, strict=True):
                np.testing.assert_array_equal(found, value)


def test_other_heads_other_words_and_other_sentences_replace_columns_and_draw_no_plot():
    room, view = view_of("bert-mini", "encoder")
    assert_drawn(view)
    for change in (
        lambda: room.selection.pick(HeadId("encoder", 2, 3)),
        lambda: room.selection.select_tokens([3, 4]),
        lambda: view._turn(1),
        lambda: room.selection.clear("tokens"),
        lambda: setattr(view.patterns.choices, "direction", DIRECTIONS[1]),
    ):
        change()
        assert_drawn(view)
        assert view.sentence().words
    assert view.redrawn == 0


def test_another_head_sorts_no_table_again():
    room, view = view_of("BERT", "encoder")
    known = view.patterns._groups
    for head in (HeadId("encoder", 0, 1), HeadId("encoder", 1, 2)):
        room.selection.pick(head)
        assert view.patterns._groups is known
        for group in (*view.places.groups, *view.relations.groups):
            assert [row["state"] == "chosen" for row in group["rows"]] == [row["label"] == str(head) for row in group["rows"]]
    room.selection.select_tokens([2, 3], axis="from")
    assert view.patterns._groups is not known


def test_1_200_heads_are_listed_and_a_gesture_sends_little():
    parsed = atlas.load("gpt-mini").trace(TEXT, capture=())
    n = len(parsed.tokens())
    many = atlas.from_attention(rows((40, 30, n, n), causal=True), parsed.tokens()["token"].tolist(), kind=DECODER)
    room = workspace(replace(many, token_tables=parsed.token_tables, texts=parsed.texts))
    view = PatternsView(room)
    view.card = pn.panel(view)
    view.root = view.card.get_root()
    for change in (
        lambda: room.selection.select_heads(many.head_ids),
        lambda: room.selection.select_tokens([3, 4, 5]),
        lambda: view.patterns.press("head previous place 3.4", "patterns"),
    ):
        change()
        lists = json.dumps([each.to_browser({"groups": each.groups}) for each in (view.places, view.relations)])
        arcs = sum(np.asarray(column).nbytes for columns in drawn(view.root) for column in columns.values())
        assert 5_000 < len(lists) + arcs < 300_000
    assert view.redrawn == 0
    assert "1,200 heads" in view.lens.line
    assert view.places.groups
    assert view.relations.groups


def test_a_text_of_one_token_says_why_there_are_no_patterns():
    room = workspace(atlas.load("gpt-mini").trace("a", capture=()))
    view = PatternsView(room)
    pn.panel(view).get_root()
    assert view.problem == TOO_SHORT
    assert view.places.groups == view.relations.groups == []
