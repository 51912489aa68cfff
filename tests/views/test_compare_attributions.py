"""Attributions of both sides without a page: a press runs them, then they follow; a click selects a word on A."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest

import atlas
from atlas.attribution import attribute
from atlas.plots.attribution import Bars, bar_columns, frame_of, places
from atlas.plots.colours import diverging, sequential
from atlas.state.compare_attributions import NOT_PRESSED
from atlas.state.restore import apply
from atlas.state.second_lens import NO_SECOND
from atlas.state.share import encode
from atlas.tracing.explained import PASSES, Target
from atlas.tracing.predictions import task_of
from atlas.tracing.two_attributions import OWN, TWO_ATTRIBUTIONS
from atlas.tracing.two_predictions import without_both
from atlas.views.compare_attributions import CompareAttributionsView
from tests.state.readers import single
from tests.views.test_compare import TEXT, room_of

OTHER = TEXT.replace("she", "he not")
FLIPPED = "What a dreadful cold day it was, really."


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def shown(name="bert-mini", words=TEXT, position=5, method="input_x_gradient", **second):
    """A view after its press."""
    room = room_of(name, words)
    room.target.position = position
    view = CompareAttributionsView(room)
    view.__panel__()
    view.attributions.choices.method = method
    room.second.put(**(second or {"text": OTHER}))
    view.button.param.trigger("clicks")
    return view


def test_nothing_runs_before_the_press_and_after_it_the_card_follows():
    room, runs = room_of("bert-mini"), []
    task = room.tasks[TWO_ATTRIBUTIONS]
    room.tasks = {**room.tasks, TWO_ATTRIBUTIONS: lambda *given: runs.append(given[1:4]) or task(*given)}
    view = CompareAttributionsView(room)
    view.__panel__()
    view.method.value = "input_x_gradient"
    assert (view.problem, view.button.disabled, view.attributions.choices.method) == (NO_SECOND, True, "input_x_gradient")
    room.second.put(text=OTHER)
    passes = sum(room.tasks[PASSES](trace, ["input_x_gradient"]) for trace in (room.trace, room.second.trace))
    unrun = f"{NOT_PRESSED}, in {passes} passes at most"
    assert (view.problem, view.button.disabled, runs, view.lens.line) == ("", False, [], unrun)
    assert view.attributions.shown().words[-3:] == ("she (A)", "he (B)", "not (B)")
    assert np.isnan(view.attributions.shown().a).all()
    assert view.export().table["a"].isna().all()
    assert {"[CLS]", "not"} < set(view.export().table["word"])
    view.button.param.trigger("clicks")
    assert (view.problem, view.button.disabled, len(runs)) == ("", True, 1)
    room.target.position = 3
    view.attributions.choices.explains = OWN
    room.second.put(text=TEXT.replace("tired", "ill"))
    assert len(runs) == 4
    assert runs[-1] == (Target(3), "input_x_gradient", OWN)
    room.pipeline.input.text = "The cook said that he was late."
    room.pipeline.run()
    assert view.lens.line.startswith(NOT_PRESSED), "another text is pressed for anew"
    assert len(runs) == 4


def test_bars_are_the_shares_of_either_side_and_their_difference_on_one_scale():
    view = shown()
    found = view.attributions.shown()
    one = attribute(atlas.load("bert-mini"), TEXT, Target(5), "input_x_gradient").scores[1:-1]
    share = one / np.abs(one).sum()
    words = ["The", "nurse", "said", "that", "was", "tired", ".", "The", "doctor", "went", "home", ".", "she (A)"]
    # The place that is explained has no partner, because 'she' became two words.
    assert list(found.words) == [*words, "he (B)", "not (B)"]
    order = [0, 1, 2, 3, *range(5, 13), 4]
    np.testing.assert_allclose(found.a[:13], share[order], atol=1e-6)
    np.testing.assert_allclose(found.difference[:12], found.b[:12] - found.a[:12], atol=1e-9)
    assert np.isnan(found.difference[12:]).all()
    assert len(set(found.groups)) == 3
    gaps = np.diff(places(found.groups))
    assert np.flatnonzero(gaps > 1).tolist() == [11, 12], "words of one side stand apart"
    columns = bar_columns(found.words, found.groups, [Bars("A", found.a, signed=True, top=found.top)], dark=False)
    heights = (columns["top"] - columns["bottom"]) * frame_of(found.groups, 1).n_rows
    np.testing.assert_allclose(heights, 0.44 * np.abs(found.a[:13]) / found.top, atol=1e-6)
    assert found.notes[0].startswith("Nothing on side B stands for the place that is explained on side A")
    assert "; B: logit of '.' at '.' (14)" in view.lens.line


def test_magnitudes_and_differences_have_colours_of_their_own():
    view = shown(method="rollout")
    found, bars = view.attributions.shown(), view._bars()
    drawn = next(each for each in bars if isinstance(each, hv.Rectangles)).dframe()
    count = [int(np.isfinite(each).sum()) for each in (found.a, found.b, found.difference)]
    assert not found.signed
    assert set(drawn["colour"][: sum(count[:2])]) <= set(sequential(dark=False))
    assert set(drawn["colour"][sum(count[:2]) :]) <= set(diverging(dark=False))
    assert any(note.startswith("Special tokens are left out of the shares; they hold ") for note in found.notes)


def test_a_click_selects_the_tokens_of_a_word_on_a_and_selected_tokens_mark_their_words():
    view = shown()
    room, found = view.workspace, view.attributions.shown()
    inside, at = frame_of(found.groups, 3), places(found.groups)
    view._tapped(float(inside.x(at[5])), 0.5)
    assert (room.selection.queries, room.selection.keys) == ({7}, {7})  # tired, after [CLS]
    assert view.attributions.marked() == (5,)
    view._tapped(float(inside.x(at[-1])), 0.5)  # only B has it
    assert room.selection.queries == {7}
    room.selection.select_tokens([1, 5], origin="test")
    assert view.attributions.marked() == (0, 12)
    view._tapped(float(inside.x(at[12])), 0.5)
    assert room.selection.queries == {1}


def test_a_word_of_several_tokens_is_selected_as_a_whole():
    view = shown("gpt-mini", "The unbelievable doctor said that she was tired.", -1, model="bert-mini")
    found = view.attributions.shown()
    at = next(at for at, tokens in enumerate(found.tokens) if len(tokens) > 1)
    view.attributions.choose(at, "test")
    assert view.workspace.selection.queries == set(found.tokens[at])


def test_the_words_that_changed_most_are_named_with_both_shares():
    view = shown("mood-mini", "What a lovely warm day it was.", -1, text=FLIPPED)
    table = view.export().table
    together = table[table["compared"]]
    first = together.loc[together["difference"].abs().idxmax()]
    said = next(note for note in view.attributions.shown().notes if note.startswith("Share that changed most"))
    shares = [f"{100 * first[name]:.1f} %".replace("-", "−") for name in ("a", "b")]
    assert f": '{first['word']}' {shares[0]} → {shares[1]} (" in said
    assert "Only on B: " in said
    assert "'really'" in said
    assert view.lens.line.count("'positive' for the whole text") == 2
    rank = next(note for note in view.attributions.shown().notes if note.startswith("Both sides rank 8 words with ρ = "))
    assert "shuffled words are as far from 0 in" in rank


def test_words_after_the_explained_place_of_one_side_are_counted():
    view = shown(model="gpt-mini")  # A reads all of the text, B what is before 'she'
    found = view.attributions.shown()
    later = int((np.isfinite(found.a) & np.isnan(found.b)).sum())
    assert later == 9
    assert "On side B 9 words come after the explained place, without a share." in found.notes
    assert not any(note.startswith("On side A") for note in found.notes)


def test_the_gap_of_integrated_gradients_is_said_of_either_side():
    view = shown(method="integrated_gradients")
    said = [note for note in view.attributions.shown().notes if "Scores add up to the target within" in note]
    assert [note[:7] for note in said] == ["Side A:", "Side B:"]


@pytest.mark.parametrize("changed", [{"model": "gpt-mini"}, {"model": "gus-mini"}, {"model": "t5-mini"}, {"dtype": "bfloat16"}])
@pytest.mark.parametrize("model", ["bert-mini", "gpt-mini", "mood-mini", "t5-mini"])
def test_every_pair_of_models_is_compared_or_says_why_not(model, changed):
    view = shown(model, TEXT, -1, **changed)
    assert view.problem == ""
    found = view.attributions.shown()
    assert len(found.words) > 0
    assert np.nansum(np.abs(found.a)) == pytest.approx(1)
    assert np.nansum(np.abs(found.b)) == pytest.approx(1)
    two = view.workspace.second.two()
    own = found.notes[0].endswith("so what side B predicts by itself is explained there.")
    assert own or not without_both(two)
    assert not (own and task_of(two.a) == task_of(two.b))


def test_a_recording_beside_a_model_says_that_its_model_is_not_here():
    room = room_of("bert-mini")
    view = CompareAttributionsView(room)
    view.__panel__()
    room.second.show(single(seed=3))
    view.attributions.start()
    assert view.problem.startswith("Side B cannot be explained: ")
    assert CompareAttributionsView.fits(single())


def test_a_link_brings_the_choices_back():
    view = shown()
    view.attributions.choices.explains = OWN
    again = room_of("bert-mini", "Another one.")
    assert apply(encode(view.workspace).token, again) == []
    choices = again.choices_of("compare_attributions")
    assert (choices.method, choices.explains) == ("input_x_gradient", OWN)


def test_what_was_pressed_for_is_shown_in_another_workspace_too():
    view = shown()
    other = CompareAttributionsView(view.workspace)
    other.lens.take_over(view.lens.handed_over())
    assert other.attributions.shown().words == view.attributions.shown().words
