"""Scores of tokens along the text: a row of bars for each method."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt
from bokeh.models import FixedTicker

from atlas.plots.colours import coloured, diverging, sequential, theme
from atlas.plots.frame import Hook, frame, number, tooltip
from atlas.plots.plane import bands, runs, short, tick_step
from atlas.plots.raster import Box

ROW_HEIGHT = 120
"""Pixels of a row of bars."""

AXIS = 90
"""Pixels of the slanted names of the tokens."""

HALF = 0.44
"""Half of the height of the largest bar, in rows."""

GAP = 1.0
"""Tokens of room between the source and the target."""

BAR = 0.42
"""Half of the width of a bar, in tokens."""

EDGE = 0.6
"""Tokens of room to the left of the middle of the first token, and to the right of the last."""

READ_AT = 900
"""Pixels for which token names are thinned out; a wide card is no narrower on the screens the app is made for."""

SIDES = ("left", "bottom", "right", "top")

Floats = npt.NDArray[np.float64]


class Bars(NamedTuple):
    """The scores of one method."""

    title: str
    values: Floats
    signed: bool
    top: float | None = None
    """The magnitude of a bar that fills its row, of rows on one scale; None: the largest of this row."""

    @property
    def largest(self) -> float:
        """The largest magnitude; NaN where nothing is known."""
        known = np.abs(self.values[np.isfinite(self.values)])
        return float(known.max()) if len(known) else float("nan")


def places(sides: Sequence[str]) -> Floats:
    """Horizontal positions of tokens, with a gap before those of another side."""
    changes = np.array([at > 0 and side != sides[at - 1] for at, side in enumerate(sides)], dtype=float)
    return np.arange(len(sides)) + GAP * np.cumsum(changes)


class Frame(NamedTuple):
    """From tokens and rows to a plot of side 1.

    The ranges of the plot never change: a browser would apply the limits of the old zoom to the first of the new ends.
    """

    left: float
    width: float
    n_rows: int

    def x(self, places: npt.ArrayLike) -> Floats:
        """Of horizontal positions in tokens."""
        return (np.asarray(places, dtype=float) - self.left) / self.width

    def y(self, heights: npt.ArrayLike) -> Floats:
        """Of vertical positions in rows; the middle of the first row is 0, of the second -1."""
        return (np.asarray(heights, dtype=float) - (0.5 - self.n_rows)) / self.n_rows


def frame_of(sides: Sequence[str], n_rows: int) -> Frame:
    """The frame of a text."""
    at = places(sides)
    return Frame(-EDGE, (float(at[-1]) if len(at) else 0.0) + 2 * EDGE, max(n_rows, 1))


def token_at(sides: Sequence[str], x: float) -> int | None:
    """The token at a horizontal position of the plot; None between and beyond them."""
    at, around = places(sides), frame_of(sides, 1)
    x = around.left + x * around.width
    near = int(np.abs(at - x).argmin()) if len(at) else -1
    return near if near >= 0 and abs(at[near] - x) <= 1 / 2 else None


def bar_columns(tokens: Sequence[str], sides: Sequence[str], rows: Sequence[Bars], *, dark: bool) -> dict[str, Any]:
    """One rectangle for each score: a signed one starts in the middle of its row, a magnitude at its foot."""
    at = places(sides)
    inside = frame_of(sides, len(rows))
    parts: dict[str, list[Any]] = {name: [] for name in (*SIDES, "colour", "token", "about")}
    around = theme(dark=dark)
    for row, bars in enumerate(rows):
        largest = bars.largest if bars.top is None else bars.top
        share = bars.values / largest if largest > 0 else np.zeros_like(bars.values)
        known = np.isfinite(bars.values)
        foot = np.full(len(at), -float(row) if bars.signed else -row - HALF)
        tip = foot + share * HALF * (1 if bars.signed else 2)
        colours = diverging(dark=dark) if bars.signed else sequential(dark=dark)
        ends = (-1.0, 1.0) if bars.signed else (0.0, 1.0)
        parts["left"].append(inside.x(at - BAR)[known])
        parts["right"].append(inside.x(at + BAR)[known])
        parts["bottom"].append(inside.y(np.minimum(foot, tip))[known])
        parts["top"].append(inside.y(np.maximum(foot, tip))[known])
        parts["colour"] += coloured(share[known], ends, colours, around.rule)
        parts["token"] += [tokens[int(i)] for i in np.flatnonzero(known)]
        parts["about"] += [f"{bars.title}: {number(value)}" for value in bars.values[known]]
    joined = {
        name: np.concatenate(parts[name] or [np.empty(0)]).astype(np.float32) for name in ("left", "bottom", "right", "top")
    }
    return joined | {name: np.array(parts[name], dtype=object) for name in ("colour", "token", "about")}


def selected_boxes(sides: Sequence[str], marked: Collection[int], n_rows: int) -> list[Box]:
    """Frames around selected tokens, over all rows."""
    at, inside = places(sides), frame_of(sides, n_rows)
    return [(float(inside.x(at[start] - 0.5)), 0.0, float(inside.x(at[stop - 1] + 0.5)), 1.0) for start, stop in runs(marked)]


def score_bars(
    tokens: Sequence[str],
    sides: Sequence[str],
    rows: Sequence[Bars],
    marked: Collection[int] = (),
    *,
    dark: bool = False,
    hooks: Mapping[str, Sequence[Hook]] | None = None,
    height: int = 2 * ROW_HEIGHT + AXIS,
) -> hv.Overlay:
    """The plot; `hooks` are hooks of the elements 'bars' and 'marked'."""
    around, listening = theme(dark=dark), hooks or {}
    shared = frame(
        dark=dark,
        x_label="",
        y_label="",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
        height=height,
    )
    shared |= {"default_tools": [], "toolbar": None}
    columns = bar_columns(tokens, sides, rows, dark=dark)
    zero = frame_of(sides, len(rows)).y([-row if bars.signed else -row - HALF for row, bars in enumerate(rows)])
    lines = hv.Segments((np.zeros(len(rows)), zero, np.ones(len(rows)), zero), ["x0", "y0", "x1", "y1"])
    bars = hv.Rectangles(tuple(columns.values()), list(SIDES), ["colour", "token", "about"])
    elements = {
        "lines": lines.opts(color=around.rule, line_width=1.0),
        "bars": bars.opts(
            fill_color="colour",
            line_color=around.muted,
            line_width=0.5,
            tools=["hover"],
            hover_tooltips=tooltip("token", "about"),
        ),
        "marked": bands(selected_boxes(sides, marked, len(rows)), around.accent),
    }
    drawn = [
        element.opts(**(shared | {"hooks": [*shared["hooks"], *listening.get(name, ())]})) for name, element in elements.items()
    ]
    words = named(tokens, sides, rows, dark=dark)
    return hv.Overlay(drawn).opts(**(shared | {"hooks": [*shared["hooks"], words]}), show_legend=False)


def named(tokens: Sequence[str], sides: Sequence[str], rows: Sequence[Bars], *, dark: bool) -> Hook:
    """HoloViews hook: the names of tokens below and of methods at the left. HoloViews sets ticks once; these follow the data."""
    inside, around = frame_of(sides, len(rows)), theme(dark=dark)
    at, middles = inside.x(places(sides)), inside.y(-np.arange(len(rows)))
    step = tick_step(len(tokens), 0, len(tokens), READ_AT) if tokens else 1
    below = {float(at[i]): short(tokens[i]) for i in range(0, len(tokens), step)}
    left = {float(middle): _title(bars) for middle, bars in zip(middles, rows, strict=True)}

    def hook(plot: Any, _: Any) -> None:
        figure = plot.state
        for axis, names in ((figure.below[0], below), (figure.left[0], left)):
            axis.ticker = FixedTicker(ticks=list(names))
            axis.major_label_overrides = names
            axis.major_label_text_color = around.ink
        figure.below[0].major_label_orientation = 0.9

    return hook


def _title(bars: Bars) -> str:
    """'Integrated gradients', and below it how large the largest bar is."""
    return f"{bars.title}\n" + ("not known" if np.isnan(bars.largest) else f"largest: {number(bars.largest)}")
