"""A reliability diagram: of words with such a probability, the share that has the label."""

from __future__ import annotations

from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt

from atlas.plots.colours import BLUE, VERMILION, theme
from atlas.plots.frame import frame, number, tooltip

HEIGHT = 260
"""Pixels of the plot."""

ROOM = 0.16
"""Of the axis below 0, for the numbers of words."""

PLACE = ["x0", "y0", "x1", "y1"]

FORWARD = 1000
"""Words from which a number is written in thousands: 4,743 would overlap its neighbour's."""


class Reliability(NamedTuple):
    """One label, bin by bin."""

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    n: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float64]
    share: npt.NDArray[np.float64]
    lo: npt.NDArray[np.float64]
    hi: npt.NDArray[np.float64]
    threshold: float
    """Drawn as an upright line."""


def reliability_diagram(found: Reliability | None, *, dark: bool = False) -> hv.Overlay:
    """Points with 95 % intervals; dashed: where probability and share are equal; below: how many words."""
    around = theme(dark=dark)
    empty = np.empty(0)
    of = found or Reliability(empty, empty, empty.astype(int), empty, empty, empty, empty, np.nan)
    known = np.flatnonzero(np.isfinite(of.share))
    options = frame(
        dark=dark, x_label="probability of the detector", y_label="share with the label", x_range=(-0.02, 1.02),
        y_range=(-ROOM, 1.04), height=HEIGHT,
    )  # fmt: skip
    options |= {"default_tools": ["reset"], "yticks": [0, 0.25, 0.5, 0.75, 1]}
    names = [f"probability {number(of.low[at])} to {number(of.high[at])}" for at in known]
    about = [
        f"share {number(of.share[at])}, 95 % {number(of.lo[at])} to {number(of.hi[at])}\nmean probability {number(of.mean[at])}\n"
        f"{of.n[at]:,} words"
        for at in known
    ]
    middle = (of.low + of.high) / 2
    counts = [f"{n / FORWARD:.1f}k" if n >= FORWARD else f"{n:,}" for n in of.n]
    limit = [(of.threshold, 0.0, of.threshold, 1.0)] if np.isfinite(of.threshold) else []
    hover = {"tools": ["hover"], "hover_tooltips": tooltip("name", "about")}
    looks: list[tuple[hv.Element, dict[str, Any]]] = [
        (hv.Segments([(0.0, 0.0, 1.0, 1.0)], PLACE), {"color": around.muted, "line_dash": "dashed", "line_width": 1.0}),
        (hv.Segments(limit, PLACE), {"color": VERMILION, "line_width": 1.5}),
        (hv.Segments((of.mean[known], of.lo[known], of.mean[known], of.hi[known]), PLACE), {"color": BLUE, "line_width": 2.0}),
        (
            hv.Labels((middle, np.full(len(middle), -ROOM / 2), counts), ["x", "y"], "text"),
            {"text_color": around.muted, "text_font_size": "9px"},
        ),
        (
            hv.Points((of.mean[known], of.share[known], names, about), ["x", "y"], ["name", "about"]),
            {"color": BLUE, "size": 7, "line_color": around.paper, "line_width": 0.5, **hover},
        ),
    ]
    return hv.Overlay([part.opts(**options, **look) for part, look in looks]).opts(**options, show_legend=False)
