"""Admission: who may begin, who waits and for what, who is refused; with planted work and estimates, and no time that passes."""

from __future__ import annotations

import threading
import time

import pytest

from atlas import ticket
from atlas.admission import ADVICE, MOST_OVERTAKEN, Admission, Cost, Limits, in_bytes, in_time
from atlas.errors import TooMuch
from atlas.scheduler import Cancelled, Scheduler
from tests.planted_work import PATIENCE, results

GB = 10**9


def text_of(task):
    return task.ticket.words()


def until(seen):
    end = time.monotonic() + PATIENCE
    while not seen():
        assert time.monotonic() < end


def taken(scheduler):
    """What admission counts: (tasks, bytes of all, bytes by session)."""
    admission = scheduler._admission
    return sum(admission.running.values()), admission.bytes_of_all, dict(admission.bytes_of)


# -- without limits --------------------------------------------------------------------------------------------------------


def test_without_limits_nothing_waits_and_nothing_is_refused(plant):
    scheduler = Scheduler(workers=4)
    huge = Cost(bytes=10**15, tokens=10**12, seconds=10**9)
    works = [plant(name=str(at)) for at in range(4)]
    tasks = [scheduler.submit(work, lane=at, session="owner", cost=huge) for at, work in enumerate(works)]
    for work in works:
        work.begins().gate.set()
    assert results(*tasks) == ["0", "1", "2", "3"]


def test_work_is_weighed_only_where_there_are_limits():
    weighed = []

    def weigh():
        weighed.append(1)
        return Cost()

    for limits in (Limits(), Limits(memory=GB)):
        results(Scheduler(limits=limits).submit(lambda _: 0, lane="m", session=0, weigh=weigh))
    assert weighed == [1]


# -- refusals ----------------------------------------------------------------------------------------------------------------


def test_work_that_never_fits_is_refused_with_what_it_needs_what_is_allowed_and_what_to_do():
    scheduler = Scheduler(limits=Limits(memory=4 * GB, share=0.5, seconds=600))
    never = [Cost(bytes=3 * GB), Cost(seconds=1500.0)]
    said = [str(scheduler.submit(lambda _: 0, lane="m", session="a", cost=cost).future.exception(PATIENCE)) for cost in never]
    assert said == [
        f"This needs about 3 GB of memory, and the work of one visitor may take 2 GB on this server. {ADVICE}",
        f"This would take about 25 min, and one run may take 10 min on this server. {ADVICE}",
    ]
    assert taken(scheduler) == (0, 0, {})
    assert results(scheduler.submit(lambda _: 1, lane="m", session="a", cost=Cost(bytes=2 * GB, seconds=600.0))) == [1]


