"""A reader's way through each tab: every card draws and answers another head and token, and a reload comes back to it."""

from __future__ import annotations

from functools import partial

import pytest

from atlas.ids import HeadId
from atlas.state.opening import Opening
from atlas.views.catalog import TABS
from tests.ui.planted import TEXT, service
from tests.ui.stage import seated

pytestmark = pytest.mark.ui

MODEL = "tiny GPT-2"
"""A model whose views may run it again, which the planted one is not."""


NO_FAULTS = ("No word of this text is flagged", "No corpus of ", "There is no side B yet")
"""How sentences begin that a card may show in place of its plot: the text has nothing to show, no corpus or side B is there."""


@pytest.fixture(scope="module")
def visit(browser):
    with seated(browser, Opening(MODEL, TEXT), service()) as seat:
        yield seat


@pytest.mark.parametrize("tab", [tab.key for tab in TABS])
def test_every_card_of_a_tab_draws_and_follows_and_comes_back_with_the_link(seat, tab):
    title = next(each.title for each in TABS if each.key == tab)
    seat.page.get_by_role("tab", name=title, exact=True).click()
    seat.until(lambda: seat.display.tab == tab and len(seat.app.tabs.views.get(tab, ())) > 0)
    offered = [view for view in seat.app.tabs.tabs[tab].views if not view.offered(seat.app.workspace)]
    assert offered, "no card fits this model"
    head = HeadId("decoder", 1, 1)
    for each in offered:
        _bring(seat, each.key)  # its place
        seat.until(lambda each=each: each.key in {view.key for view in seat.app.tabs.views[tab]})
        seat.page.locator(f".aa-card-{each.key}:not(.place)").first.wait_for(state="attached")
        _bring(seat, each.key)
        seat.until(partial(_rests, seat.app.tabs.view(each.key)))
    views = list(seat.app.tabs.views[tab])
    seat.do(lambda: seat.selection.pick(head))
    seat.do(lambda: seat.selection.select_tokens((4,)))
    for view in views:
        _bring(seat, view.key)
        seat.until(partial(_rests, view))
    seat.until(lambda: seat.app.shared.token in seat.page.url)
    seat.arrive(seat.page.reload)
    seat.until(lambda: seat.app.trace is not None and seat.display.tab == tab)
    assert seat.selection.focus == head
    seat.until(lambda: bool(seat.app.tabs.views.get(tab)))
    first = seat.app.tabs.views[tab][0]
    seat.page.locator(f".aa-card-{first.key}").first.wait_for(state="visible")
    seat.until(partial(_rests, first))


def _bring(seat, key):
    """Scroll to a card. In one step: a place that comes on screen gives way to its card, and Playwright would wait for it."""
    seat.page.locator(f".aa-card-{key}").first.evaluate("card => card.scrollIntoView({block: 'center'})")


def _rests(view):
    """Whether a card shows what it has to show; what went wrong is asserted, not waited for."""
    assert not view.problem or view.problem.startswith(NO_FAULTS), f"{view.key}: {view.problem}"
    return view.visibility.seen and not view.lens.busy
