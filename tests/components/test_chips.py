from __future__ import annotations

import panel as pn
import pytest
from bokeh.document import Document
from panel.io.state import set_curdoc

from atlas.components.chips import LIMIT, Chips
from tests.browser import served, wait_until


def groups(active: str = "") -> list[dict]:
    pos = [{"key": f"pos:{name}", "label": name, "count": 3, "active": name == active} for name in ("NOUN", "VERB", "DET")]
    entities = [{"key": "ent:<b>Ada</b>", "label": "<b>Ada</b> &amp;", "title": "<i>PERSON</i>"}]
    return [
        {"name": "Part of speech", "chips": pos},
        {"name": "Entities", "chips": entities},
        {"name": "Sentences", "chips": []},
    ]


@pytest.fixture
def presses():
    return []


@pytest.fixture
def chips(presses):
    made = Chips(groups=groups())
    made.on_chip(presses.append)
    return made


@pytest.fixture
def shown(page, chips):
    return served(page, pn.Column(chips, width=600), ".chip")


def test_an_empty_group_and_what_is_beyond_the_limit_are_not_sent():
    many = [{"key": str(i), "label": str(i)} for i in range(LIMIT + 5)]
    chips = Chips(groups=[{"name": "none", "chips": []}, {"name": "many", "chips": many}])
    (sent,) = chips._process_param_change({"groups": chips.groups})["groups"]
    assert (sent["name"], len(sent["chips"]), sent["left_out"]) == ("many", LIMIT, 5)


def test_what_was_held_back_is_not_taken_for_the_browsers_doing(chips):
    document = Document()
    with set_curdoc(document):
        document.add_root(chips.get_root(document))
        document.hold("combine")
        chips.groups = groups("VERB")
        document.unhold()
    assert chips.groups == groups("VERB")


def test_a_chip_that_is_gone_presses_nothing(chips, presses):
    chips._handle_msg({"key": "pos:ADJ", "additive": False})
    assert presses == []


@pytest.mark.ui
def test_a_press_says_which_and_whether_it_adds(page, shown, presses):
    shown.filter(has_text="VERB").click()
    shown.filter(has_text="DET").click(modifiers=["Control"])
    shown.filter(has_text="DET").click(modifiers=["Shift"])
    wait_until(lambda: len(presses) == 3, page)
    assert presses == [
        {"key": "pos:VERB", "additive": False},
        {"key": "pos:DET", "additive": True},
        {"key": "pos:DET", "additive": True},
    ]


@pytest.mark.ui
def test_what_is_pressed_follows_python_and_the_focus_stays(page, chips, shown):
    verb = page.get_by_role("button", name="VERB")
    assert verb.get_attribute("aria-pressed") == "false"
    verb.focus()
    chips.groups = groups("VERB")
    wait_until(lambda: verb.get_attribute("aria-pressed") == "true", page)
    assert page.locator(".chip:focus").text_content() == "VERB3"
    assert page.locator('[aria-pressed="true"]').count() == 1


@pytest.mark.ui
def test_keys_reach_and_press_every_chip(page, shown, presses):
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.keyboard.press("End")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wait_until(lambda: len(presses) == 3, page)
    assert [press["key"] for press in presses] == ["pos:VERB", "pos:DET", "ent:<b>Ada</b>"]


@pytest.mark.ui
def test_a_press_that_is_under_way_is_heard_although_other_chips_come_and_go(page, chips, shown, presses):
    verb = shown.filter(has_text="VERB")
    verb.hover()
    page.mouse.down()
    pos, *others = groups()
    by_key = {chip["key"]: chip for chip in pos["chips"]}
    kept = [by_key["pos:DET"], {"key": "pos:X", "label": "X"}, by_key["pos:VERB"]]
    chips.groups = [others[0] | {"name": "Names"}, pos | {"chips": kept}]
    wait_until(lambda: page.locator(".chip").all_text_contents()[1:] == ["DET3", "X", "VERB3"], page)
    # Down on the button that stays, up wherever it now is.
    box = verb.bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.mouse.up()
    wait_until(lambda: presses == [{"key": "pos:VERB", "additive": False}], page)
    assert page.locator(".chip[tabindex='0']").all_text_contents()[1:] == ["VERB3"], "the stop of a row stays where it is"


@pytest.mark.ui
def test_labels_are_text(page, shown):
    ada = page.get_by_role("toolbar", name="Entities").get_by_role("button")
    assert ada.text_content() == "<b>Ada</b> &amp;"
    assert ada.locator("b").count() == 0
    assert ada.get_attribute("title") == "<i>PERSON</i>"


@pytest.mark.ui
def test_other_chips_replace_these(page, chips, shown):
    chips.groups = [{"name": "Sentences", "chips": [{"key": "s:0", "label": "The doctor…"}]}]
    wait_until(lambda: shown.count() == 1, page)
    assert page.get_by_role("toolbar", name="Sentences").get_by_role("button").text_content() == "The doctor…"
    assert page.get_by_role("toolbar").count() == 1
