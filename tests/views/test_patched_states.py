"""The view of patched states, without a page: numbers, what a press runs, gestures, what is kept, and who is offered it."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import holoviews as hv
import numpy as np
import panel as pn
import pytest
from bokeh.core.json_encoder import serialize_json
from bokeh.core.serialization import Serializer

import atlas
from atlas.attribution import patch_states
from atlas.state.patched_state_words import NONE, SOME, way_in_words
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.patched_states import PATCHED_STATES
from atlas.views.patched_states import PatchedStatesView
from tests.engine.families import TARGET, loaded
from tests.state.readers import never, single

TEXT = "the doctor saw the green cat and the nurse saw the dog. the doctor saw the green"
OTHER = TEXT.replace("cat", "dog", 1)

GESTURE_BYTES = 300_000


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(text=TEXT):
    return atlas.load("gpt-mini").trace(text)


def view_of(trace=None, *, run=True, tasks=TASKS, **choices):
    room = Workspace(never, tasks=tasks)
    room.pipeline.show(trace if trace is not None else traced())
    view = PatchedStatesView(room)
    view.patched.choices.param.update(**{"own": OTHER, **choices})
    root = pn.panel(view).get_root()
    if run:
        view._run()
    return room, view, root


@pytest.mark.parametrize("direction", ["denoising", "noising"])
@pytest.mark.parametrize("part", ["stream", "attention", "ffn"])
def test_numbers_on_screen_are_those_of_the_function(part, direction):
    _, view, _ = view_of(part=part, direction=direction)
    table = patch_states(atlas.load("gpt-mini"), traced(), OTHER, part, direction)
    shown = view.export().table
    np.testing.assert_allclose(shown["share"], table["share"], atol=1e-4)
    np.testing.assert_allclose(shown["chance"], table["chance"], atol=1e-4)
    assert shown["beyond"].tolist() == table["beyond"].tolist()
    n_rows, n_columns = view.patched.plane().whole.shape
    np.testing.assert_allclose(view.patched.plane().whole[::-1].ravel(), table["share"], atol=1e-4)
    dots = {(n_rows - 1 - at // n_columns, at % n_columns) for at in np.flatnonzero(table["beyond"])}
    assert view.dotted() == dots
    assert f"({len(dots)} of {len(table)})" in view.patched.notes()[1]


def test_the_plane_reads_from_the_embeddings_up_and_names_both_tokens():
    _, view, _ = view_of()
    plane = view.patched.plane()
    assert plane.rows == (*(f"L{at}" for at in reversed(range(traced().n_layers("decoder")))), "embedding")
    assert plane.columns[5] == "cat / dog"
    assert plane.columns[4] == "green"
    assert view.patched.ceiling() >= 1
    cell = view.patched.cell(len(plane.rows) - 1, 5)
    assert cell["value"] == pytest.approx(1, abs=1e-4)
    assert cell["by chance within ±"] > 0
    assert "'cat' (5)" in view.patched.notes()[0]
    for said in ("0: as the other text, 1: as this one", "“the doctor saw the green dog"):
        assert said in view.lens.line


def test_nothing_runs_before_a_press_and_what_is_older_is_never_shown():
    runs = []

    def counted(*args, **options):
        runs.append(args[3:5])
        return TASKS[PATCHED_STATES](*args, **options)

    # A trace of its own, because results are kept on it.
    fresh = atlas.load("gpt-mini").trace(TEXT)
    room, view, _ = view_of(fresh, run=False, tasks={**TASKS, PATCHED_STATES: counted})
    assert not runs
    assert not view.results.visible
    assert "runs of the text" in view.lens.line
    assert "Press Run" in view.lens.line
    assert list(view.export().table.columns) == ["runs"]
    view._run()
    assert view.results.visible
    assert view.run.disabled
    for change in ({"part": "ffn"}, {"direction": "noising"}, {"own": TEXT.replace("cat", "bird", 1)}):
        before = {name: getattr(view.patched.choices, name) for name in change}
        view.patched.choices.param.update(**change)
        assert not view.results.visible, change
        assert not view.run.disabled
        view.patched.choices.param.update(**before)
        assert view.results.visible
    assert len(runs) == 1
    room.target.position = 3
    assert not view.results.visible
    room.target.position = -1
    room.pipeline.show(atlas.load("gpt-mini").trace("the cat ran"))
    assert not view.results.visible
    assert view.patched.plane().rows == ()


def test_cancelled_work_shows_nothing_and_can_be_pressed_for_again():
    _, view, _ = view_of()
    view.patched.cancel()
    assert not view.patched.is_pressed
    assert view.patched.can_start
    view._run()
    assert view.results.visible


def test_a_tap_selects_the_token_and_a_layer_its_heads():
    room, view, _ = view_of()
    plane = view.patched.plane()
    rows, columns = len(plane.rows), len(plane.columns)
    view.tap(5.5 / columns, 0.5 / rows)
    assert 5 in room.selection.keys | room.selection.queries
    assert view.patched.marked().columns == {5}
    assert view.results.visible
    view.tap(5.5 / columns, 2.5 / rows)
    assert not room.selection.keys | room.selection.queries
    view._name_clicked("y", 0.5 / rows)
    assert {head.layer for head in room.selection.heads} == {traced().n_layers("decoder") - 1}
    view._name_clicked("y", 0.5 / rows)
    assert not room.selection.heads
    view._name_clicked("y", (rows - 0.5) / rows)  # the embeddings have no heads
    assert not room.selection.heads


def test_only_selected_tokens_are_run_and_stay_when_others_are_selected():
    room, view, _ = view_of(where="selected")
    assert "No token is selected" in view.problem
    room.selection.select_tokens((5, 17), axis=room.display.axis, side="source", origin="test")
    assert view.patched.can_start
    view._run()
    whole = patch_states(atlas.load("gpt-mini"), traced(), OTHER, positions=[5, 17])
    np.testing.assert_allclose(view.export().table["share"], whole["share"], atol=1e-4)
    assert view.run.disabled
    room.selection.select_tokens((6,), axis=room.display.axis, side="source", origin="test")
    assert view.patched.plane().positions == (5, 17)
    assert not view.run.disabled
    view._run()
    assert view.patched.plane().positions == (6,)


def test_what_cannot_be_run_is_said_with_what_to_do():
    _, view, _ = view_of(own="the cat")
    assert "both texts need as many tokens: this text has 18; the other has 2" in view.problem
    _, view, _ = view_of(own=TEXT)
    assert "same in both texts" in view.problem
    _, view, _ = view_of(own="")
    assert view.problem == ""
    assert "an example cut or repeated to as many tokens" in view.lens.line
    long = atlas.load("gpt-mini").trace(" ".join(["cat"] * 420))
    _, view, _ = view_of(long, run=False)
    assert "choose the selected ones under Positions" in view.problem


def test_shares_of_a_small_difference_are_said_to_say_little():
    model, target = atlas.load("t5-mini"), "712"
    trace = model.trace("seven hundred and twelve", target=target)
    _, view, _ = view_of(trace, own="four hundred and twelve")
    table = patch_states(model, trace, "four hundred and twelve")
    little = abs(table.attrs["here"] - table.attrs["there"]) < 0.5
    assert little
    assert "their shares say little" in view.lens.line
    _, view, _ = view_of()
    assert "say little" not in view.lens.line


def test_who_is_offered_it():
    assert PatchedStatesView.fits(traced()) == ""
    for name in ("BERT", "Llama"):
        assert PatchedStatesView.fits(loaded(name).trace("the cat ran")) == ""
    assert PatchedStatesView.fits(loaded("T5").trace("the cat ran", target=TARGET)) == ""
    assert PatchedStatesView.fits(single("decoder"))


def test_the_example_keeps_the_special_tokens_of_the_text():
    model = loaded("BERT")
    _, view, _ = view_of(model.trace("the doctor said that she was tired"), own="")
    assert view.problem == ""
    plane = view.patched.plane()
    assert (plane.columns[0], plane.columns[-1]) == ("[CLS]", "[SEP]")


def test_the_page_gets_a_picture_whose_size_does_not_grow():
    text = " ".join(["the", *["cat"] * 149])
    _, view, root = view_of(atlas.load("gpt-mini").trace(text), own=text.replace("the", "a", 1))
    assert len(view.patched.plane().columns) == 150
    assert len(serialize_json(Serializer().encode(root))) < GESTURE_BYTES


def test_a_share_is_said_to_be_chance_only_where_random_changes_do_as_much():
    share = np.array([[0.9, 0.0], [0.9, 0.0], [0.9, 0.0], [0.02, 0.0]])
    chance = np.array([[0.3, 0.3], [0.5, 0.5], [1.2, 1.2], [0.5, 0.5]])
    beyond = np.zeros_like(share, dtype=bool)
    beyond[0, 0] = True
    found = SimpleNamespace(layers=(None, 0, 1, 2), positions=(3, 4), share=share, chance=chance, beyond=beyond)
    assert way_in_words(found, ["cat", "sat"]) == (
        f"Largest share, layer by layer: embedding: 'cat' (3), 0.9; L0: 'cat' (3), 0.9{SOME}; L1: 'cat' (3), 0.9{NONE}; "
        "L2: next to nothing anywhere."
    )
