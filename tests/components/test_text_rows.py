"""Rows of texts: what is sent, and what a browser may ask for."""

from __future__ import annotations

import pytest

from atlas.components.text_rows import LONGEST, TextRow, TextRows
from tests.browser import served, wait_until


def test_the_beginning_of_a_text_is_sent_on_one_line():
    rows = TextRows()
    sent = rows.to_browser({"rows": [TextRow("0", "1", "a <b>cat</b>\n\nran " + "x" * 9_999, "label", now=True)]})["rows"]
    assert sent == [
        {"key": "0", "number": "1", "text": ("a <b>cat</b> ran " + "x" * 9_999)[:LONGEST], "note": "label", "now": True}
    ]


def test_marked_words_are_sent_in_turns_with_what_is_around_them():
    def parts(text, *marks):
        (sent,) = TextRows().to_browser({"rows": [TextRow("0", "", text, marks=marks)]})["rows"]
        assert "".join(sent["parts"]) == sent["text"]
        return sent["parts"]

    assert parts("a <b>cat</b>  ran", (0, 1), (5, 8)) == ["", "a", " <b>", "cat", "</b> ran"]
    assert parts("cat", (0, 3)) == ["", "cat", ""]
    cut = parts("x" * (LONGEST - 2) + "cat" + "y" * 9_999, (LONGEST - 2, LONGEST + 1), (5_000, 5_001))
    assert cut == ["x" * (LONGEST - 2), "ca", "", "", ""]


def test_only_what_is_there_can_be_pressed():
    rows, pressed, steps, turns = TextRows(rows=[TextRow("3", "4", "a cat")]), [], [], []
    rows.on_press(pressed.append)
    rows.on_step(steps.append)
    rows.on_turn(turns.append)
    for message in ({"key": "3"}, {"key": "4"}, {"key": 3}, {"key": ["3"]}, "3", None, {"step": 1}, {"step": 2}, {"step": True},
                    {"step": "1"}, {"turn": -1}, {"turn": [1]}):  # fmt: skip
        rows._handle_msg(message)
    assert (pressed, steps, turns) == (["3"], [1], [-1])


@pytest.mark.ui
def test_the_last_page_is_as_high_as_the_others_so_that_the_steps_stay_under_the_pointer(page):
    full = [TextRow(str(at), str(at), "a cat") for at in range(8)]
    rows = TextRows(rows=full, where="8 of 10", page=1, pages=2)
    served(page, rows, ".text-rows .row")
    height = "list => list.offsetHeight"
    whole = page.locator(".text-rows ul").evaluate(height)
    rows.param.update(rows=full[:2], where="9 of 10", page=2)
    wait_until(lambda: page.locator(".text-rows .row").count() == 2, page)
    assert page.locator(".text-rows ul").evaluate(height) == whole
    rows.param.update(where="1 of 2", page=1, pages=1)
    wait_until(lambda: page.locator(".text-rows ul").evaluate(height) < whole, page)
