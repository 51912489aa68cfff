"""Two effects of every head against each other, with the front of those that no other beats on both, and chance beside them."""

from __future__ import annotations

from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt
import pandas as pd

from atlas.plots.colours import theme
from atlas.plots.frame import Hook, frame, limits, number, tooltip
from atlas.plots.heads import ScatterConfig, head_scatter

HEIGHT = 420
"""Pixels of the plot."""

PLACE = ["x0", "y0", "x1", "y1"]

MOST_INTERVALS = 24
"""Heads whose intervals are drawn: crosses of more would hide the points."""

CHANCE_ALPHA = 0.12

BEHIND = 0.5
"""Opacity of heads that are not selected: what a selected head is compared with is all the others."""


class Heads(NamedTuple):
    """The heads as they are drawn."""

    table: pd.DataFrame
    """kind, layer, head, x, y, x_lo, x_hi, y_lo, y_hi, value (colour), about, selected, focus."""
    front: npt.NDArray[np.bool_]
    chance: tuple[float, float, float]
    """Low and high edge of what y is by chance, and what the highest of all heads exceeds one time in twenty."""


def front_line(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The staircase through the points of a front: what lies below or left of it is beaten."""
    across, up = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    order = np.lexsort((-up, across))
    across, up = across[order], up[order]
    # From each point straight down to the height of the next one, then to it.
    return np.repeat(across, 2)[:-1], np.repeat(up, 2)[1:]


def tradeoff_scatter(
    heads: Heads | None, *, x_label: str, y_label: str, colour_label: str, dark: bool = False, hooks: list[Hook] | None = None
) -> hv.Overlay:
    """Points of heads, the front, intervals of the selected ones, and a band of chance; the model with all heads is at (0, 0)."""
    around = theme(dark=dark)
    empty = np.empty(0)
    if heads is None:
        table = pd.DataFrame(dict.fromkeys(("layer", "head", "x", "y", "x_lo", "x_hi", "y_lo", "y_hi", "value"), empty))
        heads = Heads(table.assign(selected=False, focus=False), np.zeros(0, dtype=bool), (np.nan, np.nan, np.nan))
    table = heads.table
    lo, hi, best = heads.chance
    x_range, y_range = limits([0.0, *table["x"]]), limits([0.0, lo, hi, best, *table["y"]])
    shown = table[table["selected"]]
    shown = shown if len(shown) <= MOST_INTERVALS else shown.iloc[:0]
    if len(shown):
        x_range = limits([*x_range, *shown["x_lo"], *shown["x_hi"]])
        y_range = limits([*y_range, *shown["y_lo"], *shown["y_hi"]])
    known = shown[np.isfinite(shown[["x_lo", "x_hi", "y_lo", "y_hi"]]).all(axis=1)]
    bars = pd.DataFrame({
        "x0": [*known["x_lo"], *known["x"]], "y0": [*known["y"], *known["y_lo"]],
        "x1": [*known["x_hi"], *known["x"]], "y1": [*known["y"], *known["y_hi"]],
    })  # fmt: skip
    far = (x_range[1] - x_range[0], y_range[1] - y_range[0])
    wide = (x_range[0] - far[0], x_range[1] + far[0])
    band = [(wide[0], lo, wide[1], hi)] if np.isfinite(lo) else []
    chance = [(wide[0], best, wide[1], best)] if np.isfinite(best) else []
    zero = [(wide[0], 0.0, wide[1], 0.0), (0.0, y_range[0] - far[1], 0.0, y_range[1] + far[1])]
    on = table[heads.front]
    # The model as it is belongs to the front where no head does better on one axis at no cost on the other.
    better = (on["x"] >= 0) & (on["y"] >= 0)
    x, y = ([*on["x"]], [*on["y"]]) if better.any() else ([0.0, *on["x"]], [0.0, *on["y"]])
    config = ScatterConfig(
        dark=dark, x_label=x_label, y_label=y_label, x_range=x_range, y_range=y_range, colour_label=colour_label,
        colour_limits=(0.0, 1.0), height=HEIGHT, hooks=hooks or [],
    )  # fmt: skip
    points = head_scatter(table, **config).opts(nonselection_alpha=BEHIND)
    points.data["about"] = _about(table, x_label, y_label, colour_label)
    origin = hv.Points(([0.0], [0.0], ["All heads on"], ["The model as it is"]), ["x", "y"], ["name", "about"]).opts(
        marker="x", size=11, color=around.ink, line_width=2, tools=["hover"], hover_tooltips=tooltip("name", "about")
    )
    shared = frame(dark=dark, x_label=x_label, y_label=y_label, x_range=x_range, y_range=y_range, height=HEIGHT)
    return hv.Overlay([
        hv.Rectangles(band, PLACE).opts(color=around.muted, alpha=CHANCE_ALPHA, line_width=0),
        hv.Segments(zero, PLACE).opts(color=around.rule, line_width=1),
        hv.Segments(chance, PLACE).opts(color=around.muted, line_width=1.5, line_dash="dashed"),
        hv.Curve(front_line(x, y), "x", "y").opts(color=around.ink, line_width=1.5),
        hv.Segments(bars, PLACE).opts(color=around.accent, line_width=1.5),
        origin,
        points,
    ]).opts(**shared, show_legend=False, active_tools=["lasso_select", "tap"])  # fmt: skip


def _about(table: pd.DataFrame, x_label: str, y_label: str, colour_label: str) -> list[str]:
    """The lines of a tooltip: both effects with their intervals, and how often the head is on the front."""
    rows: list[dict[Any, Any]] = table.to_dict("records")
    return [
        f"{y_label}: {_with_interval(row['y'], row['y_lo'], row['y_hi'])}\n"
        f"{x_label}: {_with_interval(row['x'], row['x_lo'], row['x_hi'])}\n"
        f"{colour_label}: {number(row['value'])}\n{row['about']}"
        for row in rows
    ]


def _with_interval(value: float, lo: float, hi: float) -> str:
    return f"{number(value)} ({number(lo)} to {number(hi)})" if np.isfinite(lo) else number(value)
