from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from atlas.single_flight import SingleFlight, single_flight


def ask_together(flight, key, work, callers=10):
    """All callers at the door before the first goes in."""
    door = threading.Barrier(callers)

    def ask():
        door.wait()
        return flight(key, work)

    with ThreadPoolExecutor(callers) as pool:
        return [pool.submit(ask) for _ in range(callers)]


def test_ten_callers_share_one_run_and_one_object():
    runs = []

    def work():
        runs.append(1)
        time.sleep(0.2)
        return object()

    results = {id(future.result()) for future in ask_together(single_flight, "model", work)}
    assert len(runs) == 1
    assert len(results) == 1


def test_all_get_the_same_error_and_the_next_caller_tries_again():
    runs = []

    def fail():
        runs.append(1)
        time.sleep(0.2)
        raise LookupError(str(len(runs)))

    errors = {id(future.exception()) for future in ask_together(single_flight, "gone", fail)}
    assert len(runs) == 1
    assert len(errors) == 1
    with pytest.raises(LookupError, match="2"):
        single_flight("gone", fail)
    assert single_flight("gone", lambda: "back") == "back"


def test_different_keys_run_side_by_side():
    meet = threading.Barrier(2, timeout=5)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(single_flight, key, meet.wait) for key in ("a", "b")]
        assert sorted(future.result() for future in futures) == [0, 1]


def test_nothing_is_kept_unless_asked_for():
    flight = SingleFlight()
    assert flight("x", object) is not flight("x", object)


def test_kept_results_are_bounded_by_use():
    flight = SingleFlight(keep=2)
    a, b = flight("a", object), flight("b", object)
    assert flight("a", object) is a
    flight("c", object)  # b was used longest ago
    assert flight("a", object) is a
    assert flight("b", object) is not b
    flight.forget("b")
    flight.forget("never seen")


def test_errors_are_never_kept():
    flight = SingleFlight(keep=2)
    with pytest.raises(ZeroDivisionError):
        flight("x", lambda: 1 / 0)
    assert flight("x", lambda: 7) == 7


def test_an_interrupted_run_is_taken_over_by_one_who_waits():
    started, waiting = threading.Event(), threading.Event()

    def interrupted():
        started.set()
        waiting.wait(5)
        time.sleep(0.1)
        raise KeyboardInterrupt

    flight = SingleFlight()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flight, "x", interrupted)
        started.wait(5)
        second = pool.submit(lambda: (waiting.set(), flight("x", lambda: "done"))[1])
        assert second.result(5) == "done"
        assert isinstance(first.exception(5), KeyboardInterrupt)


def test_asking_for_oneself_is_an_error_not_a_hang():
    flight = SingleFlight()
    with pytest.raises(RuntimeError, match="itself"):
        flight("x", lambda: flight("x", object))


def test_a_circle_of_two_threads_is_an_error_not_a_hang():
    flight, both_inside = SingleFlight(), threading.Barrier(2, timeout=5)

    def asks_for(other):
        both_inside.wait()
        return flight(other, both_inside.wait)

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(flight, key, lambda other=other: asks_for(other)) for key, other in ("xy", "yx")]
        errors = [future.exception(5) for future in futures]
    # One of the two finds the circle; the other waited for that one and shares its error.
    assert [type(error) for error in errors] == [RuntimeError, RuntimeError]
    assert "itself" in str(errors[0])
    assert flight("x", lambda: "free again") == "free again"


def test_it_says_what_it_holds_without_using_it():
    flight = SingleFlight(keep=2)
    flight("a", object)
    flight("b", object)
    assert flight.holds("a")
    flight("c", object)
    assert [flight.holds(key) for key in "abc"] == [False, True, True]
