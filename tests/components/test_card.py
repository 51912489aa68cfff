from __future__ import annotations

import re

import panel as pn
import param
import pytest
from bokeh.plotting import figure

from atlas.components.card import UNBUILT, Card, Stage
from atlas.resources import asset
from tests.browser import served, wait_until

HOSTILE = "keys <script>window.__pwned = 1</script> <img src=x onerror='window.__pwned = 1'> &amp; **she** \x00"
HELP = """Each dot is a head.
Two lines of one paragraph.

    entropy = −Σ pᵢ log pᵢ
    pᵢ: a weight

What <b>far</b> means."""


class Source(param.Parameterized):
    """What a view hands to its card."""

    line = param.String(default="mean of 7 heads")
    problem = param.String(default="")
    empty = param.String(default="")
    note = param.String(default="")
    busy = param.Boolean(default=False)
    dark = param.Boolean(default=False)


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def card(source):
    plot = figure(sizing_mode="stretch_both", min_height=200)
    plot.scatter([0, 1], [0, 1])
    shared = {name: source.param[name] for name in ("line", "problem", "empty", "note", "busy", "dark")}
    return Card(
        "Which heads look alike?",
        plot,
        title="Heads",
        help=HELP,
        waiting="Tracing, about 3 s",
        tools=[pn.widgets.Checkbox(label="Log")],
        css_classes=["v-heads"],
        **shared,
    )


def opened(page, card):
    served(page, pn.Column(card, pn.Spacer(height=900), width=600), ".v-heads .question")
    return page.locator(".v-heads")


# -- without a browser ----------------------------------------------------------------------------------------------------


def test_a_card_follows_the_params_it_was_given(card, source):
    assert (card.head.line, card.body.visible) == ("mean of 7 heads", True)
    source.param.update(line="L5 H3", problem="Too long by 3 tokens. Shorten the text.")
    assert (card.head.line, card.notice.problem, card.body.visible) == ("L5 H3", "Too long by 3 tokens. Shorten the text.", False)
    source.param.update(problem="", empty="Select a head.")
    assert (card.notice.problem, card.notice.empty, card.body.visible) == ("", "Select a head.", False)
    source.empty = ""
    assert card.body.visible


def test_what_is_awaited_is_said_only_while_busy(card, source):
    assert card.notice.waiting == ""
    source.busy = True
    assert card.notice.waiting == "Tracing, about 3 s"
    assert "aa-waiting" in card.body.css_classes
    source.busy = False
    assert card.notice.waiting == ""


def test_only_what_can_be_cancelled_is(card):
    cancelled = []
    card.notice.on_cancel(lambda: cancelled.append("once"))
    card.notice._handle_msg("cancel")  # from a page that is behind
    assert cancelled == []
    card.can_cancel = True
    card.notice._handle_msg("something else")
    card.notice._handle_msg("cancel")
    assert cancelled == ["once"]


def test_a_bound_function_and_a_plain_string_do_as_well():
    tool = pn.widgets.TextInput(value="a")
    card = Card("Q?", line=pn.bind(lambda value: f"now {value}", tool), note="Plain.")
    tool.value = "b"
    assert (card.head.line, card.notice.note) == ("now b", "Plain.")


# -- in a browser ---------------------------------------------------------------------------------------------------------


@pytest.mark.ui
def test_a_card_has_a_heading_a_line_and_its_plot(page, card):
    shown = opened(page, card)
    assert shown.get_by_role("heading", level=2).text_content() == "Which heads look alike?"
    assert shown.locator(".title").text_content() == "Heads"
    assert shown.locator(".line").text_content() == "mean of 7 heads"
    assert shown.locator(".bk-Figure canvas").first.is_visible()
    assert shown.get_by_role("alert").count() == 0


@pytest.mark.ui
@pytest.mark.parametrize("field", ["line", "problem", "empty", "note"])
def test_a_sentence_that_quotes_a_text_is_text(page, card, source, field):
    shown = opened(page, card)
    setattr(source, field, HOSTILE)
    said = shown.locator(".line" if field == "line" else f".aa-notice .{field} span:last-child")
    wait_until(lambda: "script" in said.text_content(), page)
    assert said.text_content() == HOSTILE
    assert said.evaluate("el => el.childElementCount") == 0
    assert page.evaluate("window.__pwned") is None


@pytest.mark.ui
def test_a_problem_takes_the_place_of_the_plot_and_gives_it_back(page, card, source):
    shown = opened(page, card)
    plot = shown.locator(".bk-Figure")
    before = plot.bounding_box()
    source.param.update(problem="Too long by 3 tokens. Shorten the text.", note="3 heads are not shown.")
    alert = shown.get_by_role("alert")
    alert.wait_for()
    assert alert.text_content().endswith("Too long by 3 tokens. Shorten the text.")
    assert alert.bounding_box()["y"] == pytest.approx(before["y"], abs=30)
    wait_until(lambda: not plot.is_visible(), page)
    assert not shown.locator(".note").is_visible()
    assert shown.get_by_text("Log", exact=True).is_visible(), "the controls may be what mends it"
    source.problem = ""
    wait_until(lambda: plot.is_visible() and plot.bounding_box()["height"] >= 200, page)
    assert shown.locator(".note").is_visible()
    assert alert.count() == 0


