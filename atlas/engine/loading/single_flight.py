"""Single flight: many callers ask for one thing at once, one of them does the work, all get what it got."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

T = TypeVar("T")


class SingleFlight:
    """Runs one function per key at a time; who asks meanwhile waits for that run and shares its object or its error.

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
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def __call__(self, key: Hashable, work: Callable[[], T]) -> T:
        """What `work()` returned for `key`: a kept result, the run under way, or a new run in this thread."""
        while True:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
                others = self._under_way.get(key)
                if others is None:
                    ours: Future[T] = Future()
                    self._under_way[key] = (ours, threading.get_ident())
                    break
            future, owner = others
            if owner == threading.get_ident():
                # Waiting for oneself would hang for ever, without a word.
                msg = f"The work for {key!r} asks for {key!r} itself."
                raise RuntimeError(msg)
            try:
                return future.result()
            except CancelledError:
                continue  # the thread that did the work was interrupted, the work was not refused: take it over
        return self._fly(key, ours, work)

    def forget(self, key: Hashable) -> None:
        """Drop the kept result of `key`, if there is one; a run under way goes on."""
        with self._lock:
            self._kept.pop(key, None)

    def _fly(self, key: Hashable, future: Future[T], work: Callable[[], T]) -> T:
        try:
            result = work()
        except Exception as error:
            self._land(key)
            future.set_exception(error)
            raise
        except BaseException:
            # Ctrl-C hit this thread; the others did not ask to be stopped.
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


single_flight = SingleFlight()
"""For work whose result its callers keep; a memory of results is `SingleFlight(keep=n)`."""
