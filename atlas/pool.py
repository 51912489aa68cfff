"""Lanes and pools of the scheduler: whose task is next on a bounded number of threads."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from atlas.admission import Admission
from atlas.errors import AtlasError
from atlas.ticket import Cancelled

if TYPE_CHECKING:
    from atlas.scheduler import Task

IDLE = 30.0
"""Seconds after which an idle thread ends. It stays that long because torch builds a thread pool for each of our threads."""

log = logging.getLogger(__name__)


class Lane:
    """The tasks that wait for one model or one trace: session -> its tasks, in the order of the sessions' turns."""

    def __init__(self) -> None:
        self.busy = False
        self.waiting: OrderedDict[Hashable, deque[Task[Any]]] = OrderedDict()

    def add(self, task: Task[Any]) -> None:
        """Queue a task after those of its session."""
        self.waiting.setdefault(task.session, deque()).append(task)
        self._update_places()

    def put_back(self, task: Task[Any]) -> None:
        """Queue a task that was taken and cannot begin yet: it is the next of its session, whose turn it still is."""
        self.busy = False
        self.waiting.setdefault(task.session, deque()).appendleft(task)
        self.waiting.move_to_end(task.session, last=False)
        self._update_places()

    def take(self, task: Task[Any]) -> None:
        """Remove the first task of a session, which goes to the end of the queue."""
        tasks = self.waiting[task.session]
        tasks.remove(task)
        if tasks:
            self.waiting.move_to_end(task.session)
        else:
            del self.waiting[task.session]
        self.busy = True
        task.ticket.runs_before = 0
        self._update_places()

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

    def firsts(self) -> Iterator[Task[Any]]:
        """The first task of each session, in the order of their turns."""
        return (tasks[0] for tasks in self.waiting.values())

    def order(self) -> Iterator[Task[Any]]:
        """The waiting tasks in the order in which they will run: one of each session, then the second of each, and so on."""
        rounds = [list(tasks) for tasks in self.waiting.values()]
        for turn in range(max(map(len, rounds), default=0)):
            yield from (tasks[turn] for tasks in rounds if turn < len(tasks))

    def _update_places(self) -> None:
        for place, task in enumerate(self.order(), start=int(self.busy)):
            task.ticket.runs_before = place


class Pool:
    """A bounded number of threads that take tasks from the lanes in turn. Callers of its methods must hold the lock.

    Of two lanes whose task could begin, the one whose session has fewer tasks under way comes first, so that a session that
    works on many models at once does not take all threads from one that works on one.

    Parameters
    ----------
    beside
        All pools of the scheduler: memory that a task releases may be what a task of another pool waits for.
    timed
        Whether tasks end after the time that the operator allows.
    """

    def __init__(
        self, name: str, most: int, lock: threading.Lock, admission: Admission, beside: Sequence[Pool], *, timed: bool = True
    ) -> None:
        self.name, self.lock, self.admission, self.beside, self.timed = name, lock, admission, beside, timed
        self.size = self.most = most
        """Its threads, and those that the operator allows."""
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
        self._add_thread()

    def remove(self, task: Task[Any]) -> bool:
        """Remove a waiting task from its lane; False if it already runs or has ended."""
        if self.admission.forget(task):
            self._all_look_again()
        lane = self.lanes.get(task.lane)
        if lane is None or not lane.remove(task):
            return False
        if not lane.busy and not lane.waiting:
            self.ready.remove(task.lane)
            del self.lanes[task.lane]
        return True

    def look_again(self) -> None:
        """Wake the threads: tasks that waited for memory, or for the turn of a larger one, may begin."""
        if self.ready:
            self._wake.notify_all()
            self._add_thread()

    def _add_thread(self) -> None:
        if len(self.ready) > self.idle and self.threads < self.most:
            self.threads += 1
            self.begun += 1
            # A daemon, because a thread inside a model cannot be interrupted, and the program should not wait for it at exit.
            threading.Thread(target=self._serve, name=f"{self.name} {self.begun}", daemon=True).start()

    def _serve(self) -> None:
        # `_serve_one` is a separate method, because a local variable here would keep the last task, and so its session, alive.
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        with self.lock:
            while (task := self._take()) is None:
                self.idle += 1
                woken = self._wake.wait(IDLE)
                self.idle -= 1
                if not woken and not self.ready:
                    self.threads -= 1
                    return False
        resolve = self._run(task)
        if resolve is not None:
            with self.lock:
                self._free(task)
            resolve()
        return True

    def _take(self) -> Task[Any] | None:
        """Remove and return the next task that may begin; None if there is none."""
        chosen = self.admission.next_of([task for name in self.ready for task in self._whose_turn(self.lanes[name])])
        if chosen is None:
            return None
        self.ready.remove(chosen.lane)
        self.lanes[chosen.lane].take(chosen)
        if self.admission.begin(chosen):
            self._all_look_again()
        return chosen

    def _whose_turn(self, lane: Lane) -> Iterator[Task[Any]]:
        """The tasks of a lane up to the first that may begin; those before it say what they wait for, and are overtaken by it."""
        for task in lane.firsts():
            task.ticket.held = self.admission.waits_for(task, self.most)
            yield task
            if not task.ticket.held:
                return

    def _run(self, task: Task[Any]) -> Callable[[], None] | None:
        """Do the work of a task; returns a function that publishes the result, so that the lane can be freed before that.

        None where the task has to wait after all, which is known once it is weighed.
        """
        future, ticket = task.future, task.ticket
        try:
            if task.weigh is not None and not self._weighed(task):
                return None
            if not future.set_running_or_notify_cancel():
                return lambda: None
            if ticket.cancelled:  # cancelled after it was taken from its lane
                raise Cancelled  # noqa: TRY301
            began = time.monotonic()
            if self.timed and self.admission.limits.seconds is not None:
                ticket.end, ticket.overdue = began + self.admission.limits.seconds, self.admission.too_long()
            result = task.work(ticket)
            task.took = time.monotonic() - began
        except BaseException as error:
            failure = error
            if not isinstance(error, AtlasError | Cancelled):
                log.error("A task failed with an unexpected error.", exc_info=error)  # noqa: TRY400
            return lambda: future.set_exception(failure)
        return lambda: future.set_result(result)

    def _weighed(self, task: Task[Any]) -> bool:
        """Weigh a task that was taken from its lane; False where it must wait, and is back in its lane."""
        weigh, task.weigh = task.weigh, None
        cost = task.cost if weigh is None else weigh()
        with self.lock:
            self.admission.check(cost, task.lane)
            self.admission.end(task)
            task.cost, task.exact = cost, True
            task.ticket.held = "" if task.ticket.cancelled else self.admission.waits_for(task, self.most)
            if not task.ticket.held:
                self.admission.begin(task)
                return True
            self.lanes[task.lane].put_back(task)
            self.ready.appendleft(task.lane)
            self._wake.notify()
        return False

    def _free(self, task: Task[Any]) -> None:
        """Release the lane and what the task took, after it ended."""
        lane = self.lanes[task.lane]
        lane.free()
        if lane.waiting:
            self.ready.append(task.lane)
        else:
            del self.lanes[task.lane]
        if task.exact and task.took:
            self.admission.learn(task.lane, task.cost, task.took)
        if self.admission.end(task):
            self._all_look_again()
        elif self.ready:
            # The next of this lane and one of the same session elsewhere may both begin, and this thread takes one.
            self._wake.notify()

    def _all_look_again(self) -> None:
        for pool in self.beside:
            pool.look_again()
