"""A metric by depth: the mean of every layer, the spread of its heads, and the value for evenly spread attention."""

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
"""Quantiles of the heads at the edges of the band: it contains most heads, and a single outlier does not stretch it."""

TICKS = 16
"""Most layers named along the axis."""

HEAD_SIZE, LAYER_SIZE = 5.0, 8.0
"""Diameters in pixels."""

BAND_ALPHA, FADED = 0.22, 0.3
"""Opacity of the band, and of heads that are not selected."""


class ProfileConfig(TypedDict, total=False):
    """How a layer profile is drawn."""

    dark: bool
    """Whether the page is dark."""
    label: str
    """The name of the metric."""
    y_range: Limits
    """Fixed, so that the line moves instead of the axis; by default it fits heads and chance level."""
    height: int
    """Pixels; the width is that of the page."""
    hooks: list[Hook]
    """Hooks of the marks of heads, besides the one that sets the axes."""
    layers: pd.DataFrame
    """What `profile_table` says, where it was asked already."""


def profile_table(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row for each layer: layer, mean, low, high, uniform and n, over the heads whose metric is known."""
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
    """The band that contains most heads of each layer."""
    found = _layers(table, metric, config)
    shade = {"color": SKY, "alpha": BAND_ALPHA, "line_alpha": 0.0}
    return hv.Area(found, "layer", ["low", "high"]).opts(**shade, **profile_options(table, metric, **config))


def profile_mean(table: pd.DataFrame, metric: str, **config: Unpack[ProfileConfig]) -> hv.Curve:
    """The mean of each layer's heads."""
    found = _layers(table, metric, config)
    return hv.Curve(found, "layer", "mean").opts(color=_blue(config), line_width=2.0, **profile_options(table, metric, **config))


def profile_uniform(table: pd.DataFrame, metric: str, **config: Unpack[ProfileConfig]) -> hv.Curve:
    """The value for attention spread evenly over the visible tokens, layer by layer, because masks may differ."""
    found = _layers(table, metric, config)
    around = theme(dark=config.get("dark", False))
    line = {"color": around.muted, "line_width": 1.5, "line_dash": "dashed"}
    return hv.Curve(found, "layer", "uniform").opts(**line, **profile_options(table, metric, **config))


def profile_layers(table: pd.DataFrame, metric: str, **config: Unpack[ProfileConfig]) -> hv.Scatter:
    """A mark on the mean of each layer, whose tooltip has the numbers of the line, the band and the reference."""
    found = _layers(table, metric, config)
    about = [
        f"mean of {n:.0f} heads: {number(mean)}\nmost of them: {number(low)} to {number(high)}\nspread evenly: {number(uniform)}"
        for _, mean, low, high, uniform, n in found[["layer", "mean", "low", "high", "uniform", "n"]].to_numpy().tolist()
    ]
    found = found.assign(layer_label=[f"Layer {layer}" for layer in found["layer"]], layer_about=about)
    # The columns have other names than those of the heads, because HoloViews merges two tooltips with the same template.
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
    """One mark for each head, in the order of the rows; with a boolean column `selected` the other heads fade."""
    drawn = table[["kind", "layer", "head"]].assign(value=table[metric].to_numpy(float))
    drawn["label"] = [f"L{layer} H{head}" for layer, head in zip(drawn["layer"].tolist(), drawn["head"].tolist(), strict=True)]
    drawn["about"] = [f"{config.get('label', metric)}: {number(value)}" for value in drawn["value"]]
    around = theme(dark=config.get("dark", False))
    mark = {
        "color": around.muted,
        "alpha": 0.7,
        "size": HEAD_SIZE,
        # Always a list, because None would keep the previous selection.
        "selected": chosen_rows(table),
        "selection_color": around.accent,
        "selection_alpha": 1.0,
        "nonselection_alpha": FADED,
        "hover_tooltips": tooltip("label", "about"),
        "tools": selection_tools(tap=False),  # a tap selects the layer
    }
    vdims = ["value", "kind", "head", "label", "about"]
    options = profile_options(table, metric, **config)
    options["hooks"] += config.get("hooks", [])
    return hv.Scatter(drawn, "layer", vdims).opts(**mark, **options)


Part = Callable[..., hv.Element]
PARTS: tuple[Part, ...] = (profile_band, profile_uniform, profile_heads, profile_mean, profile_layers)
"""The parts from back to front. Each always returns the same type of element, so that a DynamicMap of all parts can update its
plots. Only marks have tooltips, not lines or bands."""


def layer_profile(table: pd.DataFrame, metric: str, **config: Unpack[ProfileConfig]) -> hv.Overlay:
    """All parts as one overlay."""
    config["layers"] = profile_table(table, metric)
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


def _layers(table: pd.DataFrame, metric: str, config: ProfileConfig) -> pd.DataFrame:
    """Mean and spread of every layer, worked out once for all parts."""
    return config["layers"] if "layers" in config else profile_table(table, metric)


def _blue(config: ProfileConfig) -> str:
    """The blue that contrasts with the background."""
    return SKY if config.get("dark", False) else BLUE
