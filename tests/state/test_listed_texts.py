"""Going through the texts of a file, and back to those of the session, without a page."""

from __future__ import annotations

import json
import threading

import pandas as pd
import pytest

from atlas.engine.running.service import Service
from atlas.errors import BadData, TextError
from atlas.jobs import takes_target, worked_out
from atlas.state.inputs import LONGEST_TEXT
from atlas.state.listed_texts import BAD_SHOWN, LONGEST_PROBLEM, ROWS
from atlas.state.recent_texts import MOST
from atlas.state.workspace import Workspace
from atlas.tracing.listed import LONGEST_LABEL, MOST_BYTES, MOST_TEXTS, TAKES_TARGET, list_of, listed_in, open_list
from tests.state.readers import single
from tests.waiting import run, until

TEXTS = [
    f"the cat saw {name}" for name in ("a dog", "a horse", "a mouse", "a door", "a house", "rain", "Anna", "Tom", "a Dog too")
]


@pytest.fixture(scope="module")
def service():
    return Service()


def reader(service, model="gpt-mini", **more):
    """A reader whose runs are noted."""
    jobs = []

    def work(job, ticket):
        jobs.append(job)
        return worked_out(service, job, ticket)

    room = Workspace(work, tasks={TAKES_TARGET: lambda wanted: takes_target(service, wanted)}, **more)
    room.pipeline.choose(model)
    return room, jobs


def csv_of(texts=TEXTS, labels=None):
    return pd.DataFrame({"text": texts, "label": labels or list("abcabcabc")}).to_csv(index=False).encode()


def in_memory(texts=TEXTS):
    """A reader whose runs cost nothing."""
    runs = []

    def work(job, _):
        runs.append(job.text)
        return single()

    room = Workspace(work)
    room.listed.put(list_of(texts, LONGEST_TEXT))
    return room, runs


# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
def test_all_formats_give_the_same_list(ending, tmp_path):
    table = pd.DataFrame(
        {"text": ["one", "two"], "pair": ["more", ""], "target": ["un", "deux"], "label": ["x", "y"], "id": [1, 2]}
    )
    path = tmp_path / f"texts.{ending}"
    if ending == "csv":
        table.to_csv(path, index=False)
    elif ending == "parquet":
        table.to_parquet(path)
    else:
        table.to_json(path, orient="records", lines=ending == "jsonl")
    found = open_list(path, LONGEST_TEXT)
    assert found.texts == ((1, "one", "more", "un", "x"), (2, "two", "", "deux", "y"))
    assert (found.name, found.bad, found.left_out) == (path.name, (), False)
    if ending != "parquet":
        assert listed_in(path.name, path.read_bytes(), LONGEST_TEXT) == found


def test_values_give_the_same_list_as_a_file():
    given = ["one", ("two", "more"), {"text": "three", "group": 7}]
    assert list_of(given, LONGEST_TEXT).texts == ((1, "one", "", "", ""), (2, "two", "more", "", ""), (3, "three", "", "", "7"))
    table = pd.DataFrame({"text": ["one", "two"], "pair": ["more", float("nan")]})
    assert list_of(table, LONGEST_TEXT).texts == ((1, "one", "more", "", ""), (2, "two", "", "", ""))


def test_hostile_rows_are_named_and_the_others_stay():
    rows = [
        {"text": "good <b>one</b>", "label": "<img src=x onerror=alert(1)>\n" * 9}, 3, None, {"text": ""}, {"text": ["x"]},
        {"text": "half \ud800"}, {"text": "a", "pair": 5}, {"text": "a", "pair": "\udc00"}, {"text": "a" * 11}, "last",
        {"text": "labelled", "label": "half \ud800", "group": "never"},
    ]  # fmt: skip
    found = listed_in("bad.json", json.dumps(rows).encode(), 15)
    assert [text.row for text in found.texts] == [1, 9, 10, 11]
    assert len(found.texts[0].label) == LONGEST_LABEL
    assert "\n" not in found.texts[0].label
    assert found.texts[-1].label == "half ?"
    assert dict(found.bad) == {
        2: "holds int where a text should be", 3: "has no 'text'", 4: "is empty", 5: "holds list where a text should be",
        6: "is not UTF-8", 7: "holds int where a text should be", 8: "is not UTF-8",
    }  # fmt: skip
    short = listed_in("bad.json", json.dumps(rows).encode(), 10)
    assert dict(short.bad)[9] == "has 11 letters, more than the 10 that are read"
    # Bytes that are no UTF-8 spoil their row alone.
    assert [text.text for text in listed_in("b.csv", b"text,label\n\xff,x\nfine,\xff\n", 10).texts] == ["fine"]


