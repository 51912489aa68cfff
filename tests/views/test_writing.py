"""The writing view without a page: its numbers against plain passes of the model, and what its gestures do."""

from __future__ import annotations

import asyncio
import functools
import threading

import numpy as np
import pandas as pd
import panel as pn  # noqa: F401  (it runs what is asynchronous, as it does for a page)
import pytest

from atlas.scheduler import Cancelled
from atlas.state.outcome_line import percent
from atlas.state.restore import apply
from atlas.state.share import encode
from atlas.state.shared import SharedState
from atlas.state.workspace import Workspace
from atlas.state.written import Written
from atlas.tasks import TASKS
from atlas.tracing.writing import WRITE_ON
from atlas.views.writing import WritingView
from tests.engine.families import loaded
from tests.engine.test_chat import MESSAGES, WITH_BOS, chat
from tests.engine.test_writing import first_written, ids_of, logits_of, model, prompt_of
from tests.state.readers import both, never, single
from tests.waiting import PATIENCE, until


@functools.cache
def traced(name):
    return model(name).trace(prompt_of(name))


def opened(trace, work=never, **tasks):
    room = Workspace(work, tasks={**TASKS, **tasks})
    room.pipeline.show(trace)
    view = WritingView(room)
    view.__panel__()
    return room, view, room.choices_of("writing")


def press(view, key):
    """A row of the alternatives, pressed."""
    view.bars._handle_msg({"key": key})


def pick(view, number):
    """One of the written tokens, clicked."""
    view.strip._handle_msg({"positions": [view.strip.tokens[number]["position"]], "mode": "replace"})


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "T5", "gpt-mini", "t5-mini"])
def test_every_number_on_screen_is_that_of_one_plain_pass(name):
    _, view, choices = opened(traced(name))
    assert not view.strip.visible
    choices.tokens = 6
    view._write()
    trace = model(name).write(prompt_of(name), tokens=6)
    ids, at, chances = ids_of(trace), first_written(trace), logits_of(name, trace).softmax(-1).numpy()
    expected = [chances[i - 1, ids[i]] for i in range(at, len(ids))]
    assert view.strip.weights == pytest.approx(expected, abs=1e-5)
    assert view.strip.values == [percent(weight) for weight in view.strip.weights]
    assert not view.bars.visible
    for number in (0, len(expected) - 1):
        pick(view, number)
        (group,) = view.bars.groups
        best = np.argsort(-chances[at - 1 + number], kind="stable")[:10]
        assert [row["key"] for row in group["rows"]] == [f"{number}:{token}" for token in best]
        assert [row["shares"][0] for row in group["rows"]] == pytest.approx(chances[at - 1 + number, best], abs=1e-5)
        assert group["rows"][0]["state"] == "chosen"
        assert view.strip.selected_from == [at + number], "not its position in the whole text"
        assert group["name"].endswith(f"({at + number})")
    pick(view, len(expected) - 1)
    assert not view.bars.visible
    table = view.export().table
    written = table[table["span"] == "written"]
    assert written.groupby("number")["probability"].first().tolist() == pytest.approx(expected, abs=1e-5)
    assert f"{len(expected)} tokens, the likeliest each time" in view.lens.line


def test_an_alternative_is_written_on_from_and_write_on_goes_on():
    _, view, choices = opened(traced("GPT-2"))
    choices.tokens = 4
    view._write()
    first = [token.id for token in view.writing.shown().tokens]
    pick(view, 2)
    key = view.bars.groups[0]["rows"][1]["key"]
    press(view, key)
    other = int(key.partition(":")[2])
    expected = model("GPT-2").write(prompt_of("GPT-2"), tokens=4, begun=[*first[:2], other])
    shown = [token.id for token in view.writing.shown().tokens]
    assert shown == ids_of(expected)[first_written(expected) :]
    assert len(shown) == 7
    view._write()
    assert [token.id for token in view.writing.shown().tokens][:7] == shown
    assert len(view.writing.shown().tokens) == 11
    view._anew()
    assert not view.strip.visible
    assert "Nothing is written yet" in view.lens.line


def test_drawing_is_by_the_choices_at_the_moment_of_writing():
    _, view, choices = opened(traced("Llama"))
    choices.param.update(tokens=5, sample=True, temperature=3.0, top_p=0.9, seed=7)
    view._write()
    expected = model("Llama").write(prompt_of("Llama"), tokens=5, sample=True, temperature=3.0, top_p=0.9, seed=7)
    assert [token.id for token in view.writing.shown().tokens] == ids_of(expected)[first_written(expected) :]
    assert "sampled with temperature 3, top-p 0.9, seed 7" in view.lens.line
    before = view.writing.shown().tokens
    choices.seed = 8
    assert view.writing.shown().tokens is before, "a choice writes nothing by itself"


