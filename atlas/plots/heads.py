"""Heads as points: the position shows which heads are alike, colour and shape show what they do, size shows an amount."""

from __future__ import annotations

from typing import Any, TypedDict, Unpack

import holoviews as hv
import numpy as np
import numpy.typing as npt
import pandas as pd

from atlas.plots.colours import CIRCLE, UNKNOWN, Category, category, coloured, key_of, raster_palette, sequential, theme
from atlas.plots.frame import HEIGHT, Hook, Limits, frame, limits, number, selection_tools, tooltip

SIZE, SMALLEST, LARGEST = 10.0, 6.0, 18.0
"""Diameters in pixels: without a size column, and the ends of the scale with one."""

FADED = 0.4
"""Opacity of points that are not selected: visible, and clearly behind the selected ones."""

FOCUS_SIZE = 13.0
"""Least diameter of the focused head in pixels: room for a thick edge and its colour inside."""

ALPHA = 0.88
"""Opacity of a point, so that overlapping points can be seen."""

FAINTEST = 0.25
"""Share of the magnitude colours that no point uses, because a point in the colour of the background looks hollow."""

KEY_STEPS = 5
"""Colours listed in the key of a magnitude."""

PLACE = ["at_x", "at_y"]
DRAWN = ["label", "about", "colour", "marker", "size", "edge", "edge_width"]
"""Columns of a point besides its position, so that its look does not depend on its row in the table."""

MEANINGLESS = "t-SNE: near means alike, directions and distances mean nothing"


class ScatterConfig(TypedDict, total=False):
    """How a scatter of heads is drawn."""

    dark: bool
    """Whether the page is dark."""
    x_label: str
    y_label: str
    x_range: Limits
    """Fixed, so that points move instead of the axes; by default it fits the points."""
    y_range: Limits
    ticks: bool
    """False where positions have no unit (t-SNE): no ticks, and no position in the hover."""
    colour_label: str
    """The name of `category` or `value`."""
    colour_limits: Limits
    """Ends of the colour scale of `value`; by default it fits the points."""
    size_label: str
    size_limits: Limits
    height: int
    """Pixels; the width is that of the page."""
    hooks: list[Hook]
    """Hooks of the points, besides the one that sets the axes."""


def head_scatter(data: pd.DataFrame, **config: Unpack[ScatterConfig]) -> hv.Points:
    """One point for each head, in the order of the rows.

    Parameters
    ----------
    data
        Columns x, y, layer, head; `category` (a name) or `value` (a number) for the colour; optional `size` (a number),
        `label` (by default L0 H0), `selected` and `focus` (booleans). For the tooltip, of x, y, value and size: x_rows, the rows
        behind each number; x_lo, x_hi, x_n, its interval and the texts behind it; and `more`, a last line.
    config
        See `ScatterConfig`.

    Returns
    -------
    Points
        The dimensions are always `PLACE` and `DRAWN`, so a DynamicMap can update everything. The head of a point is that of its
        row.
    """
    drawn = point_columns(data, **config)
    return hv.Points(drawn, kdims=PLACE, vdims=DRAWN).opts(**scatter_options(data, **config))


def point_columns(data: pd.DataFrame, **config: Unpack[ScatterConfig]) -> pd.DataFrame:
    """The columns of the points: the position and the look of each."""
    colours, markers = _colours(data, config)
    columns = {
        "at_x": data["x"].to_numpy(float),
        "at_y": data["y"].to_numpy(float),
        "label": _labels(data),
        "about": _about(data, config),
        "colour": np.array(colours, dtype=object),
        "marker": np.array(markers, dtype=object),
        **focus_columns(data, **config),
    }
    # A table, because HoloViews sends strings in arrays to the browser twice.
    return pd.DataFrame(columns)


def focus_columns(data: pd.DataFrame, **config: Unpack[ScatterConfig]) -> dict[str, npt.NDArray[Any]]:
    """The columns that depend on the focused head; they are computed from `size` and `focus` of the data alone."""
    around, focus, sizes = theme(dark=config.get("dark", False)), _flags(data, "focus"), _sizes(data, config)
    return {
        "size": np.where(focus, np.maximum(sizes, FOCUS_SIZE), sizes),
        "edge": np.where(focus, around.accent, around.ink).astype(object),
        "edge_width": np.where(focus, 2.5, 0.6),
    }


def axis_names(**config: Unpack[ScatterConfig]) -> tuple[str, str]:
    """What stands beside the axes."""
    return config.get("x_label", "" if config.get("ticks", True) else MEANINGLESS), config.get("y_label", "")


def scatter_options(data: pd.DataFrame, **config: Unpack[ScatterConfig]) -> dict[str, Any]:
    """Options of the element."""
    ticks, (x_label, y_label) = config.get("ticks", True), axis_names(**config)
    options = frame(
        dark=config.get("dark", False),
        x_label=x_label,
        y_label=y_label,
        x_range=config.get("x_range") or limits(data["x"]),
        y_range=config.get("y_range") or limits(data["y"]),
        height=config.get("height", HEIGHT),
    )
    options["hooks"] += config.get("hooks", [])
    shown = 1.0 if ticks else 0.0
    # Hidden by opacity instead of removing the axis, because a DynamicMap cannot restore a removed axis.
    options["backend_opts"] |= {
        f"{axis}.{part}_alpha": shown for axis in ("xaxis", "yaxis") for part in ("major_tick_line", "major_label_text")
    }
    # Without points no look: the browser would miss the columns of one that is the same for all points that come.
    look = {"color": "colour", "marker": "marker", "size": "size", "line_color": "edge", "line_width": "edge_width"}
    return options | {
        **(look if len(data) else {}),
        "alpha": ALPHA,
        # Always a list, because None would keep the previous selection.
        "selected": chosen_rows(data),
        "nonselection_alpha": FADED,
        "hover_tooltips": tooltip("label", "about"),
        "tools": selection_tools(),
        "default_tools": ["pan", "wheel_zoom", "reset"],
        "active_tools": ["lasso_select", "tap"],
    }


