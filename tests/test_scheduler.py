"""The Scheduler under sessions that queue, leave, share and fail; planted work waits for events, never for a time."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from concurrent.futures import CancelledError
from concurrent.futures import wait as wait_for

import pytest

from atlas import pool as module
from atlas.errors import ModelNotFound
from atlas.scheduler import UNKNOWN, Cancelled, Scheduler
from tests.planted_work import PATIENCE, results

# -- lanes and turns -----------------------------------------------------------------------------------------------------


def test_one_task_of_a_lane_at_a_time_and_other_lanes_do_not_wait(plant):
    scheduler = Scheduler(workers=2)
    long = [plant(name=f"tab {i}") for i in range(6)]
    tabs = [scheduler.submit(work, lane="model", session=i) for i, work in enumerate(long)]
    long[0].begins()
    # Five tasks wait for the model and hold no thread: the visitor has the second one.
    assert results(scheduler.submit(lambda _: "served", lane="another", session="visitor")) == ["served"]
    assert not any(work.began.is_set() for work in long[1:])
    for work in long:
        work.begins().gate.set()
    assert results(*tabs) == [work.name for work in long]


def test_sessions_take_turns_within_a_lane(plant):
    scheduler, order = Scheduler(), []
    first = plant(order, "a1")
    tasks = [scheduler.submit(first, lane="m", session="a")]
    first.begins()
    for name in ("a2", "a3", "a4", "b1", "b2", "c1"):
        work = plant(order, name)
        work.gate.set()
        tasks.append(scheduler.submit(work, lane="m", session=name[0]))
    assert [task.ticket.runs_before for task in tasks] == [0, 1, 4, 6, 2, 5, 3]
    assert [tasks[i].ticket.words() for i in (1, 2)] == ["1 run before yours", "4 runs before yours"]
    first.gate.set()
    results(*tasks)
    assert order == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


def test_a_place_moves_up_as_runs_end_and_as_others_leave(plant):
    scheduler = Scheduler()
    works = [plant(name=str(i)) for i in range(4)]
    tasks = [scheduler.submit(work, lane="m", session=i) for i, work in enumerate(works)]
    works[0].begins()
    assert tasks[3].ticket.runs_before == 3
    tasks[1].leave()
    assert tasks[3].ticket.runs_before == 2
    works[0].gate.set()
    works[2].begins()
    assert (tasks[2].ticket.runs_before, tasks[3].ticket.runs_before) == (0, 1)
    works[2].gate.set()
    works[3].begins().gate.set()
    assert results(tasks[0], tasks[2], tasks[3]) == ["0", "2", "3"]
    assert not works[1].began.is_set()


def test_lanes_take_turns_where_threads_are_few(plant):
    scheduler, order = Scheduler(workers=1), []
    first = plant(order, "x1")
    tasks = [scheduler.submit(first, lane="x", session="a")]
    first.begins()
    tasks += [
        scheduler.submit(lambda _, name=name: order.append(name), lane=name[0], session=name) for name in ("x2", "x3", "y1", "y2")
    ]
    first.gate.set()
    results(*tasks)
    assert order == ["x1", "y1", "x2", "y2", "x3"]


def test_threads_are_bounded_used_again_and_end_when_nothing_is_left_to_do(plant, monkeypatch):
    monkeypatch.setattr(module, "IDLE", 0.05)
    scheduler, others = Scheduler(workers=3), set(threading.enumerate())
    works = [plant(name=str(i)) for i in range(5)]
    tasks = [scheduler.submit(work, lane=i, session=i) for i, work in enumerate(works)]
    for work in works[:3]:
        work.begins()
    assert not works[3].began.is_set()
    assert scheduler._runs.threads == 3
    threads = set(threading.enumerate()) - others
    assert {thread.name for thread in threads} == {work.thread for work in works[:3]}
    for work in works:
        work.gate.set()
    results(*tasks)
    assert {work.thread for work in works} <= {thread.name for thread in threads}
    for thread in threads:
        thread.join(PATIENCE)
    assert (scheduler._runs.threads, scheduler._runs.lanes) == (0, {})
    assert results(scheduler.submit(lambda _: "again", lane=0, session=0)) == ["again"]


def test_many_tasks_from_many_threads_all_end_and_never_two_of_a_lane_at_once():
    scheduler, inside, worst, lock = Scheduler(workers=4), dict.fromkeys(range(3), 0), [], threading.Lock()

    def work(_, lane):
        with lock:
            inside[lane] += 1
            worst.append(inside[lane])
        with lock:
            inside[lane] -= 1
        return lane

    tasks = []

    def session(number):
        for i in range(60):
            lane = (number + i) % 3
            task = scheduler.submit(lambda ticket, lane=lane: work(ticket, lane), lane=lane, session=number)
            with lock:
                tasks.append(task)

    threads = [threading.Thread(target=session, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert wait_for([task.future for task in tasks], PATIENCE).not_done == set()
    assert (len(worst), max(worst)) == (300, 1)
    assert scheduler._runs.lanes == {}


def test_long_work_in_the_background_takes_no_thread_of_the_runs(plant):
    scheduler = Scheduler(workers=1, analysts=1)
    long = [plant(name=f"t-SNE {i}") for i in range(3)]
    tasks = [scheduler.submit(work, lane=i, session=i, in_background=True) for i, work in enumerate(long)]
    long[0].begins()
    assert results(scheduler.submit(lambda _: "a run", lane="m", session=0)) == ["a run"]
    assert not long[1].began.is_set()
    for work in long:
        work.gate.set()
    assert results(*tasks) == [work.name for work in long]


# -- who leaves ----------------------------------------------------------------------------------------------------------


def test_what_nobody_waits_for_never_begins(plant):
    scheduler = Scheduler()
    first, second, third = (plant(name=name) for name in ("1", "2", "3"))
    tasks = [scheduler.submit(work, lane="m", session="a") for work in (first, second, third)]
    first.begins()
    tasks[1].leave()
    assert tasks[1].future.cancelled()
    first.gate.set()
    third.begins().gate.set()
    assert results(tasks[0], tasks[2]) == ["1", "3"]
    assert not second.began.is_set()


def test_what_runs_ends_at_its_next_report(plant):
    scheduler = Scheduler()
    work = plant(name="1")
    task = scheduler.submit(work, lane="m", session="a")
    work.begins()
    task.leave()
    assert not task.future.done()
    work.gate.set()
    assert isinstance(task.future.exception(PATIENCE), Cancelled)


def test_no_except_exception_of_the_work_can_keep_it_from_ending(plant):
    def stubborn(ticket):
        for step in range(1000):
            began.set()
            gate.wait(PATIENCE)
            try:
                ticket.tell("tracing", f"step {step}")
            except Exception as error:  # noqa: BLE001  (that is what such work does)
                caught.append(error)
        return "all steps"

    scheduler, began, gate, caught = Scheduler(), threading.Event(), threading.Event(), []
    task = scheduler.submit(stubborn, lane="m", session="a")
    assert began.wait(PATIENCE)
    task.leave()
    gate.set()
    assert isinstance(task.future.exception(PATIENCE), Cancelled)
    assert caught == []


def test_one_key_is_one_task_and_goes_on_while_anybody_wants_it(plant):
    scheduler = Scheduler()
    work = plant(name="shared")
    one = scheduler.submit(work, lane="t", session="a", key="k")
    work.begins()
    other = scheduler.submit(plant(name="never made"), lane="t", session="b", key="k")
    assert other is one
    one.leave()
    assert not work.ticket.cancelled
    work.gate.set()
    assert results(other) == ["shared"]
    again = plant(name="again")
    again.gate.set()
    assert results(scheduler.submit(again, lane="t", session="a", key="k")) == ["again"]  # the scheduler remembers no result


def test_a_key_that_was_left_and_still_runs_is_a_new_task_for_the_next(plant):
    scheduler = Scheduler()
    old, new = plant(name="old"), plant(name="new")
    left = scheduler.submit(old, lane="t", session="a", key="k")
    old.begins()
    left.leave()
    task = scheduler.submit(new, lane="t", session="b", key="k")
    old.gate.set()
    new.begins().gate.set()
    assert results(task) == ["new"]


# -- loading -------------------------------------------------------------------------------------------------------------


def test_loading_holds_up_no_run_and_is_done_once_for_all_who_wait(plant):
    scheduler = Scheduler(workers=1, loaders=1)
    download, other = plant(name="1 GB"), plant(name="not needed")
    waiting = [
        scheduler.submit(lambda _, i=i: f"run {i}", lane="large", session=i, load=load)
        for i, load in enumerate((download, other))
    ]
    download.begins()
    download.ticket.note("loading", "Fetching model.safetensors", 0.25)
    assert [task.progress() for task in waiting] == [("loading", "Fetching model.safetensors", 0.25)] * 2
    assert results(scheduler.submit(lambda _: "small", lane="small", session="visitor")) == ["small"]
    download.gate.set()
    assert results(*waiting) == ["run 0", "run 1"]
    assert not other.began.is_set()
    assert [task.progress() for task in waiting] == [("loading", "Starting", UNKNOWN)] * 2


def test_a_load_that_fails_fails_for_all_who_wait_and_the_next_tries_again(plant):
    scheduler = Scheduler()
    download = plant(name="gone", error=ModelNotFound("There is no model 'gone'."))
    run = plant()
    waiting = [scheduler.submit(run, lane="gone", session=i, load=download) for i in range(2)]
    download.begins().gate.set()
    assert [task.future.exception(PATIENCE) for task in waiting] == [download.error] * 2
    assert not run.began.is_set()
    task = scheduler.submit(lambda _: "there", lane="gone", session=0, load=lambda _: None)
    assert results(task) == ["there"]


def test_who_leaves_while_a_model_loads_is_not_run_and_the_others_are(plant):
    scheduler = Scheduler()
    download, left = plant(name="m"), plant(name="left")
    one = scheduler.submit(left, lane="m", session="a", load=download)
    two = scheduler.submit(lambda _: "two", lane="m", session="b", load=download)
    download.begins()
    one.leave()
    assert one.future.cancelled()
    download.gate.set()
    assert results(two) == ["two"]
    assert not left.began.is_set()


def test_a_load_that_nobody_waits_for_is_told_so_and_one_in_the_queue_is_dropped(plant):
    scheduler = Scheduler(loaders=1)
    first, second = plant(name="first"), plant(name="second")
    tasks = [scheduler.submit(lambda _: "", lane=load.name, session=0, load=load) for load in (first, second)]
    first.begins()
    for task in tasks:
        task.leave()
    first.gate.set()
    after = scheduler.submit(lambda _: "after", lane="third", session=0, load=lambda _: None)
    assert results(after) == ["after"]
    assert first.ticket.cancelled
    assert not second.began.is_set()


# -- faults, memory ------------------------------------------------------------------------------------------------------


def test_an_error_is_handed_on_a_fault_is_logged_and_the_thread_works_on(caplog):
    scheduler = Scheduler(workers=1)
    foreseen, fault = ModelNotFound("no"), ZeroDivisionError("by zero")

    def raises(error):
        raise error

    with caplog.at_level(logging.ERROR):
        errors = [
            scheduler.submit(lambda _, error=error: raises(error), lane="m", session=0).future.exception(PATIENCE)
            for error in (foreseen, fault)
        ]
    assert errors == [foreseen, fault]
    (record,) = caplog.records
    assert record.exc_info[1] is fault
    assert results(scheduler.submit(lambda _: 7, lane="m", session=0)) == [7]


def test_idle_threads_keep_nothing_of_a_session_alive():
    class Session:
        """Somebody with a tab."""

    scheduler, session = Scheduler(), Session()
    alive = weakref.ref(session)
    task = scheduler.submit(lambda _, held=session: id(held), lane=session, session=session, key=(session, "k"))
    results(task)
    # A second task of another lane: its end says that the thread has let go of the first.
    results(scheduler.submit(lambda _: None, lane="x", session=0))
    del session, task
    gc.collect()
    assert alive() is None


def test_whoever_waits_for_a_dropped_task_is_not_left_hanging(plant):
    scheduler = Scheduler()
    running, queued = plant(name="running"), plant(name="queued")
    scheduler.submit(running, lane="m", session=0)
    task = scheduler.submit(queued, lane="m", session=0)
    running.begins()
    task.leave()
    with pytest.raises(CancelledError):
        task.future.result(PATIENCE)
