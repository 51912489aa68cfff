"""Numbers of every layer as lines over depth, one line for each part of a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt

from atlas.plots.colours import BLUE, CIRCLE, DIAMOND, GREEN, GREY, ORANGE, SQUARE, TRIANGLE, Category, theme
from atlas.plots.frame import Hook, frame, limits, number, tooltip

PARTS: Mapping[str, Category] = MappingProxyType({
    "attention": Category(BLUE, CIRCLE),
    "cross-attention": Category(GREEN, DIAMOND),
    "feed-forward": Category(ORANGE, SQUARE),
    "residual stream": Category(GREY, TRIANGLE),
})  # fmt: skip
"""How the parts of a layer are drawn, in every plot of them. They are no categories of heads, which have a table of their own."""

TICKS = 16
"""Most layers named along the axis."""

MARK = 7.0
"""Pixels across."""


class Line(NamedTuple):
    """One part by depth."""

    part: str
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    names: Sequence[str]
    """Of the points, such as 'L3: attention'."""


def depth_lines(
    lines: Sequence[Line],
    *,
    n_layers: int,
    label: str,
    reference: float = np.nan,
    dark: bool = False,
    height: int = 220,
    hooks: Sequence[Hook] = (),
) -> hv.Overlay:
    """The lines and their points; `reference` is a value drawn as a dashed line."""
    around = theme(dark=dark)
    values = np.concatenate([line.y for line in lines] or [np.empty(0)])
    options = frame(
        dark=dark,
        x_label="layer",
        y_label=label,
        x_range=(-0.5, n_layers + 0.5),
        y_range=limits(np.append(values, [reference, 0.0])),
        height=height,
    )
    step = max(1, -(-n_layers // TICKS))
    ticks = [(layer, str(layer)) for layer in range(0, n_layers, step)]
    options |= {"xticks": [*ticks, (n_layers, "end")], "default_tools": ["reset"]}
    dashed = [(-0.5, reference, n_layers + 0.5, reference)] if np.isfinite(reference) else []
    parts = [
        hv.Segments(dashed, ["x0", "y0", "x1", "y1"]).opts(color=around.muted, line_dash="dashed", line_width=1.0),
        hv.Segments(_pieces(lines), ["x0", "y0", "x1", "y1"], "colour").opts(color="colour", line_width=2.0),
        hv.Points(_points(lines, label), ["x", "y"], ["name", "about", "colour", "marker"]).opts(
            color="colour", marker="marker", size=MARK, line_color=around.paper, line_width=0.5, tools=["hover"],
            hover_tooltips=tooltip("name", "about"),
        ),
    ]  # fmt: skip
    drawn = [part.opts(**options) for part in parts]
    # On one element alone: every element has a plot, and a tap reported by each of them would be several.
    drawn[-1] = drawn[-1].opts(hooks=[*options["hooks"], *hooks])
    return hv.Overlay(drawn).opts(**options, show_legend=False)


def _pieces(lines: Sequence[Line]) -> list[tuple[float, float, float, float, str]]:
    """From point to point, where both are known."""
    return [
        (*map(float, ends), PARTS[line.part].colour)
        for line in lines
        for ends in zip(line.x[:-1], line.y[:-1], line.x[1:], line.y[1:], strict=True)
        if np.isfinite(ends).all()
    ]


def _points(lines: Sequence[Line], label: str) -> list[tuple[Any, ...]]:
    return [
        (float(x), float(y), name, f"{label}: {number(float(y))}", PARTS[line.part].colour, PARTS[line.part].marker)
        for line in lines
        for x, y, name in zip(line.x, line.y, line.names, strict=True)
        if np.isfinite(y)
    ]
