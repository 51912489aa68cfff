"""Text of any kind is text: whatever somebody types or shares, it is shown as it is and never run."""

from __future__ import annotations

import pytest

from atlas.components.token_strip import LIMIT
from atlas.state.link import State
from atlas.state.opening import Opening
from atlas.state.plane import NAME_LETTERS
from atlas.state.share import encode
from tests.ui.shown import cell_of_map
from tests.ui.stage import Seat

pytestmark = pytest.mark.ui

SCRIPT = "<script>window.__pwned=1</script>"
IMAGE = "<img/src=x/onerror=window.__pwned=1>"
LINK = "[a](javascript:window.__pwned=1)"
LONG = "x" * 10_000

WORDS = {
    SCRIPT: SCRIPT,
    IMAGE: IMAGE,
    LINK: LINK,
    "**bold**_it_": "**bold**_it_",
    "&lt;b&gt;&amp;&#x27;": "&lt;b&gt;&amp;&#x27;",
    "$$x^2$$": "$$x^2$$",
    r"\(x^2\)": r"\(x^2\)",
    "{{7*7}}${7*7}`x`": "{{7*7}}${7*7}`x`",
    "@{pos}": "@{pos}",
    "nul\x00bell\x07": "nul␀bell␇",
    "👩‍🔬🏽é": "👩‍🔬🏽é",
    "שלום": "שלום",
    "abc\u202edef": "abc‹U+202E›def",
    LONG: LONG,
}
"""A word -> what the strip shows for it."""

TEXT = " ".join(WORDS)
AT = {word: position for position, word in enumerate(WORDS, 1)}
N = len(WORDS) + 2


@pytest.fixture(scope="module")
def opening():
    return Opening("planted", TEXT)


@pytest.fixture
def seat(seat: Seat):
    """The page; nothing of the text may have run, become an element, or asked the network for anything."""
    asked: list[str] = []
    seat.page.on("request", lambda request: asked.append(request.url))
    yield seat
    assert seat.page.evaluate("window.__pwned") is None
    assert seat.page.evaluate('() => aa.count(\'img[src=x], img[src$="/x"], a[href^="javascript"], [onerror]\')') == 0
    assert seat.page.evaluate("() => aa.count('script:not([src])', 'window.__pwned')") == 0
    local = ("http://localhost", "ws://localhost", "data:", "blob:")
    assert [url for url in asked if not url.startswith(local)] == []


def test_the_strip_shows_it_letter_by_letter(seat):
    seat.unfold()
    tokens = seat.page.locator(".aa-strip-source .token")
    assert tokens.all_text_contents() == ["[CLS]", *WORDS.values(), "[SEP]"]
    assert LIMIT > N
    assert tokens.evaluate_all("all => all.every(each => each.childElementCount === 0)")
    assert seat.page.locator(".aa-strip-source .scroll").evaluate("el => el.scrollWidth <= el.clientWidth"), (
        "no word leaves the box"
    )
    for word in (SCRIPT, IMAGE, "&lt;b&gt;&amp;&#x27;"):
        seat.token(AT[word]).hover()
        seat.until(lambda word=word: word in seat.text(".aa-strip-source .tip"))


def test_the_text_box_shows_what_was_typed(seat):
    shown = seat.page.locator(".aa-text textarea").first.input_value()
    assert shown == TEXT


def test_the_axes_of_the_matrix_are_words_and_no_mathematics(seat):
    labels = seat.plot(".aa-matrix").labels("y")
    assert labels[AT["&lt;b&gt;&amp;&#x27;"]] == "&lt;b&gt;&amp…"
    assert labels[AT["שלום"]] == "שלום"
    assert labels[AT[SCRIPT]] == "<script>windo…"
    # Bokeh takes text between two dollars, and between \( and \), for TeX, and would load MathJax to draw it.
    assert not seat.page.evaluate("() => aa.mathematics('.aa-matrix')")


