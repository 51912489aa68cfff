from __future__ import annotations

import math
import re
import time

import panel as pn
import pytest
from bokeh.document import Document
from panel.io.state import set_curdoc

from atlas.components.token_strip import LIMIT, TokenStrip
from tests.browser import served, wait_until

PALETTE = ["#440154", "#31688e", "#35b779", "#fde725"]
TEXT = "The doctor told the receptionist that she would be extraordinarily late; nobody answered."
ARABIC = "قال الطبيب للممرضة إنها ستتأخر عن الموعد اليوم"


def tokens_of(text: str) -> list[dict]:
    """Words and marks of a text, long words in two pieces, between [CLS] and [SEP]."""
    rows, end = [{"position": 0, "text": "[CLS]", "special": True}], 0
    for word, found in enumerate(re.finditer(r"\w+|[^\w\s]", text)):
        pieces = [found.group()[:5], found.group()[5:]] if len(found.group()) > 7 else [found.group()]
        for at, piece in enumerate(pieces):
            gap = "" if at else text[end : found.start()]
            rows.append({"position": len(rows), "text": piece, "gap": gap, "word": word, "pos": "NOUN", "sentence": 0})
        end = found.end()
    return [*rows, {"position": len(rows), "text": "[SEP]", "special": True}]


@pytest.fixture
def picks():
    return []


@pytest.fixture
def strip(picks):
    made = TokenStrip(tokens=tokens_of(TEXT), label="The text", palette=PALETTE)
    made.on_pick(picks.append)
    return made


@pytest.fixture
def shown(page, strip):
    """The tokens of the strip on screen."""
    return served(page, pn.Column(strip, width=600), ".token")


def arrived(page, picks, *expected):
    wait_until(lambda: len(picks) >= len(expected), page)
    assert [(pick["positions"], pick["mode"]) for pick in picks] == list(expected)


# -- without a browser ----------------------------------------------------------------------------------------------------


def test_what_is_not_known_is_sent_as_nothing_and_numbers_are_short():
    sent = TokenStrip(weights=[0.123456, math.nan, None, 1])._process_param_change({"weights": [0.123456, math.nan, None, 1]})
    assert sent["weights"] == [123, None, None, 1000]


def test_tokens_beyond_the_limit_are_counted_and_not_sent():
    tokens = [{"position": i, "text": "a"} for i in range(LIMIT + 7)]
    sent = TokenStrip()._process_param_change({"tokens": tokens, "weights": [0.5] * len(tokens)})
    assert len(sent["tokens"]) == len(sent["weights"]) == LIMIT
    assert sent["left_out"] == 7


def test_what_was_held_back_is_not_taken_for_the_browsers_doing(strip):
    tokens, document = tokens_of(TEXT), Document()
    with set_curdoc(document):
        model = strip.get_root(document)
        document.add_root(model)
        document.hold("combine")
        strip.param.update(tokens=tokens[:2], weights=[0.5, 0.25], values=["a", "b"])
        document.unhold()
    assert (strip.tokens, strip.weights, strip.values) == (tokens[:2], [0.5, 0.25], ["a", "b"])
    assert model.data.weights == [500, 250]


def test_a_pick_of_what_is_gone_is_dropped(strip, picks):
    strip._handle_msg({"positions": [10**6, "3", None], "mode": "replace"})
    assert picks == []
    strip._handle_msg({"positions": [3, 10**6], "mode": "toggle"})
    assert picks == [{"positions": [3], "mode": "toggle", "clear": False}]


def test_a_made_up_mode_is_refused(strip, picks):
    with pytest.raises(ValueError, match="'steal', which is none of replace, toggle, extend"):
        strip._handle_msg({"positions": [3], "mode": "steal"})
    assert picks == []


# -- pointer --------------------------------------------------------------------------------------------------------------


