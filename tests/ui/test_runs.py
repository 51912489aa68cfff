"""Runs from the sidebar: type, run, cancel, fail, switch the model."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.ids import HeadId
from tests.ui.planted import HEADS, LAYERS, TEXT, weights
from tests.ui.shown import level, levels
from tests.ui.stage import head_place

pytestmark = pytest.mark.ui

SHORT = "she was late ."


def _type(seat, text):
    seat.page.locator(".aa-text textarea").first.fill(text)


def _run(seat):
    seat.page.locator(".aa-run button").click()


def _tokens(seat):
    return seat.page.locator(".aa-strip-source .token").all_text_contents()


def _expected(text, seed=0):
    return ["[CLS]", *text.split(" "), "[SEP]"], weights(len(text.split(" ")) + 2, seed)


def _on_screen(seat, text, seed=0):
    tokens, values = _expected(text, seed)
    count = len(tokens)
    assert _tokens(seat) == tokens
    assert seat.plot(".aa-matrix").labels("x") == tokens
    places = [((key + 0.5) / count, (query + 0.5) / count) for query in range(count) for key in range(count)]
    found = levels(seat, ".aa-matrix", places).reshape(count, count)
    assert np.abs(found - level(values[0, 0], values.max())).max() <= 1


@pytest.fixture
def seat(seat):
    """The page with the planted model and its text on screen, whatever the test before left."""
    if (seat.pipeline.choice.name_or_path, seat.app.trace.texts.text, seat.pipeline.status) != ("planted", TEXT, "ready"):

        def again():
            seat.pipeline.choice.name_or_path = "planted"
            seat.pipeline.input.text = TEXT
            seat.pipeline.run()

        seat.do(again)
        seat.until(lambda: seat.pipeline.status == "ready" and seat.app.trace.texts.text == TEXT)
    seat.until(lambda: _on_screen(seat, TEXT))
    # The box is drawn by another library than the strip: what is typed before it shows this text would be written over.
    seat.until(lambda: seat.page.locator(".aa-text textarea").first.input_value() == TEXT)
    return seat


def test_a_text_is_typed_and_run(seat):
    _type(seat, SHORT)
    assert _tokens(seat) == _expected(TEXT)[0], "what is typed is not yet run"
    _run(seat)
    seat.until(lambda: _on_screen(seat, SHORT))
    assert "4 layers × 4 heads, 6 × 6 tokens" in seat.text(".aa-card-map .line")
    assert seat.pipeline.status == "ready"


def test_shift_and_enter_run_the_text_to_the_last_letter(seat):
    box = seat.page.locator(".aa-text textarea").first
    box.fill("")
    box.press_sequentially(SHORT)
    box.press("Shift+Enter")
    seat.until(lambda: seat.app.trace.texts.text == SHORT)


def test_a_new_text_keeps_of_the_selection_what_exists_in_it(seat):
    head = HeadId("encoder", 2, 1)
    seat.plot(".aa-map").tap(*head_place(head, LAYERS, HEADS))
    seat.until(lambda: seat.selection.heads == {head})
    seat.do(lambda: seat.selection.select_tokens([2, 13]))
    words = TEXT.split(" ")
    begins_alike = " ".join([*words[:3], *reversed(words[3:8])])
    _type(seat, begins_alike)
    _run(seat)
    seat.until(lambda: seat.app.trace.texts.text == begins_alike)
    seat.until(lambda: (seat.selection.heads, seat.selection.queries, seat.selection.keys) == ({head}, {2}, {2}))
    seat.until(lambda: seat.text(".aa-clear-tokens button").split("\n")[0] == f"tokens: {words[1]}")


def test_a_run_under_way_can_be_cancelled_and_the_old_picture_stays(seat):
    _type(seat, "wait for ever")
    _run(seat)
    seat.until(lambda: seat.pipeline.status == "tracing")
    cancel = seat.page.locator(".aa-cancel button")
    seat.until(lambda: cancel.is_visible() and not seat.page.locator(".aa-run button").is_visible())
    seat.until(lambda: "Running planted" in seat.text(".aa-status pre"))
    assert seat.page.locator(".aa-card-matrix .waiting").first.is_visible()
    cancel.click()
    seat.until(lambda: seat.pipeline.status == "cancelled")
    seat.until(lambda: seat.page.locator(".aa-run button").is_visible() and not cancel.is_visible())
    seat.until(lambda: "cancelled" in seat.text(".aa-status pre"))
    _on_screen(seat, TEXT)


def test_while_a_run_is_under_way_the_page_answers(seat):
    _type(seat, "wait for ever")
    _run(seat)
    seat.until(lambda: seat.pipeline.status == "tracing")
    seat.plot(".aa-map").tap(*head_place(HeadId("encoder", 1, 3), LAYERS, HEADS))
    seat.until(lambda: seat.selection.heads == {HeadId("encoder", 1, 3)})
    seat.page.locator(".aa-cancel button").click()
    seat.until(lambda: seat.pipeline.status == "cancelled")


def test_a_run_that_fails_says_why_in_the_sidebar_and_keeps_the_old_picture(seat):
    picture = seat.plot(".aa-matrix").image().tobytes()
    _type(seat, "fail for a reason")
    _run(seat)
    problem = seat.page.locator(".aa-error .problem")
    seat.until(problem.is_visible)
    assert "This text is refused: for a reason. Write another one." in problem.inner_text()
    assert seat.pipeline.status == "failed"
    assert seat.plot(".aa-matrix").image().tobytes() == picture
    assert seat.page.locator(".aa-matrix").is_visible()
    _type(seat, SHORT)
    _run(seat)
    seat.until(lambda: _on_screen(seat, SHORT))
    assert not problem.is_visible()


def test_what_failed_is_said_beside_the_text_too(seat):
    _type(seat, "fail for a reason")
    _run(seat)
    problem = seat.page.locator(".aa-sticky .problem").last
    seat.until(problem.is_visible)
    assert "This text is refused: for a reason." in problem.inner_text()
    _type(seat, SHORT)
    _run(seat)
    seat.until(lambda: _on_screen(seat, SHORT))
    assert not problem.is_visible()


def test_what_is_typed_and_not_run_is_said(seat):
    _type(seat, SHORT)
    seat.page.locator(".aa-text textarea").first.press("Tab")
    seat.until(lambda: seat.text(".aa-status pre") == "Not run yet: the page shows the run before.")
    _run(seat)
    seat.until(lambda: _on_screen(seat, SHORT))
    seat.until(lambda: seat.text(".aa-status pre") == "")


def test_a_second_text_is_never_folded_away(seat):
    box = seat.page.locator(".aa-pair textarea").first
    assert not box.is_visible()
    seat.do(lambda: setattr(seat.pipeline.input, "pair", "And another one."))
    seat.until(box.is_visible)
    assert box.input_value() == "And another one."
    seat.do(lambda: setattr(seat.pipeline.input, "pair", ""))


def test_a_fault_nobody_foresaw_is_called_one(seat):
    _type(seat, "break quite unexpectedly")
    _run(seat)
    problem = seat.page.locator(".aa-error .problem")
    seat.until(problem.is_visible)
    assert "RuntimeError: quite unexpectedly" in problem.inner_text()
    assert _tokens(seat) == _expected(TEXT)[0]


def test_another_model_is_chosen_and_run(seat):
    _choose(seat, "other")
    assert _tokens(seat) == _expected(TEXT)[0]
    _run(seat)
    seat.until(lambda: _on_screen(seat, TEXT, seed=1))


def test_a_real_model_after_a_planted_one_and_back(seat):
    _choose(seat, "tiny GPT-2")
    _run(seat)
    seat.until(lambda: seat.app.trace.kinds == ("decoder",))
    seat.until(lambda: "3 layers × 4 heads, 14 × 14 tokens" in seat.text(".aa-card-map .line"))
    values = seat.app.trace.attention(layer=0, head=0).to_numpy()
    masked = levels(seat, ".aa-matrix", [((key + 0.5) / 14, 0.5 / 14) for key in range(1, 14)])
    assert (masked >= 240).all()
    assert np.isnan(values[0, 1:]).all()
    _choose(seat, "planted")
    _run(seat)
    seat.until(lambda: _on_screen(seat, TEXT))


def test_a_model_that_does_not_exist_is_said_and_the_old_one_stays_on_screen(seat):
    _choose(seat, "missing")
    _run(seat)
    problem = seat.page.locator(".aa-error .problem")
    seat.until(problem.is_visible)
    assert "There is no model 'missing' here." in problem.inner_text()
    assert _tokens(seat) == _expected(TEXT)[0]


def _choose(seat, name):
    seat.pick(".aa-model", name)
    seat.until(lambda: seat.pipeline.choice.name_or_path == name)
