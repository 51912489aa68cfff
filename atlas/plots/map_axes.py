"""The axes of the Map: heads and layers, the places of a ranking, or the tokens of the one head that fills the plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from atlas.plots.plane import stepped, tick_step, ticks


class AxisNames(NamedTuple):
    """Names at places of an axis of a plane of side 1, and its title."""

    ticks: list[tuple[float, str]]
    title: str


def square_names(title: str, names: Sequence[str], seen: tuple[float, float], pixels: int) -> AxisNames:
    """Names of the rows or columns of squares in a window, in squares."""
    step = tick_step(len(names), *seen, pixels)
    return AxisNames(ticks(names, *seen, pixels), stepped(title, step))


def token_names(
    title: str, names: Sequence[str], place: int, count: int, gap: float, seen: tuple[float, float], pixels: int
) -> AxisNames:
    """Names of the tokens of the head at a place among so many, where its cells are; the window in squares."""
    first, last = (((edge - place - gap) / (1 - 2 * gap)) * len(names) for edge in seen)
    found = [((place + gap + at * (1 - 2 * gap)) / count, name) for at, name in ticks(names, first, last, pixels)]
    return AxisNames(found, stepped(title, tick_step(len(names), first, last, pixels)))


def rank_rows(n_rows: int, n_columns: int) -> list[str]:
    """The ranks in every row of a ranking that is read row by row: '1–8', '9–16'."""
    ends = [(row * n_columns + 1, (row + 1) * n_columns) for row in range(n_rows)]
    return [f"{first}–{last}" if last > first else str(first) for first, last in ends]
