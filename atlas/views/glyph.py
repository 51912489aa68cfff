"""What a gesture marks on a plot, sent as columns of a glyph.

HoloViews draws all of a plot anew for any part of it: 30 to 50 milliseconds a plot, where a few columns take one or two. So what
only says what is selected goes past it. The elements say the same whenever they are drawn, from the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import panel as pn

if TYPE_CHECKING:
    from atlas.plots.frame import Hook
    from atlas.plots.raster import Array, Box

RECTANGLE = ("left", "bottom", "right", "top")
"""Columns of a rectangle, in the order of its dimensions."""

WORD = ("x", "y", "text")
"""The same for a word."""


class Glyph:
    """A glyph of a plot, wherever it is on screen: its hook finds it. It knows plots weakly: HoloViews keeps hooks for good."""

    def __init__(self) -> None:
        self._plots: WeakSet[Any] = WeakSet()

    def hook(self, plot: Any, _: Any) -> None:
        """Given to the element as a hook."""
        self._plots.add(plot)

    def mark(self, columns: Mapping[str, Any], chosen: Sequence[int] | None = None, hook: Hook | None = None) -> bool:
        """Put other values in some columns, choose rows, do what a hook does. False where the plot is to be drawn again instead.

        HoloViews has no column for what is the same in all rows.
        """

        def change(plot: Any) -> None:
            _put(plot.handles["source"], columns, chosen)
            if hook is not None:
                hook(plot, None)

        plots = [plot for plot in self._plots if plot.handles.get("source") is not None]
        if any(columns.keys() - plot.handles["source"].data.keys() for plot in plots):
            return False
        for plot in plots:
            _with_lock(plot, partial(change, plot))
        return True

    def outline(self, boxes: Sequence[Box]) -> None:
        """Put other rectangles in the place of those there are."""
        self.mark({name: [box[at] for box in boxes] for at, name in enumerate(RECTANGLE)})

    def write(self, words: Sequence[tuple[float, float, str]]) -> None:
        """Put other words in the place of those there are."""
        self.mark({name: [word[at] for word in words] for at, name in enumerate(WORD)})


class Raster(Glyph):
    """The image of a plot: another one of the same plane needs neither new axes nor new ranges."""

    def show(self, pixels: Array, bounds: Box, palette: Sequence[str], hook: Hook) -> bool:
        """Put another image in the place of the one there is, and do what its hook does. False where there is none yet."""
        left, bottom, right, top = bounds
        columns = {"image": [pixels], "x": [left], "y": [bottom], "dw": [right - left], "dh": [top - bottom]}
        plots = [plot for plot in self._plots if plot.handles.get("source") is not None]

        def change(plot: Any) -> None:
            _put(plot.handles["source"], columns)
            mapper = plot.handles["color_mapper"]
            if list(mapper.palette) != list(palette):
                mapper.palette = list(palette)
            hook(plot, None)

        for plot in plots:
            _with_lock(plot, partial(change, plot))
        return bool(plots)


def _put(source: Any, columns: Mapping[str, Any], chosen: Sequence[int] | None = None) -> None:
    if columns:
        source.data.update(columns)
    if chosen is not None:
        source.selected.indices = list(chosen)


def _with_lock(plot: Any, change: Callable[[], None]) -> None:
    """Now where the document may be changed from here, else when its turn comes; a notebook is told by the plot."""
    document = plot.document

    def told() -> None:
        change()
        plot.push()

    if document is not None and document.session_context and not pn.state._unblocked(document):  # noqa: SLF001  (as HoloViews asks)
        document.add_next_tick_callback(told)
    else:
        told()
