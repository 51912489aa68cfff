"""Means of some heads with their intervals, over what random heads of the same layers would have: a row a metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import holoviews as hv
import numpy as np

from atlas.plots.colours import theme
from atlas.plots.frame import Hook, frame, tooltip
from atlas.plots.row_words import row_words

ROW_HEIGHT = 27
"""Pixels of a row: one line of text beside it."""

FEET = 64
"""Pixels of the axis below the rows and the margin above."""

HALF = 0.34
"""Half of the thickness of the band of chance, in rows."""

SIDE = 1.06
"""The end of the axis, in reaches."""


class Trait(NamedTuple):
    """One metric, in standard deviations of all heads."""

    title: str
    z: float
    lo: float
    hi: float
    chance_lo: float
    chance_hi: float
    words: str
    """Beside the row."""
    about: str
    """For the tooltip."""


def trait_rows(traits: Sequence[Trait], reach: float, *, rows: int, dark: bool = False, hooks: Sequence[Hook] = ()) -> hv.Overlay:
    """Grey: 95 % of random sets; line: the interval of the mean; dot: the mean. `rows` rows of room, however many there are."""
    around, at = theme(dark=dark), np.arange(float(len(traits)))
    z, lo, hi, chance_lo, chance_hi = (
        np.array([getattr(trait, name) for trait in traits], dtype=float) for name in Trait._fields[1:6]
    )
    shared = frame(
        dark=dark, x_label="standard deviations from the mean of all heads", y_label="",
        x_range=(-reach * SIDE, reach * SIDE), y_range=(max(rows, 1) - 0.5, -0.5), height=height_of(rows),
    )  # fmt: skip
    shared |= {"default_tools": [], "toolbar": None}
    said = [trait.title for trait in traits], [trait.about for trait in traits]
    heard = {"hooks": [*shared["hooks"], *hooks]}
    parts = [
        hv.Rectangles((chance_lo, at - HALF, chance_hi, at + HALF), ["x0", "y0", "x1", "y1"]).opts(
            **shared, color=around.rule, line_alpha=0
        ),
        hv.VLine(0.0).opts(color=around.muted, line_width=1.0),
        hv.Segments((lo, at, hi, at), ["x0", "y0", "x1", "y1"]).opts(**shared, color=around.accent, line_width=3.0),
        hv.Points((z, at, *said), ["x", "y"], ["name", "about"]).opts(
            **(shared | heard), color=around.accent, line_color=around.paper, size=10, tools=["hover"],
            hover_tooltips=tooltip("name", "about"),
        ),
    ]  # fmt: skip
    words = row_words([trait.title for trait in traits], [trait.words for trait in traits], around)
    return hv.Overlay(parts).opts(**(shared | {"hooks": [*shared["hooks"], words]}), show_legend=False)


def height_of(rows: int) -> int:
    """Pixels of the plot."""
    return ROW_HEIGHT * max(rows, 1) + FEET
