"""Wheel, zoom and reset of a plot: the page scrolls, the plot zooms on request, never too far and never one axis alone.

All of it is public Bokeh. `WheelZoomTool.modifiers` leaves the wheel to the page, and Bokeh says "use ctrl + scroll to zoom" to
a reader who turns it over a plot; ranges have `min_interval` and `max_interval`; events of the figure and a `Panel` among its
elements do the rest in the browser. Not `bounds`: with them the tool either stops zooming out beside an edge (`maintain_focus`)
or forgets both intervals (without it). That Cmd counts as Ctrl is a patch: atlas/patches/browser.py.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from bokeh.models import CustomJS, Node, WheelZoomTool
from bokeh.models.ui.panels import Panel
from bokeh.models.widgets import Button

Limits = tuple[float, float]

CTRL = {"ctrl": True}
"""What must be held while the wheel zooms a plot that was not clicked."""

NEAREST = 0.02
"""Share of a statistical plot that is in view at least: closer than that no two marks are compared any more."""

NEAREST_CELLS = 4
"""Cells of a plane that are in view at least: of fewer one sees no pattern, and no name of a neighbour."""

FARTHEST_SHARE = 0.5
"""Largest share that has to stay in view, so that a plane of few cells can be zoomed at all."""

CLICKED = "tool.setv({modifiers: {}}, {sync: false})"
LEFT = "tool.setv({modifiers: {ctrl: true}}, {sync: false})"
"""Not synchronised: what only the browser needs to know costs no message to the server."""

RESET = "if (!cb_obj.modifiers?.shift) { figure.reset.emit() }"
MOVED = """
if (panel.aa_due) { return }
panel.aa_due = true
requestAnimationFrame(() => {
  panel.aa_due = false
  let zoomed = false
  for (const range of [figure.x_range, figure.y_range]) {
    const {start, end, reset_start, reset_end} = range
    const low = Math.min(reset_start, reset_end), high = Math.max(reset_start, reset_end)
    const first = Math.min(start, end), last = Math.max(start, end)
    if (last - first >= 0.999 * (high - low)) {
      if (start !== reset_start || end !== reset_end) { range.setv({start: reset_start, end: reset_end}) }
      continue
    }
    zoomed = true
    const shift = first < low ? low - first : last > high ? high - last : 0
    if (shift !== 0) { range.setv({start: start + shift, end: end + shift}) }
  }
  panel.setv({visible: zoomed}, {sync: false})
})
"""
"""Move what is in view back inside the limits, and show the button where there is something to reset. In the next frame, because
the ends of a range that Python changes arrive one by one."""

BUTTON = """
:host { margin: 0; }
.bk-btn { padding: 1px 8px; font-size: 11px; line-height: 18px; border-radius: 9px; opacity: 0.85; }
.bk-btn:hover, .bk-btn:focus-visible { opacity: 1; }
"""

_OFFERED: WeakSet[Any] = WeakSet()
"""Figures that have their controls."""


def nearest_share(cells: int) -> float:
    """Share of a plane with so many cells along its longer side that has to stay in view."""
    return min(FARTHEST_SHARE, NEAREST_CELLS / max(cells, 1))


def inside(start: float, end: float, low: float, high: float) -> Limits:
    """The window that `MOVED` makes of one that reaches beyond the limits: as wide, and inside them."""
    first, last = min(start, end), max(start, end)
    if last - first >= high - low:
        return low, high
    shift = max(low - first, 0.0) + min(high - last, 0.0)
    return first + shift, last + shift


def bound_zoom(figure: Any, x: Limits, y: Limits, nearest: float = NEAREST) -> None:
    """Let a reader zoom out to these limits, and in to this share of both of them; give the figure its controls.

    The share is the same for both axes, so that both ends are reached by both at once and the aspect never changes.
    """
    for range_, limits in zip((figure.x_range, figure.y_range), (x, y), strict=True):
        low, high = sorted(limits)  # an axis that runs downwards names its larger end first
        ends = (high, low) if range_.start > range_.end else (low, high)
        span = high - low
        wanted = {
            "reset_start": ends[0], "reset_end": ends[1], "min_interval": nearest * span, "max_interval": span,
        }  # fmt: skip
        if any(getattr(range_, name) != value for name, value in wanted.items()):
            range_.update(**wanted)
    if figure not in _OFFERED:
        _OFFERED.add(figure)
        _offer(figure)


def _offer(figure: Any) -> None:
    """The wheel with Ctrl or after a click, a double click that resets, a button that does while there is something to reset."""
    wheels = [tool for tool in figure.tools if isinstance(tool, WheelZoomTool)]
    if not wheels:
        return
    for tool in wheels:
        # `maintain_focus`: where one axis is at its limit the other goes no further either.
        tool.update(modifiers=CTRL, zoom_on_axis=False, maintain_focus=True)
        figure.js_on_event("tap", CustomJS(args={"tool": tool}, code=CLICKED))
        figure.js_on_event("mouseleave", CustomJS(args={"tool": tool}, code=LEFT))
    figure.toolbar.active_scroll = wheels[0]
    reset = CustomJS(args={"figure": figure}, code=RESET)
    figure.js_on_event("doubletap", reset)
    button = Button(label="Reset zoom", stylesheets=[BUTTON])
    button.js_on_event("button_click", reset)
    panel = Panel(position=Node.frame.top_right, anchor="top_right", elements=[button], visible=False)  # type: ignore[arg-type]
    figure.elements = [*figure.elements, panel]
    moved = CustomJS(args={"figure": figure, "panel": panel}, code=MOVED)
    for range_ in (figure.x_range, figure.y_range):
        for name in ("start", "end"):
            range_.js_on_change(name, moved)
