"""`Lens.ask`: what a lens shows while its work is under way, and what never reaches it. Planted work waits for events."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import numpy as np
import panel as pn  # noqa: F401  (it runs what is asynchronous, as it does for a page)
import pytest

from atlas import ticket
from atlas.admission import ADVICE, Cost, Limits
from atlas.errors import NothingYet, TooLarge
from atlas.ids import HeadId
from atlas.scheduler import Cancelled, Scheduler
from atlas.state import asking, matrix, token_strip
from atlas.state.asking import STOPPED, Takes
from atlas.state.lens import Lens
from atlas.state.matrix import MatrixLens
from atlas.state.token_strip import StripLens
from atlas.state.workspace import Workspace
from atlas.tracing import windows
from atlas.tracing.explained import COST
from tests.state.readers import ENCODER, Listener, both, never, rows
from tests.waiting import run, until

PATIENCE = 10.0
"""Seconds until a test calls something hung."""


class Agreement(Lens):
    """A lens whose numbers hang on the selected rows and take long."""

    key = "agreement"
    reads = {"selection": ("queries",)}  # noqa: RUF012
    needs_model = False

    def __init__(self, workspace, works=None, **params):
        super().__init__(workspace, **params)
        self.works = works if works is not None else {}

    def asks(self):
        return "rows " + ",".join(map(str, sorted(self.workspace.selection.queries)))

    def shown(self):
        """What a view would draw."""
        key = self.asks()
        return self.ask(key, self.works.setdefault(key, Planted(key)), "nothing yet", needs_model=self.needs_model)


class Planted:
    """Work that tells something, waits, and tells once more."""

    def __init__(self, result, error=None):
        self.result, self.error = result, error
        self.began, self.gate, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.was_cancelled, self.calls, self.thread = False, 0, None

    def __call__(self, progress):
        self.calls += 1
        self.thread = threading.get_ident()
        try:
            progress.tell("Measuring agreement", 0.2)
            self.began.set()
            assert self.gate.wait(PATIENCE), "nobody opened the gate"
            progress.tell("Measuring agreement", 0.9)
            if self.error is not None:
                raise self.error
        except Cancelled:
            self.was_cancelled = True
            raise
        else:
            return self.result
        finally:
            self.ended.set()


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(asking, "TICK", 0.01)


@pytest.fixture
def trace():
    """A trace of its own for each test: results are kept on it."""
    import atlas

    return atlas.from_attention(rows((2, 3, 8, 8)), list("abcdefgh"))


@pytest.fixture
def room(trace):
    made = Workspace(never, scheduler=Scheduler())
    made.pipeline.show(trace)
    return made


async def a_moment():
    """Long enough for a result that is there to be drawn, if it were to be."""
    for _ in range(5):
        await asyncio.sleep(0.01)


def select(room, *rows):
    room.selection.select_tokens(list(rows), axis="from", side="source")


def test_it_shows_something_else_and_what_is_happening_until_the_result_is_drawn(room, monkeypatch):
    monkeypatch.setattr(ticket, "SOON", 0.0)
    lens = Agreement(room)
    heard = Listener(lens, ["revision"])

    async def journey():
        assert lens.shown() == "nothing yet"
        assert (lens.busy, lens.waiting) == (True, "Starting")
        work = lens.works["rows "]
        await until(lambda: lens.waiting.startswith("Measuring agreement, about ") and lens.waiting.endswith(" s left"))
        assert lens.shown() == "nothing yet"  # a second look asks for nothing more
        work.gate.set()
        await until(lambda: not lens.busy)
        assert (lens.shown(), lens.waiting, lens.problem) == ("rows ", "", "")
        assert len(heard.take()) == 1
        assert (work.calls, work.thread != threading.get_ident()) == (1, True)
        assert lens.shown() == "rows "
        assert not lens.busy
        assert work.calls == 1

    run(journey())


def test_a_result_is_kept_on_the_trace_for_every_session(room, trace):
    one, other = Agreement(room), Agreement(Workspace(never, scheduler=room.scheduler))
    other.workspace.pipeline.show(trace)

    async def journey():
        one.shown()
        one.works["rows "].gate.set()
        await until(lambda: not one.busy)
        assert other.shown() == "rows "
        assert not other.busy

    run(journey())


def test_another_key_drops_the_one_under_way_and_its_result_never_appears(room):
    lens = Agreement(room)
    drawn = []
    lens.param.watch(lambda *_: drawn.append(lens.shown()), "revision")

    async def journey():
        lens.shown()
        old = lens.works["rows "]
        await until(old.began.is_set)
        select(room, 2)  # the view draws, and the lens asks for other rows
        new = lens.works["rows 2"]
        old.gate.set()
        await until(new.began.is_set)
        assert old.was_cancelled
        new.gate.set()
        await until(lambda: not lens.busy)
        await a_moment()

    run(journey())
    assert drawn == ["nothing yet", "rows 2"]


def test_work_that_does_not_listen_is_not_shown_either(room):
    lens = Agreement(room)
    heard = Listener(lens, ["revision"])
    gate, began, ended = threading.Event(), threading.Event(), threading.Event()

    def deaf(_):
        began.set()
        assert gate.wait(PATIENCE)
        ended.set()
        return "too late"

    lens.works["rows "] = deaf

    async def journey():
        lens.shown()
        await until(began.is_set)
        lens.cancel()
        gate.set()
        await until(ended.is_set)
        await a_moment()

    run(journey())
    assert heard.take() == []
    assert (lens.busy, lens.problem) == (False, STOPPED)


def test_what_another_session_wants_too_goes_on(room, trace):
    other_room = Workspace(never, scheduler=room.scheduler)
    other_room.pipeline.show(trace)
    one, other = Agreement(room), Agreement(other_room)

    async def journey():
        one.shown()
        other.shown()
        work = one.works["rows "]
        await until(work.began.is_set)
        one.cancel()
        work.gate.set()
        await until(lambda: not other.busy)
        assert other.shown() == "rows "
        assert (work.was_cancelled, other.works["rows "].calls) == (False, 0)
        assert (one.busy, one.problem) == (False, STOPPED)

    run(journey())


def test_the_reader_cancels_and_another_selection_starts_it_again(room):
    lens = Agreement(room)

    async def journey():
        lens.shown()
        work = lens.works["rows "]
        await until(work.began.is_set)
        lens.cancel()
        assert (lens.busy, lens.waiting, lens.problem) == (False, "", STOPPED)
        work.gate.set()
        await until(work.ended.is_set)
        assert work.was_cancelled
        assert lens.shown() == "nothing yet"  # drawn again for another reason, it does not start by itself
        assert not lens.busy
        select(room, 1)
        assert lens.problem == ""
        room.selection.clear()
        lens.shown()
        assert lens.busy
        await until(lambda: not lens.busy)
        assert (lens.shown(), work.calls) == ("rows ", 2)

    run(journey())


def test_a_new_trace_drops_everything_also_of_a_lens_that_sleeps(room):
    awake, asleep = Agreement(room), Agreement(room)
    asleep.key = "another lens"
    asleep.watched_by(room, active=False)

    async def journey():
        works = []
        for lens in (awake, asleep):
            lens.shown()
            works.append(lens.works["rows "])
        await until(works[0].began.is_set)
        room.pipeline.show(both())
        assert [(lens.busy, lens.waiting) for lens in (awake, asleep)] == [(False, "")] * 2
        works[0].gate.set()
        await until(works[0].ended.is_set)
        await a_moment()
        assert works[0].was_cancelled
        assert not works[1].began.is_set()  # it was in the queue of the trace

    run(journey())


def test_a_closed_tab_drops_its_work(room):
    lens = room.lens(Agreement)

    async def journey():
        lens.shown()
        work = lens.works["rows "]
        await until(work.began.is_set)
        room.leave()
        work.gate.set()
        await until(work.ended.is_set)
        assert work.was_cancelled

    run(journey())


def test_a_sleeping_lens_draws_its_result_when_somebody_looks(room):
    lens = Agreement(room)
    heard = Listener(lens, ["revision"])

    async def journey():
        lens.shown()
        lens.watched_by(room, active=False)
        lens.works["rows "].gate.set()
        await until(lambda: not lens.busy)
        assert heard.take() == []
        lens.watched_by(room, active=True)
        assert len(heard.take()) == 1
        assert lens.shown() == "rows "

    run(journey())


def test_errors_stand_where_the_plot_would_be_and_are_not_kept(room, caplog):
    lens = Agreement(room)
    drawn = []
    lens.param.watch(lambda *_: drawn.append(lens.shown()), "revision")
    work = lens.works["rows "] = Planted("at last", TooLarge("Too many heads. Select fewer."))
    work.gate.set()

    async def journey():
        lens.shown()
        await until(lambda: not lens.busy)
        assert lens.problem == "Too many heads. Select fewer."
        assert caplog.records == []
        lens.attempt(lambda: None, None)
        assert lens.problem == "Too many heads. Select fewer."  # what else the view draws does not hide it
        assert lens.shown() == "nothing yet"
        assert (work.calls, lens.busy) == (1, False)
        work.error = ZeroDivisionError("by zero")
        select(room, 1)
        assert lens.problem == ""
        lens.works["rows 1"].gate.set()
        await until(lambda: not lens.busy)
        room.selection.clear()
        await until(lambda: not lens.busy)
        assert "fault of Atlas" in lens.problem
        assert "ZeroDivisionError: by zero" in lens.problem
        assert [record.exc_info[1] for record in caplog.records] == [work.error]
        work.error = None
        select(room, 1)
        room.selection.clear()
        await until(lambda: not lens.busy)
        assert (lens.problem, lens.shown()) == ("", "at last")

    with caplog.at_level(logging.ERROR):
        run(journey())


def test_what_never_fits_is_refused_and_what_does_not_fit_now_waits_where_the_plot_would_be(trace):
    scheduler = Scheduler(limits=Limits(memory=4 * 10**9, share=0.5))
    room = Workspace(never, scheduler=scheduler, tasks={COST: lambda _, passes, **__: Cost(bytes=passes * 10**9)})
    room.pipeline.show(trace)
    beside = Planted("another reader's")
    scheduler.submit(planted_run(beside), lane="elsewhere", session="another", cost=Cost(bytes=2 * 10**9))
    third = Planted("a third one's")
    scheduler.submit(planted_run(third), lane="far", session="third", cost=Cost(bytes=10**9))
    large, fits = Agreement(room), Agreement(room)
    large.key, fits.key = "large", "fits"

    def ask(lens, passes):
        work = lens.works.setdefault("rows ", Planted(lens.key))
        return lens.ask(lens.asks(), work, "nothing yet", needs_model=True, takes=Takes(passes))

    async def journey():
        await until(lambda: beside.began.is_set() and third.began.is_set())
        ask(large, 3)
        await until(lambda: not large.busy)
        assert (
            large.problem
            == f"This needs about 3 GB of memory, and the work of one visitor may take 2 GB on this server. {ADVICE}"
        )
        assert not large.works["rows "].began.is_set()
        ask(fits, 2)
        await until(lambda: fits.waiting == "Waits for memory: it needs about 2 GB, and 3 GB of 4 GB are taken")
        beside.gate.set()
        await until(fits.works["rows "].began.is_set)
        third.gate.set()
        fits.works["rows "].gate.set()
        await until(lambda: not fits.busy)
        assert ask(fits, 2) == "fits"

    run(journey())


def test_what_needs_the_model_waits_for_its_runs_and_what_does_not_goes_on(room):
    planted = Planted("a run")
    room.scheduler.submit(planted_run(planted), lane=room.pipeline.lane, session="another reader")
    lens, quick = Agreement(room), Agreement(room)
    lens.needs_model = True
    quick.key = "quick"

    async def journey():
        await until(planted.began.is_set)
        lens.shown()
        await until(lambda: lens.waiting == "1 run before yours")
        quick.works["rows "] = lambda _: "no model"
        quick.shown()
        await until(lambda: quick.shown() == "no model")
        planted.gate.set()
        await until(lens.works["rows "].began.is_set)
        lens.works["rows "].gate.set()
        await until(lambda: lens.shown() == "rows ")

    run(journey())


def planted_run(planted):
    return lambda ticket: planted(asking.Progress(ticket))


def test_without_an_event_loop_the_work_runs_at_once(room):
    lens = Agreement(room, {"rows ": lambda progress: progress.tell("Measuring", 0.5) or "there"})
    assert (lens.shown(), lens.busy) == ("there", False)
    lens.works["rows 1"] = Planted("never", TooLarge("Too many heads."))
    lens.works["rows 1"].gate.set()
    select(room, 1)
    assert (lens.shown(), lens.problem) == ("nothing yet", "Too many heads.")
    assert lens.no_fault == ""
    lens.works["rows 2"] = Planted("never", NothingYet("No word is flagged."))
    lens.works["rows 2"].gate.set()
    select(room, 2)
    assert (lens.shown(), lens.problem, lens.no_fault) == ("nothing yet", "No word is flagged.", "No word is flagged.")


def test_before_a_trace_there_is_nothing_to_ask(trace):
    lens = Agreement(Workspace(never))
    assert (lens.shown(), lens.busy, lens.problem) == ("nothing yet", False, "")


def test_of_many_weights_the_matrix_shows_thumbnails_until_they_are_computed(room, monkeypatch):
    monkeypatch.setattr(matrix, "QUICK_CELLS", 60)
    gate, window = threading.Event(), windows.window

    def slow(*args, **kwargs):
        assert gate.wait(PATIENCE)
        return window(*args, **kwargs)

    monkeypatch.setattr(windows, "window", slow)
    lens = MatrixLens(room)
    heard = Listener(lens, ["revision"])

    def shown():
        return lens.window(0, 8, 0, 8)

    async def journey():
        lens.plane()
        assert not shown().exact
        assert not shown().exact
        room.selection.pick(HeadId(ENCODER, 1, 2))
        assert heard.take() == [{"revision": 1}]
        assert not shown().exact
        # The work for the head before may have begun: then it goes first, and ends at its next report.
        await until(lambda: lens.waiting in ("Computing 64 cells", "1 run before yours"))
        gate.set()
        await until(lambda: not lens.busy)
        assert heard.take() == [{"revision": 2}]
        assert shown().exact
        np.testing.assert_array_equal(shown().values, room.trace.attention(layer=1, head=2))
        assert not any("asked" in key for key in room.trace._cache)  # a window is large, and there are many
        room.pipeline.show(both())
        assert lens._asking._latest is None

    run(journey())


@pytest.mark.parametrize("paint", ["received", "sent"])
def test_of_many_weights_the_text_is_painted_when_they_are_added_up(room, monkeypatch, paint):
    room.display.paint = paint
    room.selection.select_tokens([1, 2], side="source")
    expected = StripLens(room, "source").weights()
    monkeypatch.setattr(token_strip, "QUICK_CELLS", 10)
    lens = StripLens(room, "source")

    async def journey():
        assert lens.weights() is None
        assert lens.busy
        await until(lambda: not lens.busy)
        np.testing.assert_array_equal(lens.weights(), expected)
        assert lens.line.startswith("attention received from" if paint == "received" else "attention given to")

    run(journey())


def test_a_ping_of_another_session_is_answered_while_a_lens_computes(room):
    """Plain Python in the thread, which lets go of the interpreter only when it must."""
    lens = Agreement(room)
    done = threading.Event()

    def busy(progress):
        total = 0
        while not done.is_set():
            total += sum(range(1000))
            progress.tell("Adding", 0.5)
        return total

    lens.works["rows "] = busy

    async def journey():
        lens.shown()
        await until(lambda: lens.waiting.startswith("Adding"))
        waits = []
        for _ in range(100):
            before = time.perf_counter()
            await asyncio.sleep(0)
            waits.append(time.perf_counter() - before)
        done.set()
        await until(lambda: not lens.busy)
        assert sorted(waits)[94] < 0.2

    run(journey())
