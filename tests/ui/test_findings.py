"""Findings in a browser: what is pinned is still there after a reload, is restored, and is nobody else's."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from atlas.ids import HeadId

pytestmark = pytest.mark.ui

HOSTILE = "<img src=x onerror='window.__pwned=1'> <b>why</b>"


def _dialog(seat):
    seat.page.get_by_role("button", name="Findings", exact=True).click()
    return seat.page.get_by_role("dialog", name="Findings")


def test_a_pin_outlives_a_reload_and_is_restored(seat):
    heads = frozenset({HeadId("encoder", 1, 0)})
    assert seat.page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('attention-atlas'))") == []
    seat.do(lambda: seat.selection.select_heads(heads))
    seat.settled()
    seat.page.locator(".aa-card-map").get_by_role("button", name="Pin to the findings").click()
    seat.until(lambda: len(seat.app.workspace.findings.found) == 1)
    dialog = _dialog(seat)
    dialog.get_by_label("Hypothesis").fill(HOSTILE)
    dialog.get_by_label("Claim").select_option("reason")
    seat.until(
        lambda: (
            (seat.app.workspace.findings.found[0].hypothesis, seat.app.workspace.findings.found[0].claim) == (HOSTILE, "reason")
        )
    )
    seat.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert seat.selection.heads == heads  # the key closed the dialog, and cleared no selection
    with seat.beside() as other:
        other.open()
        expect(_dialog(other).get_by_role("listitem")).to_have_count(0)
        assert other.app.workspace.findings.found == ()
    seat.arrive(seat.page.reload)
    seat.settled()
    seat.until(lambda: len(seat.app.workspace.findings.found) == 1)
    seat.do(seat.selection.clear)
    seat.settled()
    dialog = _dialog(seat)
    expect(dialog.get_by_label("Hypothesis")).to_have_value(HOSTILE)
    expect(dialog.get_by_label("Claim")).to_have_value("reason")
    dialog.get_by_role("button", name="Restore").click()
    seat.until(lambda: seat.selection.heads == heads)
    expect(dialog).to_be_hidden()
    assert seat.page.evaluate("window.__pwned") is None
