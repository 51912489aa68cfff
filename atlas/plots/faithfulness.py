"""Curves of what is left of a prediction as tokens are taken out or put in, and scores beside those of random orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt

from atlas.plots.colours import (
    BLUE,
    CIRCLE,
    DIAMOND,
    GREEN,
    GREY,
    INVERTED_TRIANGLE,
    ORANGE,
    PLUS,
    PURPLE,
    SKY,
    SQUARE,
    STAR,
    TRIANGLE,
    VERMILION,
    Category,
    theme,
)
from atlas.plots.frame import Hook, frame, limits, number, tooltip

HEIGHT = 250
"""Pixels of a plot of curves."""

SCORES_HEIGHT = 130
"""Pixels of the plot of scores."""

MARK = 7.0
"""Pixels across."""

BETWEEN = 4
"""Steps from mark to mark of an order at the bounds: enough to tell two dashed lines apart."""

BAND = 0.3
"""Half of the height of the band of random orders, in rows."""

SHADE = 0.25
"""Opacity of that band."""

LANE = 0.14
"""Rows between two methods of one score, so that equal ones do not cover each other."""

ROOM = 0.03
"""Room to the left and right of the curves, as a share of the tokens."""

ORDERS: Mapping[str, Category] = MappingProxyType({
    "saliency": Category(BLUE, CIRCLE),
    "input_x_gradient": Category(BLUE, SQUARE),
    "integrated_gradients": Category(VERMILION, CIRCLE),
    "attention_x_gradient": Category(PURPLE, DIAMOND),
    "gradient_rollout": Category(PURPLE, TRIANGLE),
    "raw_attention": Category(GREEN, SQUARE),
    "rollout": Category(ORANGE, TRIANGLE),
    "contribution_rollout": Category(ORANGE, SQUARE),
    "value_zeroing": Category(ORANGE, STAR),
    "attention_flow": Category(ORANGE, DIAMOND),
    "value_norms": Category(GREEN, INVERTED_TRIANGLE),
    "occlusion": Category(SKY, STAR),
    "best order": Category(GREY, PLUS),
    "worst order": Category(GREY, INVERTED_TRIANGLE),
})  # fmt: skip
"""How the orders of methods are drawn. Those at the bounds are dashed."""

Floats = npt.NDArray[np.float64]


class Drawn(NamedTuple):
    """One order."""

    name: str
    title: str
    values: Floats
    bound: bool = False
    """Whether it is one of the orders that no other is beyond."""


class Band(NamedTuple):
    """Random orders at each step."""

    low: Floats
    mean: Floats
    high: Floats


class Scored(NamedTuple):
    """A score of some orders."""

    title: str
    values: Mapping[str, float]
    titles: Mapping[str, str]
    chance: tuple[float, float, float]
    """(low, mean, high) of random orders."""


def falling(
    shares: Floats,
    curves: Sequence[Drawn],
    band: Band | None,
    *,
    x_label: str,
    label: str,
    dark: bool = False,
    hooks: Sequence[Hook] = (),
) -> hv.Overlay:
    """Curves over the share of the tokens, with the band of random orders behind them."""
    around = theme(dark=dark)
    values = [curve.values for curve in curves] + ([band.low, band.high] if band is not None else [])
    y_range = limits(np.concatenate([*values, [0.0]]))
    options = frame(
        dark=dark, x_label=x_label, y_label=label, x_range=(-ROOM, 1 + ROOM), y_range=y_range, height=HEIGHT
    )  # fmt: skip
    options["default_tools"] = ["reset"]
    shade = (shares, band.low, band.high) if band is not None else ([], [], [])
    middle = _pieces(shares, band.mean, around.muted) if band is not None else []
    ends = ["x0", "y0", "x1", "y1"]
    dashed = [*middle, *(piece for curve in curves if curve.bound for piece in _pieces(shares, curve.values, colour_of(curve)))]
    lines = [piece for curve in curves if not curve.bound for piece in _pieces(shares, curve.values, colour_of(curve))]
    parts = [
        hv.Area(shade, "share", ["low", "high"]).opts(color=around.muted, alpha=SHADE, line_alpha=0.0),
        hv.Segments(dashed, ends, "colour").opts(color="colour", line_dash="dashed", line_width=1.6),
        hv.Segments(lines, ends, "colour").opts(color="colour", line_width=2.0),
        hv.Points(_points(shares, curves, label), ["x", "y"], ["name", "about", "colour", "marker"]).opts(
            color="colour", marker="marker", size=MARK, line_color=around.paper, line_width=0.5, tools=["hover"],
            hover_tooltips=tooltip("name", "about"),
        ),
    ]  # fmt: skip
    drawn = [part.opts(**options) for part in parts]
    drawn[-1] = drawn[-1].opts(hooks=[*options["hooks"], *hooks])
    return hv.Overlay(drawn).opts(**options, show_legend=False)


def colour_of(curve: Drawn) -> str:
    """The colour of an order."""
    return ORDERS[curve.name].colour


def scores(rows: Sequence[Scored], *, dark: bool = False) -> hv.Overlay:
    """A row for each score: every order a mark, over the band of random orders, whose mean is a line."""
    around = theme(dark=dark)
    points, boxes, means = [], [], []
    for row, scored in enumerate(rows):
        low, mean, high = scored.chance
        boxes.append((low, -row - BAND, high, -row + BAND))
        means.append((mean, -row - BAND, mean, -row + BAND))
        names = [name for name, value in scored.values.items() if np.isfinite(value)]
        for lane, name in enumerate(names):
            height = -row + LANE * ((len(names) - 1) / 2 - lane) * min(1.0, 2 * BAND / (LANE * max(len(names) - 1, 1)))
            said = (
                f"{scored.title}: {number(scored.values[name])}\nrandom orders: {number(mean)} ({number(low)} to {number(high)})"
            )
            how = ORDERS[name]
            points.append((scored.values[name], height, scored.titles[name], said, how.colour, how.marker))
    known = [value for scored in rows for value in (*scored.values.values(), *scored.chance, 0.0)]
    options = frame(
        dark=dark, x_label="loss of the target", y_label="", x_range=limits(known), y_range=(-len(rows) + 0.5, 0.5),
        height=SCORES_HEIGHT,
    )  # fmt: skip
    options |= {"default_tools": ["reset"], "yticks": [(-row, title) for row, title in enumerate(TITLES)]}
    parts = [
        hv.Rectangles(boxes).opts(color=around.muted, alpha=SHADE, line_alpha=0.0),
        hv.Segments(means).opts(color=around.muted, line_width=1.6, line_dash="dashed"),
        hv.Points(points, ["x", "y"], ["name", "about", "colour", "marker"]).opts(
            color="colour", marker="marker", size=MARK + 2, line_color=around.paper, line_width=0.5, tools=["hover"],
            hover_tooltips=tooltip("name", "about"),
        ),
    ]  # fmt: skip
    return hv.Overlay([part.opts(**options) for part in parts]).opts(**options, show_legend=False)


TITLES = ("comprehensiveness ↑", "sufficiency ↓")
"""The rows, and which way is better."""


def nearest(shares: Floats, curves: Sequence[Drawn], x: float, y: float) -> tuple[str, int] | None:
    """The order whose curve is nearest above or below a place of the plot, and the step; None beside the curves."""
    known = [curve for curve in curves if len(curve.values)]
    if not known or not -ROOM <= x <= 1 + ROOM:
        return None
    step = int(np.abs(shares - x).argmin())
    return min(known, key=lambda curve: abs(float(curve.values[step]) - y)).name, step


def _pieces(shares: Floats, values: Floats, colour: str) -> list[tuple[float, float, float, float, str]]:
    return [
        (float(x0), float(y0), float(x1), float(y1), colour)
        for x0, x1, y0, y1 in zip(shares[:-1], shares[1:], values[:-1], values[1:], strict=True)
    ]


def _points(shares: Floats, curves: Sequence[Drawn], label: str) -> list[tuple[Any, ...]]:
    return [
        (float(x), float(y), curve.title, f"{label}: {number(float(y))}\n{100 * x:.3g} % of the tokens", how.colour, how.marker)
        for curve in curves
        for how in [ORDERS[curve.name]]
        for x, y in zip(shares[:: BETWEEN if curve.bound else 1], curve.values[:: BETWEEN if curve.bound else 1], strict=True)
    ]
