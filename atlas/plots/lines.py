"""Numbers as lines over layers or tokens, one line for each part, with a mark for every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt
from bokeh.models import AdaptiveTicker

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
    SQUARE,
    TRIANGLE,
    VERMILION,
    Category,
    theme,
)
from atlas.plots.frame import Hook, Limits, frame, limits, number, tooltip

PARTS: Mapping[str, Category] = MappingProxyType({
    "attention": Category(BLUE, CIRCLE),
    "cross-attention": Category(GREEN, DIAMOND),
    "feed-forward": Category(ORANGE, SQUARE),
    "residual stream": Category(GREY, TRIANGLE),
    "units that fire": Category(ORANGE, SQUARE),
    "units that hold 90 %": Category(PURPLE, DIAMOND),
    "query": Category(BLUE, CIRCLE),
    "key": Category(VERMILION, SQUARE),
    "value": Category(GREEN, TRIANGLE),
    "gradient": Category(BLUE, CIRCLE),
    "ablation": Category(VERMILION, SQUARE),
    "integrated_gradients": Category(GREEN, DIAMOND),
    "random": Category(GREY, TRIANGLE),
    "token": Category(BLUE, CIRCLE),
    "position": Category(VERMILION, SQUARE),
    "segment": Category(GREEN, DIAMOND),
    "sum": Category(GREY, TRIANGLE),
    "after the norm": Category(PURPLE, INVERTED_TRIANGLE),
    "enters layer 0": Category(ORANGE, PLUS),
    "by distance": Category(BLUE, CIRCLE),
    "probe": Category(BLUE, CIRCLE),
    "control task": Category(GREY, TRIANGLE),
})  # fmt: skip
"""How parts of a layer, the vectors of a head, those of the embeddings, and orders of removal are drawn in every plot.

