"""Vectors as strips of coloured cells, one below the other, with their numbers and a bar beside each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
from bokeh.core.properties import value
from bokeh.models import FixedTicker

from atlas.plots.colours import BACKGROUND, FONT, Theme, raster_palette, theme
from atlas.plots.frame import Hook, frame, number, tick_label
from atlas.plots.raster import quantised_signed, signed_scale

STRIP_LINES = 6
"""Lines of pixels of a row in the image: one of them is paper, so that strips do not touch."""

GAP = 0.04
"""Paper between two blocks of strips, as a share of their dimensions."""

ABOVE = 1.3
"""Room above the first row for the titles, in rows."""

NAME_LETTERS = 18
"""Letters of a name at the left."""

SPARSE = 0.16
"""Half of the height of a bar, in rows."""

MARKED = ("chosen",)
"""The element that marks a row."""

Array = np.ndarray
Columns = dict[str, Any]


class Block(NamedTuple):
    """Strips below each other."""

    title: str
    values: Array
    """(row, dimension); NaN: nothing is drawn."""
    limits: Array
    """(row,) the value of the strongest colour."""


class Strips(NamedTuple):
    """All that is drawn."""

    names: tuple[str, ...]
    """Of the rows, at the left."""
    blocks: tuple[Block, ...]
    numbers: Mapping[str, Sequence[str]]
    """Title -> text of every row."""
    bars: Array | None = None
    """(row,) shares; NaN: no bar. They stand at the right, under the title of the last numbers."""
    chosen: int | None = None
    """The row that is marked."""
    room: int = 0
    """Rows there is room for, at least; more are added where there are more."""
    width: float = 0.7
    """Share of the plot that the blocks take."""

    @property
    def rows(self) -> int:
        """Rows of the plot."""
        return max(len(self.names), self.room, 1)


NOTHING = Strips((), (), {})


def strip_pixels(strips: Strips) -> Array:
    """The bytes of all strips: one pixel a dimension, rows downwards."""
    if not strips.blocks:
        return np.full((STRIP_LINES, 1), BACKGROUND, np.uint8)
    parts: list[Array] = []
    for block in strips.blocks:
        pixels: Array = np.full(block.values.shape, BACKGROUND, np.uint8)
        for at, (values, limit) in enumerate(zip(block.values, block.limits, strict=True)):
            if np.isfinite(values).all():
                pixels[at] = quantised_signed(values[None], signed_scale(float(limit)))[0]
        gap = np.full((len(pixels), max(1, round(GAP * pixels.shape[1]))), BACKGROUND, np.uint8)
        parts += [gap, pixels] if parts else [pixels]
    found = np.repeat(np.concatenate(parts, axis=1), STRIP_LINES, axis=0)
    found[STRIP_LINES - 1 :: STRIP_LINES] = BACKGROUND
    return found


def block_edges(strips: Strips) -> list[tuple[float, float]]:
    """From where to where each block goes, on a plot of width 1."""
    sizes: list[int] = []
    for block in strips.blocks:
        width = block.values.shape[1]
        sizes += [max(1, round(GAP * width)), width] if sizes else [0, width]
    if not sizes:
        return []
    ends = np.cumsum(sizes) * strips.width / sum(sizes)
    return [(float(ends[at]), float(ends[at + 1])) for at in range(0, len(sizes), 2)]


def strip_under(strips: Strips, x: float, y: float) -> tuple[int, int, int] | None:
    """(block, row, dimension) under a point; None outside."""
    row = int(np.floor(y))
    if not 0 <= row < len(strips.names):
        return None
    for at, (left, right) in enumerate(block_edges(strips)):
        width = strips.blocks[at].values.shape[1]
        if left <= x < right and np.isfinite(strips.blocks[at].values[row]).all():
            return at, row, min(int((x - left) / (right - left) * width), width - 1)
    return None


def strip_columns(strips: Strips) -> dict[str, Columns]:
    """The columns of each element but the image, in the order in which they are drawn."""
    count, titles = len(strips.names), list(strips.numbers)
    places = _places(strips)
    middles = np.arange(count) + 0.42
    x = np.concatenate([np.full(count, place) for place in places]) if places else np.empty(0)
    texts = [text for title in titles for text in strips.numbers[title]]
    heads = [(left, block.title) for (left, _), block in zip(block_edges(strips), strips.blocks, strict=True)]
    heads += list(zip(places, titles, strict=True))
    known = np.empty(0, dtype=int) if strips.bars is None else np.flatnonzero(np.isfinite(strips.bars))
    left = places[-1] + _TEXT if places else strips.width
    ends = left + (1 - left) * (np.empty(0) if strips.bars is None else np.clip(strips.bars[known], 0, 1))
    marked = [] if strips.chosen is None else [strips.chosen]
    return {
        "chosen": _boxes(np.zeros(len(marked)), np.array(marked, float) - 0.06, np.ones(len(marked)), 0.96),
        "bars": _boxes(np.full(len(known), left), known + 0.42 - SPARSE, ends, 2 * SPARSE),
        "numbers": {"x": x, "y": np.tile(middles, len(titles)), "text": texts},
        "titles": {
            "x": np.array([place for place, _ in heads], float), "y": np.full(len(heads), -0.5),
            "text": [text for _, text in heads],
        },
    }  # fmt: skip


def _boxes(left: Array, top: Array, right: Array, height: float) -> Columns:
    """Rectangles under the names that HoloViews gives to their columns."""
    return {"left": left, "bottom": top, "right": right, "top": top + height}


_TEXT = 0.062
"""Width of a number, as a share of the plot."""


def _places(strips: Strips) -> list[float]:
    """Where the columns of numbers begin."""
    count = len(strips.numbers)
    last = 1 - _TEXT - (0.1 if strips.bars is not None else 0.0)
    first = strips.width + 0.02
    step = min((last - first) / max(count - 1, 1), 0.09)
    return [first + at * step for at in range(count)]


def strip_bounds(strips: Strips) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of the image."""
    return 0.0, 0.0, strips.width, float(max(len(strips.names), 1))


