"""The words of a sentence in a line, with arcs above and below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
from bokeh.core.properties import field, value

from atlas.plots.colours import FONT, GREEN, theme
from atlas.plots.frame import Hook, frame

HEIGHT = 300
"""Pixels of the plot."""

POINTS = 25
"""Points of an arc: more cannot be told from a curve at this size."""

LEAST = 3
"""Letters of the room that a short word has."""

BETWEEN = 1.6
"""Letters between two words."""

AWAY = 0.1
"""Distance of the ends of arcs from the words, where the height of the plot is 2."""

FLATTER = 0.6
"""Exponent of an arc's height: of two arcs, one three times as long is twice as high."""

HIT, MISS, PARSE = "hit", "miss", "parse"
ENDS, NAMES, WORDS = "ends", "names", "words"

PARTS = (PARSE, MISS, HIT, ENDS, NAMES, WORDS)
"""What is drawn, from back to front."""

COLUMNS = {
    **dict.fromkeys((PARSE, MISS, HIT), ("xs", "ys")),
    ENDS: ("x", "y", "angle", "colour"),
    NAMES: ("x", "y", "text", "colour"),
    WORDS: ("x", "y", "text", "colour"),
}
"""The columns of each part."""

NO_HOOKS: Mapping[str, Sequence[Hook]] = {}

Array = np.ndarray


class Arc(NamedTuple):
    """From one word to another, as places in the line."""

    start: int
    end: int
    """Where its arrow is."""
    label: str
    state: str
    """HIT, MISS or PARSE."""


class Sentence(NamedTuple):
    """All that is drawn."""

    words: tuple[str, ...] = ()
    above: tuple[Arc, ...] = ()
    below: tuple[Arc, ...] = ()
    selected: frozenset[int] = frozenset()


def word_places(words: Sequence[str]) -> Array:
    """The middle of every word on a line of length 1: a plot whose range changes would keep the zoom of the one before."""
    sizes = np.array([max(len(word), LEAST) + BETWEEN for word in words])
    ends = np.cumsum(sizes)
    return (ends - sizes / 2) / sizes.sum() if len(sizes) else ends


def word_under(words: Sequence[str], x: float, y: float) -> int | None:
    """The word under a point of the plot; None where there is none."""
    places = word_places(words)
    if not len(places) or not 0 <= x < 1 or abs(y) > 2 * AWAY:
        return None
    return int(np.abs(places - x).argmin())


def heights(sentence: Sentence) -> float:
    """The length of the longest arc."""
    places = word_places(sentence.words)
    return max((abs(places[arc.start] - places[arc.end]) for arc in (*sentence.above, *sentence.below)), default=1.0)


def curve(start: float, end: float, longest: float, side: int) -> tuple[Array, Array]:
    """Half an ellipse from one place to another, above the words (1) or below them (-1)."""
    angle = np.linspace(0.0, np.pi, POINTS)
    height = (abs(end - start) / longest) ** FLATTER * (1 - 2 * AWAY)
    return (start + end) / 2 - (end - start) / 2 * np.cos(angle), side * (AWAY + height * np.sin(angle))


def arc_columns(sentence: Sentence, *, dark: bool = False) -> dict[str, dict[str, list[Any]]]:
    """The columns of every part of the plot: other arcs, or another sentence, are other columns and no other plot."""
    around = theme(dark=dark)
    colours = {HIT: GREEN, MISS: around.muted, PARSE: around.ink}
    places, longest = word_places(sentence.words), heights(sentence)
    found: dict[str, dict[str, list[Any]]] = {part: {name: [] for name in COLUMNS[part]} for part in PARTS}

    def add(part: str, *values: Any) -> None:
        for column, value_ in zip(found[part].values(), values, strict=True):
            column.append(value_)

    for side, arcs in ((1, sentence.above), (-1, sentence.below)):
        # Hits last, so that they are above the misses.
        for arc in sorted(arcs, key=lambda each: each.state == HIT):
            x, y = curve(places[arc.start], places[arc.end], longest, side)
            add(arc.state, x, y)
            add(ENDS, x[-1], y[-1], np.pi if side > 0 else 0.0, colours[arc.state])
            if arc.label:
                add(NAMES, x[POINTS // 2], y[POINTS // 2] + side * 0.05, arc.label, colours[arc.state])
    for at, (place, word) in enumerate(zip(places, sentence.words, strict=True)):
        add(WORDS, place, 0.0, word, around.accent if at in sentence.selected else around.ink)
    return found


def arc_plot(sentence: Sentence, *, dark: bool = False, hooks: Mapping[str, Sequence[Hook]] = NO_HOOKS) -> hv.Overlay:
    """The plot; `hooks` are those of its `PARTS`."""
    around, columns = theme(dark=dark), arc_columns(sentence, dark=dark)
    colours = {HIT: GREEN, MISS: around.muted, PARSE: around.ink}
    shared = frame(dark=dark, x_label="", y_label="", x_range=(0.0, 1.0), y_range=(-1.12, 1.12), height=HEIGHT)
    shared |= {"xaxis": None, "yaxis": None, "default_tools": [], "toolbar": None}
    text = {"text_font": value(FONT), "text_align": "center", "text_baseline": "middle"}
    made: dict[str, Any] = {
        part: hv.Path([{"x": x, "y": y} for x, y in zip(*columns[part].values(), strict=True)], ["x", "y"]).opts(
            color=colours[part], line_width=2.2 if part == HIT else 1.1
        )
        for part in (PARSE, MISS, HIT)
    }
    ends = columns[ENDS]
    made[ENDS] = hv.Points((ends["x"], ends["y"])).opts(marker="triangle", size=6, line_alpha=0.0)
    for part, size in ((NAMES, "10px"), (WORDS, "12px")):
        rows = columns[part]
        made[part] = hv.Labels((rows["x"], rows["y"], rows["text"]), ["x", "y"], "text").opts(text_font_size=size, **text)
    own = {
        ENDS: [in_columns(ends, fill_color="colour", angle="angle")],
        NAMES: [in_columns(columns[NAMES], text_color="colour"), on_paper(around.paper)],
        WORDS: [in_columns(columns[WORDS], text_color="colour")],
    }
    drawn = [
        made[part].opts(**(shared | {"hooks": [*shared["hooks"], *own.get(part, ()), *hooks.get(part, ())]})) for part in PARTS
    ]
    return hv.Overlay(drawn).opts(**shared, show_legend=False)


def in_columns(columns: Mapping[str, Sequence[Any]], **fields: str) -> Hook:
    """HoloViews hook: looks that are columns also where all rows are alike; HoloViews makes no column for those."""

    def hook(plot: Any, _: Any) -> None:
        if "glyph_renderer" in plot.handles:
            renderer = plot.handles["glyph_renderer"]
            renderer.data_source.data = dict(columns)
            renderer.glyph.update(**{name: field(column) for name, column in fields.items()})

    return hook


def on_paper(paper: str) -> Hook:
    """HoloViews hook: puts paper behind a text, which else stands on the lines of other arcs; HoloViews has no option for it."""

    def hook(plot: Any, _: Any) -> None:
        if "glyph_renderer" in plot.handles:
            plot.handles["glyph_renderer"].glyph.update(background_fill_color=paper, background_fill_alpha=1.0)

    return hook