def chosen_rows(data: pd.DataFrame) -> list[int]:
    """Row numbers of the selected points."""
    found: list[int] = np.flatnonzero(_flags(data, "selected")).tolist()
    return found


def colour_key(data: pd.DataFrame, **config: Unpack[ScatterConfig]) -> list[tuple[str, Category]]:
    """The key of the colours: name and look of each category in the data, or of steps of the magnitude."""
    if "category" in data:
        return list(key_of(data["category"].astype(str)).items())
    if "value" not in data:
        return []
    grey = raster_palette(dark=config.get("dark", False))[UNKNOWN]
    unknown = [("not known", Category(grey, CIRCLE))] if data["value"].isna().any() else []
    if data["value"].isna().all():
        return unknown
    low, high = _colour_limits(data, config)
    steps = np.linspace(low, high, KEY_STEPS)
    if np.equal(np.mod(data["value"].dropna(), 1), 0).all():
        # Whole numbers are layers, so the steps are whole numbers too.
        steps = np.unique(steps.round())
    colours = coloured(steps, (low, high), _magnitudes(config), "")
    return [*((number(step), Category(colour, CIRCLE)) for step, colour in zip(steps, colours, strict=True)), *unknown]


def _colours(data: pd.DataFrame, config: ScatterConfig) -> tuple[list[str], list[str]]:
    dark = config.get("dark", False)
    if "category" in data:
        each = [category(str(name)) for name in data["category"]]
        return [how.colour for how in each], [how.marker for how in each]
    unknown = raster_palette(dark=dark)[UNKNOWN]
    if "value" not in data:
        return [unknown] * len(data), [CIRCLE.marker] * len(data)
    found = coloured(data["value"], _colour_limits(data, config), _magnitudes(config), unknown)
    return found, [CIRCLE.marker] * len(data)


def _magnitudes(config: ScatterConfig) -> tuple[str, ...]:
    colours = sequential(dark=config.get("dark", False))
    return colours[int(FAINTEST * len(colours)) :]


def _colour_limits(data: pd.DataFrame, config: ScatterConfig) -> Limits:
    return config.get("colour_limits") or _extent(data["value"])


def _sizes(data: pd.DataFrame, config: ScatterConfig) -> npt.NDArray[np.float64]:
    """Diameters of points whose areas are proportional to the values; unknown ones are the smallest."""
    if "size" not in data:
        return np.full(len(data), SIZE)
    values = data["size"].to_numpy(float)
    low, high = config.get("size_limits") or _extent(values)
    share = np.clip((values - low) / (high - low), 0.0, 1.0) if high > low else np.full(len(values), 0.5)
    return np.sqrt(SMALLEST**2 + np.nan_to_num(share, nan=0.0) * (LARGEST**2 - SMALLEST**2))


def _labels(data: pd.DataFrame) -> npt.NDArray[np.object_]:
    if "label" in data:
        return np.array([str(label) for label in data["label"]], dtype=object)
    pairs = zip(data["layer"].tolist(), data["head"].tolist(), strict=True)
    return np.array([f"L{layer} H{head}" for layer, head in pairs], dtype=object)


def _about(data: pd.DataFrame, config: ScatterConfig) -> npt.NDArray[np.object_]:
    """For each point the lines of its tooltip: one for each quantity that it shows, with its number."""
    lines: list[list[str]] = [[] for _ in range(len(data))]
    named = {"category": config.get("colour_label", ""), "value": config.get("colour_label", "")}
    if config.get("ticks", True):
        named = {"x": config.get("x_label", "x"), "y": config.get("y_label", "y"), **named}
    named["size"] = config.get("size_label", "")
    for column, name in named.items():
        if column in data:
            for line, value, behind in zip(lines, data[column].tolist(), _behind(data, column), strict=True):
                text = (str(value) if column == "category" else number(float(value))) + behind
                line.append(f"{name}: {text}" if name else text)
    for line, more in zip(lines, data["more"].tolist() if "more" in data else [""] * len(data), strict=True):
        line.extend(filter(None, [more]))
    # Colour and size may show the same quantity as an axis, which is listed only once.
    return np.array(["\n".join(dict.fromkeys(line)) for line in lines], dtype=object)


def _behind(data: pd.DataFrame, column: str) -> list[str]:
    """What each number of a column rests on, in words."""
    if f"{column}_rows" in data:
        return [f" (on {n} row{'' if n == 1 else 's'})" for n in data[f"{column}_rows"].tolist()]
    if f"{column}_n" in data:
        each = zip(*(data[f"{column}_{end}"].tolist() for end in ("lo", "hi", "n")), strict=True)
        # One text has no interval.
        ends = [(f"95 % interval {number(lo)} to {number(hi)}, " if n > 1 else "", n) for lo, hi, n in each]
        return [f" ({interval}{n:,.0f} text{'' if n == 1 else 's'})" if n else "" for interval, n in ends]
    return [""] * len(data)


def _flags(data: pd.DataFrame, column: str) -> npt.NDArray[np.bool_]:
    return data[column].to_numpy(bool) if column in data else np.zeros(len(data), dtype=bool)


def _extent(values: npt.ArrayLike) -> Limits:
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