@pytest.mark.parametrize("name", ["gpt-mini", "t5-mini"])
def test_analyse_runs_the_text_with_what_was_written(name):
    jobs = []

    def work(job, ticket):
        jobs.append(job)
        return model(name).trace(job.text, target=job.target, spans=job.spans)

    room, view, choices = opened(traced(name), work)
    room.pipeline.input.text = prompt_of(name)
    choices.tokens = 6
    assert not view.analyse.visible
    view._write()
    assert view.analyse.visible
    view._analyse()
    expected = model(name).write(prompt_of(name), tokens=6)
    (job,) = jobs
    if name == "t5-mini":
        assert (job.text, job.target) == (prompt_of(name), expected.texts.target)
    else:
        assert (job.text, job.target) == (expected.texts.text, None)
        assert room.trace.tokens()["id"].tolist() == ids_of(expected)
    assert not view.writing.begun, "another text: what was written on the one before is gone"
    side = "target" if name == "t5-mini" else "source"
    table = expected.tokens(side)
    assert room.trace.tokens(side)["span"].tolist() == table["span"].tolist()
    assert view.strip.weights == pytest.approx(table["probability"].dropna().tolist(), abs=1e-5)
    labels = [[chip["label"] for chip in group["chips"]] for group in view.chips.groups]
    assert labels == ([["prompt"], ["written"]] if name == "t5-mini" else [["prompt", "written"]])
    assert "6 tokens of the text on screen were written by the model" in view.lens.line
    # Written on from there, all of it is what the model wrote, once.
    view._write()
    view._analyse()
    longer = model(name).write(prompt_of(name), tokens=6, begun=ids_of(expected)[first_written(expected) :])
    assert (jobs[-1].target if name == "t5-mini" else jobs[-1].text) == (longer.texts.target or longer.texts.text)
    # Another text has none of the spans.
    room.pipeline.input.text += " and"
    assert room.pipeline.job().spans == ()


def following(room):
    """Another reader, whose page follows the link of a workspace."""
    jobs, asked = [], []

    def work(job, ticket):
        jobs.append(job)
        return model(job.model[0]).trace(job.text, target=job.target, spans=job.spans)

    def counted(trace, kept, begun, tokens, sampling, on_token):
        asked.append((begun, tokens))
        return TASKS[WRITE_ON](trace, kept, begun, tokens, sampling, on_token)

    other = Workspace(work, tasks={**TASKS, WRITE_ON: counted})
    assert apply(encode(room).token, other) == []
    view = WritingView(other)
    view.__panel__()
    return other, view, asked


@pytest.mark.parametrize("name", ["gpt-mini", "t5-mini"])
@pytest.mark.parametrize("sample", [False, True])
def test_a_link_brings_back_what_was_written_and_how_and_nothing_is_written_anew(name, sample):
    def work(job, ticket):
        return model(name).trace(job.text, target=job.target, spans=job.spans)

    room, view, choices = opened(traced(name), work)
    room.pipeline.choice.name_or_path = name
    room.pipeline.input.text = prompt_of(name)
    choices.param.update(tokens=7, sample=sample, temperature=2.0, top_p=0.95, seed=11)
    view._write()
    pick(view, 1)
    press(view, view.bars.groups[0]["rows"][1]["key"])
    ids = [token.id for token in view.writing.shown().tokens]
    other, again, asked = following(room)
    assert [token.id for token in again.writing.shown().tokens] == ids
    assert again.strip.weights == pytest.approx(view.strip.weights, abs=1e-6)
    assert again.lens.line == view.lens.line
    assert [tokens for _, tokens in asked] == [0], "measured once, not written"
    assert other.choices_of("writing").param.values() | {"name": ""} == choices.param.values() | {"name": ""}
    assert encode(other).token == encode(room).token
    # It goes on as it would have gone on there.
    for each in (view, again):
        each._write()
    assert [token.id for token in again.writing.shown().tokens] == [token.id for token in view.writing.shown().tokens]
    # After the analysis the link has the spans of the text.
    again._analyse()
    assert other.written.record is None
    third, last, asked = following(other)
    side = "target" if name == "t5-mini" else "source"
    pd.testing.assert_frame_equal(third.trace.tokens(side), other.trace.tokens(side))
    assert "written" in third.trace.tokens(side)["span"].tolist()
    assert last.strip.weights == pytest.approx(again.strip.weights)
    assert not asked
    # Started anew, there is nothing to bring back.
    view._anew()
    assert room.written.record is None


def test_back_and_forth_between_links_shows_the_writing_of_each():
    room = Workspace(never, tasks=TASKS)
    shared = SharedState(room)
    room.pipeline.choice.name_or_path = "gpt-mini"
    room.pipeline.input.text = prompt_of("gpt-mini")
    room.pipeline.show(traced("gpt-mini"))
    view, choices = WritingView(room), room.choices_of("writing")
    view.__panel__()
    choices.tokens = 3
    before = shared.token
    view._write()
    after, weights = shared.token, list(view.strip.weights)
    assert before != after
    shared.token = before
    assert not view.strip.visible
    assert "Nothing is written yet" in view.lens.line
    shared.token = after
    assert view.strip.weights == pytest.approx(weights)
    assert view.lens.line.startswith("3 tokens, the likeliest each time")


