"""Timing that survives a shared machine: two things measured in turn, the ratio taken pair by pair, medians quoted."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

PAIRS = 9
"""Odd, so that the median is a pair that was measured; enough for one slow moment of the machine not to matter."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    measured: str
    bar: str
    holds: bool
    figures: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Ratio:
    """How long one thing takes against another."""

    ours: float
    theirs: float
    ratio: float
    lowest: float
    highest: float

    def plain(self) -> dict[str, float]:
        """For JSON."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def seconds(work: Callable[[], Any]) -> float:
    """How long one run takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compared(ours: Callable[[], Any], theirs: Callable[[], Any], pairs: int = PAIRS) -> Ratio:
    """Both in turn, after one warm-up each."""
    ours(), theirs()
    measured = [(seconds(ours), seconds(theirs)) for _ in range(pairs)]
    ratios = [a / b for a, b in measured]
    first, second = zip(*measured, strict=True)
    return Ratio(statistics.median(first), statistics.median(second), statistics.median(ratios), min(ratios), max(ratios))


def peak_bytes() -> int:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """Run in a process of its own, so that its memory is its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(work, arguments)
