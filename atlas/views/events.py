"""Bokeh events on a HoloViews plot, handed to a method of a view as soon as Bokeh reports them.

HoloViews' own streams wait for more events, 10 milliseconds for a tap and 100 to 150 for the ranges, and first report that the
server is busy. The hooks here use Bokeh's public `on_event` on `plot.state`. Methods are held weakly: HoloViews keeps the hooks
of a plot for as long as the plot lives, in a place that all sessions share, and the view refers to the plot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, WeakMethod

from bokeh.events import Event, RangesUpdate, Reset, SelectionGeometry, Tap

from atlas.plots.frame import Hook

Range = tuple[float, float] | None
"""From where to where an axis goes; None: not known yet."""

_LISTENING: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
"""What is listened to on each plot, so that a plot which is drawn again is not listened to twice."""


def on_tap(callback: Callable[..., None]) -> Hook:
    """HoloViews hook: calls `callback(x, y, additive=...)` after a tap; additive: with Shift or Ctrl held."""

    def listen(plot: Any, method: Callable[..., None]) -> None:
        def on_event(event: Any) -> None:
            held = event.modifiers or {}
            method(event.x, event.y, additive=bool(held.get("shift") or held.get("ctrl")))

        plot.state.on_event(Tap, on_event)

    return _once(Tap.event_name, WeakMethod(callback), listen)


def on_range(callback: Callable[[Range, Range], None]) -> Hook:
    """HoloViews hook: calls `callback(x_range, y_range)` once the wheel rests."""
    return _events(RangesUpdate, WeakMethod(callback), lambda event: ((event.x0, event.x1), (event.y0, event.y1)))


def on_select(callback: Callable[[list[int]], None]) -> Hook:
    """HoloViews hook: calls `callback(rows)` after a tap, box or lasso selection.

    It listens to the gesture, not to the selected rows: a reset of the plot also deselects them, in the browser, and that report
    may arrive after the reader's next selection, which it would undo.
    """

    def listen(plot: Any, method: Callable[[list[int]], None]) -> None:
        selected = plot.handles["glyph_renderer"].data_source.selected

        def on_geometry(event: Any) -> None:
            if event.final:
                method(list(selected.indices))

        plot.state.on_event(SelectionGeometry, on_geometry)

    return _once("selected rows", WeakMethod(callback), listen)


def on_reset(callback: Callable[[], None]) -> Hook:
    """HoloViews hook: calls `callback()` after a reset, which deselects everything in the browser."""
    return _events(Reset, WeakMethod(callback), lambda _: ())


def _events(kind: type[Event], view_method: WeakMethod[Any], values: Callable[[Any], tuple[Any, ...]]) -> Hook:
    def listen(plot: Any, method: Callable[..., None]) -> None:
        plot.state.on_event(kind, lambda event: method(*values(event)))

    return _once(kind.event_name, view_method, listen)


def _once(name: str, view_method: WeakMethod[Any], listen: Callable[[Any, Any], None]) -> Hook:
    """A hook that listens to a plot once, however often the plot is drawn."""

    def hook(plot: Any, _: Any) -> None:
        listening = _LISTENING.setdefault(plot, set())
        if name not in listening and (method := view_method()) is not None:
            listening.add(name)
            listen(plot, method)

    return hook
