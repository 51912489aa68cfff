"""The frame of every statistical plot: fonts, axes, toolbar, and ranges that keep a reader's zoom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from bokeh.models import LassoSelectTool, PlainText

from atlas import numbers
from atlas.plots.colours import FONT, theme
from atlas.plots.zoom import bound_zoom

HEIGHT = 340
"""Height in pixels, while the width is that of the page. It is fixed because a plot that stretches both ways falls back to its
least height at its first update, for any size of the pane around it."""

PADDING = 0.06
"""Share of the range left free around the outermost marks, so that no mark is cut."""

FORMULAS = ("$$", "\\(", "\\[")
"""What a formula begins with, for Bokeh."""

Limits = tuple[float, float]
Hook = Callable[[Any, Any], None]


number = numbers.three


def tick_label(name: str) -> str | PlainText:
    """A name on an axis, as it is: Bokeh takes text between formula marks for a formula, and fetches MathJax for it."""
    return PlainText(text=name) if any(mark in name for mark in FORMULAS) else name


def limits(values: npt.ArrayLike) -> Limits:
    """A range around the known values with some room; of length 1 around a single value."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    room = (high - low) * PADDING or 0.5
    return low - room, high + room


def frame(*, dark: bool, x_label: str, y_label: str, x_range: Limits, y_range: Limits, height: int) -> dict[str, Any]:
    """Plot options for any element or overlay."""
    return {
        "xlabel": x_label,
        "ylabel": y_label,
        "xlim": x_range,
        "ylim": y_range,
        "responsive": True,
        "height": height,
        "autohide_toolbar": True,
        "toolbar": "above",
        # False, because otherwise all plots with dimensions of the same name would pan together.
        "shared_axes": False,
        "hooks": [hold(x_range, y_range)],
        "backend_opts": _theme_options(dark=dark),
    }


def selection_tools(*, tap: bool = True) -> list[Any]:
    """Tools that select marks, once for each gesture; without `tap` where a tap does not select the mark under it.

    By default a lasso reports while it is drawn. Every view would then be redrawn for every piece of it, and an update that
    crosses a later piece would leave the server with an earlier selection than the screen.
    """
    return ["hover", *(["tap"] if tap else []), "box_select", LassoSelectTool(continuous=False)]


def tooltip(*columns: str) -> str:
    """A tooltip of columns, the first one bold. Line breaks in a column are kept, and all values are shown as plain text."""
    first, *others = (f"@{{{column}}}" for column in columns)
    rest = "".join(f'<div style="white-space: pre-line">{column}</div>' for column in others)
    style = f"font: 12px {FONT.replace(chr(34), '')}; font-variant-numeric: tabular-nums"
    return f'<div style="{style}"><b>{first}</b>{rest}</div>'


_LAST_RANGES: WeakKeyDictionary[Any, tuple[Limits, Limits]] = WeakKeyDictionary()
"""The ranges to which `hold` last set each Bokeh figure."""


def hold(x_range: Limits, y_range: Limits) -> Hook:
    """HoloViews hook: sets the ranges if they differ from the last ones it set, and otherwise keeps the reader's zoom.

    HoloViews alone cannot do this: a DynamicMap always keeps its first ranges, or with framewise=True undoes every zoom at every
    update.
    """

    def hook(plot: Any, element: Any) -> None:  # noqa: ARG001 (HoloViews calls hooks with both)
        figure, wanted = plot.state, (x_range, y_range)
        if _LAST_RANGES.get(figure) == wanted:
            return
        _LAST_RANGES[figure] = wanted
        for axis, (low, high) in zip((figure.x_range, figure.y_range), wanted, strict=True):
            # The limits of the last range first: the browser shrinks a longer one around its middle as soon as it arrives.
            axis.update(min_interval=None, max_interval=None)
            axis.update(start=low, end=high, reset_start=low, reset_end=high)
        bound_zoom(figure, x_range, y_range)

    return hook


def on_axes(names: tuple[str, str], x_range: Limits, y_range: Limits) -> Hook:
    """HoloViews hook: names the axes, and holds their ranges."""
    holds = hold(x_range, y_range)

    def hook(plot: Any, element: Any) -> None:
        plot.state.xaxis.axis_label, plot.state.yaxis.axis_label = names
        holds(plot, element)

    return hook


def _theme_options(*, dark: bool) -> dict[str, Any]:
    around = theme(dark=dark)
    options: dict[str, Any] = {
        "plot.toolbar.logo": None,
        # Bokeh's WebGL (3.9) gives the selected points the shapes of the first points of the table.
        "plot.output_backend": "canvas",
        "plot.background_fill_color": around.paper,
        "plot.border_fill_color": around.paper,
        "plot.outline_line_color": None,
    }
    for axis in ("xaxis", "yaxis"):
        options |= {
            f"{axis}.axis_label_text_font": FONT,
            f"{axis}.axis_label_text_font_size": "12px",
            f"{axis}.axis_label_text_font_style": "normal",
            f"{axis}.axis_label_text_color": around.ink,
            f"{axis}.major_label_text_font": FONT,
            f"{axis}.major_label_text_font_size": "11px",
            f"{axis}.major_label_text_color": around.muted,
            f"{axis}.axis_line_color": around.rule,
            f"{axis}.major_tick_line_color": around.rule,
            f"{axis}.minor_tick_line_color": None,
        }
    return options
