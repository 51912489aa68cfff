"""Metrics in rows, each a strip from its lowest to its highest value with a point for every head."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt
from bokeh.core.properties import value

from atlas.plots.colours import FONT, Theme, theme
from atlas.plots.frame import Hook, frame, number
from atlas.plots.row_words import row_words

ROW_HEIGHT = 54
"""Height of a metric in pixels: room for two lines of text beside it."""

HALF = 0.3
"""Half of a strip's height, in rows."""

ENDS = 0.47
"""Position of the lowest and the highest value, in rows below the middle of a strip."""

BELOW = 0.62
"""Rows of the plot below the middle of the last strip, so that the numbers under it are not cut."""

SIDE = 0.02
"""Room to the left and the right of a strip, as a share of it, so that points at its ends are not cut."""

HEAD_SIZE, SHOWN_SIZE = 5.0, 9.0
"""Diameters in pixels."""

HEAD_ALPHA = 0.5
"""Opacity of a point, so that overlapping points can be seen."""

TRIANGLE_SIZE = 10.0
"""Width in pixels of the mark of a corpus."""

MARKS = ("uniform", "value", "shown", "texts")
"""Elements that other heads change; the others depend on all heads alone."""

Columns = dict[str, Any]
Floats = npt.NDArray[np.float64]


class Strip(NamedTuple):
    """One metric."""

    title: str
    values: Floats
    layers: npt.NDArray[np.int64]
    heads: npt.NDArray[np.int64]
    """The head of every value; empty where the values belong to steps from one layer to the next."""
    shown: npt.NDArray[np.bool_]
    """Which values are marked."""
    value: float
    """Mean of the marked values."""
    uniform: float
    """The mean for uniform attention."""
    standing: str
    """The rank of the value among all, in words."""
    ends: tuple[float, float]
    """The values at the left and the right end of the strip; NaN where none is known."""
    texts: float = math.nan
    """The mean of the same heads over the texts of a corpus; NaN where there is none."""
    texts_between: tuple[float, float] = (math.nan, math.nan)
    """Between which values most of these texts lie; NaN where that is not known."""

    def place(self, values: npt.ArrayLike) -> Floats:
        """Positions of values between the ends, 0 to 1; in the middle where both ends are equal."""
        low, high = self.ends
        array = np.asarray(values, dtype=float)
        return (array - low) / (high - low) if high > low else np.where(np.isfinite(array), 0.5, np.nan)


def heights(strip: Strip, row: int) -> Floats:
    """Vertical positions of the points of a strip, from the first layer at its top to the last at its bottom."""
    layers = strip.layers.astype(float)
    low, high = (layers.min(), layers.max()) if len(layers) else (0.0, 0.0)
    share = (layers - low) / (high - low) if high > low else np.full(len(layers), 0.5)
    return row + (share - 0.5) * 2 * HALF


def metric_columns(strips: Sequence[Strip]) -> dict[str, Columns]:
    """The columns of each element of the plot, in the order in which they are drawn.

    Positions are in single precision and layers are short integers, so that 1,200 heads take a sixth of a megabyte.
    """
    rows = range(len(strips))
    points = {"heads": _points(strips, steps=False), "steps": _points(strips, steps=True)}
    x = np.concatenate([strip.place(strip.values)[strip.shown] for strip in strips] or [np.empty(0)])
    y = np.concatenate([heights(strip, row)[strip.shown] for row, strip in zip(rows, strips, strict=True)] or [np.empty(0)])
    below = np.arange(len(strips)) + ENDS
    return {
        "lines": {"x0": np.zeros(len(strips)), "y0": np.arange(len(strips)) + HALF, "x1": np.ones(len(strips)),
                  "y1": np.arange(len(strips)) + HALF},
        **points,
        "uniform": _upright([float(strip.place(strip.uniform)) for strip in strips]),
        "value": _upright([float(strip.place(strip.value)) for strip in strips]),
        "shown": {"x": x.astype(np.float32), "y": y.astype(np.float32)},
        "texts": {"texts_x": np.array([float(strip.place(strip.texts)) for strip in strips]),
                  "texts_y": np.arange(len(strips)) - HALF},
        "low": {"x": np.zeros(len(strips)), "y": below, "text": _ends(strips, 0)},
        "high": {"x": np.ones(len(strips)), "y": below, "text": _ends(strips, 1)},
    }  # fmt: skip