def test_a_list_and_its_file_are_bounded():
    many = listed_in("many.txt", b"x\n" * (MOST_TEXTS + 5), 10)
    assert (len(many.texts), many.left_out) == (MOST_TEXTS, True)
    assert not listed_in("many.txt", b"x\n" * MOST_TEXTS, 10).left_out
    with pytest.raises(BadData, match="Split it"):
        listed_in("large.txt", b"x" * (MOST_BYTES + 1), 10)
    with pytest.raises(TextError, match="columns, more than"):
        listed_in("wide.csv", b"text," + b"c," * 100_000 + b"\n" + b"x\n" * 100_000, 10)
    for name in ("texts.exe", "texts.parquet"):
        with pytest.raises(TextError, match="not from"):
            listed_in(name, b"MZ", 10)


def test_what_is_wrong_with_a_file_is_said_and_the_list_before_it_stays():
    room, _ = in_memory()
    before = room.listed.texts
    room.listed.take("two.csv", b"sentence,topic\na cat,animals\n")
    assert room.listed.problem == "two.csv has no column 'text'; it has sentence, topic."
    assert room.listed.texts is before
    room.listed.column = "sentence"
    assert room.listed.problem == ""
    assert [each.text for each in room.listed.texts.texts] == ["a cat"]
    room.listed.take("half.csv", b"\xff" * 9_000 + b",b\n")
    assert len(room.listed.problem) <= LONGEST_PROBLEM + 2
    room.listed.problem.encode()
    room.listed.take("none.txt", b"\xff\n")
    assert room.listed.problem == "none.txt holds no text that can be used.\n1 row cannot be used:\nrow 1 is not UTF-8"
    room.listed.column = "text"
    room.listed.take("rows.csv", b"text,label\n" + b'"",x\n' * 20 + b"a cat,x\n")
    lines = room.listed.about().split("\n")
    assert lines[:3] == ["rows.csv: 1 text", "20 rows cannot be used:", "row 1 is empty"]
    assert lines[-1] == f"and {20 - BAD_SHOWN} more"


# -- going through it --------------------------------------------------------------------------------------------------


def test_a_step_runs_the_next_text_and_the_ends_are_ends():
    room, runs = in_memory()
    listed = room.listed
    assert listed.where() == "– of 9"
    listed.step(-1)
    assert runs == []
    for _ in TEXTS:
        listed.step(1)
    listed.step(1)
    assert runs == TEXTS
    assert (listed.where(), listed.page) == ("9 of 9", 2)
    assert [at for at, _ in listed.on_page()] == [ROWS]
    listed.step(-1)
    assert (listed.where(), listed.page, room.pipeline.input.text) == ("8 of 9", 1, TEXTS[7])
    listed.turn(5)
    assert listed.page == 2
    listed.turn(-5)
    assert listed.page == 1
    listed.show(99)
    assert len(runs) == len(TEXTS) + 1


def test_a_filter_narrows_what_is_shown_and_stepped_through():
    room, runs = in_memory()
    listed = room.listed
    listed.show(3)
    listed.filter = "DOG"
    assert [each.text for _, each in listed.on_page()] == [TEXTS[0], TEXTS[8]]
    assert listed.where() == "– of 2"  # the text on screen is filtered away
    listed.step(1)
    assert (runs[-1], listed.where()) == (TEXTS[8], "2 of 2")
    listed.step(-1)
    assert (runs[-1], listed.where()) == (TEXTS[0], "1 of 2")
    listed.filter = "no such words"
    listed.step(1)
    assert (listed.where(), listed.on_page(), listed.pages()) == ("– of 0", [], 1)
    assert len(runs) == 3
    listed.filter = ""
    assert listed.where() == "1 of 9"


def test_a_filter_looks_through_labels_and_second_texts():
    room, _ = in_memory([("a cat", "a dog"), {"text": "a horse", "label": "Animal"}, "a door"])
    room.listed.filter = "dog"
    assert room.listed.found() == (0,)
    room.listed.filter = "animal"
    assert room.listed.found() == (1,)


def test_the_row_shown_is_that_of_the_text_asked_for():
    room, _ = in_memory(["a cat", "a dog", "a cat"])
    listed = room.listed
    listed.show(2)
    assert listed.current() == 2  # of two alike the one chosen
    room.pipeline.input.text = "another"
    assert listed.current() == -1
    room.pipeline.input.text = "a dog"  # as a link or the list of recent texts does
    assert (listed.current(), listed.where()) == (1, "2 of 3")
    listed.step(1)
    assert listed.current() == 2


