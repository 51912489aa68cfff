from __future__ import annotations

from tests.again import MOST, verdict


def test_only_failures_in_a_browser_get_a_second_try():
    assert verdict({"browser": ["a"], "others": []}) == ""
    assert "need no browser: b" in verdict({"browser": ["a"], "others": ["b"]})
    assert "no test did" in verdict({"browser": [], "others": []})
    assert "no stall" in verdict({"browser": [str(at) for at in range(MOST + 1)], "others": []})
