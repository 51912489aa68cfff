"""What a reader does on a plot, told to a method of a view as soon as Bokeh says it.

HoloViews' own streams wait whether more is coming, 10 milliseconds for a tap and 100 to 150 for the window, and say first
that the server is busy. Methods are held weakly: HoloViews keeps the hooks of a plot for as long as it lives, in a place that all
sessions share, and the view holds the plot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from bokeh.events import Event, RangesUpdate, Reset, SelectionGeometry, Tap

from atlas.plots.frame import Hook

Range = tuple[float, float] | None
"""From where to where an axis goes; None: not known yet."""


def on_tap(callback: Callable[[float, float], None]) -> Hook:
    """A hook that tells where the plot was tapped."""
    return _events(Tap, WeakMethod(callback), lambda event: (event.x, event.y))


def on_range(callback: Callable[[Range, Range], None]) -> Hook:
    """A hook that tells which window the reader has come to, once the wheel rests."""
    return _events(RangesUpdate, WeakMethod(callback), lambda event: ((event.x0, event.x1), (event.y0, event.y1)))


def on_select(callback: Callable[[list[int]], None]) -> Hook:
    """A hook that tells which rows of the plot's source a reader chose with a tool.

    Not every change of those rows is a choice: when a plot is reset the browser lets go of them as well, and what it says of that
    may come after the next choice, which it would undo.
    """

    def hear(plot: Any, told: Callable[[list[int]], None]) -> None:
        rows = plot.handles["source"].selected

        def heard(event: Any) -> None:
            if event.final:
                told(list(rows.indices))

        plot.state.on_event(SelectionGeometry, heard)

    return _once("told of rows", WeakMethod(callback), hear)


def on_reset(callback: Callable[[], None]) -> Hook:
    """A hook that tells that the plot was reset, after which the browser shows nothing of it as selected."""
    return _events(Reset, WeakMethod(callback), lambda _: ())


def _events(kind: type[Event], view_method: WeakMethod[Any], said: Callable[[Any], tuple[Any, ...]]) -> Hook:
    def hear(plot: Any, told: Callable[..., None]) -> None:
        plot.state.on_event(kind, lambda event: told(*said(event)))

    return _once(f"told of {kind.event_name}", view_method, hear)


def _once(name: str, view_method: WeakMethod[Any], hear: Callable[[Any, Any], None]) -> Hook:
    """A hook that listens to a plot once, however often the plot is drawn."""

    def hook(plot: Any, _: Any) -> None:
        if name not in plot.handles and (told := view_method()) is not None:
            plot.handles[name] = True
            hear(plot, told)

    return hook
