"""Heads of two sides as points: a number on one side across, on the other upwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np

from atlas.plots.colours import theme
from atlas.plots.frame import Hook, Limits, limits
from atlas.plots.heads import ScatterConfig, head_scatter

if TYPE_CHECKING:
    import pandas as pd

HEIGHT = 320

LINE = ("x0", "y0", "x1", "y1")


def moved_limits(data: pd.DataFrame) -> Limits:
    """Ends of the colours: up to the head whose attention moved most, because most pairs of sides differ little."""
    known = data["value"][np.isfinite(data["value"])]
    most = float(known.max()) if len(known) else 0.0
    return 0.0, most if most > 0 else 1.0


def two_sided_config(data: pd.DataFrame, *, metric: str, dark: bool) -> ScatterConfig:
    """How the points are drawn: on one range for both axes."""
    both = limits(np.append(data["x"], data["y"]))
    return ScatterConfig(
        dark=dark, x_label=f"{metric}, A", y_label=f"{metric}, B", x_range=both, y_range=both, height=HEIGHT,
        colour_label="attention moved", colour_limits=moved_limits(data),
    )  # fmt: skip


def equal_line(both: Limits) -> dict[str, list[float]]:
    """The columns of the line on which both sides are equal."""
    return dict(zip(LINE, ([both[0]], [both[0]], [both[1]], [both[1]]), strict=True))


def two_sided_scatter(data: pd.DataFrame, config: ScatterConfig, hooks: Sequence[Hook], line_hooks: Sequence[Hook]) -> hv.Overlay:
    """The points of `head_scatter` over the line on which both sides are equal."""
    points = head_scatter(data, **config | ScatterConfig(hooks=list(hooks)))
    equal = hv.Segments(equal_line(config["x_range"]), list(LINE))
    colour = theme(dark=config["dark"]).muted
    equal = equal.opts(color=colour, line_width=1.0, line_dash="dashed", default_tools=[], hooks=list(line_hooks))
    return (equal * points).opts(show_legend=False)
