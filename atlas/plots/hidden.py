"""Tokens as points, with their paths through the layers, and how alike they are layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import holoviews as hv
import numpy as np
import pandas as pd
from bokeh.core.properties import value
from bokeh.models import FixedTicker

from atlas.plots.colours import BLUE, FONT, ORANGE, SKY, VERMILION, theme
from atlas.plots.frame import Hook, Limits, frame, limits, number, tooltip
from atlas.plots.heads import PLACE, ScatterConfig, head_scatter, point_columns

HEIGHT = 340
"""Pixels of both plots."""

LABELLED = 64
"""Tokens up to which all are named; of more tokens, the selected ones."""

PATHS = 24
"""Tokens up to which all have a path where none is selected: more paths hide each other."""

MOST_PATHS = 64
"""Selected tokens that have a path at most: more cannot be told apart, and a gesture sends all of them."""

FRAME = (560, 270)
"""Pixels of the frame that names are kept apart in; in a larger one there is more room between them."""

LETTER, LINE, GAP = 6.2, 13.0, 8.0
"""Pixels of a letter and of a line of text, and between a point and its name."""

LETTERS = 16
"""Letters of a name on the plot; the tooltip has all of it."""

TICKS = 12
"""Most layers named along the axis."""

STOP, NAME = ["stop_x", "stop_y"], ["name_x", "name_y", "name"]
"""Columns of a stop's place, and of a name."""

NAMES = {"names": False, "selected_names": True}
"""Element of names -> whether they are those of selected tokens."""

FADED = 0.4
"""Opacity of tokens that are not selected: they are what a selected token is compared with."""

Array = Any


MARKED = ("paths", "stops", "selected_paths", "selected_stops", "points", "names", "selected_names")
"""Elements that other selected tokens change."""


def token_paths(points: pd.DataFrame, places: Array, *, selected: bool) -> tuple[list[dict[str, Array]], pd.DataFrame]:
    """Lines through depth and their stops: of the selected tokens, or of all tokens of a short text where none is selected."""
    chosen = np.flatnonzero(points["selected"].to_numpy(bool))
    every = np.arange(len(points) if not len(chosen) and len(points) <= PATHS else 0)
    rows = (chosen[:MOST_PATHS] if selected else every)[: None if len(places) else 0]
    lines = [{"x": places[:, row, 0], "y": places[:, row, 1]} for row in rows]
    stops = [(*places[layer, row], points["label"].iloc[row], f"layer {layer}") for row in rows for layer in range(len(places))]
    return lines, pd.DataFrame(stops, columns=[*STOP, "token", "depth"])


def marked_columns(points: pd.DataFrame, places: Array) -> dict[str, dict[str, Any]]:
    """The columns of `MARKED`; of the points it is the selected rows that change."""
    found: dict[str, dict[str, Any]] = {}
    for name, selected in (("", False), ("selected_", True)):
        lines, stops = token_paths(points, places, selected=selected)
        found[f"{name}paths"] = {f"{axis}s": [line[axis].astype(np.float32) for line in lines] for axis in ("x", "y")}
        found[f"{name}stops"] = _sent(stops)
    names = names_apart(points, *ranges(points, places))
    return found | {name: _sent(names.loc[names["chosen"] == chosen, NAME]) for name, chosen in NAMES.items()}


