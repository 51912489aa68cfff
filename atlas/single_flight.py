"""Single flight: many callers ask for one key at once, one of them does the work, all get its result."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

T = TypeVar("T")


class SingleFlight:
    """Runs one function per key at a time; callers that come meanwhile wait for that run and share its result or its error.

    Other keys never wait. Work that asks for its own key, also by way of other keys and other threads, raises `RuntimeError`:
    it would wait for itself for ever.

    Parameters
    ----------
    keep
        How many finished results to remember, the least recently used dropped first. 0 shares only runs under way: what a
        run returned is then kept alive by its callers alone. Errors are never remembered, so the next caller tries again.
    """

    def __init__(self, keep: int = 0) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, tuple[Future[Any], int]] = {}
        self._waits_for: dict[int, tuple[Hashable, Future[Any]]] = {}
        """Thread -> the key it waits for, and the run of it."""
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def __call__(self, key: Hashable, work: Callable[[], T]) -> T:
        """What `work()` returned for `key`: a kept result, the run under way, or a new run in this thread."""
        own = threading.get_ident()
        while True:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
                others = self._under_way.get(key)
                if others is None:
                    ours: Future[T] = Future()
                    self._under_way[key] = (ours, own)
                    break
                if self._ends_at(key, own):
                    msg = f"The work for {key!r} asks for {key!r} itself."
                    raise RuntimeError(msg)
                self._waits_for[own] = key, others[0]
            try:
                return others[0].result()
            except CancelledError:
                continue  # the thread that did the work was interrupted, the work did not fail: take it over
            finally:
                with self._lock:
                    del self._waits_for[own]
        return self._fly(key, ours, work)

    def holds(self, key: Hashable) -> bool:
        """Whether there is a kept result of `key`; does not count as a use."""
        with self._lock:
            return key in self._kept

    def get(self, key: Hashable) -> Any:
        """The kept result of `key`, None if there is none; does not count as a use."""
        with self._lock:
            return self._kept.get(key)

    def forget(self, key: Hashable) -> None:
        """Drop the kept result of `key`, if there is one; a run under way goes on."""
        with self._lock:
            self._kept.pop(key, None)

    def _ends_at(self, key: Hashable, thread: int) -> bool:
        """Whether the run of `key` is made by a thread, or waits for a run that is; two threads would wait for each other."""
        run = self._under_way[key][0]
        # A thread whose run has just ended may not have woken yet: it waits for a run that is none of those under way.
        while key in self._under_way and self._under_way[key][0] is run:
            owner = self._under_way[key][1]
            if owner == thread:
                return True
            if owner not in self._waits_for:
                return False
            key, run = self._waits_for[owner]
        return False

    def _fly(self, key: Hashable, future: Future[T], work: Callable[[], T]) -> T:
        try:
            result = work()
        except Exception as error:
            self._land(key)
            future.set_exception(error)
            raise
        except BaseException:
            # Ctrl-C or a cancelled job stopped this thread; the others did not ask to be stopped.
            self._land(key)
            future.cancel()
            raise
        with self._lock:
            del self._under_way[key]
            if self._keep:
                self._kept[key] = result
                while len(self._kept) > self._keep:
                    self._kept.popitem(last=False)
        future.set_result(result)
        return result

    def _land(self, key: Hashable) -> None:
        with self._lock:
            del self._under_way[key]


class Keeps:
    """Works out once what it is asked for under a name, and keeps it as long as it lives itself."""

    _cache: dict[str, Any]
    _under_way: SingleFlight

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """The kept result of `make` under a key. The first caller computes it; those who come meanwhile wait for that result.

        Other keys do not wait. An error is not kept. A key whose `make` asks for the same key raises `RuntimeError`.
        """
        if key in self._cache:
            return self._cache[key]

        def run() -> Any:
            if key not in self._cache:  # somebody else may have finished between the look above and this run
                self._cache[key] = make()
            return self._cache[key]

        return self._under_way(key, run)

    def holds(self, key: str) -> bool:
        """Whether the result of a key is kept; does not wait for a computation under way."""
        return key in self._cache


K = TypeVar("K", bound=Keeps)


def renewed(keeper: K) -> K:
    """A copy that has worked out nothing yet."""
    made = copy.copy(keeper)
    made.__dict__.update(_cache={}, _under_way=SingleFlight())
    return made


single_flight = SingleFlight()
"""For work whose result its callers keep; a memory of results is `SingleFlight(keep=n)`."""
