"""Steps on the path of integrated gradients: doubled until the scores add up, or until more of them no longer help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from atlas.errors import UnknownName

T = TypeVar("T")

STEPS, MOST_STEPS = 32, 512
"""Points on the path at first, and at most; doubled in between."""

GAP = 0.05
"""Completeness gap, as a share, below which no more steps are taken."""

SHRINKS = 0.8
"""A gap that is larger than this share of the smallest one so far has not shrunk."""

PATIENCE = 2
"""Doublings in a row without a smaller gap after which no more steps are taken: with few steps one of them may be by chance."""


class Integrated(NamedTuple, Generic[T]):
    """The scores with the smallest gap."""

    found: T
    share: float
    """The gap, as a share of what is explained."""
    steps: int
    """Of these scores."""
    tried: int
    """Of all rounds."""


def until_complete(
    along: Callable[[int, int], T],
    total: Callable[[T], float],
    difference: float,
    steps: int = STEPS,
    most_steps: int = MOST_STEPS,
    gap: float = GAP,
) -> Integrated[T]:
    """Take more steps until `total(scores)` is the difference that they explain within `gap`, or until they no longer help.

    `along` has the number of steps, and how many were taken in earlier rounds; it gives the scores.
    """
    if steps < 1 or most_steps < 1:
        msg = f"Integrated gradients take at least one step, not {min(steps, most_steps)}."
        raise UnknownName(msg)
    count, tried, in_vain = min(steps, most_steps), 0, 0
    best: Integrated[T] | None = None
    while True:
        found = along(count, tried)
        tried += count
        whole = total(found)
        share = abs(whole - difference) / abs(difference) if difference else float("inf") if whole else 0.0
        in_vain = in_vain + 1 if best is not None and share > SHRINKS * best.share else 0
        if best is None or share < best.share:
            best = Integrated(found, share, count, tried)
        if share <= gap or in_vain == PATIENCE or count >= most_steps:
            return best._replace(tried=tried)
        count = min(2 * count, most_steps)
