"""Tabs in a browser: opened and closed many times, the page complains of nothing and shows the cards of the open one alone."""

from __future__ import annotations

from itertools import cycle, islice

import pytest

from atlas.ids import HeadId
from atlas.views.catalog import TABS, Tab
from tests.ui.planted import HEADS, LAYERS
from tests.ui.shown import Wanted, profile_selected
from tests.ui.stage import head_place, seated

pytestmark = pytest.mark.ui

MORE = ("deep", "bias")
SWITCHES = 12


def copies(key: str) -> Tab:
    """The views of Explore under other keys: views of every sort, hidden."""
    explore = next(tab for tab in TABS if tab.key == "explore")
    return Tab(key, key.title(), tuple(type(view.__name__, (view,), {"key": f"{view.key}-{key}"}) for view in explore.views))


@pytest.fixture(scope="module")
def visit(browser, opening, known):
    with seated(browser, opening, known, tabs=(*TABS, *map(copies, MORE))) as seat:
        yield seat


def test_the_browser_complains_of_nothing_over_many_switches_and_the_selection_is_shown_in_each_tab(seat):
    head = HeadId("encoder", 2, 1)
    for key in islice(cycle((*MORE, "explore")), SWITCHES):
        seat.page.get_by_role("tab", name=key.title(), exact=True).click()
        seat.until(lambda key=key: seat.app.workspace.display.tab == key)
        suffix = "" if key == "explore" else f"-{key}"
        seat.page.locator(f".aa-card-map{suffix} canvas").first.wait_for(state="visible")
        seat.page.locator(f".aa-card-profile{suffix} canvas").first.wait_for(state="attached")
    seat.page.get_by_role("tab", name="Explore", exact=True).click()
    shown = [view for view in seat.app.tabs.views["explore"] if view.key in ("map", "profile")]
    seat.until(lambda: all(view.visibility.seen for view in shown))
    seat.plot(".aa-map").tap(*head_place(head, LAYERS, HEADS))
    seat.until(lambda: profile_selected(seat, Wanted(frozenset({head}), focus=head)))


def test_a_reload_opens_the_tab_that_was_open(seat):
    seat.page.get_by_role("tab", name="Bias", exact=True).click()
    seat.until(lambda: seat.display.tab == "bias" and seat.app.shared.token in seat.page.url)
    seat.arrive(seat.page.reload)
    seat.page.locator(".aa-card-map-bias canvas").first.wait_for(state="visible")
    assert seat.page.get_by_role("tab", name="Bias", exact=True).get_attribute("aria-selected") == "true"