@pytest.mark.ui
def test_a_click_replaces_and_a_click_on_the_only_one_lets_go(page, strip, shown, picks):
    shown.nth(2).click()
    arrived(page, picks, ([2], "replace"))
    strip.param.update(selected_from=[2], selected_to=[2])
    wait_until(lambda: shown.nth(2).get_attribute("aria-selected") == "true", page)
    shown.nth(2).click()
    arrived(page, picks, ([2], "replace"), ([], "replace"))


@pytest.mark.ui
def test_what_counts_as_the_only_one_follows_the_axis(page, strip, shown, picks):
    strip.param.update(selected_from=[2], selected_to=[2, 3], axis="to")
    wait_until(lambda: "to" in shown.nth(3).get_attribute("class"), page)
    shown.nth(2).click()
    arrived(page, picks, ([2], "replace"))
    strip.param.update(axis="from", selected_to=[2])
    wait_until(lambda: "to" not in shown.nth(3).get_attribute("class").split(), page)
    shown.nth(2).click()
    arrived(page, picks, ([2], "replace"), ([], "replace"))


@pytest.mark.ui
@pytest.mark.parametrize("key", ["Control", "Meta"])
def test_control_and_command_toggle(page, shown, picks, key):
    shown.nth(3).click(modifiers=[key])
    arrived(page, picks, ([3], "toggle"))


@pytest.mark.ui
def test_shift_extends_from_where_the_last_pick_began_in_both_directions(page, shown, picks):
    shown.nth(4).click()
    shown.nth(7).click(modifiers=["Shift"])
    shown.nth(2).click(modifiers=["Shift"])
    arrived(page, picks, ([4], "replace"), ([4, 5, 6, 7], "extend"), ([2, 3, 4], "extend"))


@pytest.mark.ui
def test_a_drag_selects_what_it_passes_over_and_shows_it_on_the_way(page, shown, picks):
    start, end = shown.nth(2).bounding_box(), shown.nth(5).bounding_box()
    page.mouse.move(start["x"] + 3, start["y"] + 5)
    page.mouse.down()
    page.mouse.move(end["x"] + 3, end["y"] + 5, steps=6)
    assert page.locator(".token.swept").count() == 4
    assert picks == []
    page.mouse.up()
    arrived(page, picks, ([2, 3, 4, 5], "replace"))
    assert page.locator(".token.swept").count() == 0


@pytest.mark.ui
def test_a_drag_that_ends_outside_still_ends(page, shown, picks):
    start, end = shown.nth(2).bounding_box(), shown.nth(5).bounding_box()
    page.mouse.move(start["x"] + 3, start["y"] + 5)
    page.mouse.down()
    page.mouse.move(end["x"] + 3, end["y"] + 5, steps=3)
    page.mouse.move(900, 600)
    page.mouse.up()
    arrived(page, picks, ([2, 3, 4, 5], "replace"))
    page.mouse.move(start["x"] + 3, start["y"] + 5)
    assert page.locator(".token.swept").count() == 0


# -- keyboard -------------------------------------------------------------------------------------------------------------


def focused(page):
    return int(page.locator(".token:focus").get_attribute("data-i"))


@pytest.mark.ui
def test_the_text_is_one_stop_of_the_tab_key_and_arrows_move_inside_it(page, shown, picks):
    page.keyboard.press("Tab")
    assert focused(page) == 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert focused(page) == 2
    assert page.locator('.token[tabindex="0"]').count() == 1
    page.keyboard.press("End")
    assert focused(page) == shown.count() - 1
    page.keyboard.press("ArrowRight")
    assert focused(page) == shown.count() - 1
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert focused(page) == 0
    assert picks == []


@pytest.mark.ui
def test_arrows_up_and_down_go_by_line(page, shown):
    boxes = [shown.nth(i).bounding_box() for i in range(shown.count())]
    assert boxes[-1]["y"] > boxes[0]["y"], "the text has to wrap for this test"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    now = boxes[focused(page)]
    assert now["y"] > boxes[1]["y"]
    assert now["x"] <= boxes[1]["x"] + boxes[1]["width"]
    page.keyboard.press("ArrowUp")
    assert boxes[focused(page)]["y"] == boxes[1]["y"]


