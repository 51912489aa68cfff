"""Words at both sides of a plot in rows: titles at the left, numbers at the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.models import FixedTicker, LinearAxis

from atlas.plots.colours import FONT, Theme
from atlas.plots.frame import Hook

SIZE = "12px"
"""Of the words at both sides."""

WORDS = "words"
"""Name of the axis at the right, whose labels show the values."""


def row_words(titles: Sequence[str], words: Sequence[str], around: Theme) -> Hook:
    """HoloViews hook: labels the rows 0, 1, 2 ... at the left and at the right.

    Both are axes, because an axis is as wide as its labels. HoloViews sets the ticks of an overlay only once; these follow the
    data.
    """

    def hook(plot: Any, _: Any) -> None:
        figure = plot.state
        if not any(axis.name == WORDS for axis in figure.right):
            axis = LinearAxis(name=WORDS, axis_line_color=None, major_tick_line_color=None, minor_tick_line_color=None)
            axis.update(major_label_text_font=FONT)
            figure.add_layout(axis, "right")
        (right,) = (axis for axis in figure.right if axis.name == WORDS)
        for axis, texts in ((figure.left[0], titles), (right, words)):
            names = dict(enumerate(texts))
            if not isinstance(axis.ticker, FixedTicker) or list(axis.ticker.ticks) != list(names):
                axis.ticker = FixedTicker(ticks=list(names))
            if axis.major_label_overrides != names:
                axis.major_label_overrides = names
            axis.update(major_label_text_color=around.ink, major_label_text_font_size=SIZE)

    return hook
