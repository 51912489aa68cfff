"""One figure of heads or layers over checkpoints: strong lines with their intervals, all others thin."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt

from atlas.plots.colours import FONT, MARKS, theme
from atlas.plots.corpus import below
from atlas.plots.frame import Hook, frame, limits, number, tooltip
from atlas.plots.head_look import HUES

HEIGHT = 380

TICKS = 16
"""Checkpoints named along the axis at most."""

GAP = 0.045
"""Distance of two names at the ends of lines, as a share of the height."""

ROOM = 0.16
"""Share of the width beside the last checkpoint that the names of the lines take."""


class Line(NamedTuple):
    """One head or layer; (checkpoint,) each, NaN where it is not known."""

    name: str
    values: npt.NDArray[np.float64]
    lo: npt.NDArray[np.float64]
    hi: npt.NDArray[np.float64]


def over_time(
    checkpoints: Sequence[str],
    strong: Sequence[Line],
    thin: Sequence[Line],
    chance: npt.ArrayLike | None = None,
    *,
    label: str = "",
    dark: bool = False,
    hooks: Sequence[Hook] = (),
) -> hv.Overlay:
    """Checkpoints across in even steps, the figure upwards; dashed: even attention."""
    around, n = theme(dark=dark), len(checkpoints)
    even = np.full(n, np.nan) if chance is None else np.asarray(chance, dtype=float)
    everything = [even, *(line.values for line in thin), *(part for line in strong for part in line[1:])]
    end, y_range = max(n - 1, 1), limits(np.concatenate(everything))
    shared = frame(
        dark=dark, x_label="checkpoint", y_label=label, x_range=(-0.03 * end, end * (1 + ROOM)),
        y_range=y_range, height=HEIGHT,
    )  # fmt: skip
    shared |= {"default_tools": ["reset"]}
    colours = [HUES[at % len(HUES)] for at in range(len(strong))]
    step = max(1, -(-n // TICKS))
    names = [name if at % step == 0 or at == n - 1 else "" for at, name in enumerate(checkpoints)]
    bands = [_band(line) | {"colour": colour} for line, colour in zip(strong, colours, strict=True)]
    bands = [band for band in bands if len(band["x"])]
    pieces, marks = _pieces(strong, colours), _marks(strong, colours, checkpoints)

    def coloured(rows: Sized) -> str:
        # A column of no colours would be taken for numbers by HoloViews, which fails where there were colours before.
        return "colour" if len(rows) else str(around.muted)

    parts = [
        hv.Polygons(bands, ["x", "y"], "colour").opts(color=coloured(bands), fill_alpha=0.18, line_alpha=0),
        _joined(thin, n).opts(color=around.muted, line_width=1.0, alpha=0.4),
        hv.Curve((np.arange(n), even), "x", "y").opts(color=around.ink, line_width=1.5, line_dash="dashed"),
        pieces.opts(color=coloured(pieces), line_width=2.5),
        marks.opts(
            color=coloured(marks), marker="mark" if len(marks) else "circle", size=8, line_color=around.paper, tools=["hover"],
            hover_tooltips=tooltip("name", "about"),
        ),
        _names(strong, n, GAP * (y_range[1] - y_range[0])).opts(
            text_color=around.ink, text_align="left", text_baseline="middle", text_font_size="11px", text_font={"value": FONT},
        ),
    ]  # fmt: skip
    return hv.Overlay(parts).opts(**(shared | {"hooks": [*shared["hooks"], below(names), *hooks]}), show_legend=False)


def _band(line: Line) -> dict[str, Any]:
    known = np.flatnonzero(np.isfinite(line.lo) & np.isfinite(line.hi))
    return {"x": np.concatenate([known, known[::-1]]), "y": np.concatenate([line.lo[known], line.hi[known][::-1]])}


def _joined(lines: Sequence[Line], n: int) -> hv.Curve:
    """All thin lines as one, broken by unknown points: a thousand glyphs would take the browser seconds."""
    x = np.tile(np.append(np.arange(n, dtype=np.float32), np.nan), len(lines)).astype(np.float32)
    y = np.concatenate([np.zeros(0), *(np.append(line.values, np.nan) for line in lines)]).astype(np.float32)
    return hv.Curve((x, y), "x", "y")


def _pieces(lines: Sequence[Line], colours: Sequence[str]) -> hv.Segments:
    rows = [
        (at, line.values[at], at + 1, line.values[at + 1], colour)
        for line, colour in zip(lines, colours, strict=True)
        for at in range(len(line.values) - 1)
        if np.isfinite(line.values[at : at + 2]).all()
    ]
    return hv.Segments(rows, ["x0", "y0", "x1", "y1"], "colour")


def _marks(lines: Sequence[Line], colours: Sequence[str], checkpoints: Sequence[str]) -> hv.Points:
    rows = [
        (at, value, line.name, _about(checkpoints[at], value, line.lo[at], line.hi[at]),
         colour, mark.marker)
        for line, colour, mark in zip(lines, colours, MARKS, strict=False)
        for at, value in enumerate(map(float, line.values))
        if np.isfinite(value)
    ]  # fmt: skip
    return hv.Points(rows, ["x", "y"], ["name", "about", "colour", "mark"])


def _about(checkpoint: str, value: float, lo: float, hi: float) -> str:
    return f"{checkpoint}: {number(value)} (95 % interval {number(lo)} to {number(hi)})"


def _names(lines: Sequence[Line], n: int, gap: float) -> hv.Labels:
    """The name of every strong line at its end, moved up where it would lie on another."""
    ends = [(float(line.values[-1]), line.name) for line in lines if n and np.isfinite(line.values[-1])]
    rows: list[tuple[float, float, str]] = []
    for value, name in sorted(ends):
        rows.append((n - 1 + 0.02 * n, value if not rows else max(value, rows[-1][1] + gap), name))
    return hv.Labels(rows, ["x", "y"], "text")