def token_cloud(
    points: pd.DataFrame,
    places: Array,
    axes: tuple[str, str],
    *,
    dark: bool = False,
    hooks: Mapping[str, Sequence[Hook]] | None = None,
) -> hv.Overlay:
    """The tokens at one layer, the paths of some of them, and names that do not overlap.

    Parameters
    ----------
    points
        Columns x, y, label, category, selected.
    places
        (layer, token, 2), where all layers have the same axes; else without layers.
    axes
        What the axes are.
    dark, hooks
        Whether the page is dark; hooks of each element, by `MARKED`.
    """
    around, listening = theme(dark=dark), hooks or {}
    x_range, y_range = ranges(points, places)
    config = ScatterConfig(dark=dark, x_label=axes[0], y_label=axes[1], x_range=x_range, y_range=y_range, height=HEIGHT)
    shared = frame(dark=dark, x_label=axes[0], y_label=axes[1], x_range=x_range, y_range=y_range, height=HEIGHT)
    shared |= {"default_tools": ["pan", "wheel_zoom", "reset"], "active_tools": ["lasso_select", "tap"]}
    parts: dict[str, Any] = {}
    for name, colour, alpha in (("", around.muted, 0.45), ("selected_", around.accent, 0.85)):
        lines, stops = token_paths(points, places, selected=bool(name))
        parts[f"{name}paths"] = hv.Path(lines).opts(color=colour, line_width=1.6, alpha=alpha)
        parts[f"{name}stops"] = hv.Points(stops, STOP, ["token", "depth"]).opts(
            color=colour, size=4, line_alpha=0.0, tools=["hover"], hover_tooltips=tooltip("token", "depth")
        )
    look = {"text_font": value(FONT), "text_font_size": "11px", "text_baseline": "middle", "text_align": "center"}
    names = names_apart(points, x_range, y_range)
    for name, chosen in NAMES.items():
        written = hv.Labels(names.loc[names["chosen"] == chosen, NAME], NAME[:2], NAME[2])
        parts[name] = written.opts(text_color=around.accent if chosen else around.ink, **look)
    own = {name: [*shared["hooks"], *listening.get(name, ())] for name in MARKED}
    drawn = {name: part.opts(**(shared | {"hooks": own[name]})) for name, part in parts.items()}
    config["hooks"] = list(listening.get("points", ()))
    cloud = head_scatter(points, **config).opts(nonselection_alpha=FADED)
    lines = [part for name, part in drawn.items() if name not in NAMES]
    return hv.Overlay([*lines, cloud, *(drawn[name] for name in NAMES)]).opts(**shared, show_legend=False)


def point_places(points: pd.DataFrame, axes: tuple[str, str]) -> dict[str, Any]:
    """The columns of the points that another layer changes."""
    drawn = point_columns(points, x_label=axes[0], y_label=axes[1])
    return _sent(drawn[[*PLACE, "about"]])


def _sent(table: pd.DataFrame) -> dict[str, Any]:
    """Columns as a source takes them: numbers in single precision, words in a list."""
    numbers = table.select_dtypes("number")
    return {str(name): table[name].to_numpy(np.float32) if name in numbers else table[name].tolist() for name in table}


def ranges(points: pd.DataFrame, places: Array) -> tuple[Limits, Limits]:
    """Room for all layers where they have the same axes."""
    spread = places.reshape(-1, 2) if len(places) else points[["x", "y"]].to_numpy(float)
    return limits(spread[:, 0]), limits(spread[:, 1])


def names_apart(points: pd.DataFrame, x_range: Limits, y_range: Limits) -> pd.DataFrame:
    """Names with the place of each, columns name_x, name_y, name, chosen: none covers another, and selected tokens come first."""
    selected = points["selected"].to_numpy(bool)
    x, y = points["x"].to_numpy(float), points["y"].to_numpy(float)
    known = np.isfinite(x) & np.isfinite(y)
    rows = np.flatnonzero(known & (selected if len(points) > LABELLED else True))
    order = sorted(rows.tolist(), key=lambda row: not selected[row])
    across, up = (size / (high - low) for size, (low, high) in zip(FRAME, (x_range, y_range), strict=True))
    edges = x_range[0] * across, y_range[0] * up, x_range[1] * across, y_range[1] * up
    taken: list[tuple[float, float, float, float]] = []
    found = []
    for row in order:
        name = _cut(str(points["label"].iloc[row]))
        wide = LETTER * len(name) / 2
        centre_x, centre_y = x[row] * across, y[row] * up
        for dx, dy in ((GAP + wide, 0.0), (-GAP - wide, 0.0), (0.0, GAP + LINE / 2), (0.0, -GAP - LINE / 2)):
            left, middle = centre_x + dx, centre_y + dy
            box = (left - wide, middle - LINE / 2, left + wide, middle + LINE / 2)
            inside = edges[0] <= box[0] and edges[1] <= box[1] and box[2] <= edges[2] and box[3] <= edges[3]
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                found.append((left / across, middle / up, name, bool(selected[row])))
                break
    return pd.DataFrame(found, columns=[*NAME, "chosen"])


