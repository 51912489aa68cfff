"""Going through the texts of a file at the side, and back to one that was read before."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.ui

TEXTS = [f"the {who} told the {other} ." for who in ("nurse", "doctor", "boy", "queen", "cat") for other in ("king", "dog")]


def _shows(seat, text):
    assert seat.page.locator(".aa-strip-source .token").all_text_contents() == ["[CLS]", *text.split(" "), "[SEP]"]
    assert seat.page.locator(".aa-text textarea").first.input_value() == text


def _where(seat):
    return seat.text(".aa-texts-rows .where")


def test_a_reader_goes_through_a_file_filters_it_and_goes_back(seat, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("text,label\n" + "".join(f"{text},<b>label</b> {at}\n" for at, text in enumerate(TEXTS)), encoding="utf-8")
    page = seat.page
    assert not page.locator(".aa-texts-rows").is_visible()  # folded away
    page.get_by_role("button", name="Texts of a file").click()
    page.locator(".aa-texts-file input[type=file]").set_input_files(path)
    rows = page.get_by_role("list", name="Texts of a file").get_by_role("button")
    seat.until(lambda: rows.count() == 8)
    assert (_where(seat), rows.first.inner_text().split()) == ("– of 10", ["1", *TEXTS[0].split(), "<b>label</b>", "0"])
    following = page.get_by_role("button", name="Next ›")
    for at in (0, 1):
        following.click()
        seat.until(lambda at=at: _shows(seat, TEXTS[at]))
        seat.until(lambda at=at: _where(seat) == f"{at + 1} of 10")
    assert rows.nth(1).get_attribute("aria-current") == "true"
    # Quicker than they are drawn: the last one stays.
    following.evaluate("button => { for (let press = 0; press < 8; press += 1) { button.click() } }")
    seat.until(lambda: _shows(seat, TEXTS[9]))
    seat.until(lambda: _where(seat) == "10 of 10")
    assert page.locator(".aa-texts-rows .where").last.inner_text() == "page 2 of 2"
    page.locator(".aa-texts-filter input").press_sequentially("QUEEN")
    seat.until(lambda: rows.count() == 2)
    seat.until(lambda: _where(seat) == "– of 2")
    rows.nth(1).click()
    seat.until(lambda: _shows(seat, TEXTS[7]))
    seat.until(lambda: _where(seat) == "2 of 2")
    # With the keyboard: an arrow goes to the row before, Enter opens it.
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    seat.until(lambda: _shows(seat, TEXTS[6]))
    page.get_by_role("button", name="Recent texts").click()
    recent = page.get_by_role("list", name="Recent texts").get_by_role("button")
    seat.until(lambda: recent.first.get_attribute("aria-current") == "true")
    assert recent.nth(1).inner_text().split() == [*TEXTS[7].split(), "planted"]
    recent.nth(1).click()
    seat.until(lambda: _shows(seat, TEXTS[7]))
    seat.until(lambda: recent.first.inner_text().startswith(TEXTS[7]))
    seat.until(lambda: _where(seat) == "2 of 2")
