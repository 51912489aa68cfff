"""The browser that all files of a process share."""

from __future__ import annotations

import asyncio

import pytest
from playwright.sync_api import Error

pytestmark = pytest.mark.ui


def test_a_browser_that_died_is_started_anew_and_between_two_files_others_run_loops_of_their_own(chromium):
    with chromium.lent() as first:
        first.new_page()  # which nobody closes
    with chromium.lent() as second:
        assert second is first
        assert second.contexts == []
        with pytest.raises(Error):
            second.new_browser_cdp_session().send("Browser.crash")
    assert asyncio.run(asyncio.sleep(0, "ran")) == "ran"
    with chromium.lent() as third:
        assert third is not first
        assert third.new_page().evaluate("1 + 1") == 2
    assert asyncio.run(asyncio.sleep(0, "ran")) == "ran"
