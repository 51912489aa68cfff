"""Heads of two sides as points: a number on one side across, on the other upwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np

from atlas.plots.colours import theme
from atlas.plots.frame import Hook, limits
from atlas.plots.heads import ScatterConfig, head_scatter

if TYPE_CHECKING:
    import pandas as pd

HEIGHT = 320

MOVED_LIMITS = (0.0, 1.0)
"""Ends of the colours: one scale for all pairs of sides."""


def two_sided_scatter(data: pd.DataFrame, *, metric: str, dark: bool, hooks: Sequence[Hook]) -> hv.Overlay:
    """The points of `head_scatter`, on one range for both axes, over the line on which both sides are equal."""
    both = limits(np.append(data["x"], data["y"]))
    config = ScatterConfig(
        dark=dark, x_label=f"{metric}, A", y_label=f"{metric}, B", x_range=both, y_range=both, height=HEIGHT,
        colour_label="attention moved", colour_limits=MOVED_LIMITS, hooks=list(hooks),
    )  # fmt: skip
    points = head_scatter(data, **config)
    equal = hv.Segments([(both[0], both[0], both[1], both[1])], ["x0", "y0", "x1", "y1"])
    equal = equal.opts(color=theme(dark=dark).muted, line_width=1.0, line_dash="dashed", default_tools=[])
    return (equal * points).opts(show_legend=False)
