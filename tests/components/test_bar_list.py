from __future__ import annotations

import math

import panel as pn
import pytest

from atlas.components.bar_list import LIMIT, STEPS, BarList
from tests.browser import served, wait_until


def groups(state: str = "", share: float = 0.75) -> list[dict]:
    rows = [
        {
            "key": "1:7",
            "label": "<b>him</b> &amp;",
            "shares": [share, 0.1],
            "number": "75 % → 10 %",
            "note": "in text",
            "state": state,
        },
        {"key": "1:8", "label": "her", "shares": [math.nan], "number": "N/A"},
        {"label": "no button", "number": "under 1 %"},
    ]
    return [
        {"key": "at 1", "name": "After 'gave' (1)", "rows": rows},
        {"name": "Steps", "rows": [{"label": "Logit", "number": "3"}]},
    ]


@pytest.fixture
def presses():
    return []


@pytest.fixture
def bars(presses):
    made = BarList(groups=groups())
    made.on_press(presses.append)
    return made


def sent(bars):
    return bars._process_param_change({"groups": bars.groups})["groups"]


def test_what_is_sent_has_every_field_and_short_numbers(bars):
    first, second = sent(bars)
    assert [row["shares"] for row in first["rows"]] == [[round(0.75 * STEPS), round(0.1 * STEPS)], [None], []]
    assert (first["left_out"], second["key"], second["rows"][0]["key"]) == (0, "", "")


def test_no_more_rows_are_sent_than_fit():
    many = [{"name": str(i), "rows": [{"label": str(j)} for j in range(LIMIT - 100)]} for i in range(3)]
    found = sent(BarList(groups=many))
    assert [len(group["rows"]) for group in found] == [LIMIT - 100, 100, 0]
    assert [group["left_out"] for group in found] == [0, LIMIT - 200, LIMIT - 100]


def test_a_state_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="is no state of a row"):
        BarList(groups=groups("pressed")).to_browser({"groups": groups("pressed")})


def test_what_is_gone_or_no_button_presses_nothing(bars, presses):
    for key in ("1:9", "", None, ["1:7"]):
        bars._handle_msg({"key": key, "shift": False})
    assert presses == []


@pytest.mark.ui
def test_presses_by_pointer_and_key_say_what_was_held_and_words_are_text(page, bars, presses):
    rows = served(page, pn.Column(bars, width=700), ".row")
    assert rows.first.locator(".label").text_content() == "<b>him</b> &amp;"
    assert page.locator(".aa-bar-list b").count() == 0
    box = [rows.first.locator(".bar").nth(at).bounding_box()["width"] for at in (0, 1)]
    assert box[0] / rows.first.locator(".bars").bounding_box()["width"] == pytest.approx(0.75, abs=0.02)
    assert box[0] > 5 * box[1]
    rows.first.click(modifiers=["Shift"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+Enter")
    page.locator("button.head").click()
    wait_until(lambda: len(presses) == 4, page)
    assert [(press["key"], press["shift"]) for press in presses] == [
        ("1:7", True),
        ("1:8", False),
        ("1:8", True),
        ("at 1", False),
    ]
    assert page.locator("button.row").count() == 2
    bars.groups = groups("chosen", 0.5)
    wait_until(lambda: rows.first.get_attribute("aria-pressed") == "true", page)
    assert page.locator(".head:focus").count() == 1  # patched in place: the focus stays
