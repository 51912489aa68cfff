"""The page in the windows people have: a laptop's, the smallest it is made for, a tablet's either way up."""

from __future__ import annotations

import pytest

from atlas.ids import HeadId
from atlas.views.base import LEAST
from atlas.views.frame import NARROW
from atlas.views.table import NUMBER
from tests.ui.stage import LARGE

pytestmark = pytest.mark.ui

SIZES = ((1440, 900), (1280, 720), (1024, 768), (820, 1180))

PARTS = ".aa-bar-chosen, .aa-bar-choice"

MOST = 0.3
"""Share of the window's height that frame and text may take, with one line of text and tokens selected."""


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_everything_has_its_place(seat, size):
    width, height = size
    seat.page.set_viewport_size({"width": width, "height": height})
    try:
        seat.do(lambda: seat.selection.select_heads([HeadId("encoder", 1, head) for head in range(4)], label="layer 1"))
        seat.do(lambda: seat.selection.select_tokens([1, 2, 3, 4]))
        bar = seat.page.locator(".aa-bar")
        bar.get_by_role("button").first.wait_for()
        seat.until(lambda: _inside(seat, PARTS, width))
        boxes = [box for box in (part.bounding_box() for part in seat.page.locator(PARTS).all()) if box is not None]
        assert len(boxes) == 3
        assert all(not _overlap(one, other) for at, one in enumerate(boxes) for other in boxes[:at]), boxes
        words = bar.locator(".words").first.bounding_box()
        assert words["height"] < 30, "the words of the selection are broken into letters"
        assert _inside(seat, ".aa-card-map, .aa-card-matrix, .aa-card-heads, .aa-card-table, .aa-card-profile", width)
        assert seat.page.locator(".aa-grid").bounding_box()["y"] <= MOST * height
    finally:
        seat.page.set_viewport_size(LARGE)


def test_both_main_plots_are_whole_in_the_smallest_window_and_fill_a_larger_one(seat):
    plots = [seat.page.locator(name) for name in (".aa-map", ".aa-matrix")]
    heights = {}
    try:
        for width, height in ((1280, 720), (1440, 900)):
            seat.page.set_viewport_size({"width": width, "height": height})
            seat.until(lambda height=height: seat.app.workspace.window_height == height)
            seat.until(lambda height=height: all(_bottom(plot) <= height for plot in plots))
            heights[height] = [plot.bounding_box()["height"] for plot in plots]
        assert min(heights[720]) >= LEAST
        seat.until(lambda: all(plot.bounding_box()["height"] > LEAST + 100 for plot in plots))
    finally:
        seat.page.set_viewport_size(LARGE)


def test_the_sidebar_folds_in_a_narrow_window_and_comes_back_in_a_wide_one(seat):
    box = seat.page.locator(".aa-text").first
    try:
        for width, there in ((NARROW + 60, True), (NARROW - 60, False), (NARROW + 60, True)):
            seat.page.set_viewport_size({"width": width, "height": 900})
            seat.until(lambda there=there: seat.app._page.sidebar_open is there)
            seat.until(lambda there=there: (box.is_visible() and box.bounding_box()["x"] >= 0) is there)
        seat.page.get_by_label("Close drawer").click()
        seat.until(lambda: not box.is_visible())
        grid = seat.page.locator(".aa-grid")
        seat.until(lambda: grid.bounding_box()["width"] > NARROW)
    finally:
        seat.page.set_viewport_size(LARGE)
        seat.do(lambda: seat.app._page.param.update(sidebar_open=True))


def test_in_a_narrow_window_the_sidebar_lies_over_the_page_and_goes_with_a_run(seat):
    try:
        seat.page.set_viewport_size({"width": 820, "height": 900})
        seat.until(lambda: not seat.app._page.sidebar_open)
        before = seat.page.locator(".aa-grid").bounding_box()["width"]
        seat.page.get_by_label("Open drawer").click()
        seat.page.locator(".aa-run").wait_for(state="visible")
        assert seat.page.locator(".aa-grid").bounding_box()["width"] == before
        seat.page.locator(".aa-run button").click()
        seat.until(lambda: not seat.app._page.sidebar_open)
    finally:
        seat.page.set_viewport_size(LARGE)


