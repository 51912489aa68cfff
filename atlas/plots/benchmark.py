"""Scores of a benchmark as points with intervals, one row a category or target, and how examples spread around no preference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt

from atlas.plots.colours import BLUE, CIRCLE, GREEN, SKY, SQUARE, TRIANGLE, VERMILION, Category, theme
from atlas.plots.frame import frame, limits, number, tooltip
from atlas.plots.lines import key_of_marks
from atlas.plots.row_words import row_words

HEIGHT = 420
"""Pixels of a plot with few rows."""

ROW, AROUND = 16, 70
"""Pixels of a row, so that its words do not overlap those of the next, and of what is around the rows."""

LOOKS: Mapping[str, Category] = {
    "ss": Category(VERMILION, CIRCLE),
    "score": Category(VERMILION, CIRCLE),
    "lms": Category(BLUE, TRIANGLE),
    "icat": Category(GREEN, SQUARE),
}
"""Measure -> how it is drawn."""

FAIR = 50.0
"""The score of a model without a preference, and of one that chooses at random."""

APART = 0.22
"""Rows between two measures of one row."""

BINS = 41
"""Bars of the distribution: an odd number, so that one of them is around no preference."""

OUTER = 98.0
"""Percentile of the distances from 0 at which the axis of the distribution ends: what is beyond is counted in the last bars."""

PLACE = ["x0", "y0", "x1", "y1"]


class Score(NamedTuple):
    """One point."""

    row: int
    measure: str
    value: float
    lo: float
    hi: float
    name: str
    about: str


def score_points(
    names: Sequence[str], words: Sequence[str], scores: Sequence[Score], measures: Sequence[str], *, dark: bool = False
) -> hv.Overlay:
    """Points with 95 % intervals on an axis from 0 to 100; dashed: no preference."""
    around = theme(dark=dark)
    rows = max(1, len(names))
    places = {measure: at - (len(measures) - 1) / 2 for at, measure in enumerate(measures)}
    y = [score.row + APART * places[score.measure] for score in scores]
    colours = [LOOKS[score.measure].colour for score in scores]
    shared = frame(
        dark=dark, x_label="percent", y_label="", x_range=(-2, 102), y_range=(rows - 0.4, -0.6), height=height_of(rows)
    )  # fmt: skip
    shared |= {"default_tools": ["reset"]}
    known = [at for at, score in enumerate(scores) if not np.isnan(score.lo)]
    ends = (
        [scores[at].lo for at in known], [y[at] for at in known], [scores[at].hi for at in known], [y[at] for at in known],
        [colours[at] for at in known],
    )  # fmt: skip
    fair = hv.Segments([(FAIR, -0.6, FAIR, rows - 0.4)], PLACE).opts(color=around.muted, line_width=1.5, line_dash="dashed")
    bars = hv.Segments(ends, PLACE, "colour").opts(color="colour", line_width=2.0)
    columns = (
        [score.value for score in scores], y, colours, [LOOKS[score.measure].marker for score in scores],
        [score.name for score in scores], [score.about for score in scores],
    )  # fmt: skip
    points = hv.Points(columns, ["value", "row"], ["colour", "marker", "name", "about"]).opts(
        color="colour", marker="marker", size=8, line_color=around.paper, line_width=0.5, tools=["hover"],
        hover_tooltips=tooltip("name", "about"),
    )  # fmt: skip
    named = row_words(names, words, around)
    return hv.Overlay([fair, bars, points]).opts(**(shared | {"hooks": [*shared["hooks"], named]}), show_legend=False)


def height_of(rows: int) -> int:
    """Pixels of a plot with so many rows."""
    return max(HEIGHT, ROW * rows + AROUND)


def spread(differences: npt.ArrayLike, *, label: str, height: int = HEIGHT, dark: bool = False) -> hv.Overlay:
    """How many examples prefer the stereotype by how much; dashed: no preference."""
    around = theme(dark=dark)
    values = np.asarray(differences, dtype=float)
    values = values[np.isfinite(values)]
    far = float(np.percentile(np.abs(values), OUTER)) if len(values) else 0.0
    edges = np.linspace(-(far or 1.0), far or 1.0, BINS + 1)
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    about = [
        f"{count:,} examples, {number(low)} to {number(high)}{' and beyond' if at in (0, BINS - 1) else ''}"
        for at, (count, low, high) in enumerate(zip(counts, edges[:-1], edges[1:], strict=True))
    ]
    top = limits([0, *counts])[1]
    shared = frame(
        dark=dark, x_label=label, y_label="examples", x_range=(edges[0], edges[-1]), y_range=(0, top), height=height
    )  # fmt: skip
    shared |= {"default_tools": ["reset"]}
    bars = hv.Rectangles((edges[:-1], np.zeros(BINS), edges[1:], counts, about), PLACE, "about").opts(
        color=SKY, line_color=around.paper, line_width=0.5, tools=["hover"], hover_tooltips=tooltip("about")
    )
    fair = hv.Segments([(0.0, 0.0, 0.0, top)], PLACE).opts(color=around.ink, line_width=1.5, line_dash="dashed")
    return hv.Overlay([bars, fair]).opts(**shared, show_legend=False)


def key_of_measures(measures: Sequence[str], titles: Mapping[str, str]) -> str:
    """What shapes, colours and the numbers beside the rows mean, as HTML."""
    return key_of_marks(
        {titles[measure]: LOOKS[measure] for measure in measures},
        said="beside them: ● with its interval, and n examples; the outermost columns: and all beyond",
    )