def test_a_writing_that_the_model_cannot_have_is_a_sentence_and_the_page_stays():
    room, view, _ = opened(traced("GPT-2"))
    room.written.record = Written(None, (1_000_000,), 20, (("sample", False),), "tokens")
    assert "outside the model's embedding" in view.problem
    view._anew()
    assert view.problem == ""


def test_chips_select_spans_as_sentences_do():
    trace = chat(WITH_BOS).write(MESSAGES, tokens=3)
    room, view, _ = opened(trace)
    (group,) = view.chips.groups
    assert [chip["label"] for chip in group["chips"]] == ["system", "user", "assistant", "written"]
    spans = trace.tokens()["span"]
    view.chips._handle_msg({"key": "source:user"})
    user = frozenset(np.flatnonzero(spans == "user").tolist())
    assert room.selection.queries == room.selection.keys == user
    assert [chip["active"] for chip in view.chips.groups[0]["chips"]] == [False, True, False, False]
    view.chips._handle_msg({"key": "source:written", "additive": True})
    assert room.selection.keys == user | frozenset(np.flatnonzero(spans == "written").tolist())
    view.chips._handle_msg({"key": "source:user"})
    assert room.selection.keys == frozenset(np.flatnonzero(spans == "written").tolist())
    # The written tokens of the trace itself are there without a press.
    assert view.strip.weights == pytest.approx(trace.tokens()["probability"].dropna().tolist())
    pick(view, 1)
    key = view.bars.groups[0]["rows"][1]["key"]
    press(view, key)
    ids = [token.id for token in view.writing.shown().tokens]
    assert ids[:2] == [trace.tokens()["id"].tolist()[-3], int(key.partition(":")[2])]


def test_an_opened_file_has_its_spans_but_writes_nothing_on(tmp_path):
    import atlas

    trace = atlas.open(model("GPT-2").write(prompt_of("GPT-2"), tokens=3).save(tmp_path / "run.nc"))
    assert WritingView.fits(trace) == ""
    _, view, _ = opened(trace)
    assert view.write.disabled
    assert len(view.strip.tokens) == 3
    assert [chip["label"] for chip in view.chips.groups[0]["chips"]] == ["prompt", "written"]


def test_models_that_do_not_write_are_not_offered_it():
    assert "does not write" in WritingView.fits(loaded("BERT").trace("the cat", capture=()))
    assert "does not write" in WritingView.fits(single())
    assert "does not write" in WritingView.fits(both())
    assert WritingView.fits(traced("T5")) == ""


def test_tokens_appear_as_they_come_and_stay_when_the_writing_is_cancelled():
    gate, ended = threading.Event(), threading.Event()

    def slow(trace, kept, begun, tokens, sampling, on_token):
        def report(token):
            try:
                on_token(token)
                if token.id == third:
                    assert gate.wait(PATIENCE)
            except Cancelled:
                ended.set()
                raise

        return TASKS[WRITE_ON](trace, kept, begun, tokens, sampling, report)

    _, free, choices = opened(traced("Llama"))
    choices.tokens = 20
    free._write()
    tokens = [token.id for token in free.writing.shown().tokens]
    third = tokens[2]
    at = tokens.index(third) + 1

    async def scene():
        _, view, choices = opened(traced("Llama"), **{WRITE_ON: slow})
        choices.param.update(tokens=20, seed=99)
        view.writing.workspace.pipeline.trace._cache.clear()
        view._write()
        assert view.writing.busy
        await until(lambda: len(view.strip.tokens) == at)
        assert len(view.strip.tokens) == at
        assert view.strip.weights == pytest.approx(free.strip.weights[:at], abs=1e-5)
        assert f"Token {at} of 20" in view.lens.waiting
        view.writing.cancel()
        gate.set()
        assert not view.writing.busy
        assert len(view.strip.tokens) == at
        assert view.lens.line.startswith(f"cancelled after {at} token")
        pick(view, 0)
        assert view.bars.visible
        await until(ended.is_set)
        assert ended.is_set(), "the model still writes"

    asyncio.run(scene())


def test_a_text_that_leaves_no_room_is_a_sentence_with_a_way_out():
    _, view, _ = opened(model("GPT-2").trace("the cat " * 32))
    view._write()
    assert "too many" in view.problem
    assert not view.write.disabled
    assert view.anew.visible
    view._anew()
    assert view.problem == ""


def test_what_is_written_is_of_the_text_on_screen_also_where_nobody_saw_it_come():
    room, view, choices = opened(traced("GPT-2"))
    choices.tokens = 4
    view._write()
    view.visibility.seen = False
    other = "the dog ran away from the tired doctor"
    room.pipeline.show(model("GPT-2").trace(other))
    view._write()
    written = model("GPT-2").write(other, tokens=4)
    assert [token.id for token in view.writing.shown().tokens] == ids_of(written)[first_written(written) :]
