"""What a lens asks for: work that takes long or needs the model, done in a thread, its result kept on the trace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import param

from atlas.admission import Cost
from atlas.errors import AtlasError, NothingYet, fault
from atlas.scheduler import UNKNOWN, Task, Ticket
from atlas.state.pipeline import TICK, Arrival
from atlas.tracing.explained import COST, PASSES

if TYPE_CHECKING:
    from atlas.state.lens import Lens
    from atlas.state.workspace import Workspace
    from atlas.trace import Trace

T = TypeVar("T")

STOPPED = "Cancelled. Your next selection starts it again."

QUICK_CELLS = 4_000_000
"""Weights that a lens recomputes while the page waits, a tenth of a second; for more of them it asks."""

log = logging.getLogger(__name__)


class Takes(NamedTuple):
    """What asked work takes at most, as far as a lens knows."""

    passes: int = 1
    """Passes of the text on screen, where the work needs the model."""
    gradients: bool = False
    """Whether they keep what gradients need."""
    seconds: float | None = None
    """Its time, where that was measured."""
    beside: tuple[Trace, Hashable, int] | None = None
    """Another trace whose model runs too, the lane of that model, and passes of the text of that trace."""
    bytes: int = 0
    """Memory beside that of the passes."""


ONE_PASS = Takes()


def of_attributions(workspace: Workspace, methods: Sequence[str], trace: Trace) -> Takes:
    """What attributions of a trace take."""
    passes = workspace.tasks.get(PASSES)
    return ONE_PASS if passes is None else Takes(passes(trace, methods), gradients=True)


class Progress:
    """What asked work reports to."""

    def __init__(self, ticket: Ticket) -> None:
        self._ticket = ticket

    def tell(self, message: str, share: float = UNKNOWN) -> None:
        """Say what is happening and how far it is; raises `Cancelled` where nobody waits for the result any more."""
        self._ticket.tell("asked", message, share)


@dataclass(frozen=True, eq=False)
class Asked:
    """A key under way."""

    trace: Trace
    key: str
    task: Task[Any]
    on_trace: bool


class Asking:
    """The one key that a lens waits for. Every method is called in the thread of the lens."""

    def __init__(self, lens: Lens) -> None:
        self._lens = lens
        self._asked: Asked | None = None
        self._failed: tuple[Trace, str] | None = None
        self._latest: tuple[Trace, str, Any] | None = None
        """The newest result that is not kept on the trace."""
        self.problem = ""
        """Why the key asked for last has no result; empty where nothing failed."""

    def ask(
        self,
        key: str,
        work: Callable[[Progress], T],
        otherwise: T,
        *,
        needs_model: bool,
        keep: bool,
        takes: Takes,
        lane: Hashable,
    ) -> T:
        """See `Lens.ask`."""
        lens, trace = self._lens, self._lens.trace
        waits_for_it = self._asked is not None and (self._asked.trace, self._asked.key) == (trace, key)
        if waits_for_it or self._failed == (trace, key):
            return otherwise
        self.drop()
        self.forget()
        # By the class too: not every lens has a key, and two that ask for one name must not get each other's result.
        kept_as = f"asked {type(lens).__name__} {lens.key} {key}"
        if keep and trace.holds(kept_as):
            return self._kept(trace, kept_as, work, Ticket())
        if self._latest is not None and self._latest[:2] == (trace, key):
            latest: T = self._latest[2]
            return latest
        made = partial(self._kept, trace, kept_as, work) if keep else lambda ticket: work(Progress(ticket))
        if lens.workspace.at_once or not _in_event_loop():
            return self._at_once(trace, key, made, otherwise)
        workspace = lens.workspace
        task = workspace.scheduler.submit(
            made,
            lane=lane if lane is not None else workspace.pipeline.lane if needs_model else trace,
            session=workspace.pipeline.session,
            key=(trace, kept_as),
            in_background=not needs_model and lane is None,
            cost=self._cost(trace, takes, needs_model=needs_model),
        )
        self._asked = Asked(trace, key, task, keep)
        lens.param.update(busy=True, waiting=task.progress()[1])
        param.parameterized.async_executor(partial(self._follow, self._asked))  # type: ignore[attr-defined]  # Panel's own
        return otherwise

    def _cost(self, trace: Trace, takes: Takes, *, needs_model: bool) -> Cost:
        estimate = self._lens.workspace.tasks.get(COST)
        if estimate is None or not needs_model:
            return Cost(seconds=takes.seconds)
        cost: Cost = estimate(trace, takes.passes, gradients=takes.gradients)
        cost = replace(cost, bytes=cost.bytes + takes.bytes, seconds=takes.seconds)
        if takes.beside is None:
            return cost
        other, lane, passes = takes.beside
        more: Cost = estimate(other, passes, gradients=takes.gradients)
        # One after the other, so their memory does not add up.
        return replace(cost, bytes=max(cost.bytes, more.bytes), beside=((lane, more.tokens),))

    def _at_once(self, trace: Trace, key: str, made: Callable[[Ticket], T], otherwise: T) -> T:
        try:
            return made(Ticket())
        except Exception as error:
            if not isinstance(error, AtlasError):
                log.exception("Asked work failed in a way that was not foreseen.")
            self._fail(trace, key, error)
            return otherwise

    def release(self) -> None:
        """Stop waiting, and let go of results: there is another trace."""
        self.drop()
        self._latest = None

    def drop(self) -> None:
        """Stop waiting. Work that no other lens or session waits for ends at its next report."""
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.task.leave()
            self._lens.param.update(busy=False, waiting="")

    def cancel(self) -> None:
        """The reader wants no more of it."""
        asked = self._asked
        if asked is not None:
            self.drop()
            self._failed, self.problem = (asked.trace, asked.key), STOPPED
            self._lens.problem = STOPPED

    def forget(self) -> None:
        """What failed may be tried again."""
        problem, self._failed, self.problem = self.problem, None, ""
        if problem and self._lens.problem == problem:
            self._lens.problem = ""

    @staticmethod
    def _kept(trace: Trace, kept_as: str, work: Callable[[Progress], T], ticket: Ticket) -> T:
        made: T = trace.once(kept_as, lambda: work(Progress(ticket)))
        return made

    def _fail(self, trace: Trace, key: str, error: BaseException) -> None:
        # Remembered: the views draw again for many reasons, and each would start the work that fails.
        self._failed = trace, key
        self.problem = str(error) if isinstance(error, AtlasError) else fault(error)
        if isinstance(error, NothingYet):
            self._lens.no_fault = self.problem
        self._lens.problem = self.problem

    async def _follow(self, asked: Asked) -> None:
        arrival = Arrival(asked.task.future)
        while not await arrival.within(TICK):
            if asked is not self._asked:
                return
            words = asked.task.progress()[1]
            if words != self._lens.waiting:
                self._lens.waiting = words
        if asked is not self._asked:
            return
        self._asked = None
        error = asked.task.future.exception()
        with self._lens.workspace.one_message():
            self._lens.param.update(busy=False, waiting="")
            if error is not None:
                self._fail(asked.trace, asked.key, error)
            else:
                if not asked.on_trace:
                    self._latest = asked.trace, asked.key, asked.task.future.result()
                self._lens.arrived()


def _in_event_loop() -> bool:
    """Whether this thread has an event loop that a result could come to; a script and a test wait for the result itself."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
