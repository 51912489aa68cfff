"""The grid of cards: emptied for a page that opens, and filled again in order."""

from __future__ import annotations

import panel as pn
import pytest

from atlas.components.grid import PLACES, card_grid, one_by_one


@pytest.mark.parametrize("count", [0, 1, PLACES, PLACES + 3])
def test_cards_come_one_by_one_to_where_they_were(count):
    views = [pn.pane.Str(str(at)) for at in range(count)]
    grid = card_grid(views)
    coming = one_by_one(grid)
    assert len(grid) == min(count, PLACES)
    assert all(place.css_classes == ["aa-place"] for place in grid)
    for come, view in enumerate(views, 1):
        assert next(coming) is view
        assert list(grid[:come]) == views[:come]
        assert len(grid) == max(come, min(count, PLACES))
    assert next(coming, None) is None
    assert list(grid) == views
