"""The colours of frames and bands that mark the selection: one for each meaning, the same on every plot."""

from __future__ import annotations

from atlas.plots.colours import BLUE, ORANGE, SKY, VERMILION, theme

FROM, TO, FOCUS, HEADS = "from", "to", "focus", "heads"

_COLOURS = {False: {FROM: BLUE, TO: VERMILION}, True: {FROM: SKY, TO: ORANGE}}


def marks(*, dark: bool) -> dict[str, str]:
    """Colours of selected rows, selected columns, the focused head, and selected heads."""
    around = theme(dark=dark)
    return _COLOURS[dark] | {FOCUS: around.ink, HEADS: around.accent}
