"""The views of the bias tab without a page: numbers against the API, thresholds, gestures, and what is said where nothing is."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pandas as pd
import panel as pn
import pytest

import atlas
from atlas.bias import attention_bias, detect
from atlas.ids import HeadId
from atlas.state.attention_bias import AMONG_CROSS, OTHER_SIDE
from atlas.state.ratio_plane import LEAST_RATIO
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.views.attention_bias import AttentionBiasView
from atlas.views.catalog import TABS
from atlas.views.detection import DetectionView
from atlas.views.token_strip import StripView
from tests.state.readers import never, single

TEXT = "Women are too emotional to lead, and immigrants are unbelievably lazy. The train left at nine."


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def trace(name="gpt-mini", text=TEXT):
    return atlas.load(name).trace(text)


def opened(view_type, of=None):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(of or trace())
    return room, view_type(room)


def flagged_tokens(of, limit=0.5):
    """The tokens that share characters with a flagged word, character by character."""
    words = detect("gus-mini", TEXT).words
    on = words[(words[["GEN", "UNFAIR", "STEREO"]] >= limit).any(axis=1)]
    letters = {at for start, end in on[["start", "end"]].to_numpy() for at in range(start, end)}
    rows = of.tokens()[["start", "end", "special"]].itertuples(index=False)
    return {at for at, row in enumerate(rows) if not row.special and letters & set(range(row.start, row.end))}


@pytest.mark.parametrize("name", ["gpt-mini", "bert-mini", "t5-mini", "gus-mini"])
def test_the_words_and_their_numbers_are_those_of_the_detector_and_the_line_says_whose(name):
    room, view = opened(DetectionView, trace(name))
    words = detect("gus-mini", TEXT).words
    plane = view.detection.plane()
    assert plane.columns == tuple(words["word"])
    assert plane.rows == ("Stereotype", "Generalisation", "Unfair")
    np.testing.assert_allclose(plane.whole, words[["STEREO", "GEN", "UNFAIR"]].to_numpy().T, atol=1e-5)
    n = int((words[["STEREO", "GEN", "UNFAIR"]] >= 0.5).any(axis=1).sum())
    assert n
    assert view.lens.line.startswith(f"{n} of {len(words)} words flagged by gus-mini")
    assert ", at the thresholds set here: " in view.lens.line
    assert ("which read the same text as" in view.lens.line) == (name != "gus-mini")
    assert view.lens.problem == ""
    assert room.thresholds.generalisation == 0.5


def test_a_threshold_moves_the_frames_the_counts_and_the_stretches():
    room, view = opened(DetectionView)
    view.__panel__()
    words = detect("gus-mini", TEXT).words
    for value in (0.5, 0.05, 0.999):
        room.thresholds.stereotype = value
        expected = np.flatnonzero(words["STEREO"] >= value)
        assert {word for label, word in view.detection.marked().cells if label == 0} == set(expected)
        assert f"stereotype {len(expected)}" in view.lens.line
        spans = detect("gus-mini", TEXT, {"STEREO": value, "GEN": 0.5, "UNFAIR": 0.5}).spans
        texts = [TEXT[row.start : row.end].replace(",", "") for row in spans[spans["label"] == "STEREO"].itertuples()]
        assert [chip["label"] for chip in view.chips.groups[0]["chips"]] == texts
        assert f"({len(expected)} word" in view.chips.groups[0]["name"]
    assert [event["key"] for event in view.chips.groups[0]["chips"]] == []


def test_a_tap_on_a_word_selects_its_tokens_and_again_clears_them():
    room, view = opened(DetectionView, trace("bert-mini"))
    view._pane()
    n = len(view.detection.plane().columns)
    at = view.detection.plane().columns.index("emotional")
    table = trace("bert-mini").tokens()
    start = TEXT.index("emotional")
    within = (table["start"] >= start) & (table["end"] <= start + len("emotional"))
    expected = frozenset(np.flatnonzero(within.fillna(value=False)).tolist())
    assert len(expected) >= 1
    view.tap((at + 0.5) / n, 0.5)
    assert room.selection.queries == room.selection.keys == expected
    assert view.detection.marked().columns == {at}
    view.tap((at + 0.5) / n, 0.5)
    assert room.selection.is_empty
    room.display.axis = "to"
    view.tap((at + 0.5) / n, 0.5)
    assert (room.selection.queries, room.selection.keys) == (frozenset(), expected)


def test_a_stretch_and_the_name_of_a_label_select_all_their_words():
    room, view = opened(DetectionView)
    view.__panel__()
    chip = view.chips.groups[0]["chips"][0]
    view._pressed({"key": chip["key"], "additive": False})
    first = min(room.selection.keys)
    assert trace().tokens()["start"].iloc[first] <= TEXT.index(chip["label"].split()[0])
    assert len(room.selection.keys) >= len(chip["label"].split())
    assert view.chips.groups[0]["chips"][0]["active"]
    view.detection.select_name("row", 0, "detection")
    words = detect("gus-mini", TEXT).words
    assert view.detection.marked().columns == set(np.flatnonzero(words["STEREO"] >= 0.5))


@pytest.mark.parametrize("name", ["gpt-mini", "bert-mini", "t5-mini", "gus-mini"])
def test_flagged_words_are_underlined_in_the_text_only_where_that_is_asked_for(name):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace(name))
    strip = StripView(room, "source")
    strip.__panel__()
    assert strip.strip.notes == []
    assert "underlined" not in strip.flagged.line
    room.display.flagged = True
    words = detect("gus-mini", TEXT).words.set_index("start")
    for value in (0.5, 0.2):
        room.thresholds.param.update(stereotype=value, generalisation=value, unfairness=value)
        noted = {at for at, note in enumerate(strip.strip.notes) if note}
        assert noted == flagged_tokens(trace(name), value)
        n = int((words[["STEREO", "GEN", "UNFAIR"]] >= value).any(axis=1).sum())
        assert strip.flagged.line == f"underlined: {n} words that gus-mini flags"
    starts = trace(name).tokens()["start"].to_numpy(dtype=float, na_value=np.nan)
    at = int(np.flatnonzero(starts <= TEXT.index("emotional"))[-1])
    said = dict(part.rsplit(" ", 1) for part in strip.strip.notes[at].split(", "))
    row = words.loc[TEXT.index("emotional")]
    names = {"stereotype": "STEREO", "generalisation": "GEN", "unfair": "UNFAIR"}
    assert said == {title: f"{row[label]:.2f}" for title, label in names.items() if row[label] >= 0.2}
    room.display.flagged = False
    assert strip.strip.notes == []
    assert strip.flagged.line == ""


def test_a_chip_of_the_text_selects_all_tokens_flagged_with_its_label():
    room = Workspace(never, tasks=TASKS)
    room.display.flagged = True
    room.pipeline.show(trace("bert-mini"))
    strip = StripView(room, "source")
    strip.__panel__()
    words = detect("gus-mini", TEXT).words
    chips = {chip["key"]: chip for group in strip.chips.groups if group["name"] == "Flagged" for chip in group["chips"]}
    assert set(chips) == {
        f"flagged:{title}"
        for title, label in (("Stereotype", "STEREO"), ("Generalisation", "GEN"), ("Unfair", "UNFAIR"))
        if (words[label] >= 0.5).any()
    }
    view = DetectionView(room)
    view.detection.select_name("row", 0, "test")
    expected = room.selection.keys
    room.selection.clear("tokens", origin="test")
    strip._pressed({"key": "flagged:Stereotype", "additive": False})
    assert room.selection.keys == room.selection.queries == expected
    assert len(expected) == chips["flagged:Stereotype"]["count"]


def test_the_flags_of_a_text_do_not_stay_on_the_next_one():
    room = Workspace(never, tasks=TASKS)
    room.display.flagged = True
    room.pipeline.show(trace("bert-mini"))
    strip = StripView(room, "source")
    strip.__panel__()
    assert any(strip.strip.notes)
    room.pipeline.show(trace("bert-mini", "The train left the station at nine."))
    assert not any(strip.strip.notes)
    assert strip.flagged.line == "underlined: 0 words that gus-mini flags"


def test_a_detector_that_cannot_read_the_text_is_said_beside_it():
    room = Workspace(never)  # a page without tasks
    room.display.flagged = True
    room.pipeline.show(trace("bert-mini"))
    strip = StripView(room, "source")
    strip.__panel__()
    assert strip.strip.notes == []
    assert strip.flagged.line == "no word is underlined: A detector runs in the app alone."


@pytest.mark.parametrize(("name", "kind"), [("gpt-mini", "decoder"), ("bert-mini", "encoder"), ("t5-mini", "cross")])
def test_the_plane_is_the_logarithm_of_the_ratio_of_every_head_and_those_beyond_chance_are_marked(name, kind):
    room, view = opened(AttentionBiasView, trace(name))
    of = trace(name)
    room.selection.focus_on(HeadId(kind, 0, 0))
    expected = attention_bias(of, flagged_tokens(of))
    mine = expected[expected["kind"] == kind].reset_index(drop=True)
    shape = of.n_layers(kind), of.n_heads(kind)
    values = np.log2(np.maximum(mine["ratio"].to_numpy(), LEAST_RATIO)).reshape(shape)
    np.testing.assert_allclose(view.bias.plane().whole, values, atol=1e-6)
    beyond = {(row.layer, row.head) for row in mine.itertuples() if row.q <= 0.05}
    assert view.bias.beyond() == beyond
    assert len(view.dotted()) == len(beyond)
    assert f"{len(flagged_tokens(of))} tokens flagged by gus-mini" in view.lens.line
    assert f"{len(beyond)} of {len(mine)} " in view.lens.line
    pd.testing.assert_frame_equal(view.export().table, mine)
    cell = view.bias.cell(1, 1)
    assert cell["ratio"] == mine["ratio"][shape[1] + 1]
    assert view.scale().zero > 0


def test_a_tap_focuses_and_selects_the_head_and_a_name_selects_its_layer():
    room, view = opened(AttentionBiasView)
    view._pane()
    layers, heads = trace().n_layers(), trace().n_heads()
    view.tap(1.5 / heads, 0.5 / layers)
    head = HeadId("decoder", 0, 1)
    assert (room.selection.focus, room.selection.heads) == (head, {head})
    assert view.bias.marked().cells == {(0, 1)}
    view.bias.select_name("row", 1, "attention_bias")
    assert room.selection.heads == {HeadId("decoder", 1, at) for at in range(heads)}


def test_a_label_or_a_threshold_changes_what_is_flagged_and_nothing_flagged_says_what_to_do():
    room, view = opened(AttentionBiasView)
    before = view.bias.plane().whole
    room.thresholds.param.update(generalisation=0.9, unfairness=0.9)
    room.choices_of("attention_bias").label = "GEN"
    assert view.bias.plane().whole.shape == before.shape
    assert "(GEN)" in view.lens.line
    assert not np.array_equal(view.bias.plane().whole, before)
    room.thresholds.param.update(generalisation=1.0, unfairness=1.0, stereotype=1.0)
    assert view.bias.plane().rows == ()
    assert "No word of this text is flagged with GEN" in view.lens.problem
    assert "Lower a threshold" in view.lens.problem
    room.thresholds.param.update(generalisation=0.3)
    assert view.bias.plane().rows
    assert view.lens.problem == ""


def test_heads_of_the_target_and_cross_heads_among_flagged_words_say_why_not():
    room, view = opened(AttentionBiasView, trace("t5-mini"))
    room.selection.focus_on(HeadId("decoder", 0, 0))
    view.bias.plane()
    assert view.lens.problem == OTHER_SIDE
    room.selection.focus_on(HeadId("cross", 0, 0))
    room.choices_of("attention_bias").direction = "among"
    view.bias.plane()
    assert view.lens.problem == AMONG_CROSS


def test_a_recording_is_not_offered_what_needs_a_text_and_the_numbers_of_the_help_are_those_of_the_card():
    (views,) = [tab.views for tab in TABS if tab.key == "bias"]
    assert {DetectionView, AttentionBiasView} <= set(views)
    assert all("no text" in view.fits(single()) for view in (DetectionView, AttentionBiasView))
    card = (atlas.load("gus-mini").hf.config.thresholds, DetectionView.help)
    for label, value in card[0].items():
        if label != "O":
            assert f"{value:.2f}".removeprefix("0") in card[1] or f"{value:g}".removeprefix("0") in card[1]


def test_what_could_not_be_drawn_keeps_its_reason_when_another_kind_is_chosen():
    trace = atlas.load("t5-mini").trace(".")
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace)
    view = DetectionView(room)
    pn.panel(view).get_root()
    said = view.problem
    assert "nothing to label" in said
    for kind in trace.kinds:
        room.selection.show_kind(kind)
        assert view.problem == said
