"""The roles of a head: bars of z-scores in rows, or the same as a radar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
from bokeh.core.properties import value

from atlas.plots.colours import FONT, category, theme
from atlas.plots.frame import Hook, frame, number, tooltip
from atlas.plots.row_words import row_words

ROW_HEIGHT = 46
"""Height of a role in pixels: room for two lines of text beside it."""

FEET = 64
"""Pixels of the axis below the rows and the margin above."""

BAR_WIDTH, LAYER_SIZE = 15.0, 10.0
"""Thickness of a bar and size of the mark of the layer, in pixels."""

SIDE = 1.06
"""The end of the axis, in reaches: the largest bar ends before the frame does."""

RADAR_HEIGHT = 360
"""Pixels of the radar."""

RADAR_ASPECT = 1.4
"""Its width in heights: the names stand at its sides. The axes have the same aspect, so that a circle is round."""

RADAR_EDGE = 1.2
"""The end of the upright axis, in radii: the name of a role stands above the outermost ring."""

UPRIGHT = 0.2
"""Cosine up to which a spoke is upright: its name is above or below it, not beside it."""

LONG_NAME = 14
"""Letters from which a name beside the radar is broken into two lines."""

NAMES_AT = 1.1
"""Where these begin, in radii."""

RING_POINTS = 120
"""Points of a ring: at this radius each of its edges is 10 pixels long and looks round."""

CATEGORY = {
    "function_words": "function words",
    "content_words": "content words",
    "special": "special tokens",
    "first_key": "first token",
    "punctuation": "punctuation",
    "entities": "named entities",
    "long_range": "far",
    "self": "self",
}
"""Role -> what its colour means in every view."""

Columns = dict[str, Any]


class Spoke(NamedTuple):
    """One role."""

    role: str
    title: str
    z: float
    z_layer: float
    words: str
    """Two lines: the z-scores, or why there is none; the value."""


def bar_columns(spokes: Sequence[Spoke]) -> dict[str, Columns]:
    """The columns of the elements that other heads change."""
    rows = np.arange(len(spokes), dtype=float)
    z, z_layer = (np.array([getattr(spoke, name) for spoke in spokes], dtype=float) for name in ("z", "z_layer"))
    return {
        "bars": {"x0": np.zeros(len(rows)), "y0": rows, "x1": z, "y1": rows},
        "layer": {"x": z_layer, "y": rows},
    }


def role_bars(
    spokes: Sequence[Spoke], reach: float, *, dark: bool = False, hooks: Mapping[str, Sequence[Hook]] | None = None
) -> hv.Overlay:
    """A row for each role: a bar for z against all heads, a diamond for z against the layer; `hooks` by `bar_columns`."""
    around, columns, listening = theme(dark=dark), bar_columns(spokes), hooks or {}
    shared = frame(
        dark=dark,
        x_label="z (bar: among all heads, ◇: among the heads of its layer)",
        y_label="",
        x_range=(-reach * SIDE, reach * SIDE),
        y_range=(max(len(spokes), 1) - 0.5, -0.5),
        height=bars_height(len(spokes)),
    )
    shared |= {"default_tools": [], "toolbar": None}
    colours = [category(CATEGORY.get(spoke.role, spoke.role)).colour for spoke in spokes]
    bars = columns["bars"]
    drawn = {
        "zero": hv.VLine(0.0).opts(color=around.muted, line_width=1.0),
        "bars": hv.Segments((*bars.values(), colours), list(bars), "colour").opts(color="colour", line_width=BAR_WIDTH),
        "layer": hv.Points(tuple(columns["layer"].values()), ["x", "y"]).opts(
            marker="diamond", size=LAYER_SIZE, color=around.paper, line_color=around.ink, line_width=1.5
        ),
    }
    parts = []
    for name, element in drawn.items():
        parts.append(element.opts(**(shared | {"hooks": [*shared["hooks"], *listening.get(name, ())]})))
    words = bar_words(spokes, dark=dark)
    return hv.Overlay(parts).opts(**(shared | {"hooks": [*shared["hooks"], words]}), show_legend=False)


def bars_height(n_roles: int) -> int:
    """Pixels of the bars."""
    return ROW_HEIGHT * max(n_roles, 1) + FEET


def bar_words(spokes: Sequence[Spoke], *, dark: bool = False) -> Hook:
    """HoloViews hook: the names of the roles at the left, their numbers at the right."""
    return row_words([spoke.title for spoke in spokes], [spoke.words for spoke in spokes], theme(dark=dark))


def role_radar(spokes: Sequence[Spoke], reach: float, *, dark: bool = False) -> hv.Overlay:
    """The same on spokes: the centre is z = -reach, the ring z = 0 is drawn in full and the outermost ring is z = reach.

    A role without a z leaves a gap in the outline, and an outline with a gap is not filled: a line across it would give the
    role a value.
    """
    around, count = theme(dark=dark), max(len(spokes), 1)
    angles = np.pi / 2 - 2 * np.pi * np.arange(count) / count
    cos, sin = np.cos(angles)[: len(spokes)], np.sin(angles)[: len(spokes)]
    z, z_layer = (np.array([getattr(spoke, name) for spoke in spokes], dtype=float) for name in ("z", "z_layer"))
    whole = bool(len(spokes)) and bool(np.isfinite(z).all())
    places = radar_places(z, reach)
    rings = [-reach / 2, 0.0, reach / 2, reach]
    names = [
        (_broken(spoke.title) if abs(x) > UPRIGHT else spoke.title) + ("" if math.isfinite(spoke.z) else "\nN/A")
        for spoke, x in zip(spokes, cos, strict=True)
    ]
    ink, muted = {"color": around.accent}, {"color": around.muted}
    text = {"text_font": value(FONT), "text_font_size": "11px", "text_baseline": "middle"}
    said = [spoke.title for spoke in spokes], [spoke.words for spoke in spokes]
    elements = [
        hv.Path([_ring(ring, reach) for ring in rings if ring]).opts(color=around.rule, line_width=1.0),
        hv.Path([_ring(0.0, reach)]).opts(color=around.ink, line_width=1.4),
        hv.Segments((0 * cos, 0 * sin, cos, sin)).opts(color=around.rule, line_width=1.0),
        hv.Polygons([{"x": places[:, 0], "y": places[:, 1]}] if whole else []).opts(fill_alpha=0.16, line_alpha=0.0, **ink),
        hv.Segments(_edges(radar_places(z_layer, reach))).opts(line_width=1.5, line_dash="dashed", **muted),
        hv.Segments(_edges(places)).opts(line_width=2.5, **ink),
        hv.Points((*places.T, *said), ["x", "y"], ["role", "about"]).opts(
            size=9, tools=["hover"], hover_tooltips=tooltip("role", "about"), line_color=around.paper, **ink
        ),
        _names(cos, sin, names, "left").opts(text_align="left", text_color=around.ink, **text),
        _names(cos, sin, names, "right").opts(text_align="right", text_color=around.ink, **text),
        _names(cos, sin, names, "center").opts(text_align="center", text_color=around.ink, **text),
        hv.Labels((*_between(np.array([0.5, 1.0, 0.0]), count), ["z = 0", number(reach), number(-reach)])).opts(
            text_align="center", text_color=around.muted, **text
        ),
    ]  # fmt: skip
    across = RADAR_EDGE * RADAR_ASPECT
    shared = frame(
        dark=dark, x_label="", y_label="", x_range=(-across, across), y_range=(-RADAR_EDGE, RADAR_EDGE), height=RADAR_HEIGHT
    )
    shared |= {"responsive": False, "width": radar_width(RADAR_HEIGHT), "xaxis": None, "yaxis": None}
    shared |= {"default_tools": [], "toolbar": None}
    return hv.Overlay([element.opts(**shared) for element in elements]).opts(**shared, show_legend=False)


def radar_width(height: int) -> int:
    """Pixels of a radar so high."""
    return round(height * RADAR_ASPECT)


def radar_places(z: Any, reach: float) -> Any:
    """(role, 2) positions, the first role at the top and then clockwise; -reach is the middle, reach the circle of radius 1."""
    z = np.asarray(z, dtype=float)
    angles = np.pi / 2 - 2 * np.pi * np.arange(len(z)) / max(len(z), 1)
    return ((z + reach) / (2 * reach))[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])


def _ring(z: float, reach: float) -> Columns:
    turn = np.linspace(0, 2 * np.pi, RING_POINTS)
    radius = (z + reach) / (2 * reach)
    return {"x": radius * np.cos(turn), "y": radius * np.sin(turn)}


def _edges(places: Any) -> tuple[Any, ...]:
    """The lines from each place to the next, where both are known."""
    after = np.roll(places, -1, axis=0)
    known = np.isfinite(places).all(1) & np.isfinite(after).all(1)
    return (*places[known].T, *after[known].T)


def _between(radii: Any, count: int) -> tuple[Any, Any]:
    """Places at some radii between the last spoke and the first, where no name and no vertex is."""
    angle = np.pi / 2 + np.pi / count
    return radii * np.cos(angle), radii * np.sin(angle)


def _broken(name: str) -> str:
    first, _, last = name.rpartition(" ")
    return f"{first}\n{last}" if first and len(name) >= LONG_NAME else name


def _names(cos: Any, sin: Any, names: Sequence[str], align: str) -> hv.Labels:
    """The names that are written to one side of their spoke, so that none runs into the circle."""
    side = np.where(np.abs(cos) <= UPRIGHT, "center", np.where(cos > 0, "left", "right"))
    here = np.flatnonzero(side == align)
    return hv.Labels((NAMES_AT * cos[here], NAMES_AT * sin[here], [names[at] for at in here.tolist()]))
