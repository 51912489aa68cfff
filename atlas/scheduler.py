"""Scheduler: runs the work of many sessions on a bounded number of threads, without a thread waiting for a busy model.

Every task belongs to a lane: the model it needs, or the trace it reads. One task of a lane runs at a time, and waiting tasks hold
no thread, because six tabs that waited for one model once held all six threads for 76 s. Within a lane the sessions take turns.
Models are loaded in separate threads, because a download of 1 GB takes minutes in which nothing is computed. `admission` says
what may begin; `pool` has the lanes and the threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from atlas.admission import NO_LIMITS, Admission, Cost, Limits
from atlas.errors import TooMuch
from atlas.pool import Pool
from atlas.ticket import UNKNOWN, Cancelled, Ticket

__all__ = ["UNKNOWN", "Cancelled", "Scheduler", "Task", "Ticket"]

T = TypeVar("T")

WORKERS = 8
"""Threads that compute. More lanes at once would only share the same processors, and each run holds activations in memory."""

ANALYSTS = 2
"""Threads for work without a model, such as t-SNE. It is Python code, which shares one interpreter with the event loop: beside
eight such threads a page was drawn at a ninth of its speed."""

LOADERS = 8
"""Threads that load models. They mostly wait for the network, so memory bounds their number, not the processors."""


@dataclass(eq=False)
class Task(Generic[T]):
    """Work submitted to a scheduler. A caller that submitted or joined it calls `leave` once if it no longer wants the result."""

    work: Callable[[Ticket], T]
    lane: Hashable
    session: Hashable
    key: Hashable
    ticket: Ticket
    scheduler: Scheduler
    pool: Pool
    future: Future[T] = field(default_factory=Future)
    wanted: int = 1
    """The number of callers that want the result."""
    loading: Task[Any] | None = None
    """The task that loads the model, while this task waits for it."""
    cost: Cost = field(default_factory=Cost)
    """What it will take by the estimates; all of it zero where nothing is known."""
    weigh: Callable[[], Cost] | None = None
    """Gives the cost of one run when its turn has come, because it needs the model."""
    exact: bool = False
    """Whether the tokens of its cost are those of one run, whose time then tells the pace of the model."""
    took: float = 0.0
    """Seconds that the work took; 0 until it ends."""
    counted: int = 0
    """Bytes that are counted for it while it runs."""
    overtaken: int = 0
    """Tasks that began before this one although it was its turn."""

    def progress(self) -> tuple[str, str, float]:
        """Stage, words and share of the loading that this task waits for, else of the task itself."""
        loading = self.loading
        ticket = loading.ticket if loading is not None else self.ticket
        return ticket.stage, ticket.words(), ticket.share

    def leave(self) -> None:
        """Stop waiting. A task without callers is removed from the queue, or ends when its thread next calls `tell`."""
        self.scheduler.leave(self)


class Scheduler:
    """Runs the work that sessions submit. A server has one scheduler for all sessions.

    Parameters
    ----------
    workers, analysts, loaders
        Numbers of threads that run models, analyse in the background, and load models.
    limits
        What the operator of a server allows.
    """

    def __init__(
        self, workers: int = WORKERS, analysts: int = ANALYSTS, loaders: int = LOADERS, limits: Limits = NO_LIMITS
    ) -> None:
        self._lock = threading.Lock()
        self._admission = Admission()
        pools: list[Pool] = []
        self._runs = Pool("atlas run", workers, self._lock, self._admission, pools)
        self._analyses = Pool("atlas analysis", analysts, self._lock, self._admission, pools)
        pools += [self._runs, self._analyses]
        # Not limited, because a session waits for two models at most and a download takes as long as it takes.
        self._loads = Pool("atlas load", loaders, self._lock, Admission(), [], timed=False)
        self._shared: dict[Hashable, Task[Any]] = {}
        self.limit(limits)

    @property
    def limits(self) -> Limits:
        """What the operator of the server allows."""
        return self._admission.limits

    def limit(self, limits: Limits) -> None:
        """Set what is allowed; work under way is not touched."""
        with self._lock:
            self._admission.limits = limits
            for pool in (self._runs, self._analyses):
                pool.most = pool.size if limits.at_once is None else min(pool.size, limits.at_once)

    def seconds_of(self, cost: Cost, lane: Hashable) -> float | None:
        """About how long some work would take; None where that is not known yet."""
        with self._lock:
            return self._admission.seconds_of(cost, lane)

    def submit(
        self,
        work: Callable[[Ticket], T],
        *,
        lane: Hashable,
        session: Hashable,
        key: Hashable = None,
        ticket: Ticket | None = None,
        load: Callable[[Ticket], object] | None = None,
        in_background: bool = False,
        cost: Cost | None = None,
        weigh: Callable[[], Cost] | None = None,
    ) -> Task[T]:
        """Queue work, or join the same work that is queued or runs.

        Parameters
        ----------
        work
            Called in a thread, with the ticket to which it reports progress.
        lane
            The model or trace that only one task may use at a time.
        session
            The session that submits the work; sessions take turns in a lane.
        key
            Work with the same key that is queued or runs is joined, not repeated. None: never joined.
        ticket
            The ticket to report to; by default a new one.
        load
            Loads the model, in a thread for loading, before the work is queued. All tasks of a lane share one load.
        in_background
            Whether this is long work without a model, which must not take the threads of the runs.
        cost
            What the work will take; it is refused, through its future, where that is more than is allowed.
        weigh
            Gives the cost when the turn has come, in a thread, where it needs the model.
        """
        with self._lock:
            known = self._shared.get(key) if key is not None else None
            if known is not None:
                known.wanted += 1
                return known
            pool = self._analyses if in_background else self._runs
            task = self._new_task(work, lane, session, key, ticket or Ticket(), pool)
            task.cost = cost or task.cost
            task.weigh = weigh if self.limits != NO_LIMITS else None
            refused = self._refused(task)
            if refused is None and load is None:
                pool.add(task)
            loading = task.loading = self._load(load, lane, session) if refused is None and load is not None else None
        if refused is not None:
            task.future.set_exception(refused)
        if loading is not None:
            loading.future.add_done_callback(lambda future: self._on_loaded(task, future))
        return task

    def _refused(self, task: Task[Any]) -> TooMuch | None:
        try:
            self._admission.check(task.cost, task.lane)
        except TooMuch as error:
            return error
        return None

    def leave(self, task: Task[Any]) -> None:
        """Withdraw one caller of a task; see `Task.leave`."""
        with self._lock:
            task.wanted -= 1
            if task.wanted or task.future.done():
                return
            task.ticket.cancelled = True
            self._forget(task)
            loading, task.loading = task.loading, None
            never_began = loading is not None or task.pool.remove(task)
        if never_began:
            task.future.cancel()
        if loading is not None:
            self.leave(loading)

    def _load(self, load: Callable[[Ticket], object], lane: Hashable, session: Hashable) -> Task[Any]:
        key = ("load", lane)
        loading = self._shared.get(key)
        if loading is None:
            loading = self._new_task(load, lane, session, key, Ticket(), self._loads)
            self._loads.add(loading)
        else:
            loading.wanted += 1
        return loading

    def _new_task(
        self, work: Callable[[Ticket], T], lane: Hashable, session: Hashable, key: Hashable, ticket: Ticket, pool: Pool
    ) -> Task[T]:
        task = Task(work, lane, session, key, ticket, self, pool)
        if key is not None:
            self._shared[key] = task
            task.future.add_done_callback(lambda _: self._forget_ended(task))
        return task

    def _forget_ended(self, task: Task[Any]) -> None:
        with self._lock:
            self._forget(task)

    def _forget(self, task: Task[Any]) -> None:
        # A cancelled task may still run when its key is submitted again; that key then belongs to the new task.
        if self._shared.get(task.key) is task:
            del self._shared[task.key]

    def _on_loaded(self, task: Task[Any], future: Future[Any]) -> None:
        """Queue a task whose model was loaded, or fail it with the error of the loading."""
        with self._lock:
            if task.loading is None:  # the task was cancelled
                return
            task.loading = None
            error = future.exception()
            if error is None:
                task.pool.add(task)
        if error is not None:
            task.future.set_exception(error)