def test_what_its_model_weighs_too_heavy_is_refused_and_leaves_no_trace_in_the_counts(plant):
    scheduler = Scheduler(limits=Limits(memory=GB))
    beside = plant(name="beside")
    running = scheduler.submit(beside, lane="x", session="a", cost=Cost(bytes=GB // 2))
    beside.begins()
    heavy = plant()
    task = scheduler.submit(heavy, lane="m", session="a", weigh=lambda: Cost(bytes=2 * GB))
    assert isinstance(task.future.exception(PATIENCE), TooMuch)
    assert not heavy.began.is_set()
    results(scheduler.submit(lambda _: 0, lane="m", session="b"))  # its lane is free again
    assert taken(scheduler) == (1, GB // 2, {"a": GB // 2})
    beside.gate.set()
    results(running)


def test_a_model_is_as_quick_as_its_quickest_run_and_unknown_before(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr(ticket.time, "monotonic", lambda: Clock.now)
    scheduler = Scheduler(workers=1, limits=Limits(seconds=100))

    def run(seconds):
        def work(_):
            Clock.now += seconds

        results(scheduler.submit(work, lane="m", session=0, weigh=lambda: Cost(tokens=100)))
        results(scheduler.submit(lambda _: 0, lane="x", session=0))  # the end of the run before is counted

    def asked(tokens):
        return scheduler.submit(lambda _: "done", lane="m", session=0, cost=Cost(tokens=tokens)).future

    assert asked(10**9).result(PATIENCE) == "done"  # nothing is known of the model
    run(50.0)
    assert isinstance(asked(1_000).exception(PATIENCE), TooMuch)
    run(1.0)  # warm
    run(5.0)  # beside others
    assert asked(10_000).result(PATIENCE) == "done"
    assert "about 10 min, and one run may take 100 s" in str(asked(60_000).exception(PATIENCE))


def test_work_with_two_models_takes_the_time_of_each_at_its_own_pace():
    admission, both = Admission(Limits(seconds=100)), Cost(tokens=5_000, beside=(("n", 1_000),))
    admission.learn("m", Cost(tokens=1_000), 10.0)
    admission.check(both, "m")  # nothing is known of the other model
    admission.learn("n", Cost(tokens=1_000), 60.0)
    admission.learn("m", both, 1e-3)  # teaches nothing: it is the time of two models
    with pytest.raises(TooMuch, match="about 110 s"):
        admission.check(both, "m")


def test_work_that_runs_for_too_long_ends_at_its_next_report_with_a_sentence(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr(ticket.time, "monotonic", lambda: Clock.now)
    scheduler, told = Scheduler(limits=Limits(memory=GB, seconds=60)), []

    def work(ticket):
        for second in range(1000):
            Clock.now += 1.0
            ticket.tell("asked", f"{second}")
            told.append(second)

    task = scheduler.submit(work, lane="m", session="a", cost=Cost(bytes=GB))
    error = task.future.exception(PATIENCE)
    assert str(error).startswith(
        "This was stopped after 60 s, the longest that one run may take on this server. Shorten the text"
    )
    assert len(told) == 60
    assert results(scheduler.submit(lambda _: "next", lane="m", session="b", cost=Cost(bytes=GB))) == ["next"]


# -- shares and fairness -----------------------------------------------------------------------------------------------------


def test_one_session_has_its_share_of_the_threads_and_the_rest_is_there_for_others(plant):
    scheduler = Scheduler(workers=4, limits=Limits(share=0.5))
    mine = [plant(name=f"mine {at}") for at in range(6)]
    tasks = [scheduler.submit(work, lane=at, session="a") for at, work in enumerate(mine)]
    for work in mine[:2]:
        work.begins()
    assert results(scheduler.submit(lambda _: "yours", lane="x", session="b")) == ["yours"]
    assert [work.began.is_set() for work in mine] == [True, True, False, False, False, False]
    assert text_of(tasks[5]) == "Waits for one of 2 runs of yours to end, because a visitor has no more at once here"
    for work in mine:
        work.gate.set()
    assert results(*tasks) == [work.name for work in mine]


def test_of_many_lanes_those_of_the_session_with_less_under_way_come_first(plant):
    scheduler, order = Scheduler(workers=2), []
    first, second = plant(order, "a0"), plant(order, "a1")
    tasks = [scheduler.submit(work, lane=work.name, session="a") for work in (first, second)]
    first.begins()
    second.begins()
    for name in ("a2", "a3", "a4", "b0", "b1"):
        work = plant(order, name)
        work.gate.set()
        tasks.append(scheduler.submit(work, lane=name, session=name[0]))
    second.gate.set()  # one thread is free, and a still has a run on the other
    results(*tasks[2:])
    assert order[2:4] == ["b0", "b1"]
    first.gate.set()
    results(*tasks)


def test_the_runs_of_all_are_bounded(plant):
    scheduler = Scheduler(workers=8, limits=Limits(at_once=2))
    works = [plant(name=str(at)) for at in range(3)]
    tasks = [scheduler.submit(work, lane=at, session=at) for at, work in enumerate(works)]
    for work in works[:2]:
        work.begins()
    assert (scheduler._runs.threads, works[2].began.is_set()) == (2, False)
    for work in works:
        work.gate.set()
    results(*tasks)


def test_limits_that_are_set_later_take_the_place_of_the_first():
    scheduler = Scheduler(workers=8, limits=Limits(at_once=2))
    for at_once, threads in ((5, 5), (20, 8), (None, 8), (1, 1)):
        scheduler.limit(Limits(at_once=at_once))
        assert (scheduler.limits.at_once, scheduler._runs.most) == (at_once, threads)


def test_work_waits_for_memory_that_others_take_and_says_so(plant):
    scheduler = Scheduler(workers=4, limits=Limits(memory=4 * GB, share=0.75))
    large, next_one, own = plant(name="large"), plant(name="next"), plant(name="own")
    tasks = [scheduler.submit(large, lane="m", session="a", cost=Cost(bytes=3 * GB))]
    large.begins()
    tasks.append(scheduler.submit(next_one, lane="n", session="b", weigh=lambda: Cost(bytes=2 * GB)))
    tasks.append(scheduler.submit(own, lane="o", session="a", cost=Cost(bytes=GB)))
    assert results(scheduler.submit(lambda _: "light", lane="p", session="c")) == ["light"], "it takes no memory"
    until(lambda: text_of(tasks[1]) == "Waits for memory: it needs about 2 GB, and 3 GB of 4 GB are taken")
    until(lambda: text_of(tasks[2]) == "Waits for memory: it needs about 1 GB, and other runs of yours take 3 GB of your 3 GB")
    assert not next_one.began.is_set()
    large.gate.set()
    next_one.begins()
    own.begins()
    assert taken(scheduler)[1:] == (3 * GB, {"b": 2 * GB, "a": GB})
    for work in (next_one, own):
        work.gate.set()
    assert results(*tasks) == ["large", "next", "own"]


def test_memory_that_a_run_releases_is_there_for_an_analysis_in_the_background(plant):
    scheduler = Scheduler(limits=Limits(memory=GB))
    run, analysis = plant(name="run"), plant(name="analysis")
    task = scheduler.submit(run, lane="m", session="a", cost=Cost(bytes=GB))
    run.begins()
    waiting = scheduler.submit(analysis, lane="t", session="b", cost=Cost(bytes=GB), in_background=True)
    run.gate.set()
    analysis.begins().gate.set()
    assert results(task, waiting) == ["run", "analysis"]


@pytest.mark.parametrize("how", [{"cost": Cost(bytes=GB)}, {"weigh": lambda: Cost(bytes=GB)}], ids=["known", "weighed later"])
@pytest.mark.parametrize("same_lane", [False, True], ids=["other lanes", "its lane"])
def test_small_work_does_not_hold_up_large_work_for_good(plant, how, same_lane):
    scheduler, order = Scheduler(workers=2, limits=Limits(memory=4 * GB)), []
    stays = plant(order, "stays")
    tasks = [scheduler.submit(stays, lane="s", session="s", cost=Cost(bytes=GB))]
    stays.begins()
    whole = plant(order, "whole")
    whole.gate.set()
    tasks.append(scheduler.submit(whole, lane="w", session="w", cost=Cost(bytes=4 * GB)))
    for at in range(3 * MOST_OVERTAKEN):
        small = plant(order, f"small {at}")
        small.gate.set()
        tasks.append(scheduler.submit(small, lane="w" if same_lane else at, session=at, **how))
    # The last one is counted before it is weighed, and waits then.
    before = MOST_OVERTAKEN - ("weigh" in how)
    results(*tasks[2 : 2 + before])
    # One that takes no memory may go on, and after it the large one is still the next to take any.
    assert results(scheduler.submit(lambda _: "light", lane="l", session="l")) == ["light"]
    stays.gate.set()
    results(*tasks)
    assert order.index("whole") == 1 + before


def test_work_that_waited_for_the_turn_of_larger_work_goes_on_when_that_is_given_up(plant):
    scheduler = Scheduler(workers=3, limits=Limits(memory=4 * GB))
    stays = plant()
    tasks = [scheduler.submit(stays, lane="s", session="s", cost=Cost(bytes=GB))]
    stays.begins()
    whole = scheduler.submit(plant(), lane="w", session="w", cost=Cost(bytes=4 * GB))
    for at in range(MOST_OVERTAKEN):
        results(scheduler.submit(lambda _: 0, lane=at, session=at, cost=Cost(bytes=GB)))
    small = plant()
    tasks.append(scheduler.submit(small, lane="x", session="x", cost=Cost(bytes=GB)))
    results(scheduler.submit(lambda _: "light", lane="l", session="l"))
    assert text_of(tasks[1]) == "Waits for memory: it needs about 1 GB, and a larger run has waited longer"
    whole.leave()
    small.begins()
    for work in (stays, small):
        work.gate.set()
    results(*tasks)


# -- releases ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["ends", "fails", "is cancelled", "is closed before it begins", "is closed while it is weighed"])
def test_what_was_taken_is_released_however_the_work_ends(plant, how):
    scheduler = Scheduler(workers=4, limits=Limits(memory=GB, share=1.0))
    work = plant(name="first", error=ZeroDivisionError() if how == "fails" else None)
    weighing, weigh_on = threading.Event(), threading.Event()

    def weigh():
        weighing.set()
        assert weigh_on.wait(PATIENCE)
        return Cost(bytes=GB)

    if how == "is closed while it is weighed":
        task = scheduler.submit(work, lane="m", session="a", weigh=weigh)
        assert weighing.wait(PATIENCE)
        task.leave()
        weigh_on.set()
        assert isinstance(task.future.exception(PATIENCE), Cancelled)
    else:
        task = scheduler.submit(work, lane="m", session="a", cost=Cost(bytes=GB))
        work.begins()
        assert taken(scheduler) == (1, GB, {"a": GB})
        if how == "is closed before it begins":
            left = scheduler.submit(plant(), lane="n", session="b", cost=Cost(bytes=GB))
            left.leave()
            assert left.future.cancelled()
        if how == "is cancelled":
            task.leave()
        work.gate.set()
        task.future.exception(PATIENCE)
    after = scheduler.submit(lambda _: "after", lane="n", session="c", cost=Cost(bytes=GB))
    assert results(after) == ["after"]
    assert not [name for name in scheduler._admission.bytes_of if name in {"a", "b"}]
    assert not scheduler._admission._short


def test_amounts_in_words():
    assert [in_bytes(count) for count in (2_500, 350_000_000, 1_234_000_000)] == ["0.0025 MB", "350 MB", "1.23 GB"]
    assert [in_time(seconds) for seconds in (40, 720, 10_800)] == ["40 s", "12 min", "3 h"]


def test_several_processes_have_a_part_of_memory_and_runs_each():
    limits = Limits(at_once=4, memory=10 * GB, seconds=60, share=0.5)
    assert limits.divided(2) == Limits(at_once=2, memory=5 * GB, seconds=60, share=0.5)
    assert limits.divided(8).at_once == 1
    assert limits.divided(1) == limits
    assert Limits().divided(3) == Limits()


def test_the_end_of_a_task_lets_all_begin_that_waited_for_it(plant):
    """Its thread takes one of them; another thread that is idle has to be woken for the other."""
    scheduler = Scheduler(workers=2, limits=Limits(share=0.5))
    first, beside = plant(), plant()
    warm = [scheduler.submit(each, lane=at, session=at) for at, each in enumerate((first, beside))]
    for each in (first, beside):
        each.begins().gate.set()
    results(*warm)
    held, next_of_lane, elsewhere = plant(), plant(), plant()
    tasks = [scheduler.submit(held, lane="m", session="a")]
    held.begins()
    tasks += [scheduler.submit(next_of_lane, lane="m", session="b"), scheduler.submit(elsewhere, lane="n", session="a")]
    until(lambda: tasks[2].ticket.held and scheduler._runs.idle == 1)  # the other thread has looked, and found nothing to do
    held.gate.set()
    for each in (next_of_lane, elsewhere):
        each.begins()
    for each in (next_of_lane, elsewhere):
        each.gate.set()
    results(*tasks)
