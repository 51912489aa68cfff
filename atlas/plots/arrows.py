"""Arrows between the squares of the Map, as one glyph: each by its path, from the head that wrote to the one that reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
from bokeh.core.properties import field

from atlas.plots.colours import GREEN, theme
from atlas.plots.frame import Hook
from atlas.plots.marks import FROM, TO, marks

Array = np.ndarray

DASHES: Mapping[str, tuple[float, ...]] = {"q": (), "k": (3.2, 1.8), "v": (1.1, 1.1)}
"""Path -> how its line is broken, in widths of the line, so that no reader needs its colour."""

SIGNS = {"q": "━━", "k": "╍╍", "v": "┉┉"}
"""The same as characters, for keys."""

BENDS = {"q": -0.16, "k": 0.05, "v": 0.16}
"""Path -> how far its line bends to the side, as a share of its length: two heads may be joined by all three."""

POINTS = 13
"""Points of a line."""

BARB = 9.0
"""Pixels of each half of an arrow's head."""

THIN, THICK, CASING = 1.6, 5.0, 2.6
"""Pixels of the thinnest and the thickest line, and of the paper around it, without which it is lost on dark squares."""

START, END = 0.30, 0.42
"""How far from the middle of its squares a line begins and ends, as a share of their shorter side."""

COLUMNS = ("xs", "ys", "colour", "width", "dash")


class MapArrow(NamedTuple):
    """One arrow: (column, row) of both squares, its path, and the share it stands for."""

    start: tuple[int, int]
    end: tuple[int, int]
    path: str
    share: float


def path_colours(*, dark: bool) -> dict[str, str]:
    """The colour of each path: queries and keys as everywhere else."""
    return {"q": marks(dark=dark)[FROM], "k": marks(dark=dark)[TO], "v": GREEN}


def arrow_columns(
    arrows: Sequence[MapArrow], squares: tuple[int, int], pixels: tuple[float, float], *, dark: bool
) -> dict[str, list[Any]]:
    """Columns of a MultiLine: `squares` across and down lie on a plane of side 1, each of so many pixels."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    colours, paper = path_colours(dark=dark), theme(dark=dark).paper
    size = np.array(pixels, dtype=float)
    largest = max((abs(arrow.share) for arrow in arrows), default=1.0) or 1.0

    def add(points: Array, colour: str, width: float, dash: str) -> None:
        on_plane = points / size / np.array(squares)
        values = on_plane[:, 0].tolist(), on_plane[:, 1].tolist(), colour, width, dash
        for name, value in zip(COLUMNS, values, strict=True):
            columns[name].append(value)

    lines = [(arrow, *_line(arrow, size), THIN + (THICK - THIN) * abs(arrow.share) / largest) for arrow in arrows]
    for _, shaft, head, width in lines:
        add(shaft, paper, width + CASING, "")
        add(head, paper, width + CASING, "")
    for arrow, shaft, head, width in lines:
        add(shaft, colours[arrow.path], width, " ".join(str(max(2, round(part * width))) for part in DASHES[arrow.path]))
        add(head, colours[arrow.path], width, "")
    return columns


def _line(arrow: MapArrow, size: Array) -> tuple[Array, Array]:
    """The shaft and the head of an arrow, in pixels: a point for what adds, a bar across for what takes away."""
    start, end = ((np.array(place) + 0.5) * size for place in (arrow.start, arrow.end))
    along = end - start
    length = float(np.hypot(*along)) or 1.0
    aside = np.array([-along[1], along[0]])
    bend = (start + end) / 2 + aside * BENDS[arrow.path]
    near, far = (min(share * float(size.min()) / length, 0.45) for share in (START, END))
    t = np.linspace(near, 1 - far, POINTS)[:, None]
    shaft = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    onward = shaft[-1] - shaft[-2]
    onward = onward / (float(np.hypot(*onward)) or 1.0)
    across = np.array([-onward[1], onward[0]])
    back = 0.0 if arrow.share < 0 else BARB
    head = np.stack([shaft[-1] - back * onward + BARB * 0.7 * across, shaft[-1], shaft[-1] - back * onward - BARB * 0.7 * across])
    return shaft, head


def map_arrows(columns: Mapping[str, list[Any]], hooks: Sequence[Hook] = ()) -> hv.Path:
    """All arrows as one element."""

    def hook(plot: Any, _: Any) -> None:
        # HoloViews has no column for the dash of a line, and none at all where there is no line.
        renderer = plot.handles["glyph_renderer"]
        renderer.data_source.data = {name: list(columns[name]) for name in COLUMNS}
        # By `field`, because Bokeh takes a plain string here for a pattern.
        renderer.glyph.update(line_color="colour", line_width="width", line_dash=field("dash"), line_join="round")

    lines = [np.column_stack(line) for line in zip(columns["xs"], columns["ys"], strict=True)]
    return hv.Path(lines, ["x", "y"]).opts(hooks=[hook, *hooks])


def no_arrows() -> hv.Path:
    """No arrows at all."""
    return map_arrows({name: [] for name in COLUMNS})
