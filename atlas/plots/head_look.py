"""How the lines of a head look: a colour, and after the colours are used up a dash."""

from __future__ import annotations

from atlas.plots.colours import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

HUES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
"""No yellow: a thin line of it is not seen on white."""

DASHES: tuple[tuple[int, ...], ...] = ((), (7, 3), (2, 3), (9, 3, 2, 3))
"""Pixels drawn and left out in turn; the first is solid."""


def head_look(head: int) -> tuple[str, tuple[int, ...]]:
    """Colour and dash of a head by its number: the first 24 heads of a layer differ."""
    return HUES[head % len(HUES)], DASHES[head // len(HUES) % len(DASHES)]
