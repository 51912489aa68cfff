from __future__ import annotations

import panel as pn
import pytest

from atlas.components.announcer import Announcer
from tests.browser import served, wait_until


@pytest.fixture
def keys():
    return []


@pytest.fixture
def announcer(keys):
    made = Announcer(message="Nothing is selected.")
    made.on_key(keys.append)
    return made


@pytest.fixture
def live(page, announcer):
    heads = pn.widgets.Button(label="a head", css_classes=["aa-heads"])
    text = pn.widgets.TextAreaInput(css_classes=["aa-text"])
    app = pn.Column(announcer, heads, text, pn.widgets.Button(label="elsewhere"))
    served(page, app, ".live")
    return page.get_by_role("status")


def arrived(page, keys, *expected):
    wait_until(lambda: len(keys) >= len(expected), page)
    assert keys == list(expected)


@pytest.mark.ui
def test_a_message_is_read_out_and_out_of_sight_unless_asked_for(page, announcer, live):
    wait_until(lambda: live.text_content() == "Nothing is selected.", page)
    assert live.get_attribute("aria-live") == "polite"
    assert live.bounding_box()["width"] <= 1
    announcer.shown = True
    wait_until(lambda: live.bounding_box()["width"] > 50, page)


@pytest.mark.ui
def test_a_message_is_text(page, announcer, live):
    announcer.message = "keys: <img src=x onerror='window.__pwned=1'> &amp; **she**"
    wait_until(lambda: live.text_content() == "keys: <img src=x onerror='window.__pwned=1'> &amp; **she**", page)
    assert live.evaluate("el => el.childElementCount") == 0
    assert page.evaluate("window.__pwned") is None


@pytest.mark.ui
def test_of_a_quick_row_of_messages_the_last_is_read_out(page, announcer, live):
    wait_until(lambda: live.text_content() == "Nothing is selected.", page)
    live.evaluate(
        """el => {
          window.said = []
          new MutationObserver(() => window.said.push(el.textContent)).observe(el, {childList: true})
        }"""
    )
    for head in range(8):
        announcer.message = f"L0 H{head}"
    wait_until(lambda: live.text_content() == "L0 H7", page)
    assert page.evaluate("window.said.length") <= 2


@pytest.mark.ui
def test_keys_work_anywhere_on_the_page(page, keys, live):
    page.locator("body").press("Escape")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    page.get_by_role("button", name="elsewhere").focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Escape")
    arrived(page, keys, "clear", "head-left", "head-down", "head-right", "clear")


@pytest.mark.ui
def test_plain_arrows_go_to_the_next_head_only_where_heads_are(page, keys, live):
    page.get_by_role("button", name="elsewhere").focus()
    page.keyboard.press("ArrowUp")
    page.get_by_role("button", name="a head").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    arrived(page, keys, "head-up", "head-right")


@pytest.mark.ui
def test_keys_are_left_to_who_types_and_to_the_browser(page, keys, live):
    page.locator("textarea").focus()
    for key in ("Escape", "Shift+ArrowLeft", "/", "?"):
        page.keyboard.press(key)
    assert page.locator("textarea").input_value() == "/?"
    page.get_by_role("button", name="elsewhere").focus()
    for key in ("Control+ArrowLeft", "Alt+ArrowUp", "x"):
        page.keyboard.press(key)
    page.keyboard.press("Shift+ArrowUp")
    arrived(page, keys, "head-up")


@pytest.mark.ui
def test_a_key_somebody_dealt_with_is_not_heard_twice(page, keys, live):
    page.evaluate("document.addEventListener('keydown', event => event.preventDefault(), {once: true})")
    page.locator("body").press("Escape")
    page.keyboard.press("Shift+ArrowUp")
    arrived(page, keys, "head-up")


@pytest.mark.ui
def test_a_slash_goes_to_the_text_and_a_question_mark_lists_the_keys(page, keys, announcer, live):
    page.locator("body").press("/")
    assert page.locator("textarea").evaluate("el => el.matches(':focus')")
    assert page.locator("textarea").input_value() == ""
    page.get_by_role("button", name="elsewhere").focus()
    page.keyboard.press("?")
    listed = page.get_by_role("dialog", name="Keys")
    listed.wait_for()
    assert listed.locator("kbd").all_text_contents() == list(announcer.shortcuts)
    page.keyboard.press("Escape")
    wait_until(lambda: not listed.is_visible(), page)
    page.keyboard.press("Escape")
    arrived(page, keys, "clear")


@pytest.mark.ui
def test_single_letters_can_be_switched_off(page, keys, announcer, live):
    announcer.letters = False
    announcer.message = "off"
    wait_until(lambda: live.text_content() == "off", page)
    page.locator("body").press("/")
    page.keyboard.press("?")
    page.keyboard.press("Escape")
    arrived(page, keys, "clear")
    assert not page.get_by_role("dialog", name="Keys").is_visible()


def test_a_made_up_action_is_not_handed_on(announcer, keys):
    announcer._handle_msg({"key": "delete-everything"})
    assert keys == []
