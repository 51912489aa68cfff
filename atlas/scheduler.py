"""Scheduler: runs the work of many sessions on a bounded number of threads, without a thread waiting for a busy model.

Every task belongs to a lane: the model it needs, or the trace it reads. One task of a lane runs at a time, and waiting tasks hold
no thread, because six tabs that waited for one model once held all six threads for 76 s. Within a lane the sessions take turns.
Models are loaded in separate threads, because a download of 1 GB takes minutes in which nothing is computed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from atlas.errors import AtlasError

T = TypeVar("T")

WORKERS = 8
"""Threads that compute. More lanes at once would only share the same processors, and each run holds activations in memory."""

ANALYSTS = 2
"""Threads for work without a model, such as t-SNE. It is Python code, which shares one interpreter with the event loop: beside
eight such threads a page was drawn at a ninth of its speed."""

LOADERS = 8
"""Threads that load models. They mostly wait for the network, so memory bounds their number, not the processors."""

IDLE = 30.0
"""Seconds after which an idle thread ends. It stays that long because torch builds a thread pool for each of our threads."""

SOON = 0.5
"""Seconds a task must run before its remaining time is estimated, because earlier estimates fluctuate."""

UNKNOWN = -1.0
"""Share of a task whose progress is unknown."""

log = logging.getLogger(__name__)


class Cancelled(BaseException):
    """Raised in the thread of a task whose result is no longer wanted.

    It is not an `Exception` (as `asyncio.CancelledError` is not), so that work which catches all its errors does not catch it.
    """


@dataclass
class Ticket:
    """The progress of a task, written by its thread and read by the event loop."""

    started: float = field(default_factory=time.monotonic)
    stage: str = "loading"
    message: str = "Starting"
    share: float = UNKNOWN
    since: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    runs_before: int = 0
    """Tasks of the same lane that run before this one; 0 once it runs."""

    def tell(self, stage: str, message: str, share: float = UNKNOWN) -> None:
        """Report progress; raises Cancelled if the task was cancelled."""
        self.note(stage, message, share)
        if self.cancelled:
            raise Cancelled

    def note(self, stage: str, message: str, share: float = UNKNOWN) -> None:
        """Report progress of work for which other callers wait too; it never raises, so the work goes on."""
        if stage != self.stage:
            self.since = time.monotonic()
        # At most 1, because a server may report too short a download, and Param would refuse 101 % and end the run.
        self.stage, self.message, self.share = stage, message, min(share, 1.0)

    def remaining(self) -> float | None:
        """Seconds that this stage will still take at its pace so far; None while unknown."""
        spent = time.monotonic() - self.since
        if spent < SOON or not 0 < self.share < 1:
            return None
        return spent * (1 - self.share) / self.share

    def words(self) -> str:
        """The current step and its remaining time, or the number of runs before this one."""
        if self.runs_before:
            return f"{self.runs_before} {'run' if self.runs_before == 1 else 'runs'} before yours"
        left = self.remaining()
        return self.message if left is None else f"{self.message}, about {left:.0f} s left"


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

    def progress(self) -> tuple[str, str, float]:
        """Stage, words and share of the loading that this task waits for, else of the task itself."""
        loading = self.loading
        ticket = loading.ticket if loading is not None else self.ticket
        return ticket.stage, ticket.words(), ticket.share

    def leave(self) -> None:
        """Stop waiting. A task without callers is removed from the queue, or ends when its thread next calls `tell`."""
        self.scheduler.leave(self)


class Lane:
    """The tasks that wait for one model or one trace: session -> its tasks, in the order of the sessions' turns."""

    def __init__(self) -> None:
        self.busy = False
        self.waiting: OrderedDict[Hashable, deque[Task[Any]]] = OrderedDict()

    def add(self, task: Task[Any]) -> None:
        """Queue a task after those of its session."""
        self.waiting.setdefault(task.session, deque()).append(task)
        self._update_places()

    def take(self) -> Task[Any]:
        """Remove and return the next task; its session goes to the end of the queue."""
        session, tasks = next(iter(self.waiting.items()))
        task = tasks.popleft()
        if tasks:
            self.waiting.move_to_end(session)
        else:
            del self.waiting[session]
        self.busy = True
        task.ticket.runs_before = 0
        self._update_places()
        return task

    def free(self) -> None:
        """Mark the lane free after its running task ended."""
        self.busy = False
        self._update_places()

    def remove(self, task: Task[Any]) -> bool:
        """Remove a waiting task; False if it is not in the queue."""
        tasks = self.waiting.get(task.session, deque())
        if task not in tasks:
            return False
        tasks.remove(task)
        if not tasks:
            del self.waiting[task.session]
        self._update_places()
        return True

    def order(self) -> Iterator[Task[Any]]:
        """The waiting tasks in the order in which they will run: one of each session, then the second of each, and so on."""
        rounds = [list(tasks) for tasks in self.waiting.values()]
        for turn in range(max(map(len, rounds), default=0)):
            yield from (tasks[turn] for tasks in rounds if turn < len(tasks))

    def _update_places(self) -> None:
        for place, task in enumerate(self.order(), start=int(self.busy)):
            task.ticket.runs_before = place


