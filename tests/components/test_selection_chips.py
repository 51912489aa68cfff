from __future__ import annotations

import panel as pn
import pytest

from atlas.components.selection_chips import SelectionChips
from tests.browser import served, wait_until


@pytest.fixture
def let_go():
    return []


@pytest.fixture
def chosen(let_go):
    made = SelectionChips(nothing="Nothing is selected.")
    made.on_let_go(let_go.append)
    return made


def test_only_what_can_be_selected_is_let_go_of(chosen, let_go):
    for said in ({"part": "tokens"}, {"part": "everything"}, {}):
        chosen._handle_msg(said)
    assert let_go == ["tokens"]
    pressed = []
    chosen.on_switch_off(lambda: pressed.append("off"))
    for said in ({"part": "off"}, {"part": "tokens"}):
        chosen._handle_msg(said)
    assert (pressed, let_go) == (["off"], ["tokens", "tokens"])
    chosen.on_cut(lambda: pressed.append("cut"))
    chosen._handle_msg({"part": "cut"})
    assert (pressed, let_go) == (["off", "cut"], ["tokens", "tokens"])


@pytest.mark.ui
def test_parts_come_and_go_letter_by_letter_and_a_press_lets_go(page, chosen, let_go):
    nothing = served(page, pn.Column(chosen, width=500), ".aa-nothing")
    heads, tokens = page.locator(".aa-clear-heads"), page.locator(".aa-clear-tokens")
    assert nothing.is_visible()
    assert not heads.is_visible()
    chosen.param.update(heads="<b>3</b> heads", tokens="to: " + "word " * 200, nothing="")
    wait_until(lambda: heads.is_visible() and tokens.is_visible() and not nothing.is_visible(), page)
    assert heads.locator(".words").text_content() == "<b>3</b> heads"
    cross = tokens.locator(".cross").bounding_box()
    assert cross is not None
    assert cross["x"] + cross["width"] <= 500, "a long part leaves its cross on the page"
    tokens.locator("button").click()
    heads.locator("button").press("Enter")
    wait_until(lambda: let_go == ["tokens", "heads"], page)
    pressed, off = [], page.locator(".aa-switch-off button")
    chosen.on_switch_off(lambda: pressed.append("off"))
    assert not off.is_visible()
    chosen.switch_off = "Switch off"
    wait_until(off.is_visible, page)
    off.press("Enter")
    wait_until(lambda: pressed == ["off"] and let_go == ["tokens", "heads"], page)
    cut = page.locator(".aa-cut button")
    chosen.on_cut(lambda: pressed.append("cut"))
    assert not cut.is_visible()
    chosen.cut = "Cut edges"
    wait_until(cut.is_visible, page)
    cut.press("Enter")
    wait_until(lambda: pressed == ["off", "cut"], page)
    chosen.tokens = ""
    wait_until(lambda: not tokens.is_visible() and heads.is_visible(), page)


@pytest.mark.ui
def test_a_part_that_comes_leaves_the_layout_of_the_page_alone(page, chosen):
    """What costs is that Bokeh measures every plot again."""
    served(page, pn.Column(chosen, width=500), ".aa-nothing")
    page.evaluate("""() => {
      window.laid = 0
      const root = Bokeh.index.roots[0].root ?? Bokeh.index.roots[0]
      const lay = root.compute_layout
      root.compute_layout = function(...given) { window.laid += 1; return lay.apply(this, given) }
    }""")
    chosen.param.update(heads="3 heads", nothing="")
    wait_until(lambda: page.locator(".aa-clear-heads").is_visible(), page)
    assert page.evaluate("window.laid") == 0
