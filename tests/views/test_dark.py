"""Light and dark: whatever the page is made of becomes dark with it."""

from __future__ import annotations

from atlas.app import AttentionAtlas
from tests.state.readers import single


def test_every_part_of_the_page_becomes_dark_and_light_with_it():
    app = AttentionAtlas()
    app.open(single())
    body = app.body()
    parts = [part for part in body.select() if "dark" in part.param]
    assert {type(part).__name__ for part in parts} >= {"TokenStrip", "Chips", "CardHead", "Notice", "TabBar", "SelectionChips"}
    for dark in (True, False):
        app.dark = app.bar.dark = app.text.dark = app.tabs.dark = dark
        wrong = [part for part in parts if part.dark != dark]
        assert not wrong, wrong
