"""What a gesture changes on a plot that HoloViews drew, sent as columns of a Bokeh data source.

HoloViews redraws a whole plot for any change of an element: 30 to 50 milliseconds a plot, where new columns of a glyph take one
or two. So marks, and another image on the same axes, go to the data source itself. The elements hold the same values whenever
HoloViews draws them, because both read the same state.

Everything used here is public. A HoloViews hook hands out the plot; `plot.state` is the Bokeh figure and
`plot.handles["glyph_renderer"]` the Bokeh renderer, both documented for hooks; data source, colour mapper, selection and document
are Bokeh's own; Panel's `state.execute` waits for the lock of the document. Two things still go through the HoloViews plot:

- `plot.handles` says which renderer belongs to an element. A Bokeh figure of an overlay holds several renderers of one type, and
  HoloViews gives none of them the name of its element.
- `plot.push()` sends changes to a notebook. Panel's `push_notebook` wants the outermost object that is displayed, which a view
  does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
import panel as pn
from panel.io.state import set_curdoc

if TYPE_CHECKING:
    from atlas.plots.frame import Hook
    from atlas.plots.raster import Array, Box

RECTANGLE = ("left", "bottom", "right", "top")
"""Columns of a rectangle, in the order of its dimensions."""

WORD = ("x", "y", "text")
"""The same for a word."""


class Glyph:
    """The glyph of one element, on every plot that shows it; `hook` finds the plots.

    It refers to plots weakly, because HoloViews keeps the hooks of an element for good in a place that all sessions share.
    """

    def __init__(self) -> None:
        self._plots: WeakSet[Any] = WeakSet()

    def hook(self, plot: Any, _: Any) -> None:
        """HoloViews hook: give it to the element."""
        self._plots.add(plot)

    def mark(self, columns: Mapping[str, Any], chosen: Sequence[int] | None = None, hook: Hook | None = None) -> bool:
        """Replace some columns, select rows, run a hook. False if the plot has to be drawn again instead.

        HoloViews makes no column for a style that is the same in all rows.
        """
        drawn = self._drawn()
        if any(columns.keys() - renderer.data_source.data.keys() for _, renderer in drawn):
            return False

        def change(plot: Any, renderer: Any) -> None:
            _replace(renderer.data_source, columns, chosen)
            if hook is not None:
                hook(plot, None)

        for plot, renderer in drawn:
            _with_lock(plot, partial(change, plot, renderer))
        return True

    def outline(self, boxes: Sequence[Box]) -> None:
        """Replace all rectangles."""
        self.mark({name: [box[at] for box in boxes] for at, name in enumerate(RECTANGLE)})

    def write(self, words: Sequence[Sequence[Any]], **columns: Sequence[Any]) -> None:
        """Replace all words, and columns of their looks where the plot has them."""
        self.mark({name: [word[at] for word in words] for at, name in enumerate(WORD)} | dict(columns))

    def _drawn(self) -> list[tuple[Any, Any]]:
        """The plots that have been drawn, each with the renderer of this glyph."""
        return [(plot, plot.handles["glyph_renderer"]) for plot in self._plots if "glyph_renderer" in plot.handles]


class Raster(Glyph):
    """The image of a plot: another image of the same plane needs neither new axes nor new ranges."""

    def show(self, pixels: Array, bounds: Box, palette: Sequence[str], hook: Hook) -> bool:
        """Replace the image and its palette, and run the hook. False if no plot has an image yet."""
        left, bottom, right, top = bounds
        columns = {"image": [pixels], "x": [left], "y": [bottom], "dw": [right - left], "dh": [top - bottom]}

        def change(plot: Any, renderer: Any) -> None:
            _replace(renderer.data_source, columns)
            mapper = renderer.glyph.color_mapper
            if list(mapper.palette) != list(palette):
                mapper.palette = list(palette)
            hook(plot, None)

        drawn = self._drawn()
        for plot, renderer in drawn:
            _with_lock(plot, partial(change, plot, renderer))
        return bool(drawn)


def _replace(source: Any, columns: Mapping[str, Any], chosen: Sequence[int] | None = None) -> None:
    # Only what changed: the names and looks of 1,200 heads are 100 kB, and most gestures leave them as they are.
    changed = {name: values for name, values in columns.items() if not _same(source.data.get(name), values)}
    if changed:
        source.data.update(changed)
    if chosen is not None:
        source.selected.indices = list(chosen)


def _same(before: Any, now: Any) -> bool:
    """Whether a column holds the same values. Images are compared too, a byte a pixel."""
    if before is None or len(before) != len(now):
        return False
    if isinstance(before, np.ndarray) and before.dtype == object:  # as HoloViews sends words
        before = before.tolist()
    if isinstance(before, np.ndarray) and isinstance(now, np.ndarray):
        floats = before.dtype.kind == now.dtype.kind == "f"
        return before.dtype == now.dtype and bool(np.array_equal(before, now, equal_nan=floats))
    if isinstance(before, list) and isinstance(now, list):
        return all(map(_same_value, before, now))
    return False


def _same_value(before: Any, now: Any) -> bool:
    if isinstance(before, np.ndarray) or isinstance(now, np.ndarray):
        return isinstance(before, np.ndarray) and isinstance(now, np.ndarray) and _same(before, now)
    return type(before) is type(now) and bool(before == now)


def _with_lock(plot: Any, change: Callable[[], None]) -> None:
    """Make the change now if this thread may change the document, else in its next tick; then tell a notebook."""

    def changed() -> None:
        change()
        plot.push()

    with set_curdoc(plot.state.document):
        pn.state.execute(changed, schedule="auto")
