"""The view of direct effects without a page: its numbers against the API, what gestures select, where it is not offered."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pandas as pd
import pytest

import atlas
from atlas.attribution import Target, direct_effect_tokens, direct_effects
from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.plots.attribution import frame_of, places
from atlas.state.direct_lists import WRITERS, signed
from atlas.state.link import State
from atlas.state.share import decode, encode
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.views.direct_effects import DirectEffectsView, nothing_barred
from tests.benchmarks.weighing import LIMIT, case, told, weigh
from tests.engine.families import TARGET, TEXT, gptj, loaded, tokenizer
from tests.state.readers import never, single

TALE = "The old doctor said that she was tired because the cat ran after her. The old doctor said that"

CASES = [
    ("BERT", "encoder"),
    ("GPT-2", "decoder"),
    ("Llama", "decoder"),
    ("T5", "cross"),
    ("T5", "encoder"),
    ("mood-mini", "encoder"),
]


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(name):
    model = atlas.load(name) if name.endswith("-mini") else loaded(name)
    text = TALE if name == "gpt-mini" else TEXT
    return model.trace(text, target=TARGET if "cross" in model.kinds else None)


def view_of(name, kind="", trace=None):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(traced(name) if trace is None else trace)
    if kind:
        room.selection.show_kind(kind)
    view = DirectEffectsView(room)
    view.__panel__()
    return room, view


def usual(name):
    return Target(len(traced(name).tokens()) - 2 if name == "BERT" else -1)  # before [SEP]


def beside(at, sides):
    """Where a bar stands along the axis of its plot."""
    return float(frame_of(sides, 1).x(places(sides))[at])


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_is_shown_is_what_the_api_gives(name, kind):
    _, view = view_of(name, kind)
    found = direct_effects(traced(name), usual(name))
    assert view.problem == ""
    heads = found[found["what"] == "head"].set_index(["kind", "layer", "head"])
    plane = view.plane.plane()
    assert plane.whole.size == len(heads)
    for row in range(len(plane.rows)):
        for column in range(len(plane.columns)):
            head = view.plane.head_at(row, column)
            mine = heads.loc[(head.kind, head.layer, head.head)]
            assert plane.whole[row, column] == pytest.approx(mine["effect"])
            assert view.plane.cell(row, column)["row"] == str(head)
            if np.isfinite(mine["q"]):
                cell = view.plane.cell(row, column)
                assert (cell["random outcomes 95 % from"], cell["to"], cell["q"]) == pytest.approx(tuple(mine[["lo", "hi", "q"]]))
    out = heads[(heads["q"] <= 0.05) & ((heads["effect"] < heads["lo"]) | (heads["effect"] > heads["hi"]))]
    assert {(head.kind, head.layer, head.head) for head in (view.plane.head_at(*at) for at in view.dotted())} == set(out.index)
    bars = view.bars()
    assert sum(bar.part for bar in bars) == pytest.approx(found.attrs["value"], rel=1e-4, abs=1e-5)
    largest = found["effect"].abs().sort_values(ascending=False).index[:WRITERS]
    assert [bar.name for bar in bars[:WRITERS]] == found["writer"][largest].tolist()
    assert sum(step.part for step in view.direct.steps()) == pytest.approx(found.attrs["value"], rel=1e-4, abs=1e-5)
    assert f"add up to {three(found.attrs['sum'])}; the model gives {three(found.attrs['value'])}" in view.lens.line
    exported = view.export()
    np.testing.assert_allclose(exported.table["effect"], found["effect"])
    assert exported.table["beyond_chance"].sum() == len(out)


def test_steps_are_the_order_of_writing():
    names = [step.name for step in view_of("gpt-mini")[1].direct.steps()]
    assert names[:4] == ["token", "position", "L0 heads", "L0 FFN"]
    assert names[-2:] == ["L5 FFN", "biases"]
    names = [step.name for step in view_of("T5")[1].direct.steps()]
    assert names[:4] == ["token", "L0 self", "L0 cross", "L0 FFN"]


def test_the_outcome_can_be_held_against_another():
    room, view = view_of("gpt-mini")
    assert "the likeliest other one" in view._against.options
    view._against.value = "second"
    found = direct_effects(traced("gpt-mini"), second=True)
    np.testing.assert_allclose(view.direct.table()["effect"], found["effect"])
    assert "minus that of 'the'" in view.lens.line
    assert view.direct.reading() == "adds to the difference"
    other = view._against.options["'he'"]
    view._against.value = other
    found = direct_effects(traced("gpt-mini"), against=int(other[1:]))
    np.testing.assert_allclose(view.direct.table()["effect"], found["effect"])
    link = decode(encode(room).token)[0]
    assert link.choices["direct"]["against"] == other
    room.choices_of("direct").against = "#1"  # no outcome that is offered here: the logit alone, and the choice waits
    assert view.direct.table()["effect"].sum() == pytest.approx(direct_effects(traced("gpt-mini"))["effect"].sum(), rel=1e-5)
    assert room.choices_of("direct").against == "#1"


def test_the_target_of_the_session_is_what_is_taken_apart():
    room, view = view_of("gpt-mini")
    room.target.param.update(position=8, outcome=" the", against=" her")
    found = direct_effects(traced("gpt-mini"), Target(8, " the", " her"))
    np.testing.assert_allclose(view.direct.table()["effect"], found["effect"])
    assert "'her', as chosen" in view.direct.offered()


def test_without_a_selection_the_strongest_head_is_split_by_token_and_a_bar_selects_its_key():
    room, view = view_of("gpt-mini")
    assert view.direct.tokens().heads == (HeadId("decoder", 2, 6),)
    assert "because none is selected" in view.direct.tokens_in_words()
    wanted = direct_effect_tokens(traced("gpt-mini"), [HeadId("decoder", 2, 6)])["effect"]
    np.testing.assert_allclose(view.direct.tokens().parts, wanted)
    view._token_tapped(beside(13, ["source"] * len(wanted)), 0.5)
    assert room.selection.keys == {13}
    assert room.selection.queries == frozenset()
    assert room.selection.focus == HeadId("decoder", 2, 6)
    assert room.selection.origin == "direct"
    assert view.direct.marked_tokens() == (13,)
    view._token_tapped(beside(13, ["source"] * len(wanted)), 0.5)
    assert room.selection.keys == frozenset()


def test_the_words_follow_when_the_strongest_head_itself_is_selected():
    room, view = view_of("gpt-mini")
    view._tokens()
    before = view.resplit
    room.selection.select_heads([HeadId("decoder", 2, 6)])
    assert view.resplit == before + 1
    assert view._token_words().startswith("L2 H6. Its")


def test_taps_are_heard_also_where_the_first_drawing_had_no_tokens():
    _, view = view_of("", trace=atlas.load((gptj(), tokenizer(special=False))).trace(TEXT))
    assert view.direct.tokens() is None
    bars = view._tokens().get(1)
    assert len(hv.Store.lookup_options("bokeh", bars, "plot").kwargs["hooks"]) > len(
        hv.Store.lookup_options("bokeh", nothing_barred().get(1), "plot").kwargs["hooks"]
    )


def test_selected_heads_are_split_together():
    room, view = view_of("gpt-mini")
    heads = [HeadId("decoder", 2, 6), HeadId("decoder", 1, 2)]
    before = view.resplit
    room.selection.select_heads(heads)
    assert view.resplit == before + 1
    wanted = direct_effect_tokens(traced("gpt-mini"), heads).groupby("position")["effect"].sum()
    np.testing.assert_allclose(view.direct.tokens().parts, wanted)
    assert view.plane.marked().cells == {(2, 6), (1, 2)}
    assert "2 selected heads. Their" in view.direct.tokens_in_words()
    np.testing.assert_allclose(view.export().more["tokens"]["effect"], wanted)
    drawn = view._tokens()
    columns = drawn.get(1).dframe()
    assert len(columns) == len(wanted)


def test_a_file_of_its_numbers_has_the_tokens_beside_it(tmp_path):
    atlas.view(traced("gpt-mini"), "direct").save(tmp_path / "mine.csv")
    assert {file.name for file in tmp_path.iterdir()} == {
        "mine.csv", "mine.csv-metadata.json", "mine-tokens.csv", "mine-tokens.csv-metadata.json"
    }  # fmt: skip
    assert len(pd.read_csv(tmp_path / "mine.csv")) == len(direct_effects(traced("gpt-mini")))
    assert len(pd.read_csv(tmp_path / "mine-tokens.csv")) == len(traced("gpt-mini").tokens())


def test_gestures_select_heads():
    room, view = view_of("gpt-mini")
    view.tap(6.5 / 8, 2.5 / 6)
    assert room.selection.heads == {HeadId("decoder", 2, 6)}
    view._name_clicked("y", 1.5 / 6)
    assert room.selection.heads == {HeadId("decoder", 1, head) for head in range(8)}
    view._name_clicked("y", 1.5 / 6)
    assert room.selection.heads == frozenset()
    rows = [row.head for row in view.direct.strongest()]
    place = next(at for at, head in enumerate(rows) if head is not None)
    view._row_tapped(0.4, place + 0.2)
    assert room.selection.heads == {rows[place]}
    view._row_tapped(0.4, float(rows.index(None)))
    view._row_tapped(0.4, 40.0)
    assert room.selection.heads == {rows[place]}
    sides = ["all"] * len(view.direct.steps())
    names = [step.name for step in view.direct.steps()]
    view._step_tapped(beside(names.index("L3 heads"), sides), 0.5)
    assert room.selection.heads == {HeadId("decoder", 3, head) for head in range(8)}
    view._step_tapped(beside(names.index("L3 FFN"), sides), 0.5)
    assert room.selection.heads == {HeadId("decoder", 3, head) for head in range(8)}


def test_a_decoder_of_two_stacks_has_a_row_of_cross_heads_in_each_layer():
    room, view = view_of("T5", "encoder")
    assert view.plane.plane().rows[:4] == ("L0", "L0 cross", "L1", "L1 cross")
    assert "encoder's heads write into its own stream" in view.direct.notes()
    view.tap(0.3, 3.5 / 6)
    assert room.selection.heads == {HeadId("cross", 1, 1)}
    assert view.direct.tokens().side == "source"
    view._name_clicked("y", 4.5 / 6)
    assert room.selection.heads == {HeadId("decoder", 2, head) for head in range(4)}
    assert view.direct.tokens().side == "target"


def test_a_classifier_of_few_labels_has_parts_and_no_chance_level():
    _, view = view_of("mood-mini")
    assert view.dotted() == frozenset()
    assert view.said_of_colours() == ""
    assert "No chance level" in view.lens.line
    assert "too few for a chance level" in view.direct.notes()


def test_heads_that_cannot_be_told_apart_are_one_part_a_layer():
    trace = atlas.load((gptj(), tokenizer(special=False))).trace(TEXT)
    _, view = view_of("", trace=trace)
    assert view.problem == ""
    assert np.isnan(view.plane.plane().whole).all()
    assert view.direct.tokens() is None
    assert [step.name for step in view.direct.steps()][1:3] == ["L0 attention", "L0 FFN"]
    assert "one writer" in view.direct.notes()
    assert "too few" not in view.direct.notes()


def test_numbers_on_screen_say_their_sign():
    assert [signed(value) for value in (0.5, -0.5, 0.0)] == ["+0.5", "−0.5", "0"]


def test_a_recording_has_no_such_view_and_says_why():
    assert "no predictions" in DirectEffectsView.fits(single())
    assert DirectEffectsView.fits(traced("BERT")) == ""
    room = Workspace(never)
    room.pipeline.show(traced("BERT"))
    view = DirectEffectsView(room)
    assert view.direct.strongest() == ()
    assert "not here" in view.problem
    with pytest.raises(NotCaptured, match="not here"):
        view.direct.table()


def test_a_link_without_the_choice_is_the_default():
    assert decode(encode(State(model="gpt-mini", text="a")).token)[0].choices == {}


def test_a_gesture_at_1_200_heads_is_light():
    found = weigh(case("GPT-2", 64), DirectEffectsView)
    assert not found.failed, told(found)
    assert found.worst("bytes") < LIMIT, told(found)