@pytest.mark.ui
def test_keys_pick_toggle_extend_and_clear(page, strip, shown, picks):
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Control+ ")
    strip.selected_to = [3]
    wait_until(lambda: shown.nth(3).get_attribute("aria-selected") == "true", page)
    page.keyboard.press("Escape")
    arrived(
        page,
        picks,
        ([1], "replace"),
        ([1, 2], "extend"),
        ([1, 2, 3], "extend"),
        ([1, 2], "extend"),
        ([3], "toggle"),
        ([], "replace"),
    )
    assert [pick["clear"] for pick in picks] == [False] * 5 + [True]


@pytest.mark.ui
def test_escape_with_no_token_to_let_go_of_is_left_to_the_page(page, shown, picks):
    page.evaluate("() => { document.addEventListener('keydown', event => { window.heard = event.key }) }")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    wait_until(lambda: page.evaluate("() => window.heard === 'Escape'"), page)
    assert picks == []


@pytest.mark.ui
def test_a_range_by_keys_begins_where_the_focus_is_and_not_where_an_old_pick_was(page, shown, picks):
    shown.nth(1).click()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    arrived(page, picks, ([1], "replace"), ([5, 6], "extend"))


# -- what is seen and heard -----------------------------------------------------------------------------------------------


@pytest.mark.ui
def test_marks_are_drawn_and_said(page, strip, shown):
    strip.param.update(selected_from=[2], selected_to=[2, 3], values=["received 0.5"] * len(strip.tokens))
    wait_until(lambda: shown.nth(3).get_attribute("aria-selected") == "true", page)
    assert shown.nth(2).get_attribute("aria-label") == (
        "doctor, position 2, received 0.5, NOUN, sentence 1, selected as from and to"
    )
    assert shown.nth(3).get_attribute("aria-label").endswith("selected as to")
    shadows = [shown.nth(i).evaluate("el => getComputedStyle(el).boxShadow") for i in (1, 2, 3)]
    assert [("-3px" in shadow, re.search(r"\b0px 3px", shadow) is not None) for shadow in shadows] == [
        (False, False),
        (True, True),
        (False, True),
    ]
    strip.param.update(selected_from=[], selected_to=[])
    wait_until(lambda: page.locator('[aria-selected="true"]').count() == 0, page)
    assert shown.nth(3).get_attribute("aria-label") is None


@pytest.mark.ui
def test_weights_paint_the_background_and_the_letters_stay_readable(page, strip, shown):
    weights = [0.0, 1.0, math.nan, *[0.34] * (len(strip.tokens) - 3)]
    strip.weights = weights
    wait_until(lambda: shown.nth(1).evaluate("el => el.style.backgroundColor") != "", page)

    def look(i):
        return shown.nth(i).evaluate("el => [el.style.backgroundColor, el.style.color, el.classList.contains('unknown')]")

    assert look(0) == ["rgb(68, 1, 84)", "rgb(255, 255, 255)", False]
    assert look(1) == ["rgb(253, 231, 37)", "rgb(0, 0, 0)", False]
    assert look(2) == ["", "", True]
    assert look(3)[0] == "rgb(49, 104, 142)"
    strip.weights = []
    wait_until(lambda: shown.nth(1).evaluate("el => el.style.backgroundColor") == "", page)
    assert page.locator(".token.unknown").count() == 0


@pytest.mark.ui
def test_the_pieces_of_a_word_are_welded(page, shown):
    welded = [(shown.nth(i).text_content()) for i in range(shown.count()) if "welded" in shown.nth(i).get_attribute("class")]
    assert welded == ["tionist", "ordinarily", "red"]
    first, second = (shown.filter(has_text=piece).bounding_box() for piece in ("recep", "tionist"))
    assert second["x"] - (first["x"] + first["width"]) == pytest.approx(0, abs=0.1)


