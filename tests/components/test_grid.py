"""The grid of cards: places first, then the cards one by one, each where it belongs."""

from __future__ import annotations

import panel as pn
import pytest

from atlas.components.grid import Grid
from tests.browser import served, wait_until

KEYS = ("one", "two", "three", "four")


def grid(*shown: str) -> Grid:
    made = Grid({"key": key, "title": key, "question": f"<b>{key}</b>?", "wide": key == "four"} for key in KEYS)
    made.offer(shown or KEYS)
    return made


def places(made: Grid) -> list[str]:
    return [place["key"] for place in made.places.places]


@pytest.mark.parametrize("order", [KEYS, KEYS[::-1], ("three", "one", "four", "two")])
def test_cards_stand_in_their_order_whichever_is_made_first(order):
    made, cards = grid(), {key: pn.pane.Str(key) for key in KEYS}
    for key in order:
        assert key in places(made)
        made.put(key, cards[key])
        assert key not in places(made)
    assert list(made.column) == [*cards.values(), made.places]
    assert [card.styles["order"] for card in cards.values()] == ["0", "1", "2", "3"]


def test_a_card_that_is_not_offered_has_no_place_until_it_is():
    made = grid("one", "four")
    assert places(made) == ["one", "four"]
    made.offer(("one", "two"))
    assert places(made) == ["one", "two"]


def test_a_hidden_grid_is_hidden_by_its_class_too():
    made = grid()
    made.show(opened=False)
    assert (made.column.visible, made.column.css_classes) == (False, ["aa-grid", "aa-closed"])
    made.show(opened=True)
    assert (made.column.visible, made.column.css_classes) == (True, ["aa-grid"])


def test_the_browser_says_which_places_are_on_screen_and_lays_cards_and_places_out_together(page):
    made = grid()
    card = pn.Column(pn.pane.Str("the card"), height=580, css_classes=["aa-card-two"])
    made.put("two", card)
    page.set_viewport_size({"width": 1400, "height": 500})
    served(page, made.column, ".place")
    assert page.locator(".place .question").all_inner_texts() == ["<b>one</b>?", "<b>three</b>?", "<b>four</b>?"]
    wait_until(lambda: made.places.seen == ["one"], page)
    boxes = {key: page.locator(f".aa-card-{key}").bounding_box() for key in KEYS}
    assert boxes["one"]["y"] == boxes["two"]["y"] < boxes["three"]["y"] < boxes["four"]["y"]
    assert boxes["one"]["x"] == boxes["three"]["x"] == boxes["four"]["x"] < boxes["two"]["x"]
    assert boxes["four"]["width"] > 1.9 * boxes["three"]["width"]
    page.locator(".aa-card-four").first.evaluate("card => card.scrollIntoView()")  # in one step: the place gives way to its card
    wait_until(lambda: "four" in made.places.seen and "one" not in made.places.seen, page)
    # From the keyboard too.
    page.locator(".aa-card-one").focus()
    wait_until(lambda: "one" in made.places.seen, page)
    made.put("one", pn.pane.Str("made"))
    wait_until(lambda: "one" not in made.places.seen, page)
    assert page.locator(".place").count() == 2
