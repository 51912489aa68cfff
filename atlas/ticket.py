"""Ticket: the progress of a task, and how it is told to end."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from atlas.errors import AtlasError

SOON = 0.5
"""Seconds a task must run before its remaining time is estimated, because earlier estimates fluctuate."""

UNKNOWN = -1.0
"""Share of a task whose progress is unknown."""


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
    held: str = ""
    """What the task waits for although its turn has come; empty once it runs."""
    end: float = math.inf
    """When the task has run for as long as is allowed."""
    overdue: AtlasError | None = None
    """What it ends with then."""

    def tell(self, stage: str, message: str, share: float = UNKNOWN) -> None:
        """Report progress; raises Cancelled if the task was cancelled, and `overdue` if it has run for too long."""
        self.note(stage, message, share)
        if self.cancelled:
            raise Cancelled
        if self.overdue is not None and time.monotonic() > self.end:
            raise self.overdue

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
        """The current step and its remaining time, or what comes before this task."""
        if self.held:
            return self.held
        if self.runs_before:
            return f"{self.runs_before} {'run' if self.runs_before == 1 else 'runs'} before yours"
        left = self.remaining()
        return self.message if left is None else f"{self.message}, about {left:.0f} s left"