def strip_ranges(strips: Strips) -> tuple[tuple[float, float], tuple[float, float]]:
    """What is on screen: across and, downwards, the rows."""
    return (0.0, 1.0), (float(strips.rows), -ABOVE)


def strip_plot(
    strips: Strips, *, height: int, dark: bool = False, hooks: Mapping[str, Sequence[Hook]] | None = None
) -> hv.Overlay:
    """The plot; `hooks` are hooks of single elements: 'image' and the names in `strip_columns`."""
    around, listening = theme(dark=dark), hooks or {}
    x_range, y_range = strip_ranges(strips)
    shared = frame(dark=dark, x_label="", y_label="", x_range=x_range, y_range=y_range, height=height)
    shared |= {"xaxis": None, "default_tools": [], "toolbar": None}
    image = hv.Image(strip_pixels(strips)[::-1], bounds=strip_bounds(strips), kdims=["x", "y"], vdims=["level"]).opts(
        cmap=list(raster_palette(dark=dark, signed=True)), clim=(0, 255)
    )
    text = {"text_font": value(FONT), "text_font_size": "11px", "text_align": "left", "text_baseline": "middle"}
    looks: dict[str, Any] = {
        "chosen": {"fill_color": around.accent, "fill_alpha": 0.0, "line_color": around.accent, "line_width": 1.5},
        "bars": {"fill_color": raster_palette(dark=dark)[150], "line_alpha": 0.0},
        "numbers": {"text_color": around.ink, **text},
        "titles": {"text_color": around.muted, **text},
    }
    drawn = {"image": image}
    for name, data in strip_columns(strips).items():
        made = hv.Rectangles if name in ("chosen", "bars") else hv.Labels
        columns = tuple(data.values())
        element = made(columns, list(data)) if made is hv.Rectangles else made(columns, ["x", "y"], "text")
        drawn[name] = element.opts(**looks[name])
    elements = [
        element.opts(**(shared | {"hooks": [*shared["hooks"], *listening.get(name, ())]})) for name, element in drawn.items()
    ]
    return hv.Overlay(elements).opts(**(shared | {"hooks": [*shared["hooks"], named(strips, around)]}), show_legend=False)


def named(strips: Strips, around: Theme) -> Hook:
    """HoloViews hook: names the rows at the left. HoloViews sets the ticks of an overlay only once; these follow the data."""
    names = {at + 0.42: _short(name) for at, name in enumerate(strips.names)}

    def hook(plot: Any, _: Any) -> None:
        axis = plot.state.left[0]
        if not isinstance(axis.ticker, FixedTicker) or list(axis.ticker.ticks) != list(names):
            axis.ticker = FixedTicker(ticks=list(names))
        axis.major_label_overrides = {place: tick_label(name) for place, name in names.items()}
        axis.update(major_label_text_color=around.ink, axis_line_color=None, major_tick_line_color=None)

    return hook


def _short(name: str) -> str:
    """A name cut in its middle: its end is the position."""
    if len(name) <= NAME_LETTERS:
        return name
    token, _, position = name.rpartition(" ")
    return f"{token[: NAME_LETTERS - len(position) - 2]}… {position}"


def in_numbers(values: Array) -> list[str]:
    """Numbers of a column as text; nothing where one is unknown."""
    return [number(float(value)) if np.isfinite(value) else "" for value in values]
