"""Frames and bands that say what is selected: one colour a meaning, the same on every plot."""

from __future__ import annotations

from atlas.plots.colours import BLUE, ORANGE, SKY, VERMILION, theme

FROM, TO, FOCUS, HEADS = "from", "to", "focus", "heads"

_COLOURS = {False: {FROM: BLUE, TO: VERMILION}, True: {FROM: SKY, TO: ORANGE}}


def marks(*, dark: bool) -> dict[str, str]:
    """Colours of rows that are selected, of columns that are, of the head shown large, of the heads that are selected."""
    around = theme(dark=dark)
    return _COLOURS[dark] | {FOCUS: around.ink, HEADS: around.accent}