@pytest.mark.parametrize("word", [SCRIPT, IMAGE, LINK, "&lt;b&gt;&amp;&#x27;", "**bold**_it_", "$$x^2$$"])
def test_what_is_selected_is_said_letter_by_letter(seat, word):
    seat.token(AT[word]).click()
    seat.until(lambda: seat.selection.keys == {AT[word]})
    seat.until(lambda: word in seat.text(".aa-clear-tokens button"))
    seat.until(lambda: word in seat.text(".aa-card-map .line"))
    seat.until(lambda: word in seat.text(".aa-card-table .line"))
    seat.until(lambda: word in (seat.page.locator(".announcer .live").text_content() or ""))


def test_a_word_of_ten_thousand_letters_does_not_break_the_page(seat):
    seat.token(AT[LONG]).click()
    seat.until(lambda: seat.selection.keys == {AT[LONG]})
    seat.until(lambda: seat.page.locator(".aa-clear-tokens").is_visible())
    assert seat.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    bar = seat.page.locator(".aa-clear-tokens button").bounding_box()
    assert bar["x"] + bar["width"] <= 1500
    assert bar["height"] < 200, "the bar is a line, not a page"
    place = seat.page.locator(".aa-clear-tokens button .cross").bounding_box()
    assert place["width"] > 10, "the cross is squeezed away"
    assert place["x"] + place["width"] <= bar["x"] + bar["width"]


@pytest.mark.parametrize("word", [SCRIPT, IMAGE, LINK, "&lt;b&gt;&amp;&#x27;"])
def test_the_lines_under_the_pointer_are_text(seat, word):
    from atlas.ids import HeadId

    at, name = AT[word], word if len(word) <= NAME_LETTERS else f"{word[: NAME_LETTERS - 1]}…"
    seat.plot(".aa-matrix").point((at + 0.5) / N, (at + 0.5) / N)
    seat.until(lambda: seat.text(".aa-card-matrix .aa-readout pre").startswith(f"L0 H0   {name} ({at}) → {name} ({at})"))
    assert seat.page.locator(".aa-card-matrix .aa-readout pre").evaluate("el => el.childElementCount") == 0
    seat.plot(".aa-map").point(*cell_of_map(HeadId("encoder", 0, 0), at, at, N, N))
    seat.until(lambda: f"{word} ({at}) → {word} ({at})" in seat.text(".aa-card-map .aa-readout pre"))


@pytest.mark.parametrize("word", [SCRIPT, IMAGE, LINK, "&lt;b&gt;", "**bold**"])
def test_errors_quote_it_as_text(seat, word):
    seat.page.locator(".aa-text textarea").first.fill(f"fail {word}")
    seat.page.locator(".aa-run button").click()
    problem = seat.page.locator(".aa-error .problem")
    seat.until(lambda: problem.is_visible() and f"refused: {word}." in problem.inner_text())


def test_progress_names_a_model_as_text(seat):
    seat.do(lambda: seat.pipeline.param.update(message=f"Loading {IMAGE} {SCRIPT}", status="loading"))
    seat.until(lambda: f"Loading {IMAGE} {SCRIPT}" in seat.text(".aa-status pre"))
    seat.until(lambda: f"Loading {IMAGE} {SCRIPT}" in seat.text(".aa-card-map .waiting"))
    seat.do(lambda: seat.pipeline.param.update(message="", status="ready"))


def test_a_strangers_link_is_text(seat):
    token = encode(State(model=IMAGE, text=f"{SCRIPT} {IMAGE}", label=IMAGE)).token
    with seat.beside() as other:
        other.arrive(lambda: other.page.goto(f"{other.url}/?s={token}", wait_until="domcontentloaded"))
        problem = other.page.locator(".aa-error .problem")
        other.until(lambda: problem.is_visible() and IMAGE in problem.inner_text())
        other.until(lambda: other.page.locator(".aa-text textarea").first.input_value() == f"{SCRIPT} {IMAGE}")
        assert other.page.evaluate("window.__pwned") is None
        assert other.page.evaluate("() => aa.count('img[src=x], [onerror]')") == 0
