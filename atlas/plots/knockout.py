"""How a prediction changes when tokens are hidden: a curve for each group over the layers, over the band of random tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt
from bokeh.core.properties import field

from atlas.plots.colours import BLUE, CATEGORIES, GREEN, MARKS, SKY, VERMILION, Category, theme
from atlas.plots.frame import Hook, frame, limits, number, tooltip
from atlas.plots.lines import TICKS

HEIGHT = 320

SHADE = 0.16
"""Opacity of the band."""

GAP = 1.0
"""From the last layer to the column in which all layers are cut, in layers."""

MARK = 9.0

HUES = (BLUE, VERMILION, GREEN, SKY)
"""Of parts of the text; the other colours are those of first tokens, special tokens, a token itself and all others."""

DASHES = ("solid", "dashed", "dotted", "dotdash")

FIXED = {
    "first token": CATEGORIES["first token"],
    "special tokens": CATEGORIES["special tokens"],
    "itself": CATEGORIES["self"],
    "everything else": CATEGORIES["other tokens"],
}

LEAST = 0.05
"""Nats that are always in view on either side: a change of a millionth would look like one of everything."""

REACH = 0.05
"""How far from a point a tap may be, as a share of either axis: some 15 pixels."""

Floats = npt.NDArray[np.float64]


class Look(NamedTuple):
    """How a group is drawn."""

    category: Category
    dash: str


class Curve(NamedTuple):
    """One group; (layer,) each, and at the end the number with all layers cut."""

    name: str
    look: Look
    values: Floats
    beyond: npt.NDArray[np.bool_]
    """Whether it is beyond chance."""
    about: Sequence[str]


class Band(NamedTuple):
    """What random tokens give, as the curve has it; NaN where there is no level of chance."""

    low: Floats
    mean: Floats
    high: Floats


NO_BAND = Band(np.empty(0), np.empty(0), np.empty(0))


def looks_of(roles: Sequence[str]) -> list[Look]:
    """How groups are drawn: what every text has in its own colour, parts of the text in the order in which they come."""
    found, parts = [], 0
    for role in roles:
        if role in FIXED:
            found.append(Look(FIXED[role], "solid"))
            continue
        colour, mark = HUES[parts % len(HUES)], MARKS[parts % len(MARKS)]
        found.append(Look(Category(colour, mark), DASHES[parts // len(HUES) % len(DASHES)]))
        parts += 1
    return found


def curves_over_layers(
    curves: Sequence[Curve], band: Band, n_layers: int, *, label: str, dark: bool = False, hooks: Sequence[Hook] = ()
) -> hv.Overlay:
    """The curves with a mark for every layer, filled where it is beyond chance, and apart from them all layers cut."""
    around, x = theme(dark=dark), places(n_layers)
    values = [curve.values for curve in curves] + [band.low, band.high]
    x_range = (-0.5, float(x[-1]) + 0.5)
    options = frame(
        dark=dark, x_label="layer around which attention is cut", y_label=label, x_range=x_range,
        y_range=limits(np.concatenate([*values, [-LEAST, LEAST]])), height=HEIGHT,
    )  # fmt: skip
    step = max(1, -(-n_layers // TICKS))
    ticks = [*((float(layer), str(layer)) for layer in range(0, n_layers, step)), (float(x[-1]), "all layers")]
    options |= {"default_tools": ["reset"], "xticks": ticks}
    pieces, points = _pieces(curves, x), _points(curves, x, str(around.paper))
    known = bool(len(band.low)) and bool(np.isfinite(band.low).all())
    area = (x[:-1], band.low[:-1], band.high[:-1]) if known else ([], [], [])
    apart = [(x[-1], band.low[-1], x[-1], band.high[-1])] if known else []
    means = [(x[at], band.mean[at], x[at + 1], band.mean[at + 1]) for at in range(n_layers - 1)] if known else []
    ends = ["x0", "y0", "x1", "y1"]
    parts = [
        hv.Area(area, "layer", ["low", "high"]).opts(color=around.muted, alpha=SHADE, line_alpha=0.0),
        hv.Segments(apart, [*ends]).opts(color=around.muted, alpha=2 * SHADE, line_width=10.0),
        hv.Segments([(x_range[0], 0.0, x_range[1], 0.0)], [*ends]).opts(color=around.muted, line_width=1.0),
        hv.Segments(means, [*ends]).opts(color=around.muted, line_dash="dashed", line_width=1.4),
        # A column of no colours would be taken for numbers by HoloViews, which fails where there were colours before.
        hv.Segments([piece[:-1] for piece in pieces], [*ends], "colour").opts(
            color="colour" if pieces else around.muted, line_width=2.0
        ),
        hv.Points(points, ["x", "y"], ["name", "about", "colour", "fill", "marker"]).opts(
            color="fill" if points else around.muted, marker="marker" if points else "circle", size=MARK,
            line_color="colour" if points else around.muted, line_width=1.8, tools=["hover"],
            hover_tooltips=tooltip("name", "about"),
        ),
    ]  # fmt: skip
    drawn = [part.opts(**options) for part in parts]
    drawn[-2] = drawn[-2].opts(hooks=[*options["hooks"], _dashed(pieces)])
    drawn[-1] = drawn[-1].opts(hooks=[*options["hooks"], *hooks])
    return hv.Overlay(drawn).opts(**options, show_legend=False)


def places(n_layers: int) -> Floats:
    """Where each layer stands, and at the end all of them together."""
    return np.append(np.arange(n_layers, dtype=float), n_layers - 1 + GAP + 0.25)


def nearest(curves: Sequence[Curve], n_layers: int, x: float, y: float) -> int | None:
    """The curve whose point a tap is at; None where there is none near."""
    if not curves:
        return None
    at, values = places(n_layers), np.array([curve.values for curve in curves])
    wide, high = float(at[-1]) + 1.0, float(np.ptp(np.append(values, 0.0))) or 1.0
    away = np.hypot((at - x) / wide, (values - y) / high)
    curve = int(np.unravel_index(int(away.argmin()), away.shape)[0])
    return curve if away.min() <= REACH else None


def _pieces(curves: Sequence[Curve], x: Floats) -> list[tuple[Any, ...]]:
    """From layer to layer; the column of all layers is joined with none."""
    return [
        (x[at], curve.values[at], x[at + 1], curve.values[at + 1], curve.look.category.colour, curve.look.dash)
        for curve in curves
        for at in range(len(curve.values) - 2)
    ]


def _points(curves: Sequence[Curve], x: Floats, paper: str) -> list[tuple[Any, ...]]:
    return [
        (
            x[at], value, curve.name, f"{number(float(value))} nats, {curve.about[at]}", curve.look.category.colour,
            curve.look.category.colour if curve.beyond[at] else paper, curve.look.category.marker,
        )
        for curve in curves
        for at, value in enumerate(curve.values)
    ]  # fmt: skip


def _dashed(pieces: Sequence[tuple[Any, ...]]) -> Hook:
    """HoloViews hook: each piece has the dash of its curve, for which HoloViews has no option."""

    def hook(plot: Any, element: Any) -> None:  # noqa: ARG001 (HoloViews calls hooks with both)
        renderer = plot.handles["glyph_renderer"]
        source = renderer.data_source
        source.data = {**source.data, "dash": [piece[-1] for piece in pieces]}
        # By `field`, because Bokeh takes a plain string here for a pattern.
        renderer.glyph.line_dash = field("dash")

    return hook