def test_a_target_is_given_to_encoder_decoders_alone(service):
    given = [{"text": "the third of March", "target": "3 March", "pair": ""}, {"text": "May", "target": "5"}]
    for model, expected in (("gpt-mini", None), ("bert-mini", None), ("t5-mini", "3 March")):
        room, runs = reader(service, model)
        room.listed.put(list_of(given, LONGEST_TEXT))
        room.listed.step(1)
        assert (room.pipeline.error, runs[-1].target) == ("", expected)
    room.listed.step(1)
    assert runs[-1].target == "5"
    room.listed.put(list_of(["June"], LONGEST_TEXT))
    room.listed.step(1)
    assert runs[-1].target is None  # not that of the text before


def test_quick_steps_end_at_the_last_text_and_drop_what_still_runs():
    held, ran = threading.Event(), []

    def work(job, ticket):
        if job.text == TEXTS[0]:
            held.wait(10)
        ticket.tell("tracing", job.text)
        ran.append(job.text)
        return single()

    async def visit():
        room = Workspace(work)
        room.listed.put(list_of(TEXTS, LONGEST_TEXT))
        room.listed.step(1)
        await until(lambda: room.pipeline.status == "loading")
        for _ in range(4):
            room.listed.step(1)
        held.set()
        await until(lambda: room.pipeline.status == "ready")
        assert ran == [TEXTS[4]]
        assert (room.pipeline.shown.text, room.listed.where()) == (TEXTS[4], "5 of 9")
        assert [job.text for job in room.recent.jobs] == [TEXTS[4]]

    run(visit())


def test_a_file_is_read_beside_the_event_loop_and_the_newest_one_counts(monkeypatch):
    threads, held = [], threading.Event()

    def slow(name, *more):
        threads.append(threading.current_thread())
        if name == "first.txt":
            held.wait(10)
        return listed_in(name, *more)

    monkeypatch.setattr("atlas.state.listed_texts.listed_in", slow)

    async def visit():
        room = Workspace(lambda *_: single())
        room.listed.take("first.txt", b"one\ntwo\n")
        assert room.listed.about() == "Reading first.txt"
        room.listed.take("second.txt", b"three\n")
        held.set()
        await until(lambda: not room.listed.busy)
        assert [each.text for each in room.listed.texts.texts] == ["three"]
        room.listed.take("third.txt", b"four\n")
        await until(lambda: not room.listed.busy)  # long after the first one came
        assert room.listed.texts.name == "third.txt"
        assert threading.current_thread() not in threads

    run(visit())


def test_no_session_sees_the_file_of_another(service):
    one, _ = reader(service)
    two, _ = reader(service)
    operators = list_of(["for all"], LONGEST_TEXT)
    for room in (one, two):
        room.listed.put(operators)
    one.listed.take("mine.csv", csv_of())
    one.listed.step(1)
    assert two.listed.texts is operators
    assert operators.texts == ((1, "for all", "", "", ""),)
    assert two.recent.jobs == ()
    two.listed.filter = "all"
    assert one.listed.filter == ""


# -- back to a text ----------------------------------------------------------------------------------------------------


def test_recent_texts_are_the_newest_first_without_doubles():
    room, _ = in_memory()
    for at in (0, 1, 2, 0):
        room.listed.show(at)
    assert [job.text for job in room.recent.jobs] == [TEXTS[0], TEXTS[2], TEXTS[1]]
    assert room.recent.now() == 0
    room.listed.put(list_of([f"text {at}" for at in range(MOST + 5)], LONGEST_TEXT))
    for _ in range(MOST + 5):
        room.listed.step(1)
    assert [job.text for job in room.recent.jobs] == [f"text {at}" for at in range(MOST + 4, 4, -1)]
    room.recent.go_back(MOST)
    room.recent.go_back(-1)
    assert room.recent.now() == 0


def test_a_recent_text_comes_back_with_its_model(service):
    room, runs = reader(service, "t5-mini")
    room.pipeline.input.put("the third of March", target="3 March")
    room.pipeline.run()
    room.pipeline.choose("bert-mini")
    room.pipeline.input.put("a cat", "a dog")
    room.pipeline.run()
    room.pipeline.input.put("the third of March", target="3 March")
    assert room.recent.now() == -1  # the text of the other model
    room.recent.go_back(1)
    assert room.pipeline.choice.name_or_path == "t5-mini"
    assert (runs[-1].text, runs[-1].pair, runs[-1].target) == ("the third of March", None, "3 March")
    assert [(job.model[0], job.text) for job in room.recent.jobs] == [("t5-mini", "the third of March"), ("bert-mini", "a cat")]
    room.recent.go_back(1)
    assert (room.pipeline.choice.name_or_path, runs[-1].text, runs[-1].pair) == ("bert-mini", "a cat", "a dog")
    assert room.pipeline.error == ""


def test_a_recording_is_no_recent_text():
    room = Workspace(lambda *_: single())
    room.pipeline.choose("a recording", in_memory=True)
    room.pipeline.input.put("the doctor")
    room.pipeline.show(single())
    assert room.recent.jobs == ()