They are no categories of heads, which have a table of their own; queries and keys have the colours of selected rows and
columns."""

TICKS = 16
"""Most layers named along the axis."""

RANGE_ALPHA = 0.35
"""Opacity of a range, through which the lines are seen."""

MARK, SMALL_MARK = 7.0, 3.0
"""Pixels across; the small one where there are many."""

MANY = 100
"""Marks of one line from which on they would cover it and each other."""

LOW, FEW = 240, 4
"""Plots of fewer pixels have about so many numbers at their upright axis, which else lie on each other."""


class Line(NamedTuple):
    """One part, from left to right."""

    part: str
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    names: Sequence[str]
    """Of the points, such as 'L3: attention'."""


class Ranges(NamedTuple):
    """From where to where the numbers of one part go, drawn as upright lines."""

    part: str
    x: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]


def part_lines(
    lines: Sequence[Line],
    *,
    x_label: str,
    x_range: Limits,
    label: str,
    reference: float = np.nan,
    ranges: Ranges | None = None,
    ticks: Sequence[tuple[float, str]] = (),
    dark: bool = False,
    height: int = 220,
    hooks: Sequence[Hook] = (),
) -> hv.Overlay:
    """The lines and their marks; `reference` is a value drawn as a dashed line, `ranges` lie under all; 0 is always in view."""
    around = theme(dark=dark)
    values = np.concatenate([*(line.y for line in lines), *([] if ranges is None else (ranges.low, ranges.high)), np.empty(0)])
    y_range = limits(np.append(values, [reference, 0.0]))
    options = frame(dark=dark, x_label=x_label, y_label=label, x_range=x_range, y_range=y_range, height=height)
    options["default_tools"] = ["reset"]
    if height < LOW:
        options["yticks"] = FEW
    if ticks:
        options["xticks"] = list(ticks)
    dashed = [(x_range[0], reference, x_range[1], reference)] if np.isfinite(reference) else []
    pieces, points = _pieces(lines), _points(lines, label)
    size = SMALL_MARK if any(len(line.x) > MANY for line in lines) else MARK
    # A column of no colours would be taken for numbers by HoloViews, which fails where there were colours before.
    parts = [
        hv.Segments(dashed, ["x0", "y0", "x1", "y1"]).opts(color=around.muted, line_dash="dashed", line_width=1.0),
        hv.Segments(pieces, ["x0", "y0", "x1", "y1"], "colour").opts(color="colour" if pieces else around.muted, line_width=2.0),
        hv.Points(points, ["x", "y"], ["name", "about", "colour", "marker"]).opts(
            color="colour" if points else around.muted, marker="marker" if points else "circle", size=size,
            line_color=around.paper, line_width=0.5, tools=["hover"], hover_tooltips=tooltip("name", "about"),
        ),
    ]  # fmt: skip
    if ranges is not None:
        upright = list(zip(ranges.x, ranges.low, ranges.x, ranges.high, strict=True))
        look = {"color": PARTS[ranges.part].colour, "alpha": RANGE_ALPHA, "line_width": 5.0}
        parts.insert(0, hv.Segments(upright, ["x0", "y0", "x1", "y1"]).opts(**look))
    drawn = [part.opts(**options) for part in parts]
    # On one element alone: every element has a plot, and a tap reported by each of them would be several.
    whole = all(np.equal(np.mod(line.x, 1), 0).all() for line in lines)
    drawn[-1] = drawn[-1].opts(hooks=[*options["hooks"], at_least_apart(1.0 if whole else 0.0), *hooks])
    return hv.Overlay(drawn).opts(**options, show_legend=False)


def at_least_apart(interval: float) -> Hook:
    """HoloViews hook: ticks across are no nearer than this. Between two positions of a short text there is nothing."""

    def hook(plot: Any, _: Any) -> None:
        ticker = plot.handles["xaxis"].ticker
        if isinstance(ticker, AdaptiveTicker):
            ticker.min_interval = interval

    return hook


def depth_lines(lines: Sequence[Line], *, n_layers: int, label: str, end: bool = True, **look: Any) -> hv.Overlay:
    """Lines over the layers; what leaves the last one stands at the end, where something is known of it."""
    step = max(1, -(-n_layers // TICKS))
    ticks = [*((float(layer), str(layer)) for layer in range(0, n_layers, step)), *([(float(n_layers), "end")] if end else [])]
    return part_lines(lines, x_label="layer", x_range=(-0.5, n_layers - 0.5 + end), label=label, ticks=ticks, **look)


def token_lines(lines: Sequence[Line], *, n_tokens: int, label: str, **look: Any) -> hv.Overlay:
    """Lines over the positions of tokens."""
    return part_lines(lines, x_label="position", x_range=(-0.5, max(n_tokens, 1) - 0.5), label=label, **look)


def key_of_parts(parts: Mapping[str, str], said: str = "") -> str:
    """Marks and words that say what the colours mean, as HTML: part -> how it is called here, and what else is drawn."""
    return key_of_marks({words: PARTS[part] for part, words in parts.items()}, said)


def key_of_marks(marks: Mapping[str, Category], said: str = "") -> str:
    """The same of any categories, and what else is drawn; the words are the app's: a reader's would have to be escaped."""
    items = "".join(
        f'<span style="white-space:nowrap"><span style="color:{how.colour}" aria-hidden="true">{how.letter}</span> {words}</span>'
        for words, how in marks.items()
    )
    rest = f"<span>{said}</span>" if said else ""
    return f'<div style="display:flex;flex-wrap:wrap;gap:2px 12px;font-size:0.8rem">{items}{rest}</div>'


def _pieces(lines: Sequence[Line]) -> list[tuple[float, float, float, float, str]]:
    """From point to point, where both are known."""
    return [
        (float(x0), float(y0), float(x1), float(y1), PARTS[line.part].colour)
        for line in lines
        for x0, y0, x1, y1 in zip(line.x[:-1], line.y[:-1], line.x[1:], line.y[1:], strict=True)
        if np.isfinite([x0, y0, x1, y1]).all()
    ]


def _points(lines: Sequence[Line], label: str) -> list[tuple[Any, ...]]:
    return [
        (float(x), float(y), name, f"{label}: {number(float(y))}", PARTS[line.part].colour, PARTS[line.part].marker)
        for line in lines
        for x, y, name in zip(line.x, line.y, line.names, strict=True)
        if np.isfinite(y)
    ]
