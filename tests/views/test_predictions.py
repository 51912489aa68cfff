"""The predictions view without a page: what is shown where, against the trace's own numbers; and what a gesture does."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import atlas
from atlas.engine.running.predict import TASKS
from atlas.ids import HeadId
from atlas.state.outcome_line import percent
from atlas.state.prediction_words import outcome_labels
from atlas.state.predictions import EVERY, MOST_OUTCOMES, POSITIONS_A_PAGE, TOGETHER, UNMASKED
from atlas.state.workspace import Workspace
from atlas.views.predictions import PredictionsView
from tests.engine.families import loaded
from tests.engine.test_predict import CLASSIFIERS, TARGET, TEXT, chances, model, own_logits, traced
from tests.state.readers import both, never, single


def opened(trace):
    """A view on a trace, with the tasks of the app."""
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace)
    view = PredictionsView(room)
    view.__panel__()
    return room, view, room.choices_of("predictions")


def bars(view):
    """Position -> [(key, number)] as sent to the browser."""
    return {group["name"]: [(row.get("key", ""), row["number"]) for row in group["rows"]] for group in view.bars.groups}


@functools.cache
def bert(text="the doctor said that she was tired"):
    return model("BERT").trace(text)


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "T5", "gpt-mini", *CLASSIFIERS])
def test_every_number_on_screen_is_that_of_the_models_own_logits(name):
    _, view, choices = opened(traced(name))
    choices.shown = EVERY
    expected = chances(name, own_logits(name).double()).numpy()
    seen = 0
    for page in range(view.predictions.shown().pages):
        choices.page = page
        for group in view.bars.groups:
            for row in group["rows"]:
                if not row.get("key"):
                    continue
                position, number = map(int, row["key"].split(":"))
                value = expected[max(position, 0), number]
                assert row["shares"] == pytest.approx([value], abs=1e-5)
                assert row["number"] == percent(row["shares"][0])
                seen += 1
    assert seen >= len(expected) * min(5, expected.shape[1])
    table = view.export().table
    assert len(table) == sum(bool(row.get("key")) for group in view.bars.groups for row in group["rows"])


def test_a_causal_model_shows_what_comes_last_or_after_the_selected_tokens():
    room, view, choices = opened(traced("GPT-2"))
    last = len(traced("GPT-2").tokens()) - 1
    table = traced("GPT-2").predictions(5)
    assert list(bars(view)) == [f"After 'cat' ({last})"]
    rows = table[table["position"] == last]
    assert [key for key, _ in bars(view)[f"After 'cat' ({last})"]] == [f"{last}:{number}" for number in rows["id"]]
    assert view.lens.line == "Next token at 1 position; the 5 likeliest of 96"
    room.selection.select_tokens([1, 3])
    assert list(bars(view)) == ["After 'doctor' (1)", "After 'that' (3)"]
    notes = {row["label"]: row["note"] for row in view.bars.groups[0]["rows"]}
    assert [note.split(",")[0] for note in notes.values() if note] == ["in text"]  # 'said' follows
    choices.k = 2
    assert [len([row for row in group["rows"] if not row["note"]]) <= 2 for group in view.bars.groups] == [True, True]


def test_positions_are_paged_and_a_page_beyond_the_text_is_the_last():
    room, view, choices = opened(traced("GPT-2"))
    n = len(traced("GPT-2").tokens())
    choices.param.update(shown=EVERY, page=10_000)
    shown = view.predictions.shown()
    assert (shown.positions, shown.pages) == (n, -(-n // POSITIONS_A_PAGE))
    assert [each.position for each in shown.found] == list(range((shown.pages - 1) * POSITIONS_A_PAGE, n))
    view._turn(1)
    assert choices.page == shown.pages - 1
    view._turn(-1)
    assert choices.page == shown.pages - 2
    assert view.pager.visible
    room.pipeline.show(traced("classifier"))
    assert not view.pager.visible


def test_a_text_without_masks_is_masked_token_by_token_or_together_and_the_sentence_is_filled():
    room, view, choices = opened(bert())
    assert view.lens.line.startswith("7 positions masked one by one; the 5 likeliest of 96")
    assert list(bars(view))[:2] == ["In place of 'the' (1)", "In place of 'doctor' (2)"]
    alone = view.predictions.shown().found[1]
    room.selection.select_tokens([2, 5])
    choices.mask = TOGETHER
    ids = bert().tokens()["id"].tolist()
    for at in (2, 5):
        ids[at] = model("BERT").tokenizer.mask_token_id
    with_masks = model("BERT").trace({"input_ids": ids, "attention_mask": [1] * len(ids)}).predictions(5)
    found = view.predictions.shown().found
    for each in found:
        rows = with_masks[with_masks["position"] == each.position]
        assert each.ids[:5].tolist() == list(rows["id"])
        assert each.probabilities()[:5] == pytest.approx(list(rows["probability"]), abs=1e-5)
    assert not np.allclose(alone.log_sum_exp, found[0].log_sum_exp)
    words = [str(each.names[0]) for each in found]
    assert view.predictions.shown().filled == f"Filled: the «{words[0]}» said that «{words[1]}» was tired"
    assert view.filled.visible
    choices.mask = UNMASKED
    table = bert().predictions(5)
    assert view.predictions.shown().found[0].ids[:5].tolist() == list(table[table["position"] == 2]["id"])
    assert "none masked: the model sees the token it predicts" in view.lens.line


def test_masks_of_the_text_are_filled_by_the_run_itself():
    trace = bert("the [MASK] said that [MASK] was tired")
    _, view, _ = opened(trace)
    table = trace.predictions(1)
    masks = [2, 5]
    assert [each.position for each in view.predictions.shown().found] == masks
    words = [str(table["token"].iloc[at]) for at in masks]
    assert view.predictions.shown().filled == f"Filled: the «{words[0]}» said that «{words[1]}» was tired"
    assert view.lens.line.startswith("2 masks of the text")
    assert not view.predictions.can_mask()


def test_a_decoder_shows_its_steps_whatever_is_selected_in_the_source():
    room, view, _ = opened(traced("T5"))
    steps = len(traced("T5").tokens("target"))
    room.selection.show_kind("encoder")
    room.selection.select_tokens([1])
    assert view.predictions.shown().positions == steps
    room.selection.clear()
    room.selection.show_kind("decoder")
    room.selection.select_tokens([2, 3])
    assert [each.position for each in view.predictions.shown().found] == [2, 3]


def test_a_press_sets_the_target_and_shift_what_it_is_held_against():
    room, view, _ = opened(traced("GPT-2"))
    room.selection.select_tokens([3])
    table = traced("GPT-2").predictions(5)
    ids, names = (list(table[table["position"] == 3][column]) for column in ("id", "token"))
    target = room.target

    def press(rank, *, shift=False):
        view._pressed({"key": f"3:{ids[rank]}", "shift": shift, "control": False})
        return target.position, target.outcome, target.against

    def states():
        return [row["state"] for row in view.bars.groups[0]["rows"][:5]]

    assert states() == [""] * 5
    assert press(1) == (3, names[1], "")
    assert press(2, shift=True) == (3, names[1], names[2])
    assert states() == ["", "chosen", "against", "", ""]
    assert f"how '{names[1]}' gets its probability" in view.steps.groups[0]["name"]
    assert press(2, shift=True) == (3, names[1], "")
    press(2, shift=True)
    assert press(2) == (3, names[2], "")
    assert press(2) == (-1, "", "")
    assert press(4, shift=True) == (3, names[0], names[4])  # nothing was chosen: the likeliest is held against it
    view._pressed({"key": "3:99999", "shift": False, "control": False})
    assert target.outcome == names[0]


def test_a_heading_selects_its_token():
    room, view, choices = opened(traced("GPT-2"))
    choices.shown = EVERY
    view._pressed({"key": "at 4", "shift": False, "control": False})
    assert room.selection.queries == room.selection.keys == frozenset({4})
    assert room.selection.origin == "predictions"
    assert [group["pressed"] for group in view.bars.groups].index(True) == 4


def test_the_steps_on_screen_lead_to_each_other():
    room, view, _ = opened(traced("GPT-2"))
    last = len(traced("GPT-2").tokens()) - 1
    name = str(traced("GPT-2").predictions(3)["token"].iloc[-1])
    room.target.param.update(position=-1, outcome=name)
    rows = {row["label"]: row for row in view.steps.groups[0]["rows"]}
    numbers = {label: float(row["number"].replace("−", "-")) for label, row in rows.items() if label != "Probability"}
    logits = own_logits("GPT-2")[last].double()
    assert numbers["Relative to the largest"] == pytest.approx(numbers["Logit z"] - float(logits.max()), abs=1e-4)
    assert numbers["Exponent"] == pytest.approx(np.exp(numbers["Relative to the largest"]), rel=1e-4)
    assert numbers["Sum"] == pytest.approx(float((logits - logits.max()).exp().sum()), rel=1e-4)
    assert rows["Probability"]["number"] == percent(numbers["Exponent"] / numbers["Sum"])


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5", "classifier"])
def test_heads_switched_off_are_shown_beside_and_the_trace_stays(name):
    heads = [HeadId(traced(name).kinds[0], 0, 1), HeadId(traced(name).kinds[-1], 1, 1)]
    room, view, choices = opened(traced(name))
    choices.param.update(mask=UNMASKED, shown=EVERY)
    plain = bars(view)
    choices.without = True
    assert bars(view) == plain  # no head is selected yet
    assert "no head is selected" in view.lens.line
    room.selection.select_heads(heads)
    after = model(name).trace(TEXT, ablate=heads, target=TARGET if name == "T5" else None).predictions(MOST_OUTCOMES)
    shown = view.predictions.shown()
    assert room.trace is traced(name)
    table = view.export().table
    assert {"without_heads", "difference"} <= set(table)
    for each in shown.found:
        rows = after if "position" not in after else after[after["position"] == each.position]
        known = dict(zip(rows["id"], rows["probability"], strict=True))
        mine = table[table["position"] == each.position]
        for outcome, without in zip(mine["id"], mine["without_heads"], strict=True):
            assert without == pytest.approx(known[outcome], abs=1e-5) if outcome in known else without <= min(known.values())
        assert set(list(rows["id"])[:5]) <= set(mine["id"])
    np.testing.assert_allclose(table["difference"], table["without_heads"] - table["probability"])
    row = view.bars.groups[0]["rows"][0]
    assert row["number"] == f"{percent(row['shares'][0])} → {percent(row['shares'][1])}"
    assert "points" in row["note"]


def test_a_trace_without_its_model_shows_what_it_holds(tmp_path):
    room, view, choices = opened(atlas.open(bert().save(tmp_path / "bert.nc")))
    assert view.predictions.shown().found[0].ids[:5].tolist() == list(bert().predictions(5)["id"].iloc[5:10])
    choices.without = True
    room.selection.select_heads([HeadId("encoder", 0, 0)])
    assert "the model is not here to run again" in view.lens.line
    assert not view.lens.problem


def test_what_has_no_predictions_is_not_offered():
    assert "holds no predictions" in PredictionsView.fits(single())
    assert "holds no predictions" in PredictionsView.fits(both())
    assert PredictionsView.fits(bert()) == ""
    assert PredictionsView.fits(loaded("GPT-2").trace(TEXT, capture=())) == ""


def test_a_problem_is_said_in_the_card_and_goes_when_its_cause_goes():
    def fails(*_):
        msg = "Too large."
        raise atlas.errors.TooLarge(msg)

    room = Workspace(never, tasks={"predict again": fails})
    room.pipeline.show(traced("GPT-2"))
    view = PredictionsView(room)
    view.__panel__()
    room.selection.select_heads([HeadId("decoder", 0, 0)])
    room.choices_of("predictions").without = True
    assert view.problem == "Too large."
    room.choices_of("predictions").without = False
    assert view.problem == ""
    assert view.bars.groups


def test_names_that_differ_by_a_space_alone_are_told_apart():
    assert outcome_labels([" him", "her", " her"]) == ["him", "her", "␣her"]
