"""A metric by depth: the mean of every layer, the spread of its heads, and what evenly spread attention would give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, Unpack

import holoviews as hv
import numpy as np
import pandas as pd

from atlas.plots.colours import BLUE, SKY, theme
from atlas.plots.frame import HEIGHT, Hook, Limits, frame, limits, number, selection_tools, tooltip
from atlas.plots.heads import chosen_rows

MOST = (0.1, 0.9)
"""The band holds the heads between these quantiles: most of them, and no single outlier can stretch it."""

TICKS = 16
"""Layers named along the axis at most."""

HEAD_SIZE, LAYER_SIZE = 5.0, 8.0
"""Pixels across."""

BAND_ALPHA, FADED = 0.22, 0.15
"""Opacity of the band, and of heads that are not selected."""


class ProfileConfig(TypedDict, total=False):
    """How a layer profile is drawn."""

    dark: bool
    """On dark paper."""
    label: str
    """What the metric is called."""
    y_range: Limits
    """Fixed, so that the line moves and not the axis; left out, it fits heads and chance level."""
    height: int
    """Pixels; the width is that of the page."""
    hooks: list[Hook]
    """Of the marks of heads, beside those that hold the axes."""


def profile_table(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row a layer: layer, mean, low, high, uniform and n, over the heads of which the metric is known."""
    chance = f"{metric}_uniform"
    values = table[["layer"]].assign(value=table[metric], uniform=table.get(chance, np.nan))
    layers = values[values["value"].notna()].groupby("layer")
    found = {
        "mean": layers["value"].mean(),
        "low": layers["value"].quantile(MOST[0]),
        "high": layers["value"].quantile(MOST[1]),
        "uniform": layers["uniform"].mean(),
        "n": layers["value"].count(),
    }
    return pd.DataFrame(found).reset_index()


def profile_band(table: pd.DataFrame, metric: str, **config: Unpack[ProfileConfig]) -> hv.Area:
    """Where most heads of each layer lie."""
    found = profile_table(table, metric)
    shade = {"color": SKY, "alpha": BAND_ALPHA, "line_alpha": 0.0}
    return hv.Area(found, "layer", ["low", "high"]).opts(**shade, **profile_options(table, metric, **config))


def profile_mean(table: pd.DataFrame, metric: str, **config: Unpack[ProfileConfig]) -> hv.Curve:
    """The mean of each layer's heads."""
    found = profile_table(table, metric)
    return hv.Curve(found, "layer", "mean").opts(color=_blue(config), line_width=2.0, **profile_options(table, metric, **config))


def profile_uniform(table: pd.DataFrame, metric: str, **config: Unpack[ProfileConfig]) -> hv.Curve:
    """What attention spread evenly over the visible tokens would have, layer by layer: masks may differ."""
    found = profile_table(table, metric)
    around = theme(dark=config.get("dark", False))
    line = {"color": around.muted, "line_width": 1.5, "line_dash": "dashed"}
    return hv.Curve(found, "layer", "uniform").opts(**line, **profile_options(table, metric, **config))


def profile_layers(table: pd.DataFrame, metric: str, **config: Unpack[ProfileConfig]) -> hv.Scatter:
    """A mark on the mean of each layer, whose hover has the numbers of the line, the band and the reference."""
    found = profile_table(table, metric)
    found["layer_label"] = [f"Layer {layer}" for layer in found["layer"]]
    found["layer_about"] = [
        f"mean of {n:.0f} heads: {number(mean)}\nmost of them: {number(low)} to {number(high)}\nspread evenly: {number(uniform)}"
        for _, mean, low, high, uniform, n in found[["layer", "mean", "low", "high", "uniform", "n"]].to_numpy().tolist()
    ]
    # Columns of other names than the heads': HoloViews takes two hovers of one text in an overlay for one hover of one element.
    mark = {
        "color": _blue(config),
        "size": LAYER_SIZE,
        "hover_tooltips": tooltip("layer_label", "layer_about"),
        "tools": ["hover"],
    }
    return hv.Scatter(found, "layer", ["mean", "layer_label", "layer_about"]).opts(
        **mark, **profile_options(table, metric, **config)
    )


def profile_heads(table: pd.DataFrame, metric: str, **config: Unpack[ProfileConfig]) -> hv.Scatter:
    """One mark a head, in the order of the rows; with a boolean column `selected` the others fade."""
    drawn = table[["kind", "layer", "head"]].assign(value=table[metric].to_numpy(float))
    drawn["label"] = [f"L{row.layer} H{row.head}" for row in table.itertuples()]
    drawn["about"] = [f"{config.get('label', metric)}: {number(value)}" for value in drawn["value"]]
    around = theme(dark=config.get("dark", False))
    mark = {
        "color": around.muted,
        "alpha": 0.7,
        "size": HEAD_SIZE,
        # Always a list: None would leave the last selection standing.
        "selected": chosen_rows(table),
        "selection_color": around.accent,
        "selection_alpha": 1.0,
        "nonselection_alpha": FADED,
        "hover_tooltips": tooltip("label", "about"),
        "tools": selection_tools(tap=False),  # it selects the layer
    }
    vdims = ["value", "kind", "head", "label", "about"]
    options = profile_options(table, metric, **config)
    options["hooks"] += config.get("hooks", [])
    return hv.Scatter(drawn, "layer", vdims).opts(**mark, **options)


Part = Callable[..., hv.Element]
PARTS: tuple[Part, ...] = (profile_band, profile_uniform, profile_heads, profile_mean, profile_layers)
"""From the back to the front. Each always gives one type of element: a DynamicMap of them all keeps what it has drawn. The hover
lies on the marks, never on lines or shades."""


def layer_profile(table: pd.DataFrame, metric: str, **config: Unpack[ProfileConfig]) -> hv.Overlay:
    """All parts over one another."""
    parts = [part(table, metric, **config) for part in PARTS]
    return hv.Overlay(parts).opts(**profile_options(table, metric, **config))


def profile_options(table: pd.DataFrame, metric: str, **config: Unpack[ProfileConfig]) -> dict[str, Any]:
    """Options that all parts share."""
    layers = np.unique(table["layer"].to_numpy())
    values = [table[metric], table[f"{metric}_uniform"]] if f"{metric}_uniform" in table else [table[metric]]
    last = int(layers[-1]) if len(layers) else 0
    options = frame(
        dark=config.get("dark", False),
        x_label="layer",
        y_label=config.get("label", metric),
        x_range=(-0.5, last + 0.5),
        y_range=config.get("y_range") or limits(np.concatenate(values)),
        height=config.get("height", HEIGHT),
    )
    step = max(1, -(-(last + 1) // TICKS))
    return options | {"xticks": [(layer, str(layer)) for layer in range(0, last + 1, step)], "default_tools": ["reset"]}


def _blue(config: ProfileConfig) -> str:
    """The one of the two blues that stands out from the paper."""
    return SKY if config.get("dark", False) else BLUE