@pytest.mark.ui
def test_a_tooltip_says_what_is_known_of_a_token(page, strip, shown):
    strip.values = [f"received 0.{i}" for i in range(len(strip.tokens))]
    shown.nth(2).hover()
    tip = page.locator(".tip")
    wait_until(lambda: tip.is_visible() and "0.2" in tip.inner_text(), page)
    assert tip.inner_text().split("\n") == ["doctor", "position 2", "received 0.2", "NOUN", "sentence 1"]
    page.mouse.move(900, 600)
    wait_until(lambda: not tip.is_visible(), page)


@pytest.mark.ui
def test_tokens_with_a_note_are_underlined_and_say_it(page, strip, shown):
    line = "each => getComputedStyle(each).textDecorationStyle"
    strip.notes = ["", "", "stereotype 0.91"]
    wait_until(lambda: shown.nth(2).evaluate(line) == "wavy", page)
    assert shown.nth(1).evaluate(line) == "solid"
    shown.nth(2).hover()
    wait_until(lambda: "stereotype 0.91" in page.locator(".tip").inner_text(), page)
    strip.notes = []
    wait_until(lambda: page.locator(".token.noted").count() == 0, page)


@pytest.mark.ui
def test_the_roles_and_names_a_screen_reader_needs(page, strip, shown):
    box = page.get_by_role("listbox", name="The text")
    assert box.get_by_role("option").count() == len(strip.tokens)
    assert box.get_attribute("aria-multiselectable") == "true"
    strip.busy = True
    wait_until(lambda: box.get_attribute("aria-busy") == "true", page)


@pytest.mark.ui
def test_nothing_moves_for_those_who_asked_for_that(page, strip, shown):
    strip.busy = True
    page.locator(".strip.busy").wait_for()
    moving = "el => getComputedStyle(el, '::after').animationName"
    assert page.locator(".strip").evaluate(moving) == "wait"
    page.emulate_media(reduced_motion="reduce")
    assert page.locator(".strip").evaluate(moving) == "none"


# -- right to left --------------------------------------------------------------------------------------------------------


@pytest.mark.ui
def test_arabic_reads_from_the_right_although_it_begins_with_cls(page, picks):
    strip = TokenStrip(tokens=tokens_of(ARABIC))
    strip.on_pick(picks.append)
    shown = served(page, pn.Column(strip, width=700), ".token")
    lefts = [shown.nth(i).bounding_box()["x"] for i in range(shown.count())]
    assert lefts == sorted(lefts, reverse=True)
    assert shown.nth(0).text_content() == "[CLS]"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert focused(page) == 2
    page.keyboard.press("ArrowRight")
    assert focused(page) == 1
    page.keyboard.press("Shift+ArrowLeft")
    arrived(page, picks, ([1, 2], "extend"))


@pytest.mark.ui
def test_arrows_follow_the_eye_over_the_end_of_a_line_from_right_to_left(page):
    strip = TokenStrip(tokens=tokens_of(ARABIC))
    shown = served(page, pn.Column(strip, width=260), ".token")
    tops = [round(shown.nth(i).bounding_box()["y"]) for i in range(shown.count())]
    wrap = next(i for i in range(1, len(tops)) if tops[i] > tops[i - 1] + 15)
    shown.nth(wrap - 1).click()
    page.keyboard.press("ArrowLeft")
    assert focused(page) == wrap
    page.keyboard.press("ArrowRight")
    assert focused(page) == wrap - 1


