"""Agreement of attributions with those of a copy whose weights are drawn anew, step by step, over what chance gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt

from atlas.plots.colours import BLUE, theme
from atlas.plots.faithfulness import MARK, ORDERS, SHADE
from atlas.plots.frame import Hook, frame, limits, number, tooltip

HEIGHT, LOW_HEIGHT = 300, 190
"""Pixels of the two plots."""

TICKS = 16
"""Most steps named along the axis."""

LONG = 4
"""Letters of a step's name from which on the names lean, so that they do not lie on each other."""

LEAN = 0.6
"""Radians."""

LANE = 0.12
"""Steps between two methods at one step, so that their ranges do not cover each other."""

Floats = npt.NDArray[np.float64]


class Stays(NamedTuple):
    """One method, (step,) each."""

    name: str
    title: str
    mean: Floats
    lowest: Floats
    highest: Floats
    low: Floats
    """Chance; NaN at the first step, where nothing is drawn."""
    high: Floats


def staying(
    steps: Sequence[str], about: Sequence[str], methods: Sequence[Stays], *, dark: bool = False, hooks: Sequence[Hook] = ()
) -> hv.Overlay:
    """A line for each method, its lowest and highest draw upright, over the widest band of chance of all methods."""
    around, at = theme(dark=dark), np.arange(len(steps), dtype=float)
    values = [each for method in methods for each in (method.lowest, method.highest, method.low, method.high)]
    options = _frame(steps, dark=dark, label="Spearman's ρ", y_range=limits(np.concatenate([*values, [0.0, 1.0]])))
    options |= {"height": HEIGHT, "default_tools": ["reset"]}
    low, high = _widest(methods)
    known = np.isfinite(low) & np.isfinite(high)
    lines, ranges, points = [], [], []
    for lane, method in enumerate(methods):
        how, x = ORDERS[method.name], at + LANE * (lane - (len(methods) - 1) / 2)
        lines += [
            (x[i], method.mean[i], x[i + 1], method.mean[i + 1], how.colour)
            for i in range(len(x) - 1)
            if np.isfinite(method.mean[i : i + 2]).all()
        ]
        ranges += [(x[i], method.lowest[i], x[i], method.highest[i], how.colour) for i in _known(method.mean)]
        points += [
            (x[i], method.mean[i], method.title, _said(about[i], method, i), how.colour, how.marker) for i in _known(method.mean)
        ]
    ends = ["x0", "y0", "x1", "y1"]
    band = (at[known], low[known], high[known]) if known.any() else ([], [], [])
    parts = [
        hv.Area(band, "step", ["low", "high"]).opts(color=around.muted, alpha=SHADE, line_alpha=0.0),
        hv.Segments([(-0.5, 0.0, len(steps) - 0.5, 0.0)], ends).opts(color=around.muted, line_dash="dashed", line_width=1.0),
        hv.Segments(ranges, [*ends], "colour").opts(color="colour" if ranges else around.muted, line_width=1.4, alpha=0.7),
        hv.Segments(lines, [*ends], "colour").opts(color="colour" if lines else around.muted, line_width=2.0),
        _marks(points, around.paper, around.muted),
    ]
    drawn = [part.opts(**options) for part in parts]
    drawn[-1] = drawn[-1].opts(hooks=[*options["hooks"], *hooks])
    return hv.Overlay(drawn).opts(**options, show_legend=False)


