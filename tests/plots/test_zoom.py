"""The wheel is the page's until a reader asks for it; zoom ends at both limits, keeps the aspect, and can be reset."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import panel as pn
import pytest
from bokeh.models import WheelZoomTool

from atlas.patches.browser import BrowserPatches
from atlas.plots.frame import hold
from atlas.plots.zoom import NEAREST, bound_zoom, inside, nearest_share
from tests.browser import browser, page, served, wait_until

__all__ = ["browser", "page"]

CELLS = 20

RANGES = """() => {
  const [view] = Bokeh.index.query(view => view.model.type === "Figure"), {x_range: x, y_range: y} = view.model
  return [x.start, x.end, y.start, y.end, document.scrollingElement.scrollTop]
}"""


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ((0.2, 0.6), (0.2, 0.6)),
        ((-0.3, 0.3), (0.0, 0.6)),
        ((0.7, 1.3), (0.4, 1.0)),
        ((1.3, 0.7), (0.4, 1.0)),
        ((-0.2, 0.9), (0, 1)),
    ],
)
def test_a_window_beyond_the_limits_is_moved_inside(seen, expected):
    assert inside(*seen, 0.0, 1.0) == pytest.approx(expected)


def test_a_plane_of_few_cells_can_be_zoomed_too():
    assert [nearest_share(cells) for cells in (0, 1, 8, 400)] == [0.5, 0.5, 0.5, 0.01]


def test_other_limits_are_other_ends_of_the_zoom_and_the_controls_are_there_once():
    def points(x_range, y_range):
        hooks = [hold(x_range, y_range)]
        return hv.Points([(0, 0)]).opts(hooks=hooks, default_tools=["pan", "wheel_zoom", "reset"], xlim=x_range, ylim=y_range)

    plot = hv.renderer("bokeh").get_plot(points((0, 1), (0, 2)))
    for limits in (((0.0, 1.0), (0.0, 2.0)), ((2.0, 9.0), (-1.0, 3.0)), ((2.0, 9.0), (6.5, -0.5))):  # the last runs downwards
        hold(*limits)(plot, None)
        for axis, (low, high) in zip((plot.state.x_range, plot.state.y_range), limits, strict=True):
            assert (axis.start, axis.end, axis.reset_start, axis.reset_end) == (low, high, low, high)
            assert (axis.min_interval, axis.max_interval) == pytest.approx((NEAREST * abs(high - low), abs(high - low)))
    assert len(plot.state.elements) == 1
    (tool,) = (tool for tool in plot.state.tools if isinstance(tool, WheelZoomTool))
    assert (tool.zoom_on_axis, tool.maintain_focus, tool.modifiers) == (False, True, {"ctrl": True})


def _plane():
    def bound(plot, _):
        bound_zoom(plot.state, (0.0, 1.0), (0.0, 1.0), nearest_share(CELLS))

    image = hv.Image(np.random.default_rng(0).random((CELLS, CELLS)), bounds=(0, 0, 1, 1))
    plot = image.opts(
        hooks=[bound], default_tools=["pan", "wheel_zoom", "reset"], responsive=True, height=300, invert_yaxis=True,
        xlim=(0, 1), ylim=(0, 1),
    )  # fmt: skip
    return pn.Column(BrowserPatches(), pn.pane.HoloViews(plot, sizing_mode="stretch_width"), pn.Spacer(height=1500))


@pytest.mark.ui
def test_the_wheel_over_a_plot(page):
    served(page, _plane, "canvas")
    wait_until(lambda: page.evaluate(RANGES)[:4] == [0, 1, 1, 0], page)
    reset = page.get_by_text("Reset zoom")

    def wheel(by, key=None, x=400, y=120):
        page.mouse.move(x, y)
        if key:
            page.keyboard.down(key)
        page.mouse.wheel(0, by)
        if key:
            page.keyboard.up(key)

    def spans():
        x0, x1, y0, y1, _ = page.evaluate(RANGES)
        assert x1 - x0 == pytest.approx(y0 - y1)  # the aspect stays as it is
        return x1 - x0

    def until_span(condition):
        wait_until(lambda: condition(spans()), page)

    # Without Ctrl the page scrolls.
    wheel(60)
    wait_until(lambda: page.evaluate(RANGES)[4] > 0, page)
    wheel(-60)
    wait_until(lambda: page.evaluate(RANGES)[4] == 0, page)
    assert spans() == 1
    assert not reset.is_visible()
    # Ctrl and Cmd zoom, to a few cells and no nearer.
    for key in ("Control", "Meta"):
        before = spans()
        wheel(-120, key)
        until_span(lambda span, before=before: span < before)
    assert reset.is_visible()
    for _ in range(12):
        wheel(-300, "Control")
    until_span(lambda span: span == pytest.approx(4 / CELLS))
    # Over an axis it stretches nothing.
    place = page.evaluate(RANGES)
    wheel(-300, "Control", y=297)
    wheel(300, "Control", x=30)
    # After a click the wheel zooms by itself, out to the whole and no further, beside an edge too.
    assert page.evaluate(RANGES) == place
    page.mouse.click(1200, 40)
    wheel(300, x=1200, y=40)
    until_span(lambda span: span > 4 / CELLS)
    for _ in range(12):
        wheel(300, x=1200, y=40)
    wait_until(lambda: page.evaluate(RANGES) == [0, 1, 1, 0, 0], page)
    wait_until(lambda: not reset.is_visible(), page)
    # Once the pointer has left, the wheel is the page's again.
    page.mouse.move(400, 500)
    wheel(60)
    wait_until(lambda: page.evaluate(RANGES)[4] > 0, page)
    wheel(-60)
    wait_until(lambda: page.evaluate(RANGES) == [0, 1, 1, 0, 0], page)
    # The button resets, and a double click.
    for act in (reset.click, lambda: page.mouse.dblclick(400, 150)):
        wheel(-300, "Control", x=200)
        until_span(lambda span: span < 1)
        act()
        wait_until(lambda: page.evaluate(RANGES) == [0, 1, 1, 0, 0], page)
        wait_until(lambda: not reset.is_visible(), page)


@pytest.mark.ui
def test_bokeh_does_not_take_cmd_for_ctrl_by_itself(page):
    """If it zooms, go without `commanded` in browser_patches.js."""
    served(page, lambda: pn.Column(*_plane()[1:]), "canvas")
    wait_until(lambda: page.evaluate(RANGES)[:4] == [0, 1, 1, 0], page)
    page.mouse.move(400, 120)
    page.keyboard.down("Meta")
    page.mouse.wheel(0, -120)
    page.keyboard.up("Meta")
    page.get_by_text("use ctrl + scroll to zoom").wait_for()
    assert page.evaluate(RANGES)[:4] == [0, 1, 1, 0]
