"""Admission: what work may begin, by estimates of its memory and time: a share of the machine for each session, a bound for all.

Work that could never begin is refused with a sentence; work that has to wait says for what. Without limits nothing is refused.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from atlas.errors import TooMuch

if TYPE_CHECKING:
    from atlas.scheduler import Task

MOST_OVERTAKEN = 8
"""Tasks that may begin before one whose turn it was. Then it is next, so that small work never holds up large work for good."""

PACES = 64
"""Models whose pace is remembered."""

RUNS_OF_A_PACE = 8
"""Runs that a pace is taken from: the quickest, because the first ones also warm up, and others share the processors."""

LEAST_TOKENS = 64
"""Tokens of a run that says anything of the pace: of a shorter one most of the time is the same for every text."""

ADVICE = "Shorten the text, choose a smaller model, or run Atlas on a machine of your own."


@dataclass(frozen=True)
class Cost:
    """What a piece of work will take, as far as that is known before it begins."""

    bytes: int = 0
    """Memory at most, beside the model and what is kept."""
    tokens: int = 0
    """Tokens through the model at most; times the pace of the model they are seconds."""
    seconds: float | None = None
    """Time, where it was measured."""
    beside: tuple[tuple[Hashable, int], ...] = ()
    """(Lane, tokens) of every other model that it runs too."""


@dataclass(frozen=True)
class Limits:
    """What the operator of a server allows. The defaults allow everything, as for who runs the app for themselves."""

    at_once: int | None = None
    """Pieces of work that run at once for all sessions, those that run a model and those that do not counted apart; None: as many
    as the scheduler has threads."""
    memory: int | None = None
    """Bytes of all work that runs at once, by its estimates; None: no bound."""
    seconds: float | None = None
    """Time of one piece of work; None: no bound."""
    share: float = 1.0
    """The part of `at_once` and `memory` that the work of one session may take at a time."""

    def divided(self, processes: int) -> Limits:
        """The part of each of several processes, which admit work by themselves."""
        memory = None if self.memory is None else self.memory // processes
        return replace(self, memory=memory, at_once=None if self.at_once is None else max(1, self.at_once // processes))

    def memory_of_one(self) -> float:
        """Bytes that the work of one session may take at a time."""
        return math.inf if self.memory is None else self.memory * self.share

    def threads_of_one(self, most: int) -> int:
        """Threads of so many that the work of one session may take at a time."""
        return max(1, int(most * self.share))


NO_LIMITS = Limits()


class Admission:
    """Counts the work that runs, of all and of each session. Callers of its methods hold the scheduler's lock."""

    def __init__(self, limits: Limits = NO_LIMITS) -> None:
        self.limits = limits
        self.running: Counter[tuple[str, Hashable]] = Counter()
        """(Pool, session) -> its tasks that run."""
        self.bytes_of: Counter[Hashable] = Counter()
        """Session -> bytes of its tasks that run."""
        self.bytes_of_all = 0
        self._short: set[Task[Any]] = set()
        """Tasks that wait for memory which others take."""
        self._first: Task[Any] | None = None
        """A task that was overtaken too often: no other one may take memory before it."""
        self._paces: OrderedDict[Hashable, deque[float]] = OrderedDict()

    # -- what is refused -----------------------------------------------------------------------------------------------

    def check(self, cost: Cost, lane: Hashable) -> None:
        """Refuse work that could never begin, or that would take too long.

        Raises
        ------
        TooMuch
            With what it would take, what is allowed and what to do.
        """
        allowed, longest, seconds = self.limits.memory_of_one(), self.limits.seconds, self.seconds_of(cost, lane)
        if cost.bytes > allowed:
            msg = (
                f"This needs about {in_bytes(cost.bytes)} of memory, and the work of one visitor may take {in_bytes(allowed)} "
                f"on this server. {ADVICE}"
            )
            raise TooMuch(msg)
        if longest is not None and seconds is not None and seconds > longest:
            msg = f"This would take about {in_time(seconds)}, and one run may take {in_time(longest)} on this server. {ADVICE}"
            raise TooMuch(msg)

    def too_long(self) -> TooMuch:
        """The error of a task that has run for longer than is allowed."""
        longest = in_time(self.limits.seconds or 0.0)
        return TooMuch(f"This was stopped after {longest}, the longest that one run may take on this server. {ADVICE}")

    def seconds_of(self, cost: Cost, lane: Hashable) -> float | None:
        """The time of some work by its own estimate, else by the pace of each model it runs; None where neither is known."""
        if cost.seconds is not None:
            return cost.seconds
        runs = (lane, cost.tokens), *cost.beside
        if not cost.tokens or any(of not in self._paces for of, _ in runs):
            return None
        return sum(tokens * min(self._paces[of]) for of, tokens in runs)

    def learn(self, lane: Hashable, cost: Cost, seconds: float) -> None:
        """Note how long a run of known size took."""
        if cost.tokens >= LEAST_TOKENS and seconds > 0 and not cost.beside:
            self._paces.setdefault(lane, deque(maxlen=RUNS_OF_A_PACE)).append(seconds / cost.tokens)
            self._paces.move_to_end(lane)
            while len(self._paces) > PACES:
                self._paces.popitem(last=False)

    # -- what waits ----------------------------------------------------------------------------------------------------

    def waits_for(self, task: Task[Any], threads: int) -> str:
        """Why a task cannot begin now, in a pool of so many threads; empty if it can."""
        limits, needed = self.limits, task.cost.bytes
        most = limits.threads_of_one(threads)
        if self.running[task.pool.name, task.session] >= most:
            runs = "another run" if most == 1 else f"one of {most} runs"
            return f"Waits for {runs} of yours to end, because a visitor has no more at once here"
        if not needed or limits.memory is None:
            return ""
        words = f"Waits for memory: it needs about {in_bytes(needed)}"
        if self.bytes_of[task.session] + needed > limits.memory_of_one():
            mine, allowed = in_bytes(self.bytes_of[task.session]), in_bytes(limits.memory_of_one())
            return f"{words}, and other runs of yours take {mine} of your {allowed}"
        if self.bytes_of_all + needed > limits.memory:
            self._short.add(task)
            return f"{words}, and {in_bytes(self.bytes_of_all)} of {in_bytes(limits.memory)} are taken"
        return f"{words}, and a larger run has waited longer" if self._first not in {None, task} else ""

    def next_of(self, firsts: Sequence[Task[Any]]) -> Task[Any] | None:
        """The next of the tasks whose turn it is in some lanes, the longest waiting first; None where none may begin.

        That of the session with the fewest tasks under way, unless one was overtaken too often.
        """
        ready = [task for task in firsts if not task.ticket.held]
        if not ready:
            return None
        late = (task for task in ready if task.overtaken >= MOST_OVERTAKEN)
        chosen = next(late, None) or min(ready, key=lambda task: self.running[task.pool.name, task.session])
        # What is not weighed yet may take some.
        takes = chosen.cost.bytes or chosen.weigh is not None
        for task in firsts[: firsts.index(chosen)]:
            if not task.ticket.held or (task in self._short and takes):
                task.overtaken += 1
            if task in self._short and task.overtaken >= MOST_OVERTAKEN:
                self._first = self._first or task
        return chosen

    # -- what runs -----------------------------------------------------------------------------------------------------

    def begin(self, task: Task[Any]) -> bool:
        """Count a task that begins; whether others waited for its turn."""
        was_first = self.forget(task)
        self.running[task.pool.name, task.session] += 1
        task.counted = task.cost.bytes
        self.bytes_of_all += task.counted
        self.bytes_of[task.session] += task.counted
        return was_first

    def end(self, task: Task[Any]) -> bool:
        """Release what a task took, however it ended; whether that was memory."""
        _take_off(self.running, (task.pool.name, task.session), 1)
        _take_off(self.bytes_of, task.session, task.counted)
        self.bytes_of_all -= task.counted
        released, task.counted = task.counted > 0, 0
        return released

    def forget(self, task: Task[Any]) -> bool:
        """A task begins, or is wanted no more; whether others waited for its turn."""
        self._short.discard(task)
        was_first = self._first is task
        if was_first:
            self._first = None
        return was_first


def _take_off(counts: Counter, key: Hashable, count: int) -> None:
    """Lower a count, and drop it at zero, because a key may be a session that has gone."""
    counts[key] -= count
    if counts[key] <= 0:
        del counts[key]


def in_bytes(count: float) -> str:
    """'350 MB', '1.2 GB'."""
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def in_time(seconds: float) -> str:
    """'40 s', '12 min', '3 h'."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 120 * 60 else f"{seconds / 3600:.0f} h"
