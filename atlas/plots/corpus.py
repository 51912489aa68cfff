"""A head over many texts: how its metrics spread, and how far it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt
from bokeh.models import FixedTicker

from atlas.plots.colours import BLUE, SKY, theme
from atlas.plots.frame import Hook, frame, limits, number, tooltip
from atlas.plots.row_words import row_words

ROW, AROUND = 25, 76
"""Pixels of a row of a metric, and of what is around the rows."""

BOX, MEAN, CHANCE = 0.3, 0.11, 0.4
"""Half of the height of the box of the middle half, of the mark of the mean and of that of chance, in rows."""

PLACE = ["x0", "y0", "x1", "y1"]

TILT = 0.8
"""Radians by which the names of distances are turned, so that neighbours do not overlap."""

HEIGHT = 300
"""Pixels of the histogram of distances."""


class Spread(NamedTuple):
    """One metric of one head over texts."""

    name: str
    mean: float
    lo: float
    hi: float
    uniform: float
    quantiles: tuple[float, float, float, float, float]
    """5, 25, 50, 75 and 95 % of the texts are not above these."""
    n: int

    def words(self) -> str:
        """The mean and its interval."""
        return f"{number(self.mean)} ({number(self.lo)} to {number(self.hi)})"

    def about(self) -> str:
        """All of its numbers."""
        low, first, middle, third, high = map(number, self.quantiles)
        return (
            f"mean {number(self.mean)}, 95 % interval {number(self.lo)} to {number(self.hi)}, {self.n:,} texts\n"
            f"spread evenly: {number(self.uniform)}\nhalf of the texts: {first} to {third}, median {middle}\n"
            f"nine of ten: {low} to {high}"
        )


def spreads(rows: Sequence[Spread], *, dark: bool = False) -> hv.Overlay:
    """A row a metric: line of nine texts in ten, box of half of them, mean with its interval; dashed: attention spread evenly."""
    around, at = theme(dark=dark), np.arange(float(len(rows)))
    shared = frame(
        dark=dark, x_label="value in a text", y_label="", x_range=(-0.02, 1.02), y_range=(max(1, len(rows)) - 0.4, -0.6),
        height=height_of(len(rows)),
    )  # fmt: skip
    shared |= {"default_tools": [], "toolbar": None}
    five = np.array([row.quantiles for row in rows], dtype=float).reshape(len(rows), 5)
    mean, lo, hi, even = (np.array([getattr(row, name) for row in rows], dtype=float) for name in ("mean", "lo", "hi", "uniform"))
    names, about = [row.name for row in rows], [row.about() for row in rows]
    line = hv.Segments((five[:, 0], at, five[:, 4], at), PLACE).opts(color=around.muted, line_width=1.5)
    box = hv.Rectangles((five[:, 1], at - BOX, five[:, 3], at + BOX, names, about), PLACE, ["name", "about"]).opts(
        color=SKY,
        fill_alpha=0.45,
        line_color=around.muted,
        line_width=0.5,
        tools=["hover"],
        hover_tooltips=tooltip("name", "about"),
    )
    interval = hv.Rectangles((lo, at - MEAN, hi, at + MEAN), PLACE).opts(
        color=around.accent, line_color=around.accent, line_width=2.0
    )
    point = hv.Points((mean, at, names, about), ["x", "y"], ["name", "about"]).opts(
        color=around.accent, size=6, tools=["hover"], hover_tooltips=tooltip("name", "about")
    )
    chance = hv.Segments((even, at - CHANCE, even, at + CHANCE), PLACE).opts(color=around.ink, line_width=2.0, line_dash="dashed")
    hook = row_words(names, [row.words() for row in rows], around)
    return hv.Overlay([line, box, interval, point, chance]).opts(
        **(shared | {"hooks": [framed(shared), hook]}), show_legend=False
    )


def height_of(rows: int) -> int:
    """Pixels of a plot with so many metrics."""
    return ROW * max(rows, 4) + AROUND


def distances(names: Sequence[str], mass: npt.ArrayLike, uniform: npt.ArrayLike, *, dark: bool = False) -> hv.Overlay:
    """Which share of the attention goes how far, a bar a range of distances; dashed: attention spread evenly."""
    around, shares, even = theme(dark=dark), np.asarray(mass, dtype=float), np.asarray(uniform, dtype=float)
    at = np.arange(float(len(names)))
    shared = frame(
        dark=dark, x_label="distance in tokens", y_label="share of the attention", x_range=(-0.6, max(1, len(names)) - 0.4),
        y_range=(0.0, limits([0.0, *shares, *even])[1]), height=HEIGHT,
    )  # fmt: skip
    shared |= {"default_tools": [], "toolbar": None}
    about = [f"{number(share)} of the attention; spread evenly {number(by)}" for share, by in zip(shares, even, strict=True)]
    label = [f"{name} tokens away" for name in names]
    bars = hv.Rectangles((at - 0.42, np.zeros(len(at)), at + 0.42, shares, label, about), PLACE, ["label", "about"]).opts(
        color=BLUE if not dark else SKY, line_alpha=0, tools=["hover"], hover_tooltips=tooltip("label", "about")
    )
    chance = hv.Segments((at - 0.46, even, at + 0.46, even), PLACE).opts(color=around.ink, line_width=1.5, line_dash="dashed")
    return hv.Overlay([bars, chance]).opts(**(shared | {"hooks": [framed(shared), below(names)]}), show_legend=False)


def framed(options: Mapping[str, Any]) -> Hook:
    """HoloViews hook: shows all of the plot. Nothing here is zoomed, so no reader's zoom is kept and no end of one is set."""

    def hook(plot: Any, _: Any) -> None:
        for axis, name in ((plot.state.x_range, "xlim"), (plot.state.y_range, "ylim")):
            start, end = options[name]
            axis.update(start=start, end=end)

    return hook


def below(names: Sequence[str]) -> Hook:
    """HoloViews hook: names the places 0, 1, 2 ... below a plot. HoloViews itself sets ticks once, and these follow the data."""

    def hook(plot: Any, _: Any) -> None:
        axis = plot.state.below[0]
        if not isinstance(axis.ticker, FixedTicker) or list(axis.ticker.ticks) != list(range(len(names))):
            axis.ticker = FixedTicker(ticks=list(range(len(names))))
        axis.update(major_label_overrides=dict(enumerate(names)), major_label_orientation=TILT)

    return hook