@pytest.mark.ui
def test_each_paragraph_has_its_own_direction_and_the_letters_of_an_arabic_word_stay_joined(page):
    whole = "قال الموعد"
    apart = [
        {"position": 0, "text": "Hello", "gap": ""},
        {"position": 1, "text": "قال", "gap": "\n", "word": 1},
        {"position": 2, "text": "المو", "gap": " ", "word": 2},
        {"position": 3, "text": "عد", "gap": "", "word": 2},
    ]
    shown = served(page, pn.Column(TokenStrip(tokens=apart), width=600), ".token")
    directions = [shown.nth(i).evaluate("el => getComputedStyle(el.parentNode).direction") for i in (0, 1)]
    assert directions == ["ltr", "rtl"]
    measured = shown.nth(3).evaluate(
        """(el, whole) => {
          const probe = document.createElement('div')
          probe.className = 'paragraph'; probe.dir = 'auto'
          const inner = document.createElement('span'); inner.textContent = whole
          probe.append(inner); el.parentNode.parentNode.append(probe)
          const width = inner.getBoundingClientRect().width
          probe.remove()
          return width
        }""",
        whole,
    )
    boxes = [shown.nth(i).bounding_box() for i in (1, 2, 3)]
    drawn = boxes[0]["x"] + boxes[0]["width"] - boxes[2]["x"]
    assert drawn == pytest.approx(measured, abs=1.5), "unjoined letters would be wider"


@pytest.mark.ui
def test_the_name_of_a_byte_stays_whole_beside_arabic_letters(page):
    """ "<0x85>" is punctuation and digits to the bidirectional algorithm, which would tear it apart in a line from the right."""
    texts = ["م", "<0x85>", "ر", "<0xB1>", "\u200f", "ح"]
    tokens = [{"position": at, "text": text, "word": 0} for at, text in enumerate(texts)]
    strip = TokenStrip(tokens=tokens)
    shown = served(page, pn.Column(strip, width=600), ".token")
    lefts = [shown.nth(i).bounding_box()["x"] for i in range(len(texts))]
    assert lefts == sorted(lefts, reverse=True)
    after_latin = [
        {"position": at, "text": text, "word": at > 0} for at, text in enumerate(["said", "م", "<0x85>", "ا", "<0xA7>"])
    ]
    strip.param.update(tokens=[*after_latin, {"position": 5, "text": "to", "gap": " ", "word": 2}])
    wait_until(lambda: shown.count() == 6 and shown.nth(0).text_content() == "said", page)
    lefts = [shown.nth(i).bounding_box()["x"] for i in range(6)]
    assert lefts[0] < lefts[4] < lefts[3] < lefts[2] < lefts[1] < lefts[5]
    strip.tokens = tokens
    wait_until(lambda: shown.nth(0).text_content() == "م", page)
    places = """el => [...el.textContent].map((_, at) => {
      const range = document.createRange()
      range.setStart(el.firstChild, at); range.setEnd(el.firstChild, at + 1)
      return range.getBoundingClientRect().left
    })"""
    for at in (1, 3, 4):
        letters = shown.nth(at).evaluate(places)
        assert letters == sorted(letters), f"the letters of {texts[at]!r} do not stand in their order"


# -- any text is text -----------------------------------------------------------------------------------------------------

HOSTILE = {
    "<script>window.__pwned = 1</script>": "<script>window.__pwned = 1</script>",
    "<img src=x onerror='window.__pwned = 1'>": "<img src=x onerror='window.__pwned = 1'>",
    "&lt;b&gt; &amp; &#x27;": "&lt;b&gt; &amp; &#x27;",
    "**bold** [a](javascript:window.__pwned=1) $x^2$": "**bold** [a](javascript:window.__pwned=1) $x^2$",
    "nul\x00bell\x07del\x7f": "nul␀bell␇del␡",
    "\x85": "↵",
    "\n\n": "↵↵",
    "\t": "⇥",
    "  ": "\xa0\xa0",
    "": "∅",
    "\u200b": "‹U+200B›",
    "abc\u202edef": "abc‹U+202E›def",
    "👩‍🔬🏽 é": "👩‍🔬🏽 é",
    "{{7*7}} ${7*7} `x`": "{{7*7}} ${7*7} `x`",
}


