"""The writing view without a page: its numbers against plain passes of the model, and what its gestures do."""

from __future__ import annotations

import asyncio
import functools
import threading
import time

import numpy as np
import panel as pn  # noqa: F401  (it runs what is asynchronous, as it does for a page)
import pytest

from atlas.scheduler import Cancelled
from atlas.state.outcome_line import percent
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.writing import WRITE_ON
from atlas.views.writing import WritingView
from tests.engine.families import loaded
from tests.engine.test_chat import MESSAGES, WITH_BOS, chat
from tests.engine.test_writing import first_written, ids_of, logits_of, model, prompt_of
from tests.state.readers import both, never, single

PATIENCE = 20.0


async def until_true(condition):
    """Let the event loop run until something holds, or patience ends."""
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110  (there is no event for what a page shows)
        await asyncio.sleep(0.02)


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
        return model(name).trace(job.text, target=job.target)

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
    assert not view.strip.visible, "another text: what was written on the one before is gone"


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
        await until_true(lambda: len(view.strip.tokens) == at)
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
        await until_true(ended.is_set)
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
