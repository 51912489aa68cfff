"""Words in the squares of the Map: the name of a head, its number, or both, where there is room for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from atlas.plots.frame import number

LETTER, LINE = 5.6, 13.0
"""Pixels of a letter of 8 points, and from one line to the next."""

ROOM = 4
"""Pixels of a square beside a word: touching words would be read as one."""

LEAST = 0.001
"""Smaller numbers are written as that: a power of ten in a square is taken for a larger number."""


MOST_WORDS = 600
"""Words in the picture: each is an object in the browser, and smaller squares are pointed at."""

NAME_GROUND = 0.75
"""Opacity of the ground of a name: without one it cannot be read on a dark cell, and a whole one would hide the cell."""


class Word(NamedTuple):
    """Left end and top on a plane of side 1, what is written there, and the square it is in."""

    x: float
    y: float
    text: str
    row: int
    column: int


class Squares(NamedTuple):
    """The squares of a plane that are on screen, and how large each is there."""

    n_x: int
    n_y: int
    columns: range
    rows: range
    wide: float
    high: float
    """Pixels."""


def brief(value: float) -> str:
    """A number in a square: three digits at most, and no power of ten."""
    if 0 < abs(value) < LEAST:
        return f"<{LEAST}"
    return f"{value:.3f}" if 0 < abs(value) < 1 else number(value)


def fits(text: str, squares: Squares) -> bool:
    """Whether a word of one line fits a square."""
    return len(text) * LETTER + ROOM <= squares.wide and squares.high >= LINE


def corner_words(squares: Squares, name: Callable[[int, int], str], gap: float) -> list[Word]:
    """The name of (row, column) in the upper left corner of every square, beside its gap."""
    return [
        Word((column + gap) / squares.n_x, (row + 0.01) / squares.n_y, name(row, column), row, column)
        for row in squares.rows
        for column in squares.columns
    ]


def middle_words(squares: Squares, lines: Callable[[int, int], Sequence[str]]) -> list[Word]:
    """The lines of (row, column) one under the other in the middle of every square; only as many as there is room for."""
    most = int(squares.high // LINE)
    found = []
    for row in squares.rows:
        for column in squares.columns:
            kept = [line for line in lines(row, column) if fits(line, squares)][:most]
            for at, line in enumerate(kept):
                left = (squares.wide - len(line) * LETTER) / 2 / squares.wide
                top = (squares.high - len(kept) * LINE) / 2 / squares.high + at * LINE / squares.high
                found.append(Word((column + left) / squares.n_x, (row + top) / squares.n_y, line, row, column))
    return found