@pytest.mark.ui
def test_text_of_any_kind_is_shown_as_text(page):
    long = "x" * 10_000
    texts = [*HOSTILE, long]
    strip = TokenStrip(
        tokens=[{"position": i, "text": text, "gap": " ", "pos": text[:60], "entity": text[:60]} for i, text in enumerate(texts)],
        values=[text[:60] for text in texts],
        label="<b>label</b>",
        lines=400,
    )
    shown = served(page, pn.Column(strip, width=600), ".token")
    assert [shown.nth(i).text_content() for i in range(len(texts))] == [*HOSTILE.values(), long]
    assert [shown.nth(i).evaluate("el => el.childElementCount") for i in range(len(texts))] == [0] * len(texts)
    for i in range(4):
        shown.nth(i).hover()
        page.locator(".tip").wait_for()
        assert texts[i] in page.locator(".tip").inner_text()
    assert page.evaluate("window.__pwned") is None
    box, last = page.locator(".scroll").bounding_box(), shown.last.bounding_box()
    assert last["width"] <= box["width"], "a word of 10,000 letters leaves the box"
    assert page.locator(".scroll").evaluate("el => el.scrollWidth <= el.clientWidth")


# -- long texts -----------------------------------------------------------------------------------------------------------

MANY = 4_096
REPAINT = 1.0
"""Seconds for a repaint of 4,096 tokens to be on screen, transport included; it takes a tenth on an idle machine."""


@pytest.mark.ui
def test_four_thousand_tokens_repaint_without_a_new_node(page):
    tokens = [{"position": i, "text": f"word{i}", "gap": " ", "word": i} for i in range(MANY)]
    strip = TokenStrip(tokens=tokens, palette=PALETTE)
    shown = served(page, pn.Column(strip, width=900), ".token")
    assert shown.count() == MANY
    page.locator(".strip").evaluate(
        """el => {
          window.made = 0
          const count = found => { for (const one of found) { window.made += one.addedNodes.length + one.removedNodes.length } }
          new MutationObserver(count).observe(el, {childList: true, subtree: true})
        }"""
    )
    took = []
    for turn in range(4):
        begin = time.perf_counter()
        weights = [((i + turn) % 4) / 3 for i in range(MANY)]
        strip.param.update(weights=weights, values=[f"{weight:.3f}" for weight in weights])
        colour = shown.last.evaluate_handle("el => el")
        expected = ["rgb(68, 1, 84)", "rgb(49, 104, 142)", "rgb(53, 183, 121)", "rgb(253, 231, 37)"][(MANY - 1 + turn) % 4]
        page.wait_for_function("([el, colour]) => el.style.backgroundColor === colour", arg=[colour, expected])
        took.append(time.perf_counter() - begin)
    assert page.evaluate("window.made") == 0
    assert sorted(took)[1] < REPAINT, took


@pytest.mark.ui
def test_what_is_beyond_the_limit_is_counted_on_screen(page, monkeypatch, strip):
    monkeypatch.setattr("atlas.components.token_strip.LIMIT", 5)
    shown = served(page, pn.Column(strip, width=600), ".token")
    assert shown.count() == 5
    assert page.locator(".note").text_content() == f"{len(strip.tokens) - 5} more tokens are not shown here."
    strip.tokens = tokens_of("One two")
    wait_until(lambda: shown.count() == 4, page)
    assert page.locator(".note").text_content() == ""


