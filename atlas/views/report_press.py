"""The report of a reader's findings by a press: run beside the page, through the queue, and handed to that reader's browser."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import param

from atlas.errors import NotCaptured
from atlas.scheduler import Cancelled, Ticket
from atlas.state.compact import Unusable
from atlas.state.findings import OF_REPORT, Finding, text_of
from atlas.state.lens import sentence
from atlas.state.pipeline import ENDED, TICK
from atlas.state.restore import job_of, why_not_run
from atlas.state.shared import SharedState
from atlas.state.single import alone
from atlas.state.workspace import Workspace
from atlas.views.report import Tell, report_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atlas.components.findings_book import FindingsBook
    from atlas.state.link import State
    from atlas.trace import Trace

MOST = 30_000_000
"""Letters of all plots of a report: what a browser opens, and a server holds for a reader, without trouble."""

NOTHING = "Nothing is pinned yet, so there is nothing to report."
STOPPED = "The report was cancelled."
RUN_IT = "run it once, and it will be."


class ReportPress:
    """Makes one report at a time, of what was pinned when it was pressed for. The button says how far it is and what failed."""

    def __init__(self, shared: SharedState, book: FindingsBook) -> None:
        self._shared, self._space, self._book = shared, shared.workspace, book
        self._ticket: Ticket | None = None

    def start(self, title: str, question: str) -> None:
        """The reader presses; while a report is being made, that changes nothing."""
        if self._ticket is not None:
            return
        found = self._space.findings.found
        if not found:
            self._book.told = NOTHING
            return
        try:
            title, question = (
                text_of(words, name, OF_REPORT[name]) for name, words in (("title", title), ("question", question))
            )
        except Unusable as problem:
            self._book.told = f"The title or the question {problem}."
            return
        ticket = self._ticket = Ticket()
        self._book.param.update(making=True, told="Starting")
        making = partial(self._make, found, title, question, ticket)
        param.parameterized.async_executor(making)  # type: ignore[attr-defined]  # Panel's own

    def cancel(self) -> None:
        """The reader wants no more of it, or has gone: what is under way ends at its next word."""
        if self._ticket is not None:
            self._ticket.cancelled = True

    async def _make(self, found: Sequence[Finding], title: str, question: str, ticket: Ticket) -> None:
        def tell(done: int, words: str) -> None:
            ticket.tell("report", f"Finding {done + 1} of {len(found)}: {words}" if done < len(found) else words)
            self._book.told = ticket.message

        try:
            made = await report_of(found, self._trace_of, self._alone, tell, title, question, MOST)
            await self._book.hand_over("report.html", "text/html", made.html)
            said = f"report.html: {made.said}."
        except Cancelled:
            said = STOPPED
        except Exception as error:  # noqa: BLE001  (shown, and logged where nobody foresaw it)
            said = f"There is no report. {sentence(error)}"
        self._ticket = None
        self._book.param.update(making=False, told=said)

    async def _trace_of(self, state: State, tell: Tell) -> Trace:
        """The trace that a state names: the one on screen, a kept one, or one that is run in the turn of this reader."""
        space, job = self._space, job_of(state)
        if space.trace is not None and state.text and job == space.pipeline.shown:
            return space.trace
        why = why_not_run(state, self._shared.where, RUN_IT)
        if why:
            raise NotCaptured(why)
        pipeline = space.new_pipeline()
        try:
            pipeline.run(job)
            while pipeline.status not in ENDED:
                tell(pipeline.message)
                await asyncio.sleep(TICK)
        finally:
            pipeline.cancel()
        trace: Trace | None = pipeline.trace
        if trace is None:
            raise NotCaptured(pipeline.error)
        return trace

    def _alone(self, trace: Trace) -> Workspace:
        """A workspace whose lenses ask as those of the page do: in the queue, and in this reader's turn."""
        space = self._space
        return alone(
            trace, space.tasks, space.scheduler, corpora=space.corpora.opened, session=space.pipeline.session,
            for_others=space.corpora.for_others,
        )  # fmt: skip
