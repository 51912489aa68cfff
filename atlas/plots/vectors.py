"""Queries and keys of a head as points of one plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt
import pandas as pd

from atlas.plots.colours import CIRCLE, GREEN, GREY, ORANGE, PURPLE, SKY, Category, coloured, sequential, theme
from atlas.plots.frame import Hook, frame, limits, selection_tools, tooltip
from atlas.plots.lines import PARTS

ROLE, POSITION, TYPE = "role", "position", "type"
"""What colours a point: whether it is a query or a key; where its token stands; what kind of token it is."""

TYPES = {
    name: Category(colour, CIRCLE)
    for name, colour in {
        "special tokens": ORANGE, "punctuation": PURPLE, "function words": SKY, "content words": GREEN, "N/A": GREY,
    }.items()
}  # fmt: skip
"""A colour of its own for each type of token: elsewhere function and content words share one and differ by shape, which says
query or key here."""

SIZE = 8.0
FADED = 0.4


class Points(NamedTuple):
    """The points, queries before keys."""

    places: npt.NDArray[np.float64]
    """(point, 2)"""
    roles: Sequence[str]
    positions: npt.NDArray[np.int64]
    names: Sequence[str]
    types: Sequence[str]
    chosen: Sequence[int] = ()
    """Points of selected tokens; none: all alike."""


def vector_points(
    points: Points, *, colour: str, labels: tuple[str, str], dark: bool = False, height: int = 260, hooks: Sequence[Hook] = ()
) -> hv.Points:
    """One mark for each vector: its shape says query or key, its colour what was chosen."""
    around = theme(dark=dark)
    data = pd.DataFrame({
        "x": points.places[:, 0],
        "y": points.places[:, 1],
        "name": list(points.names),
        "about": [f"{role}, {kind}" for role, kind in zip(points.roles, points.types, strict=True)],
        "colour": np.array(_colours(points, colour, dark=dark), dtype=object),
        "marker": np.array([PARTS[role].marker for role in points.roles], dtype=object),
    })  # fmt: skip
    options = frame(
        dark=dark, x_label=labels[0], y_label=labels[1], x_range=limits(data["x"]), y_range=limits(data["y"]), height=height
    )
    options["hooks"] += hooks
    # A column of no colours would be taken for numbers by HoloViews, which fails where there were colours before.
    look = {"color": "colour", "marker": "marker"} if len(data) else {"color": around.muted, "marker": "circle"}
    return hv.Points(data, ["x", "y"], ["name", "about", "colour", "marker"]).opts(
        **options, **look, size=SIZE, line_color=around.paper, line_width=0.5, tools=selection_tools(),
        default_tools=["reset"], selected=list(points.chosen), selection_alpha=1.0, nonselection_alpha=FADED,
        hover_tooltips=tooltip("name", "about"),
    )  # fmt: skip


def _colours(points: Points, by: str, *, dark: bool) -> list[str]:
    if by == ROLE:
        return [PARTS[role].colour for role in points.roles]
    if by == TYPE:
        return [TYPES[kind].colour for kind in points.types]
    # Not from the colour of the paper on: the first token would not be seen.
    shades = sequential(dark=dark)[48:]
    last = int(points.positions.max()) if len(points.positions) else 0
    return coloured(points.positions, (0.0, float(last)), shades, theme(dark=dark).muted)