@pytest.mark.ui
def test_what_is_selected_far_down_is_scrolled_to_and_the_page_stays(page):
    tokens = [{"position": i, "text": f"word{i}", "gap": " "} for i in range(MANY)]
    strip = TokenStrip(tokens=tokens, lines=4)
    shown = served(page, pn.Column(strip, pn.Spacer(height=2000), width=900), ".token")
    assert page.locator(".scroll").evaluate("el => el.clientHeight") < 150
    strip.selected_to = [3_000]
    wait_until(lambda: page.locator(".scroll").evaluate("el => el.scrollTop") > 0, page)
    box, own = page.locator(".scroll").bounding_box(), shown.nth(3_000).bounding_box()
    assert box["y"] <= own["y"] <= box["y"] + box["height"]
    assert page.evaluate("scrollY") == 0


@pytest.mark.ui
def test_a_new_text_replaces_the_old_one_with_its_marks(page, strip, shown, picks):
    strip.param.update(weights=[0.5] * len(strip.tokens), selected_to=[2])
    page.locator(".token.to").wait_for()
    strip.param.update(tokens=tokens_of("Quite another text"), weights=[], selected_to=[])
    wait_until(lambda: shown.count() == 5, page)
    assert page.locator(".token.to").count() == 0
    assert [shown.nth(i).evaluate("el => el.style.backgroundColor") for i in range(5)] == [""] * 5
    shown.nth(1).click(modifiers=["Shift"])
    arrived(page, picks, ([1], "extend"))


@pytest.mark.ui
def test_an_empty_strip_takes_keys_without_a_word(page):
    served(page, pn.Column(TokenStrip(), pn.widgets.TextInput(), width=600), ".strip")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.locator(".token").count() == 0


# -- folded ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folded(page, strip):
    """A long text on one line, in a narrow box."""
    strip.param.update(folded=True, foldable=True)
    return served(page, pn.Column(strip, width=320), ".token")


def in_sight(page, token):
    box, own = page.locator(".scroll").bounding_box(), token.bounding_box()
    return own["x"] >= box["x"] - 1 and own["x"] + own["width"] <= box["x"] + box["width"] + 1


@pytest.mark.ui
def test_a_folded_text_is_one_line_until_it_is_unfolded(page, strip, folded):
    line = page.locator(".scroll").bounding_box()["height"]
    assert line < 50
    assert (
        len({round(box["y"]) for box in (token.bounding_box() for token in folded.all()) if box["width"]}) <= 2
    )  # [CLS] is smaller
    page.locator(".fold").click()
    wait_until(lambda: not strip.folded, page)
    wait_until(lambda: page.locator(".scroll").bounding_box()["height"] > 1.5 * line, page)
    assert page.locator(".fold").get_attribute("aria-expanded") == "true"


@pytest.mark.ui
def test_in_a_folded_text_keys_move_along_the_line_and_bring_the_token_into_sight(page, folded, picks):
    assert not in_sight(page, folded.last)
    folded.first.focus()
    page.keyboard.press("End")
    wait_until(lambda: in_sight(page, folded.last), page)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    arrived(page, picks, ([folded.count() - 2], "replace"))


@pytest.mark.ui
def test_in_a_folded_text_a_click_selects_and_what_is_selected_elsewhere_comes_into_sight(page, strip, folded, picks):
    folded.nth(2).click()
    arrived(page, picks, ([2], "replace"))
    far = folded.count() - 3
    assert not in_sight(page, folded.nth(far))
    strip.selected_to = [far]
    wait_until(lambda: in_sight(page, folded.nth(far)), page)


@pytest.mark.ui
def test_a_folded_text_of_a_script_that_runs_to_the_left_begins_at_the_right(page, strip):
    strip.param.update(tokens=tokens_of(ARABIC * 3)[1:], folded=True)
    served(page, pn.Column(strip, width=320), ".token")
    wait_until(lambda: page.locator(".scroll.more-left").count() == 1, page)
    first, box = page.locator(".token").first.bounding_box(), page.locator(".scroll").bounding_box()
    assert box["x"] + box["width"] - 40 < first["x"] + first["width"] <= box["x"] + box["width"]