class Pool:
    """A bounded number of threads that take tasks from the lanes in turn. Callers of its methods must hold the lock."""

    def __init__(self, name: str, most: int, lock: threading.Lock) -> None:
        self.name, self.most, self.lock = name, most, lock
        self.lanes: dict[Hashable, Lane] = {}
        self.ready: deque[Hashable] = deque()
        """Lanes that have a waiting task and no running one, the longest waiting first."""
        self.threads = self.idle = self.begun = 0
        self._wake = threading.Condition(lock)

    def add(self, task: Task[Any]) -> None:
        """Queue a task."""
        lane = self.lanes.setdefault(task.lane, Lane())
        if not lane.busy and not lane.waiting:
            self.ready.append(task.lane)
        lane.add(task)
        self._wake.notify()
        if len(self.ready) > self.idle and self.threads < self.most:
            self.threads += 1
            self.begun += 1
            # A daemon, because a thread inside a model cannot be interrupted, and the program should not wait for it at exit.
            threading.Thread(target=self._serve, name=f"{self.name} {self.begun}", daemon=True).start()

    def remove(self, task: Task[Any]) -> bool:
        """Remove a waiting task from its lane; False if it already runs or has ended."""
        lane = self.lanes.get(task.lane)
        if lane is None or not lane.remove(task):
            return False
        if not lane.busy and not lane.waiting:
            self.ready.remove(task.lane)
            del self.lanes[task.lane]
        return True

    def _serve(self) -> None:
        # `_serve_one` is a separate method, because a local variable here would keep the last task, and so its session, alive.
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        with self.lock:
            while not self.ready:
                self.idle += 1
                woken = self._wake.wait(IDLE)
                self.idle -= 1
                if not woken and not self.ready:
                    self.threads -= 1
                    return False
            name = self.ready.popleft()
            lane = self.lanes[name]
            task = lane.take()
        resolve = _run_task(task)
        with self.lock:
            lane.free()
            if lane.waiting:
                self.ready.append(name)
            else:
                del self.lanes[name]
        resolve()
        return True


class Scheduler:
    """Runs the work that sessions submit. A server has one scheduler for all sessions.

    Parameters
    ----------
    workers, analysts, loaders
        Numbers of threads that run models, analyse in the background, and load models.
    """

    def __init__(self, workers: int = WORKERS, analysts: int = ANALYSTS, loaders: int = LOADERS) -> None:
        self._lock = threading.Lock()
        self._runs = Pool("atlas run", workers, self._lock)
        self._analyses = Pool("atlas analysis", analysts, self._lock)
        self._loads = Pool("atlas load", loaders, self._lock)
        self._shared: dict[Hashable, Task[Any]] = {}

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
        """
        with self._lock:
            known = self._shared.get(key) if key is not None else None
            if known is not None:
                known.wanted += 1
                return known
            pool = self._analyses if in_background else self._runs
            task = self._new_task(work, lane, session, key, ticket or Ticket(), pool)
            if load is None:
                pool.add(task)
                return task
            loading = task.loading = self._load(load, lane, session)
        loading.future.add_done_callback(lambda future: self._on_loaded(task, future))
        return task

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


def _run_task(task: Task[Any]) -> Callable[[], None]:
    """Do the work of a task; returns a function that publishes the result, so that the lane can be freed before that."""
    future = task.future
    if not future.set_running_or_notify_cancel():
        return lambda: None
    if task.ticket.cancelled:  # cancelled after it was taken from its lane
        return lambda: future.set_exception(Cancelled())
    try:
        result = task.work(task.ticket)
    except BaseException as error:
        failure = error
        if not isinstance(error, AtlasError | Cancelled):
            log.error("A task failed with an unexpected error.", exc_info=error)  # noqa: TRY400
        return lambda: future.set_exception(failure)
    return lambda: future.set_result(result)
