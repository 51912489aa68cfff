"""Timing that survives a shared machine: two things measured in turn, the ratio taken pair by pair, median and quartiles."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

PAIRS = 21
"""Odd, so that the median is a pair that was measured. Nine were too few: the medians of three runs of one program were 1.11,
1.15 and 1.17."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    measured: str
    bar: str
    holds: bool
    figures: dict[str, Any]
    table: str = ""
    """A table of its own, in Markdown; printed below the others."""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Ratio:
    """How long one thing takes against another."""

    ours: float
    """Seconds, median."""
    theirs: float
    ratio: float
    """Median of the ratios of the pairs."""
    lower: float
    """First quartile of the ratios."""
    upper: float
    """Third quartile."""

    @property
    def words(self) -> str:
        """The median, and the quartiles beside it, because one figure hides how far the next run may be from it."""
        return f"{self.ratio:.2f}x (quartiles {self.lower:.2f} to {self.upper:.2f})"

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
    lower, middle, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(statistics.median(first), statistics.median(second), middle, lower, upper)


def peak_bytes() -> int:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """Run in a process of its own, so that its memory is its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(work, arguments)
