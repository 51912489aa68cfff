"""Scheduler: work of many sessions on a bounded number of threads, none of which waits for a model while it could work.

Every task belongs to a lane: the model it needs, or the trace it reads. One task of a lane runs at a time, and a lane whose turn
has not come holds no thread: six tabs that waited for one model once held all six threads for 76 s. Within a lane the sessions
take turns. Loading a model has threads of its own, because a download of 1 GB takes minutes in which nothing is computed.
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
"""Threads that compute: more lanes at once would only share the same processors, and each run holds activations in memory."""

ANALYSTS = 2
"""Threads for work without a model, such as t-SNE. It is Python, which shares one interpreter with the event loop: beside eight
such threads a page was drawn at a ninth of its speed."""

LOADERS = 8
"""Threads that load models: they mostly wait for the network, so their number is bounded by memory and not by processors."""

IDLE = 30.0
"""Seconds after which a thread without work ends. It stays that long because torch builds a pool of threads for each of ours."""

SOON = 0.5
"""Seconds a task must have run before its remaining time is guessed: earlier guesses jump about."""

UNKNOWN = -1.0
"""Share of a task that cannot be told."""

log = logging.getLogger(__name__)


class Cancelled(BaseException):
    """Raised in the thread of a task that nobody waits for any more.

    Not an `Exception`, as `asyncio.CancelledError` is none: work that catches every error of its own must not catch this.
    """


@dataclass
class Ticket:
    """How far a task is: its thread writes it, an event loop reads it."""

    started: float = field(default_factory=time.monotonic)
    stage: str = "loading"
    message: str = "Starting"
    share: float = UNKNOWN
    since: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    runs_before: int = 0
    """Tasks of the same lane that come before this one; 0 once it runs."""

    def tell(self, stage: str, message: str, share: float = UNKNOWN) -> None:
        """Report progress, and end the task where nobody waits for it any more."""
        self.note(stage, message, share)
        if self.cancelled:
            raise Cancelled

    def note(self, stage: str, message: str, share: float = UNKNOWN) -> None:
        """Report progress of work that others wait for too: it goes on whoever leaves."""
        if stage != self.stage:
            self.since = time.monotonic()
        # A server that says a download is shorter than it is must not end the run: Param would refuse 101 %.
        self.stage, self.message, self.share = stage, message, min(share, 1.0)

    def remaining(self) -> float | None:
        """Seconds this stage will still take at its pace so far; None while that cannot be told."""
        spent = time.monotonic() - self.since
        if spent < SOON or not 0 < self.share < 1:
            return None
        return spent * (1 - self.share) / self.share

    def words(self) -> str:
        """What is happening and how long it may take, or how many runs come first."""
        if self.runs_before:
            return f"{self.runs_before} {'run' if self.runs_before == 1 else 'runs'} before yours"
        left = self.remaining()
        return self.message if left is None else f"{self.message}, about {left:.0f} s left"


@dataclass(eq=False)
class Task(Generic[T]):
    """Work handed to a scheduler. Whoever submitted it, or joined it, calls `leave` once if they no longer want the result."""

    work: Callable[[Ticket], T]
    lane: Hashable
    session: Hashable
    key: Hashable
    ticket: Ticket
    scheduler: Scheduler
    pool: Pool
    future: Future[T] = field(default_factory=Future)
    wanted: int = 1
    """How many want the result."""
    loading: Task[Any] | None = None
    """The loading of its model, while this task waits for it."""

    def progress(self) -> tuple[str, str, float]:
        """Stage, words and share: of the loading it waits for, else its own."""
        loading = self.loading
        ticket = loading.ticket if loading is not None else self.ticket
        return ticket.stage, ticket.words(), ticket.share

    def leave(self) -> None:
        """Stop waiting. A task that nobody wants is taken out of the queue, or ends at the next report of its thread."""
        self.scheduler.leave(self)


class Lane:
    """The tasks that wait for one model or one trace: session -> its tasks, the session whose turn is next first."""

    def __init__(self) -> None:
        self.busy = False
        self.waiting: OrderedDict[Hashable, deque[Task[Any]]] = OrderedDict()

    def add(self, task: Task[Any]) -> None:
        """Put a task behind those of its session."""
        self.waiting.setdefault(task.session, deque()).append(task)
        self._tell_places()

    def take(self) -> Task[Any]:
        """The next task; its session goes to the end of the row."""
        session, tasks = next(iter(self.waiting.items()))
        task = tasks.popleft()
        if tasks:
            self.waiting.move_to_end(session)
        else:
            del self.waiting[session]
        self.busy = True
        task.ticket.runs_before = 0
        self._tell_places()
        return task

    def free(self) -> None:
        """The running task has ended."""
        self.busy = False
        self._tell_places()

    def remove(self, task: Task[Any]) -> bool:
        """Take a task out of the row; False where it is not in it."""
        tasks = self.waiting.get(task.session, deque())
        if task not in tasks:
            return False
        tasks.remove(task)
        if not tasks:
            del self.waiting[task.session]
        self._tell_places()
        return True

    def order(self) -> Iterator[Task[Any]]:
        """The waiting tasks in the order in which they will run: one of each session, then the second of each, and so on."""
        rounds = [list(tasks) for tasks in self.waiting.values()]
        for turn in range(max(map(len, rounds), default=0)):
            yield from (tasks[turn] for tasks in rounds if turn < len(tasks))

    def _tell_places(self) -> None:
        for place, task in enumerate(self.order(), start=int(self.busy)):
            task.ticket.runs_before = place


class Pool:
    """A bounded number of threads that take tasks from lanes, each lane in its turn. Its methods expect the lock to be held."""

    def __init__(self, name: str, most: int, lock: threading.Lock) -> None:
        self.name, self.most, self.lock = name, most, lock
        self.lanes: dict[Hashable, Lane] = {}
        self.ready: deque[Hashable] = deque()
        """Lanes that have a task and run none, the longest waiting first."""
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
            # Daemons: a thread inside a model cannot be interrupted, and whoever ends the program should not wait for it.
            threading.Thread(target=self._serve, name=f"{self.name} {self.begun}", daemon=True).start()

    def remove(self, task: Task[Any]) -> bool:
        """Take a waiting task out of its lane; False where it runs already or has ended."""
        lane = self.lanes.get(task.lane)
        if lane is None or not lane.remove(task):
            return False
        if not lane.busy and not lane.waiting:
            self.ready.remove(task.lane)
            del self.lanes[task.lane]
        return True

    def _serve(self) -> None:
        # In a method of its own: a local variable here would keep the last task, and with it a session, alive while it waits.
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
        resolve = _done(task)
        with self.lock:
            lane.free()
            if lane.waiting:
                self.ready.append(name)
            else:
                del self.lanes[name]
        resolve()
        return True


class Scheduler:
    """Where sessions hand in work. One for all sessions of a server.

    Parameters
    ----------
    workers, analysts, loaders
        How many threads run models, analyse in the background, and load models.
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
        """Queue some work, or join the same work under way.

        Parameters
        ----------
        work
            Called in a thread with the ticket it reports to.
        lane
            What it cannot share with other work: a model, a trace.
        session
            Whose work it is; sessions take turns in a lane.
        key
            Work of the same key that is queued or runs is joined, not repeated. None: never.
        ticket
            Where it reports to; a new one where none is given.
        load
            Makes the model ready, in a thread for loading, before the work is queued; one load of a lane serves all who wait.
        in_background
            Whether it is long work without a model, which must not take the threads of the runs.
        """
        with self._lock:
            known = self._shared.get(key) if key is not None else None
            if known is not None:
                known.wanted += 1
                return known
            pool = self._analyses if in_background else self._runs
            task = self._made(work, lane, session, key, ticket or Ticket(), pool)
            if load is None:
                pool.add(task)
                return task
            loading = task.loading = self._load(load, lane, session)
        loading.future.add_done_callback(lambda future: self._loaded(task, future))
        return task

    def leave(self, task: Task[Any]) -> None:
        """One who wanted a task wants it no more; see `Task.leave`."""
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
            loading = self._made(load, lane, session, key, Ticket(), self._loads)
            self._loads.add(loading)
        else:
            loading.wanted += 1
        return loading

    def _made(
        self, work: Callable[[Ticket], T], lane: Hashable, session: Hashable, key: Hashable, ticket: Ticket, pool: Pool
    ) -> Task[T]:
        task = Task(work, lane, session, key, ticket, self, pool)
        if key is not None:
            self._shared[key] = task
            task.future.add_done_callback(lambda _: self._ended(task))
        return task

    def _ended(self, task: Task[Any]) -> None:
        with self._lock:
            self._forget(task)

    def _forget(self, task: Task[Any]) -> None:
        # Somebody may ask for the key of a task that was cancelled and still runs: that one is a new task.
        if self._shared.get(task.key) is task:
            del self._shared[task.key]

    def _loaded(self, task: Task[Any], future: Future[Any]) -> None:
        """The model of a task is there, or cannot be had."""
        with self._lock:
            if task.loading is None:  # nobody waits for the task any more
                return
            task.loading = None
            error = future.exception()
            if error is None:
                task.pool.add(task)
        if error is not None:
            task.future.set_exception(error)


def _done(task: Task[Any]) -> Callable[[], None]:
    """Do the work of a task; returns what hands out the result, so that the lane can be freed before."""
    future = task.future
    if not future.set_running_or_notify_cancel():
        return lambda: None
    if task.ticket.cancelled:  # between its turn and here
        return lambda: future.set_exception(Cancelled())
    try:
        result = task.work(task.ticket)
    except BaseException as error:
        failure = error
        if not isinstance(error, AtlasError | Cancelled):
            log.error("Work failed in a way that was not foreseen.", exc_info=error)  # noqa: TRY400
        return lambda: future.set_exception(failure)
    return lambda: future.set_result(result)
