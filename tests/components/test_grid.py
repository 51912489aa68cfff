"""The grid of cards: places first, then the cards one by one, in order."""

from __future__ import annotations

import panel as pn
import pytest

from atlas.components.grid import PLACES, empty_grid, fill, show


@pytest.mark.parametrize("count", [0, 1, PLACES, PLACES + 3])
def test_cards_come_one_by_one_to_their_places_and_are_made_when_they_come(count):
    views, made = [pn.pane.Str(str(at)) for at in range(count)], []
    grid = empty_grid(count)
    coming = fill(grid, [lambda view=view: made.append(view) or view for view in views])
    assert len(grid) == min(count, PLACES)
    assert all(place.css_classes == ["aa-place"] for place in grid)
    for come, view in enumerate(views, 1):
        assert next(coming) is view
        assert made == views[:come]
        assert list(grid[:come]) == views[:come]
        assert len(grid) == max(come, min(count, PLACES))
    assert next(coming, None) is None
    assert list(grid) == views


def test_a_hidden_grid_is_hidden_by_its_class_too():
    grid = empty_grid(1)
    show(grid, opened=False)
    assert (grid.visible, grid.css_classes) == (False, ["aa-grid", "aa-closed"])
    show(grid, opened=True)
    assert (grid.visible, grid.css_classes) == (True, ["aa-grid"])