@pytest.mark.ui
def test_what_is_awaited_floats_over_the_plot_and_moves_nothing(page, card, source):
    shown = opened(page, card)
    plot = shown.locator(".bk-Figure")
    before = plot.bounding_box()
    source.busy = True
    wait_until(lambda: shown.locator(".waiting").is_visible(), page)
    assert shown.locator(".waiting").text_content() == "Tracing, about 3 s"
    assert plot.bounding_box() == before
    wait_until(lambda: shown.locator(".aa-body").evaluate("el => getComputedStyle(el).opacity") == "0.4", page)
    source.busy = False
    wait_until(lambda: not shown.locator(".waiting").is_visible(), page)


@pytest.mark.ui
def test_help_opens_by_keyboard_and_is_text(page, card):
    shown = opened(page, card)
    ask = shown.get_by_role("button", name="What this shows")
    assert ask.get_attribute("aria-expanded") == "false"
    assert not shown.locator(".help").is_visible()
    ask.focus()
    page.keyboard.press("Enter")
    assert ask.get_attribute("aria-expanded") == "true"
    paragraphs = shown.locator(".help p").all_text_contents()
    assert paragraphs == ["Each dot is a head. Two lines of one paragraph.", "What <b>far</b> means."]
    assert shown.locator(".help pre").all_text_contents() == ["entropy = −Σ pᵢ log pᵢ\npᵢ: a weight"]
    page.keyboard.press("Enter")
    assert not shown.locator(".help").is_visible()


@pytest.mark.ui
def test_enlarged_a_card_covers_the_page_its_plot_grows_and_escape_brings_it_back(page, card):
    shown = opened(page, card)
    plot, place = shown.locator(".bk-Figure"), shown.bounding_box()
    before = plot.bounding_box()
    shown.get_by_role("button", name="Enlarge").click()
    wait_until(lambda: shown.bounding_box()["width"] > 1200 and plot.bounding_box()["height"] > 450, page)
    assert plot.bounding_box()["width"] > 1150
    canvas = shown.locator(".bk-Figure canvas").first
    wait_until(lambda: canvas.bounding_box()["width"] > 1000, page)
    assert card.head.enlarged
    page.keyboard.press("Escape")
    wait_until(lambda: shown.bounding_box() == place and plot.bounding_box() == before, page)
    assert not card.head.enlarged
    assert shown.get_by_role("button", name="Enlarge").evaluate("el => el.matches(':focus')")


@pytest.mark.ui
def test_dark_and_light_differ_and_both_are_readable(page, card, source):
    shown = opened(page, card)

    def contrast():
        """Luminance of the heading over that of the card's ground, as WCAG counts it."""
        ink, ground = (
            shown.locator(".question").evaluate("el => getComputedStyle(el).color"),
            shown.evaluate("el => getComputedStyle(el).backgroundColor"),
        )
        light, dark = sorted((luminance(ink), luminance(ground)), reverse=True)
        return luminance(ground), (light + 0.05) / (dark + 0.05)

    ground, ratio = contrast()
    assert ground > 0.9
    assert ratio > 7
    source.dark = True
    wait_until(lambda: contrast()[0] < 0.1, page)
    assert contrast()[1] > 7


def luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.ui
def test_a_low_card_at_the_lower_edge_is_on_screen_and_the_head_of_a_high_one_is_not(page):
    low, high = (
        Card("Low?", pn.Spacer(height=20), css_classes=["v-low"]),
        Card("High?", pn.Spacer(height=600), css_classes=["v-high"]),
    )
    served(page, pn.Column(pn.Spacer(height=2000), low, pn.Spacer(height=900), high, width=600), ".v-low .question")
    wait_until(lambda: not low.head.seen and not high.head.seen, page)
    page.locator(".v-low").evaluate("card => card.scrollIntoView({block: 'end'})")
    wait_until(lambda: low.head.seen and not high.head.seen, page)
    page.locator(".v-high").evaluate("card => scrollBy(0, card.getBoundingClientRect().top - innerHeight + 60)")
    wait_until(lambda: not low.head.seen, page)
    assert not high.head.seen
    page.locator(".v-high").evaluate("card => card.scrollIntoView({block: 'end'})")
    wait_until(lambda: high.head.seen, page)


def test_a_body_that_is_still_to_come_keeps_its_place_and_says_so():
    waits, there = Stage(True), Stage(False)
    assert (waits.min_height, waits.css_classes) == (UNBUILT, ["aa-unbuilt"])
    waits.take()
    assert (waits.min_height, waits.css_classes) == (there.min_height, there.css_classes) == (None, [])


def test_no_style_sheet_declares_a_font_that_browsers_drop():
    """Beside a size the family cannot be `inherit`: a browser then drops the declaration, and says nothing."""
    sheets = [path.read_text(encoding="utf-8") for path in asset("css").glob("*.css")]
    assert len(sheets) > 10
    assert [found for sheet in sheets for found in re.findall(r"font:\s*[^;\s][^;]*\sinherit", sheet)] == []
