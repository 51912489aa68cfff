"""The page in the windows people have: a laptop's, the smallest it is made for, a tablet's either way up."""

from __future__ import annotations

import pytest

from atlas.ids import HeadId
from tests.ui.stage import LARGE

pytestmark = pytest.mark.ui

SIZES = ((1440, 900), (1280, 720), (1024, 768), (820, 1180))

PARTS = ".aa-bar-chosen, .aa-bar-choice"

MOST = 1 / 3
"""Share of the window's height that frame and text may take, with a text of a line or two."""


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


def test_the_bar_is_as_high_with_something_selected_as_without(seat):
    bar = seat.page.locator(".aa-bar")
    before = bar.bounding_box()["height"]
    seat.do(lambda: seat.selection.select_heads([HeadId("encoder", 1, 1)]))
    seat.page.locator(".aa-clear-heads").wait_for()
    assert bar.bounding_box()["height"] == before


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


def _inside(seat, selector: str, width: int) -> bool:
    """Whether all of some elements lie between the edges of the window."""
    boxes = [element.bounding_box() for element in seat.page.locator(selector).all()]
    return bool(boxes) and all(box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)


def _overlap(one: dict, other: dict) -> bool:
    across = min(one["x"] + one["width"], other["x"] + other["width"]) - max(one["x"], other["x"])
    down = min(one["y"] + one["height"], other["y"] + other["height"]) - max(one["y"], other["y"])
    return across > 1 and down > 1
