"""Pipeline: one model and one input become a trace, in a thread, one job at a time; what is out of date is dropped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import param

from atlas.admission import Cost
from atlas.errors import AtlasError, fault
from atlas.scheduler import UNKNOWN, Scheduler, Task, Ticket
from atlas.state.changes import Interventions
from atlas.state.inputs import InputModel, ModelChoice
from atlas.trace import Trace
from atlas.tracing.spans import Span

TICK = 0.1
"""Seconds between two looks at a job under way: a progress bar that moves ten times a second looks steady."""

STATES = ("empty", "loading", "tracing", "ready", "failed", "cancelled")
BUSY = ("loading", "tracing")
ENDED = ("ready", "failed", "cancelled")


@dataclass(frozen=True)
class Job:
    """What one run is asked for: plain values, so that a thread never reads a Param somebody is changing."""

    model: tuple[str, str | None, str | None, str | None]
    text: str
    pair: str | None
    target: str | None
    truncate: bool
    ablate: tuple[Any, ...] = ()
    knock_out: tuple[Any, ...] = ()
    regenerate: bool = False
    """Whether a target that the model writes is written under the changes."""
    spans: tuple[Span, ...] = ()
    """Stretches of the texts that have a name: what was the prompt, and what the model wrote."""
    chat: bool = False
    """Whether the text is a conversation."""


Work = Callable[[Job, Ticket], Trace]
"""Runs the text through the model and tells the ticket how far it is. Blocks; called in a thread."""

Kept = Callable[[Job], Trace | None]
"""The trace of a job where it is there already. Does not block."""

Load = Callable[[Job], Callable[[Ticket], object] | None]
"""What makes the model of a job ready, called in a thread for loading before the job is queued; None where the model is there.
Does not block."""


Prepare = Callable[[Trace], Callable[[Ticket], object] | None]
"""What is computed of a new trace before it is shown, called in a thread once the model is free for others; None where it is
there, or where the views wait for it themselves. Does not block."""


Weigh = Callable[[Job], Cost]
"""What a job takes by the estimates of the engine, called in a thread once its model is there."""


def nothing_kept(_: Job) -> Trace | None:
    """For a pipeline without a memory of traces."""
    return None


def nothing_to_load(_: Job) -> None:
    """For a pipeline whose work needs no model, or loads it itself."""


def nothing_to_prepare(_: Trace) -> None:
    """For a pipeline whose traces are shown as they are."""


def nothing_known(_: Job) -> Cost:
    """For a pipeline whose work is not weighed."""
    return Cost()


def in_script() -> bool:
    """Whether this is a plain script: the main thread, without an event loop that would run what is asynchronous."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return threading.current_thread() is threading.main_thread()
    return False


OneMessage = Callable[[], AbstractContextManager[Any]]
"""What is changed inside is shown at once on the way out. Handed in by the part that draws."""