def layer_mark(raw: Array, centred: Array, layer: int) -> dict[str, Any]:
    """The columns of the line that marks a layer."""
    low, high = _likeness_range(raw, centred)
    return {"mark_x": [float(layer)], "mark_low": [low], "mark_x1": [float(layer)], "mark_high": [high]}


def _likeness_range(raw: Array, centred: Array) -> Limits:
    return limits(np.concatenate([np.asarray(raw, dtype=float), np.asarray(centred, dtype=float), [0.0, 1.0]]))


def likeness(
    raw: Array, centred: Array, layer: int, *, dark: bool = False, hooks: Sequence[Hook] = (), mark_hooks: Sequence[Hook] = ()
) -> hv.Overlay:
    """Mean cosine between two tokens by layer, as they are and without their mean; the layer on screen is marked."""
    around = theme(dark=dark)
    layers = np.arange(len(raw), dtype=float)
    shared = frame(
        dark=dark,
        x_label="layer that the states enter",
        y_label="mean cosine of two tokens",
        x_range=(-0.5, max(len(raw), 1) - 0.5),
        y_range=_likeness_range(raw, centred),
        height=HEIGHT,
    )
    shared |= {"hooks": [*shared["hooks"], _layer_ticks(len(raw))], "default_tools": [], "toolbar": None}
    colours = (SKY, ORANGE) if dark else (BLUE, VERMILION)
    mark = layer_mark(raw, centred, layer)
    marked = hv.Segments(tuple(mark.values()), list(mark))
    parts: list[Any] = [hv.HLine(0.0).opts(color=around.muted, line_width=1.0, line_dash="dashed")]
    for (name, values), colour, marker in zip(
        (("as they are", raw), ("without their mean", centred)), colours, ("circle", "square"), strict=True
    ):
        about = [f"layer {at}\nmean cosine {name}: {number(float(value))}" for at, value in enumerate(values)]
        parts += [
            hv.Curve((layers, values), "layer", "cosine", label=name).opts(color=colour, line_width=2.0),
            hv.Scatter((layers, values, [name] * len(layers), about), "layer", ["cosine", "which", "about"], label=name).opts(
                color=colour, marker=marker, size=7, tools=["hover"], hover_tooltips=tooltip("which", "about")
            ),
        ]
    marked = marked.opts(color=around.accent, line_width=1.5, **(shared | {"hooks": [*shared["hooks"], *mark_hooks]}))
    shared |= {"hooks": [*shared["hooks"], *hooks]}
    return hv.Overlay([marked, *(part.opts(**shared) for part in parts)]).opts(
        **shared, show_legend=True, legend_position="top", legend_opts={"background_fill_alpha": 0.0, "border_line_alpha": 0.0,
        "label_text_color": around.ink, "label_text_font": FONT, "label_text_font_size": "11px", "orientation": "horizontal"},
    )  # fmt: skip


def _layer_ticks(count: int) -> Hook:
    """HoloViews hook: a tick at every layer, or at every k-th. HoloViews sets the ticks of an overlay only once."""
    ticks = list(range(0, count, max(1, -(-count // TICKS))))

    def hook(plot: Any, _: Any) -> None:
        axis = plot.state.xaxis[0]
        if not isinstance(axis.ticker, FixedTicker) or list(axis.ticker.ticks) != ticks:
            axis.ticker = FixedTicker(ticks=ticks)

    return hook


def _cut(name: str) -> str:
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"


def _overlap(box: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
