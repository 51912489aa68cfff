"""Every tab, light and dark, as axe-core sees it: no serious fault for who reads with a screen reader or with little contrast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from atlas.engine.running.service import Service
from atlas.state.opening import Opening
from atlas.views.catalog import TABS
from tests.ui.stage import Seat, seated

pytestmark = pytest.mark.ui

TEXT = "The doctor told the nurse that she was late."

SERIOUS = frozenset({"serious", "critical"})

LIBRARIES: dict[str, tuple[str, ...]] = {}
"""Rule of axe-core -> parts of selectors whose markup a library makes, each with its reason."""


@pytest.fixture(scope="module")
def opening() -> Opening:
    return Opening("gpt-mini", TEXT)


@pytest.fixture(scope="module")
def visit(browser: Any, opening: Opening) -> Iterator[Seat]:
    with seated(browser, opening, Service()) as seat:
        seat.page.evaluate(Axe().axe_script)
        yield seat


def faults(seat: Seat, rules: tuple[str, ...] = ()) -> list[str]:
    """Rule, place and reason of every serious violation on the page that is ours."""
    how = {"resultTypes": ["violations"]} | ({"runOnly": {"type": "rule", "values": list(rules)}} if rules else {})
    found = []
    for each in seat.page.evaluate("how => axe.run(document, how)", how)["violations"]:
        for node in each["nodes"] if each["impact"] in SERIOUS else ():
            place = " >>> ".join(part if isinstance(part, str) else " >>> ".join(part) for part in node["target"])
            if not any(part in place for part in LIBRARIES.get(each["id"], ())):
                found.append(f"{each['id']} ({each['impact']}): {place}\n    {node['html'][:200]}\n    {node['failureSummary']}")
    return found


@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.key)
def test_a_tab_has_no_serious_fault_in_light_and_in_dark(seat: Seat, tab: Any) -> None:
    seat.page.get_by_role("tab", name=tab.title, exact=True).click()
    seat.until(lambda: seat.app.workspace.display.tab == tab.key)
    seat.page.locator(".aa-stage .aa-card:visible").last.wait_for(state="visible")
    seat.until(lambda: not any(view.busy for view in seat.app.tabs.views[tab.key] if hasattr(view, "busy")))
    found = faults(seat)
    seat.do(lambda: seat.app.choose_scheme(dark=True))
    found += [f"dark: {each}" for each in faults(seat, ("color-contrast",))]
    assert not found, "\n".join(found)