class Pipeline(param.Parameterized):
    """Runs jobs and holds the trace on screen. A second one beside it needs nothing but a second instance."""

    choice = param.ClassSelector(class_=ModelChoice, doc="Which model.")
    input = param.ClassSelector(class_=InputModel, doc="Which text.")
    interventions = param.ClassSelector(class_=Interventions, doc="Heads and edges that are switched off in the run.")
    status = param.Selector[str](objects=list(STATES), default="empty", doc="Where the newest job stands.")
    trace = param.ClassSelector(class_=Trace, default=None, doc="The trace on screen; it stays while a new job runs or fails.")
    message = param.String(default="", doc="What is happening and how long it may take.")
    share = param.Number(default=UNKNOWN, bounds=(UNKNOWN, 1.0), doc="How far the job is; -1 where that cannot be told.")
    error = param.String(default="", doc="What went wrong and what to do about it.")
    asked = param.Integer(default=0, doc="Counts the runs asked for.")
    pending = param.Boolean(default=False, doc="Whether what is asked for now is not what is on screen.")
    begun = param.Integer(default=0, doc="Counts the jobs begun: a trace that is kept needs none.")

    def __init__(
        self,
        work: Work,
        one_message: OneMessage = nullcontext,
        kept: Kept = nothing_kept,
        *,
        load: Load = nothing_to_load,
        prepare: Prepare = nothing_to_prepare,
        weigh: Weigh = nothing_known,
        scheduler: Scheduler | None = None,
        session: Hashable = None,
        **params: Any,
    ) -> None:
        params = {"choice": ModelChoice(), "input": InputModel(), "interventions": Interventions(), **params}
        super().__init__(**params)
        self._work = work
        self._one_message = one_message
        self._kept = kept
        self._load = load
        self._prepare = prepare
        self._weigh = weigh
        self._scheduler = scheduler or Scheduler()
        self.session = session if session is not None else object()
        """Whose turn it is when sessions take turns."""
        self._ticket: Ticket | None = None
        self._task: Task[Trace] | None = None
        self._shown: Job | None = None
        for asked in (self.choice, self.input, self.interventions):
            assert asked is not None
            asked.param.watch(self._compare, [name for name in asked.param if name != "name"])
        self.param.watch(self._compare, "status")

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return self.status in BUSY

    @property
    def shown(self) -> Job | None:
        """What the trace on screen was made of."""
        return self._shown

    @property
    def lane(self) -> Hashable:
        """The lane of work that needs the model of the trace on screen."""
        return model_lane((self._shown or self.job()).model)

    def job(self) -> Job:
        """The job that the Params ask for now."""
        choice, given, changes = self.choice, self.input, self.interventions
        assert choice is not None
        assert given is not None
        assert changes is not None
        return Job(choice.request(), *given.texts(), **changes.of_job(), spans=given.known_spans(), chat=given.chat)

    def choose(self, name_or_path: str, *, in_memory: bool = False) -> None:
        """Another model, with all of its heads and edges: what was switched off was switched off in the model before."""
        assert self.choice is not None
        assert self.interventions is not None
        self.choice.choose(name_or_path, in_memory=in_memory)
        self.interventions.clear()

    def run(self, job: Job | None = None) -> None:
        """Show the trace asked for, or that of a job; a job under way is dropped.

        A kept one is shown at once. For another one a job begins: inside an event loop beside it, in a plain script at once.
        """
        self.asked += 1
        job = job or self.job()
        trace = self._kept(job)
        if trace is None:
            self.begun += 1
            self._begin(job)
        else:
            with self._one_message():
                self._show(trace, job)

    def cancel(self) -> None:
        """Drop the job under way: its thread ends at the next layer, and what it brings is not shown."""
        if self._drop():
            self.param.update(status="cancelled", message="The run was cancelled.", share=UNKNOWN)

    def stay(self) -> None:
        """Drop the job under way without a word: the reader has gone back to what is on screen."""
        if self._drop():
            self.param.update(status="empty" if self.trace is None else "ready", message="", error="", share=UNKNOWN)

    def show(self, trace: Trace) -> None:
        """Show a trace that is there already: a recording, or one made in a notebook."""
        self._show(trace, self.job())

    def _show(self, trace: Trace, job: Job) -> None:
        self._drop()
        self._shown = job
        self.param.update(trace=trace, status="ready", message="", error="", share=UNKNOWN)
        self._compare()

    def _compare(self, *_: object) -> None:
        self.pending = self._shown is not None and not self.busy and self.job() != self._shown

    def _drop(self) -> bool:
        if self._ticket is None:
            return False
        task, self._ticket, self._task = self._task, None, None
        if task is not None:
            task.leave()
        return True

    def _begin(self, job: Job) -> None:
        self._drop()
        # Already here: a job that is dropped before its coroutine had its turn would begin all the same.
        ticket = self._ticket = Ticket()
        if in_script():
            asyncio.run(self._run(job, ticket))  # whoever else runs it (Panel does) makes an event loop and leaves that open
        else:
            param.parameterized.async_executor(partial(self._run, job, ticket))  # type: ignore[attr-defined]  # Panel's own

    async def _run(self, job: Job, ticket: Ticket) -> None:
        if ticket is not self._ticket:
            return
        self.param.update(status="loading", message="Starting", share=UNKNOWN, error="")
        run = self._scheduler.submit(
            partial(self._work, job),
            lane=model_lane(job.model),
            session=self.session,
            ticket=ticket,
            load=self._load(job),
            weigh=partial(self._weigh, job),
        )
        if not await self._ended(run, ticket):
            return
        error = run.future.exception()
        prepare = self._prepare(run.future.result()) if error is None else None
        if prepare is not None:
            trace = run.future.result()
            # In the lane of the trace: the next run of the model need not wait for it.
            prepared = self._scheduler.submit(prepare, lane=trace, session=self.session, key=("prepare", trace))
            if not await self._ended(prepared, ticket):
                return
            error = prepared.future.exception()
        self._ticket = self._task = None
        with self._one_message():
            if error is None:
                self._shown = job
                self.param.update(trace=run.future.result(), status="ready", message="", share=UNKNOWN)
            else:
                problem = str(error) if isinstance(error, AtlasError) else fault(error)
                self.param.update(status="failed", error=problem, message="", share=UNKNOWN)

    async def _ended(self, task: Task[Any], ticket: Ticket) -> bool:
        """Say how far a task is until it ends; False where its job was dropped meanwhile."""
        self._task = task
        arrival = Arrival(task.future)
        try:
            while not await arrival.within(TICK):
                if ticket is not self._ticket:
                    return False
                stage, words, share = task.progress()
                self.param.update(status=stage, message=words, share=share)
        except asyncio.CancelledError:  # Ctrl-C in a script
            if ticket is self._ticket:
                self._drop()
            raise
        return ticket is self._ticket


def model_lane(model: tuple[str, str | None, str | None, str | None]) -> Hashable:
    """The lane of everything that needs a model, by its request."""
    return "model", model


class Arrival:
    """The end of work in another thread, as an event loop waits for it. The work goes on if the one who waits is cancelled."""

    def __init__(self, future: Future[Any]) -> None:
        self._event = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell(_: object) -> None:
            with suppress(RuntimeError):  # a script may have closed its loop meanwhile
                loop.call_soon_threadsafe(self._event.set)

        future.add_done_callback(tell)

    async def within(self, seconds: float) -> bool:
        """Whether it came within so many seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)
        return self._event.is_set()
