"""What a soak has seen, as tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.soak.reader import SLOW, Log

LEAST = 10
"""Gestures of which a percentile says anything."""


@dataclass
class Minute:
    """A minute of it."""

    minute: int
    sessions: int
    gestures: int
    memory: int
    """Bytes of the server."""
    busy: float
    """Share of a processor that the server took."""
    load: float
    """Processes that wanted to run, on average over the last minute: more than there are processors, and every time is longer."""


@dataclass
class Soak:
    """Everything seen."""

    readers: int
    seconds: float
    setting: str
    log: Log
    minutes: list[Minute] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """Errors that the server has logged."""
    left: dict[str, int] = field(default_factory=dict)
    """Objects of sessions that were alive after all had closed."""
    start: int = 0
    """Bytes of the server before anybody came."""
    closed: list[int] = field(default_factory=list)
    """Bytes of the server after all had closed, round by round."""

    @property
    def failed(self) -> bool:
        """Whether a reader lost a page, or anything failed."""
        return bool(self.log.problems or self.complaints or any(self.left.values()))

    def grown(self) -> float:
        """Share by which the memory grew over the second half; NaN where it was too short to tell."""
        half = self.minutes[len(self.minutes) // 2 :]
        return half[-1].memory / half[0].memory - 1 if len(half) > 1 else float("nan")

    def markdown(self) -> str:
        """The tables."""
        log = self.log
        count = len(log.gestures)
        rounds = f"{len(self.closed)} rounds of " if len(self.closed) > 1 else ""
        what = f"{rounds}{self.readers} readers for {self.seconds / 60:.3g} minutes, {self.setting}"
        seen = (
            f"{log.sessions} sessions, {count:,} gestures, {len(log.problems)} lost, {len(self.complaints)} errors of the server"
        )
        left = ", ".join(f"{number} {name}" for name, number in self.left.items()) or "not asked"
        by_minute = [
            (m.minute, m.sessions, m.gestures, f"{m.memory / 1e6:,.0f} MB", f"{m.busy:.2f}", f"{m.load:.1f}")
            for m in self.minutes
        ]
        lines = [
            f"{what}: {seen}, {log.received / 1e6:,.0f} MB received.",
            "",
            *table(("gesture", "times", "median", "95 %", "99 %", "longest"), self._latencies()),
            "",
            *table(("minute", "open pages", "gestures", "memory", "server's processors", "load of the machine"), by_minute),
            "",
            f"Memory over the second half: {words(self.grown())}. Alive after all had closed: {left}.",
        ]
        if rounds:
            after = ", ".join(f"{each / 1e6:,.0f} MB ({words(each / self.start - 1)})" for each in self.closed)
            lines.append(f"Memory before anybody came: {self.start / 1e6:,.0f} MB; after all had closed: {after}.")
        found = [*log.problems, *self.complaints]
        return "\n".join([*lines, *([""] if found else []), *(f"- {each}" for each in found[:MOST_LINES])])

    def _latencies(self) -> list[tuple[object, ...]]:
        kinds = sorted({kind for kind, _ in self.log.gestures}, key=lambda kind: (kind in SLOW, kind))
        quick = [seconds for kind, seconds in self.log.gestures if kind not in SLOW]
        rows: list[tuple[object, ...]] = [(kind, *percentiles(self.log.seconds(kind))) for kind in kinds]
        return [*rows, ("all but runs, tabs and pages", *percentiles(quick))]


MOST_LINES = 20
"""Problems that are listed."""


def percentiles(seconds: Sequence[float]) -> tuple[object, ...]:
    """How many, and their times in words."""
    if not seconds:
        return (0, *["N/A"] * 4)
    far = [f"{np.percentile(seconds, share):.2f} s" if len(seconds) >= LEAST else "N/A" for share in (95, 99)]
    return (len(seconds), f"{np.median(seconds):.2f} s", *far, f"{max(seconds):.2f} s")


def words(share: float) -> str:
    """A change in words."""
    return "too short to tell" if np.isnan(share) else f"{share:+.1%}"


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a table."""
    return [" | ".join(["", *map(str, row), ""]).strip() for row in (head, ["---"] * len(head), *rows)]
