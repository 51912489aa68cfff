"""Lines between two columns of tokens, as a plot that stays one in a file; on the page they are drawn by a script of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import numpy as np
import numpy.typing as npt

from atlas.plots.colours import FONT, theme
from atlas.plots.head_look import head_look

ROW, AROUND = 18, 60
"""Pixels of a token, and of what is above and below all of them."""

MOST = 900
"""Pixels of all tokens: more of them lie closer."""

STRONG = 0.9
"""Opacity of the strongest line."""

BESIDE = 0.35
"""Room of the names beside the lines, as a share of the way from one column to the other."""


def head_lines(
    query: npt.ArrayLike,
    key: npt.ArrayLike,
    head: npt.ArrayLike,
    weight: npt.ArrayLike,
    names: tuple[Sequence[str], Sequence[str]],
    *,
    dark: bool,
) -> hv.Overlay:
    """A line a link, in the colour of its head and as opaque as it is strong; `names` are those of queries and of keys."""
    rows, columns, heads, weights = (np.asarray(each) for each in (query, key, head, weight))
    highest = float(np.max(weights, initial=0.0)) or 1.0
    colours = [head_look(int(each))[0] for each in heads]
    data = (np.zeros(len(rows)), rows, np.ones(len(rows)), columns, colours, STRONG * weights / highest, weights)
    lines = hv.Segments(data, ["x0", "y0", "x1", "y1"], ["colour", "opacity", "weight"])
    ink = theme(dark=dark).ink
    words = [
        hv.Labels({"x": [place] * len(side), "y": np.arange(len(side)), "text": list(side)}, ["x", "y"], "text").opts(
            text_align=align, text_color=ink, text_font=FONT, text_font_size="9pt"
        )
        for side, place, align in zip(names, (-0.02, 1.02), ("right", "left"), strict=True)
    ]
    longest = max(1, *(len(side) for side in names))
    look: dict[str, Any] = {
        "responsive": True, "height": min(MOST, ROW * longest) + AROUND, "xaxis": None, "yaxis": None, "invert_yaxis": True,
        "xlim": (-BESIDE, 1 + BESIDE), "ylim": (-1, longest), "show_frame": False,
    }  # fmt: skip
    return hv.Overlay([lines.opts(color="colour", alpha="opacity", line_width=1.5, tools=["hover"]), *words]).opts(**look)