def metric_strips(
    strips: Sequence[Strip], *, dark: bool = False, hooks: Mapping[str, Sequence[Hook]] | None = None
) -> hv.Overlay:
    """The plot of all metrics; `hooks` are hooks of single elements, by their names in `metric_columns`."""
    around, columns, listening = theme(dark=dark), metric_columns(strips), hooks or {}
    shared = frame(
        dark=dark,
        x_label="",
        y_label="",
        x_range=(-SIDE, 1 + SIDE),
        y_range=(max(len(strips), 1) - 1 + BELOW, -0.5),
        height=ROW_HEIGHT * max(len(strips), 1) + 24,
    )
    shared |= {"xaxis": None, "default_tools": [], "toolbar": None}
    upright = {
        "uniform": (around.ink, 2.0, "dashed"),
        "value": (around.accent, 3.0, "solid"),
        "lines": (around.rule, 1.0, "solid"),
    }
    drawn = []
    for name, data in columns.items():
        if name in upright:
            colour, width, dash = upright[name]
            element = hv.Segments(tuple(data.values()), list(data)).opts(color=colour, line_width=width, line_dash=dash)
        elif name in ("low", "high"):
            text = {"text_color": around.muted, "text_font": value(FONT), "text_font_size": "10px", "text_baseline": "middle"}
            element = hv.Labels(tuple(data.values()), ["x", "y"], "text").opts(
                text_align="left" if name == "low" else "right", **text
            )
        elif name == "texts":
            element = hv.Points(tuple(data.values()), list(data)).opts(
                marker="inverted_triangle", color=around.ink, size=TRIANGLE_SIZE, line_color=around.paper, line_width=1.0
            )
        elif name == "shown":
            element = hv.Points(tuple(data.values()), ["x", "y"]).opts(
                color=around.accent, size=SHOWN_SIZE, line_color=around.paper, line_width=1.0
            )
        else:
            element = hv.Points(tuple(data.values()), list(data)[:2], list(data)[2:]).opts(
                color=around.muted,
                size=HEAD_SIZE,
                alpha=HEAD_ALPHA,
                line_alpha=0.0,
                tools=["hover"],
                hover_tooltips=_hover(steps=name == "steps"),
                hover_formatters={"@{value}": "printf"},
            )
        drawn.append(element.opts(**(shared | {"hooks": [*shared["hooks"], *listening.get(name, ())]})))
    return hv.Overlay(drawn).opts(**(shared | {"hooks": [*shared["hooks"], said(strips, around)]}), show_legend=False)


def said(strips: Sequence[Strip], around: Theme) -> Hook:
    """HoloViews hook: labels the strips at the left, and shows value, rank and uniform value at the right."""
    return row_words([strip.title for strip in strips], [_words(strip) for strip in strips], around)


def nearest(strips: Sequence[Strip], x: float, y: float, reach: tuple[float, float]) -> tuple[int, int] | None:
    """(strip, value) of the point nearest to a position on the plot; None if none is within `reach`, (across, down)."""
    row = round(y)
    if not 0 <= row < len(strips):
        return None
    strip = strips[row]
    away = np.hypot((strip.place(strip.values) - x) / reach[0], (heights(strip, row) - y) / reach[1])
    if not np.isfinite(away).any():
        return None
    item = int(np.nanargmin(away))
    return (row, item) if away[item] <= 1 else None


def _words(strip: Strip) -> str:
    """The label at the right: '0.412 · higher than 40 of 48 heads', and below it the values it is read against."""
    said = f"{number(strip.value)} · {strip.standing}\nuniform attention: {number(strip.uniform)}"
    if not math.isfinite(strip.texts):
        return said
    low, high = strip.texts_between
    between = f" ({number(low)} to {number(high)})" if math.isfinite(low) else ""
    return f"{said} · over texts: {number(strip.texts)}{between}"


def _ends(strips: Sequence[Strip], which: int) -> list[str]:
    """The lowest values in words, or the highest; nothing where none is known."""
    found = [strip.ends[which] for strip in strips]
    return [number(end) if math.isfinite(end) else "" for end in found]


def _points(strips: Sequence[Strip], *, steps: bool) -> Columns:
    chosen = [(row, strip) for row, strip in enumerate(strips) if (not len(strip.heads)) == steps]
    empty = np.empty(0)

    def joined(parts: list[Any]) -> Any:
        return np.concatenate(parts) if parts else empty

    columns = {
        "at_x": joined([strip.place(strip.values) for _, strip in chosen]).astype(np.float32),
        "at_y": joined([heights(strip, row) for row, strip in chosen]).astype(np.float32),
        "value": joined([strip.values for _, strip in chosen]).astype(np.float32),
        "layer": joined([strip.layers for _, strip in chosen]).astype(np.uint16),
    }
    if steps:
        return columns | {"before": (columns["layer"].astype(int) - 1).astype(np.uint16)}
    return columns | {"head": joined([strip.heads for _, strip in chosen]).astype(np.uint16)}


def _upright(places: list[float]) -> Columns:
    rows = np.arange(len(places))
    x = np.array(places, dtype=float)
    return {"x0": x, "y0": rows - HALF - 0.06, "x1": x, "y1": rows + HALF + 0.06}


def _hover(*, steps: bool) -> str:
    what = "L@before to L@layer" if steps else "L@layer H@head"
    style = f"font: 12px {FONT}; font-variant-numeric: tabular-nums"
    return f'<div style="{style}"><b>{what}</b> @value{{%.3g}}</div>'
