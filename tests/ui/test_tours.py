"""A guided tour in a browser: what is scrolled to and framed, keys, and the address."""

from __future__ import annotations

from functools import partial

import pytest
from playwright.sync_api import expect

from atlas.ids import HeadId
from atlas.state.tour import Step, Tour
from atlas.tracing.lesson_numbers import metric
from tests.ui.planted import PREVIOUS, TEXT

pytestmark = pytest.mark.ui

SMALL = {"width": 1280, "height": 720}

STEP = {"model": "planted", "text": TEXT, "focus": PREVIOUS}
SHORT = Tour(
    "short",
    "A short one",
    "Two steps.",
    (
        Step(
            "explore", "matrix", "It looks back: {previous}.", **STEP,
            numbers={"previous": partial(metric, head=PREVIOUS, name="previous")},
        ),
        Step("explore", "profile", "<b>Further down.</b>", **STEP, queries=frozenset({3})),
    ),
)  # fmt: skip

LARGE = {"width": 1500, "height": 2300}


@pytest.fixture(scope="module", autouse=True)
def _only_a_short_tour():
    patch = pytest.MonkeyPatch()
    patch.setattr("atlas.app.TOURS", (SHORT,))
    yield
    patch.undo()


@pytest.fixture
def opened(_only_a_short_tour, seat):
    seat.open("?tour=short")
    seat.page.set_viewport_size(SMALL)
    yield seat
    seat.page.set_viewport_size(LARGE)


def test_a_tour_frames_its_card_below_its_panel_and_goes_as_it_came(opened):
    page, tour = opened.page, opened.page.get_by_role("region", name="Guided tour")

    def framed(card):
        """Whether a card is framed, and all of its head and most of its plot are to be seen below the panel."""
        found = page.locator(f".aa-card-{card}")
        style, box, panel = found.evaluate("el => el.style.outlineStyle"), found.bounding_box(), tour.bounding_box()
        return style == "solid" and panel["y"] + panel["height"] <= box["y"] <= 300

    expect(tour).to_contain_text("step 1 of 2")
    expect(tour.locator(".words")).to_contain_text("It looks back: 0.9")
    opened.until(lambda: framed("matrix"))
    assert opened.selection.heads == {PREVIOUS}
    tour.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    expect(tour.locator(".words")).to_have_text("<b>Further down.</b>")
    opened.until(lambda: framed("profile"))
    assert page.locator(".aa-card-matrix").evaluate("el => el.style.outlineStyle") == ""
    assert opened.selection.queries == {3}
    expect(tour.get_by_role("button", name="Next")).to_be_disabled()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(tour).to_be_hidden()
    opened.until(lambda: opened.selection.heads == frozenset() and opened.selection.focus == HeadId("encoder", 0, 0))
    assert "tour=" not in page.url
    assert page.locator(".aa-card-profile").evaluate("el => el.style.outlineStyle") == ""