def test_the_header_scrolls_away_and_the_text_and_the_sidebar_stay(seat):
    seat.page.set_viewport_size({"width": 1280, "height": 720})
    try:
        header, text = seat.page.locator(".header").first, seat.page.locator(".aa-sticky")
        assert header.bounding_box()["height"] <= 44
        seat.page.locator(".aa-card-map .question").hover()  # over a plot the wheel may be the plot's
        seat.page.mouse.wheel(0, 600)
        seat.until(lambda: header.bounding_box()["y"] + header.bounding_box()["height"] <= 0)
        seat.until(lambda: text.bounding_box()["y"] == 0)
        seat.until(lambda: seat.page.locator(".sidebar").first.bounding_box()["y"] == 0)
    finally:
        seat.page.mouse.wheel(0, -900)
        seat.page.set_viewport_size(LARGE)


def test_the_text_is_one_line_until_it_is_unfolded_and_all_its_groups_are_reached_in_a_narrow_window(seat):
    seat.page.set_viewport_size({"width": 820, "height": 1180})
    try:
        strip, chips = seat.page.locator(".aa-strip-source"), seat.page.locator(".aa-chips-source")
        assert strip.bounding_box()["height"] <= 44
        assert not chips.is_visible()
        seat.unfold()
        chips.wait_for(state="visible")
        bottom = _bottom(chips)
        buttons = [chip.bounding_box() for chip in chips.locator(".chip").all()]
        assert len(buttons) > 5
        assert all(box["y"] + box["height"] <= bottom + 1 and box["x"] + box["width"] <= 820 for box in buttons)
    finally:
        seat.page.set_viewport_size(LARGE)


def test_the_bar_is_as_high_with_something_selected_as_without(seat):
    bar = seat.page.locator(".aa-bar")
    before = bar.bounding_box()["height"]
    seat.do(lambda: seat.selection.select_heads([HeadId("encoder", 1, 1)]))
    seat.page.locator(".aa-clear-heads").wait_for()
    assert bar.bounding_box()["height"] == before


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.12345, "0.123"), (-0.5, "−0.500"), (0.0, "0.000"), (1.24e-39, "1.2·10⁻³⁹"), (-4e-5, "−4.0·10⁻⁵"), (12.5, "12.500")],
)
def test_the_table_writes_numbers_as_the_rest_of_the_page(seat, value, said):
    assert seat.page.evaluate(f"value => ({NUMBER.js_code})({{getValue: () => value}})", value) == said


def test_the_table_shows_three_metrics_beside_the_head(seat):
    seat.page.set_viewport_size({"width": 1440, "height": 2300})
    try:
        table = seat.page.locator(".aa-table")
        right = table.bounding_box()["x"] + table.bounding_box()["width"]
        numbers = [
            cell for cell in table.locator(".tabulator-row").first.locator(".tabulator-cell").all() if "." in cell.inner_text()
        ]
        assert all(len(cell.inner_text().split(".")[1]) == 3 for cell in numbers)
        assert sum(cell.bounding_box()["x"] + cell.bounding_box()["width"] <= right for cell in numbers) >= 3
        assert table.locator('.tabulator-cell[tabulator-field="Weight on selected keys"]').first.inner_text() == "N/A"
    finally:
        seat.page.set_viewport_size(LARGE)


def _bottom(element) -> float:
    box = element.bounding_box()
    return box["y"] + box["height"]


def _inside(seat, selector: str, width: int) -> bool:
    """Whether all of some elements lie between the edges of the window."""
    boxes = [element.bounding_box() for element in seat.page.locator(selector).all()]
    return bool(boxes) and all(box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)


def _overlap(one: dict, other: dict) -> bool:
    across = min(one["x"] + one["width"], other["x"] + other["width"]) - max(one["x"], other["x"])
    down = min(one["y"] + one["height"], other["y"] + other["height"]) - max(one["y"], other["y"])
    return across > 1 and down > 1