def probabilities(steps: Sequence[str], about: Sequence[str], draws: Floats, *, dark: bool = False) -> hv.Overlay:
    """The probability of the outcome at each step: the mean, and upright the lowest and the highest of (step, draw)."""
    around, at = theme(dark=dark), np.arange(len(steps), dtype=float)
    mean = draws.mean(axis=1) if draws.size else np.empty(0)
    options = _frame(steps, dark=dark, label="probability", y_range=limits([0.0, *draws.ravel()]))
    options |= {"height": LOW_HEIGHT, "default_tools": ["reset"], "yticks": 3}
    said = [f"probability of the outcome: {number(mean[i])}\n{_from_to(draws[i])}" for i in range(len(mean))]
    points = [(at[i], mean[i], about[i], said[i], BLUE, "circle") for i in _known(mean)]
    ranges = [(at[i], draws[i].min(), at[i], draws[i].max()) for i in _known(mean)]
    lines = [(at[i], mean[i], at[i + 1], mean[i + 1]) for i in range(len(mean) - 1) if np.isfinite(mean[i : i + 2]).all()]
    ends = ["x0", "y0", "x1", "y1"]
    parts = [
        hv.Segments(ranges, [*ends]).opts(color=BLUE, line_width=1.4, alpha=0.7),
        hv.Segments(lines, [*ends]).opts(color=BLUE, line_width=2.0),
        _marks(points, around.paper, around.muted),
    ]
    return hv.Overlay([part.opts(**options) for part in parts]).opts(**options, show_legend=False)


def nearest(methods: Sequence[Stays], x: float, y: float) -> str | None:
    """The method whose mean is nearest above or below a place of the plot; None beside the steps."""
    known = [method for method in methods if len(method.mean)]
    if not known or not -0.5 <= x <= len(known[0].mean) - 0.5:
        return None
    step = int(np.clip(round(x), 0, len(known[0].mean) - 1))
    away = {method.name: abs(float(method.mean[step]) - y) for method in known if np.isfinite(method.mean[step])}
    return min(away, key=away.__getitem__, default=None)


def _marks(points: Sequence[tuple[Any, ...]], paper: str, muted: str) -> hv.Points:
    # A column of no colours would be taken for numbers by HoloViews, which fails where there were colours before.
    return hv.Points(points, ["x", "y"], ["name", "about", "colour", "marker"]).opts(
        color="colour" if points else muted, marker="marker" if points else "circle", size=MARK, line_color=paper,
        line_width=0.5, tools=["hover"], hover_tooltips=tooltip("name", "about"),
    )  # fmt: skip


def _frame(steps: Sequence[str], *, dark: bool, label: str, y_range: tuple[float, float]) -> dict[str, Any]:
    x_range = (-0.5, max(len(steps), 1) - 0.5)
    options = frame(dark=dark, x_label="weights drawn anew", y_label=label, x_range=x_range, y_range=y_range, height=HEIGHT)
    every = max(1, -(-len(steps) // TICKS))
    last = len(steps) - 1
    named = [(at, step) for at, step in enumerate(steps) if at == last or (at % every == 0 and last - at >= every)]
    options["xticks"] = named or [(0, "")]  # of an empty list HoloViews fails
    options["hooks"] = [*options["hooks"], _leaning(any(len(step) > LONG for step in steps[1:-1]))]
    return options


def _leaning(long: bool) -> Hook:  # noqa: FBT001
    """HoloViews hook: names along the axis lean where they are long; its option would not take that back for the next model."""

    def hook(plot: Any, element: Any) -> None:  # noqa: ARG001 (HoloViews calls hooks with both)
        plot.state.xaxis.major_label_orientation = LEAN if long else "horizontal"

    return hook


def _widest(methods: Sequence[Stays]) -> tuple[Floats, Floats]:
    """At each step, the lowest and the highest that chance gives for any method."""
    if not methods:
        return np.empty(0), np.empty(0)
    return np.fmin.reduce([method.low for method in methods]), np.fmax.reduce([method.high for method in methods])


def _known(values: Floats) -> list[int]:
    return [int(at) for at in np.flatnonzero(np.isfinite(values))]


def _from_to(draws: Floats) -> str:
    return f"lowest and highest draw: {number(draws.min())} to {number(draws.max())}"


def _said(about: str, method: Stays, at: int) -> str:
    said = f"{about}\nρ {number(method.mean[at])}"
    if not np.isfinite(method.low[at]):
        return said
    return (
        f"{said}, draws {number(method.lowest[at])} to {number(method.highest[at])}\n"
        f"by chance {number(method.low[at])} to {number(method.high[at])}"
    )
