"""A tab, light and dark, as axe-core sees it: no serious fault for who reads with a screen reader or with little contrast.

Each day another tab; `--all-tabs` looks at all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from atlas.engine.running.service import Service
from atlas.state.opening import Opening
from atlas.views.catalog import TABS, Tab
from tests.rounds import this_round
from tests.ui.stage import Seat, seated

pytestmark = pytest.mark.ui

TEXT = "The doctor told the nurse that she was late."

TALL = {"width": 1500, "height": 9000}
"""The cards of a tab all on screen at once: the body of one that is not is not even made."""

SERIOUS = frozenset({"serious", "critical"})

LIBRARIES: dict[str, str] = {
    "aria-progressbar-name": "MuiLinearProgress",  # panel-material-ui's bar over the page, which is never shown here
    "aria-prohibited-attr": 'sx="[object Object]"',  # panel-material-ui puts what its "?" says on a span that has no role
    "aria-required-children": 'class="pnx-tabulator',  # Tabulator's grid holds its own buttons and a focusable body
}
"""Rule of axe-core -> markup of a library that breaks it, which no setting of the library mends."""


MOVING = """() => {
  const found = [], settle = root => {
    for (const each of root.querySelectorAll("*")) {
      const {transitionDuration, animationDuration, animationName} = getComputedStyle(each)
      const longest = Math.max(...transitionDuration.split(",").map(parseFloat),
        ...(animationName === "none" ? [0] : animationDuration.split(",").map(parseFloat)))
      if (longest > 0.01) { found.push(`${each.tagName}.${each.getAttribute("class")} ${longest} s`) }
      if (each.shadowRoot) { settle(each.shadowRoot) }
    }
  }
  settle(document)
  return [...new Set(found)].slice(0, 20)
}"""
"""What moves for more than a hundredth of a second, through all shadow roots."""

FOCUSED = """() => {
  const names = []
  let at = document.activeElement
  for (;;) {
    names.push(at.tagName, ...at.classList)
    if (!at.shadowRoot?.activeElement) { break }
    at = at.shadowRoot.activeElement
  }
  return at === document.body ? ["BODY"] : names
}"""
"""What has the focus, and all that it is in."""

CLEAR = "all => all.length > 0 && all.every(each => getComputedStyle(each).opacity === '1')"
"""Whether no card is faint any more."""

MOST_STOPS = 600


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All tabs, or one: workers side by side must agree on the names of tests, so that of the day is chosen inside."""
    if "key" in metafunc.fixturenames:
        metafunc.parametrize("key", [tab.key for tab in TABS] if metafunc.config.getoption("--all-tabs") else [""])


@pytest.fixture
def tab(key: str) -> Tab:
    return next((tab for tab in TABS if tab.key == key), TABS[this_round() % len(TABS)])


@pytest.fixture(scope="module")
def opening() -> Opening:
    return Opening("gpt-mini", TEXT)


@pytest.fixture(scope="module")
def visit(browser: Any, opening: Opening) -> Iterator[Seat]:
    with seated(browser, opening, Service(), TALL) as seat:
        seat.page.evaluate(Axe().axe_script)
        yield seat


def violations(seat: Seat, rules: tuple[str, ...] = ()) -> list[str]:
    """Rule, place and reason of every serious violation on the page that is ours."""
    # Without its own fetching of style sheets, which every shadow root has many of.
    how = {"resultTypes": ["violations"], "preload": False} | (
        {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    )
    found = []
    for each in seat.page.evaluate("how => axe.run(document, how)", how)["violations"]:
        for node in each["nodes"] if each["impact"] in SERIOUS else ():
            if each["id"] not in LIBRARIES or LIBRARIES[each["id"]] not in node["html"]:
                place = json.dumps(node["target"])[-160:]
                found.append(f"{each['id']}: {place} {node['html'][:120]} {node['failureSummary']}")
    return found


def shown(seat: Seat, key: str) -> bool:
    """Whether every card of a tab is drawn, or says why it is not."""
    views = [view for view in seat.app.tabs.views.get(key, ()) if not view.unfit]
    if seat.page.locator(".aa-stage .place:visible").count():
        return False  # on a window so high all of them become cards
    drawn = seat.page.locator(".aa-stage").locator(", ".join(f".aa-card-{view.key}" for view in views) or "nothing")
    return bool(views) and drawn.count() >= len(views) and not any(view.lens.busy for view in views)


def open_tab(seat: Seat, tab: Tab) -> None:
    """Open a tab and wait until all of it is drawn."""
    seat.page.get_by_role("tab", name=tab.title, exact=True).click()
    seat.until(lambda: seat.app.workspace.display.tab == tab.key)
    seat.until(lambda: shown(seat, tab.key))
    # What waits is faint on purpose, and becomes clear little by little.
    seat.page.locator(".aa-stage .aa-waiting").first.wait_for(state="detached")
    seat.rest()
    seat.until(lambda: seat.page.locator(".aa-stage .aa-body").evaluate_all(CLEAR))


def look(seat: Seat, tab: Tab, rules: tuple[str, ...] = ()) -> list[str]:
    """Open a tab, and what is wrong with it."""
    open_tab(seat, tab)
    return [f"{tab.key}: {each}" for each in violations(seat, rules)]


def test_no_tab_has_a_serious_fault(visit: Seat, tab: Tab) -> None:
    found = look(visit, tab)
    assert not found, "\n".join(found)


def test_no_tab_has_too_little_contrast_in_dark_and_nothing_moves_for_who_asks_for_that(visit: Seat, tab: Tab) -> None:
    with visit.beside() as seat:
        seat.page.set_viewport_size(TALL)
        seat.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        seat.open()
        seat.until(lambda: seat.app.dark)
        seat.page.evaluate(Axe().axe_script)
        found = look(seat, tab, ("color-contrast",))
        calm = seat.page.evaluate(MOVING)
    assert not found, "\n".join(found)
    assert not calm
    assert visit.page.evaluate(MOVING), "nothing moves for anybody, so that this test sees nothing"


def test_the_tab_key_comes_to_every_card_of_a_tab_and_leaves_it(visit: Seat, tab: Tab) -> None:
    open_tab(visit, tab)
    visit.page.get_by_role("tab", name=tab.title, exact=True).focus()
    cards = {f"aa-card-{view.key}" for view in visit.app.tabs.views[tab.key] if not view.unfit}
    stops: list[list[str]] = []
    for _ in range(MOST_STOPS):
        visit.page.keyboard.press("Tab")
        stops.append(visit.page.evaluate(FOCUSED))
        if stops[-1] == ["BODY"]:  # behind the last
            break
    reached = {name for stop in stops for name in stop}
    assert cards <= reached
    assert stops[-1] == ["BODY"], stops[-5:]
