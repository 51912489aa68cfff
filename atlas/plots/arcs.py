"""The words of a sentence in a line, with arcs above and below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
from bokeh.core.properties import value

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


def arc_plot(sentence: Sentence, *, dark: bool = False, hooks: Sequence[Hook] = ()) -> hv.Overlay:
    """The plot; `hooks` are hooks of the words."""
    around = theme(dark=dark)
    colours = {HIT: GREEN, MISS: around.muted, PARSE: around.ink}
    places = word_places(sentence.words)
    longest = heights(sentence)
    shared = frame(dark=dark, x_label="", y_label="", x_range=(0.0, 1.0), y_range=(-1.12, 1.12), height=HEIGHT)
    shared |= {"xaxis": None, "yaxis": None, "default_tools": [], "toolbar": None}
    # HoloViews maps colours to values where it finds no colour in a column, so an empty one is not named.
    ends, labels = [], []
    lines: dict[str, list[Any]] = {PARSE: [], MISS: [], HIT: []}
    for side, arcs in ((1, sentence.above), (-1, sentence.below)):
        # Hits last, so that they are above the misses.
        for arc in sorted(arcs, key=lambda each: each.state == HIT):
            x, y = curve(places[arc.start], places[arc.end], longest, side)
            colour = colours[arc.state]
            lines[arc.state].append((x, y))
            ends.append((x[-1], y[-1], colour, 180 if side > 0 else 0))
            if arc.label:
                labels.append((x[POINTS // 2], y[POINTS // 2] + side * 0.05, arc.label, colour))
    text = {"text_font": value(FONT), "text_align": "center", "text_baseline": "middle"}
    paths = [
        hv.Path(found, ["x", "y"]).opts(color=colours[state], line_width=2.2 if state == HIT else 1.1)
        for state, found in lines.items()
    ]
    arrows = hv.Points(ends, ["x", "y"], ["colour", "angle"]).opts(
        color="colour" if ends else around.ink, marker="triangle", size=6, angle="angle", line_alpha=0.0
    )
    names = hv.Labels(labels, ["x", "y"], ["text", "colour"]).opts(
        text_color="colour" if labels else around.ink, text_font_size="10px", **text
    )
    looks = [around.accent if at in sentence.selected else around.ink for at in range(len(sentence.words))]
    words = hv.Labels(
        list(zip(places, np.zeros(len(places)), sentence.words, looks, strict=True)), ["x", "y"], ["text", "colour"]
    ).opts(text_color="colour" if looks else around.ink, text_font_size="12px", **text)
    own = {id(words): hooks, id(names): [on_paper(around.paper)]}
    drawn = [
        element.opts(**(shared | {"hooks": [*shared["hooks"], *added]}))
        for element, added in ((each, own.get(id(each), ())) for each in (*paths, arrows, names, words))
    ]
    return hv.Overlay(drawn).opts(**shared, show_legend=False)


def on_paper(paper: str) -> Hook:
    """HoloViews hook: puts paper behind a text, which else stands on the lines of other arcs; HoloViews has no option for it."""

    def hook(plot: Any, _: Any) -> None:
        if "glyph_renderer" in plot.handles:
            plot.handles["glyph_renderer"].glyph.update(background_fill_color=paper, background_fill_alpha=0.85)

    return hook
