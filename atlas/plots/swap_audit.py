"""Changes from texts to their counterfactuals: how they spread beside neutral swaps, and every exchange with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt

from atlas.plots.benchmark import HEIGHT, OUTER, PLACE, height_of
from atlas.plots.colours import BLUE, SKY, VERMILION, theme
from atlas.plots.frame import frame, limits, number, tooltip
from atlas.plots.row_words import row_words

BINS = 31
"""Bars: an odd number, so that one of them is around no change."""


class Change(NamedTuple):
    """One exchange."""

    name: str
    value: float
    lo: float
    hi: float
    beyond: bool
    about: str


def spread_of_changes(
    pairs: npt.ArrayLike, neutral: npt.ArrayLike, *, label: str, signed: bool, height: int = HEIGHT, dark: bool = False
) -> hv.Overlay:
    """Shares of the pairs by their change as bars; the line has those of their neutral swaps."""
    around = theme(dark=dark)
    values, null = (np.asarray(each, dtype=float) for each in (pairs, neutral))
    both = np.abs(np.concatenate([values, null]))
    far = float(np.percentile(both, OUTER)) if len(both) else 0.0
    edges = np.linspace(-(far or 1.0) if signed else 0.0, far or 1.0, BINS + 1)
    bars, line = (_shares(each, edges) for each in (values, null))
    about = [
        f"{number(share)} of the pairs, {number(by)} of their neutral swaps\nchange {number(low)} to {number(high)}"
        f"{' and beyond' if _end(at, signed=signed) else ''}"
        for at, (share, by, low, high) in enumerate(zip(bars, line, edges[:-1], edges[1:], strict=True))
    ]
    top = limits([0.0, *bars, *line])[1]
    shared = frame(
        dark=dark, x_label=label, y_label="share", x_range=(edges[0], edges[-1]), y_range=(0, top), height=height
    )  # fmt: skip
    shared |= {"default_tools": ["reset"]}
    drawn = hv.Rectangles((edges[:-1], np.zeros(BINS), edges[1:], bars, about), PLACE, "about").opts(
        color=SKY, line_color=around.paper, line_width=0.5, tools=["hover"], hover_tooltips=tooltip("about")
    )
    steps = np.repeat(edges, 2)[1:-1], np.repeat(line, 2)
    chance = hv.Curve(steps if len(null) else ([], []), "change", "share of swaps").opts(
        color=around.ink, line_width=1.5, line_dash="dashed"
    )
    return hv.Overlay([drawn, chance]).opts(**shared, show_legend=False)


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return np.asarray(counts / max(1, len(values)))


def _end(at: int, *, signed: bool) -> bool:
    return at == BINS - 1 or (signed and at == 0)


def mean_changes(rows: Sequence[Change], *, label: str, reference: float, dark: bool = False) -> hv.Overlay:
    """Every exchange as a mean with its 95 % interval; filled: more than chance; dashed: no change."""
    around, at = theme(dark=dark), np.arange(float(len(rows)))
    count = max(1, len(rows))
    values, lo, hi = (np.array([getattr(row, name) for row in rows], dtype=float) for name in ("value", "lo", "hi"))
    known, bounded = np.isfinite(values), np.isfinite(lo)
    shared = frame(
        dark=dark, x_label=label, y_label="", x_range=limits([reference, *values, *lo, *hi]),
        y_range=(count - 0.4, -0.6), height=height_of(count),
    )  # fmt: skip
    shared |= {"default_tools": ["reset"]}
    fair = hv.Segments([(reference, -0.6, reference, count - 0.4)], PLACE).opts(
        color=around.muted, line_width=1.5, line_dash="dashed"
    )
    blue = SKY if dark else BLUE
    bars = hv.Segments((lo[bounded], at[bounded], hi[bounded], at[bounded]), PLACE).opts(color=blue, line_width=2.0)
    colours = [VERMILION if row.beyond else around.paper for row in rows]
    lines = [VERMILION if row.beyond else blue for row in rows]
    names, about = [row.name for row in rows], [row.about for row in rows]
    shown = np.flatnonzero(known)
    columns = (values[shown], at[shown], *([each[i] for i in shown] for each in (colours, lines, names, about)))
    points = hv.Points(columns, ["value", "row"], ["colour", "line", "name", "about"]).opts(
        color="colour", line_color="line", size=9, line_width=2.0, tools=["hover"], hover_tooltips=tooltip("name", "about")
    )
    said = [
        f"{number(row.value)} ({number(row.lo)} to {number(row.hi)})" if np.isfinite(row.lo) else number(row.value)
        for row in rows
    ]
    hook = row_words(names, said, around)
    return hv.Overlay([fair, bars, points]).opts(**(shared | {"hooks": [*shared["hooks"], hook]}), show_legend=False)
