"""The view of counterfactuals without a page: its list, its numbers, its heads, and what it does with a reader's own swap."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest

import atlas
from atlas.bias import compare_counterfactual, counterfactuals
from atlas.ids import HeadId
from atlas.state.counterfactuals import LEAST_RATIO, NO_TERMS
from atlas.state.inputs import InputModel
from atlas.state.share import decode, encode
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.views.counterfactuals import TWO_TEXTS, CounterfactualsView
from tests.state.readers import never, single

TEXT = "The woman said that she was tired."


@pytest.fixture(autouse=True)
def _bokeh(monkeypatch):
    hv.extension("bokeh", logo=False)
    monkeypatch.setattr("atlas.bias.compare.NEUTRAL_SWAPS", 12)  # 99 take a second each time


@functools.cache
def trace(name="gpt-mini", text=TEXT):
    return atlas.load(name).trace(text)


def opened(of=None, tasks=TASKS):
    room = Workspace(never, tasks=tasks)
    room.pipeline.show(of or trace())
    view = CounterfactualsView(room)
    view.__panel__()
    return room, view


def labels(view):
    return [(group["name"], row["label"], row["note"]) for group in view.list.groups for row in group["rows"]]


def test_the_list_has_every_counterfactual_with_what_changed_marked():
    _, view = opened(trace("gpt-mini", "A Mexican woman slept."))
    found = counterfactuals("A Mexican woman slept.")
    assert len(labels(view)) == len(found) == 14
    assert ("Gender (1)", "woman → man", "A Mexican «man» slept.") in labels(view)
    assert ("Nationality (13)", "Mexican → American", "«An» «American» woman slept.") in labels(view)
    assert view.list.groups[0]["rows"][0]["state"] == "chosen"
    assert not view.heads.visible
    assert view.lens.line.endswith("not compared yet: up to 102 runs of it")
    assert view.compare.label == "Compare (up to 102 runs)"


@pytest.mark.parametrize(("name", "kind"), [("gpt-mini", "decoder"), ("bert-mini", "encoder"), ("t5-mini", "cross")])
def test_after_a_press_the_plane_has_the_reaction_of_every_head_over_that_to_neutral_swaps(name, kind):
    room, view = opened(trace(name))
    room.selection.focus_on(HeadId(kind, 0, 0))
    assert view.counterfactuals.can_compare
    view._compare()
    (found, *_) = counterfactuals(TEXT)
    made = compare_counterfactual(trace(name), found)
    mine = made.reactions.table[made.reactions.table["kind"] == kind].reset_index(drop=True)
    shape = trace(name).n_layers(kind), trace(name).n_heads(kind)
    expected = np.log2(np.maximum(mine["ratio"].to_numpy(), LEAST_RATIO)).reshape(shape)
    np.testing.assert_allclose(view.plane.plane().whole, expected, atol=1e-4)
    assert view.heads.visible
    assert not view.counterfactuals.can_compare
    beyond = {(row.layer, row.head) for row in mine.itertuples() if row.q <= 0.05}
    assert view.counterfactuals.beyond() == beyond
    assert len(view.dotted()) == len(beyond)
    assert f"{len(beyond)} of " in view.lens.line
    cell = view.plane.cell(1, 1)
    assert cell["moved"] == pytest.approx(mine["moved"][shape[1] + 1], abs=1e-6)
    assert len(view.export().table) == len(made.reactions.table)
    numbers = {group["name"]: group["rows"] for group in view.numbers.groups}
    assert len(numbers[f"Prediction: {made.place}"]) == len(made.predictions)
    assert [row["label"] for row in numbers["Log-likelihood"]] == [each.name for each in made.likelihood]
    room.choices_of("counterfactuals").value = "moved"
    np.testing.assert_allclose(view.plane.plane().whole, mine["moved"].to_numpy().reshape(shape), atol=1e-6)
    assert not view.plane.signed


def test_why_there_is_no_likelihood_stands_in_the_heading_where_it_takes_no_room_of_the_bars():
    _, view = opened(trace("mood-mini"))
    view._compare()
    (likelihood,) = (group for group in view.numbers.groups if group["name"] == "Log-likelihood")
    assert likelihood["note"] == "mood-mini is no language model, so it has no likelihood of a text."
    assert likelihood["rows"] == [{"label": "N/A"}]


def test_choosing_another_one_shows_its_own_numbers_and_what_was_compared_stays():
    room, view = opened(trace("gpt-mini", "The old woman slept."))
    view._compare()
    first = view.plane.plane().whole
    keys = [row["key"] for group in view.list.groups for row in group["rows"]]
    view._pressed({"key": keys[1], "shift": False, "control": False})
    assert room.choices_of("counterfactuals").chosen == keys[1]
    assert not view.heads.visible
    assert view.plane.plane().rows == ()
    view._compare()
    assert not np.array_equal(view.plane.plane().whole, first)
    view._pressed({"key": keys[0], "shift": False, "control": False})
    np.testing.assert_array_equal(view.plane.plane().whole, first)
    room.thresholds.stereotype = 0.01
    np.testing.assert_array_equal(view.plane.plane().whole, first)
    flagged = next(group for group in view.numbers.groups if group["name"].startswith("Flagged by"))
    assert flagged["rows"][0]["number"] != "0 → 0"


def test_a_swap_of_the_readers_own_comes_first_and_what_is_wrong_with_it_is_said():
    room, view = opened()
    choices = room.choices_of("counterfactuals")
    choices.own = "tired -> happy"
    assert labels(view)[0] == ("Your swap (1)", "tired → happy", "The woman said that she was «happy».")
    choices.own = "tired ->"
    view._compare()
    moved = view.counterfactuals.comparison().reactions.table["moved"]
    np.testing.assert_allclose(view.plane.plane().whole.ravel(), moved)
    assert (view.plane.signed, view.lens.line.endswith("with nothing neutral to compare it with")) == (False, True)
    assert view.note.object == "There are no neutral words for “tired”."
    choices.own = "doctor -> nurse"
    assert labels(view)[0][0] == "Gender (1)"
    assert view.note.object == "Nothing of “doctor -> nurse” is in the text."
    choices.own = "doctor"
    assert "says no swap" in view.note.object
    choices.own = "tired -> happy"
    assert decode(encode(room).token)[0].choices["counterfactuals"]["own"] == "tired -> happy"
    assert "own" not in decode(encode(room, private=True).token)[0].choices.get("counterfactuals", {})


def test_a_comparison_that_is_cancelled_leaves_the_list():
    _, view = opened()
    lens = view.counterfactuals
    lens._wanted[counterfactuals(TEXT)[0].text], lens.busy = -1, True
    lens.cancel()
    lens.busy = False
    assert (lens.problem, lens.can_compare, len(labels(view))) == ("", True, 1)
    assert not view.heads.visible


def test_a_tap_shows_and_selects_a_head_and_a_press_opens_the_text():
    room, view = opened()
    view._compare()
    layers, heads = trace().n_layers(), trace().n_heads()
    view.tap(1.5 / heads, 0.5 / layers)
    assert (room.selection.focus, room.selection.heads) == (HeadId("decoder", 0, 1), {HeadId("decoder", 0, 1)})
    ran = []
    room.pipeline.input = InputModel(text=TEXT)
    room.pipeline.run = lambda: ran.append(room.pipeline.input.text)
    view._analyse()
    assert ran == ["The man said that he was tired."]


def test_what_cannot_be_had_says_why():
    _, view = opened(trace("gpt-mini", "The train left at nine."))
    assert view.lens.problem == NO_TERMS
    assert "no text" in CounterfactualsView.fits(single())
    assert CounterfactualsView.fits(atlas.load("bert-mini").trace("She slept.", "He ran.")) == TWO_TEXTS
