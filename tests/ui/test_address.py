"""The address holds the state: reload, share, back and forward."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from atlas.ids import HeadId
from atlas.plots.colours import BACKGROUND, raster_palette
from atlas.state.share import decode
from tests.ui.planted import HEADS, LAYERS, PREVIOUS, TEXT
from tests.ui.shown import EVERY, Wanted, assert_shown, metrics_on_axes
from tests.ui.stage import head_place

pytestmark = pytest.mark.ui

L1 = frozenset(head for head in EVERY if head.layer == 1)


def _token(seat):
    found = parse_qs(urlsplit(seat.page.evaluate("location.href")).query).get("s", [""])
    return found[0]


def _says(seat):
    """What the address says, once it says something that can be read."""
    state, complaints = decode(_token(seat))
    assert complaints == []
    return state


def _run(seat, text):
    seat.page.locator(".aa-text textarea").first.fill(text)
    seat.page.locator(".aa-run button").click()
    seat.until(lambda: seat.app.trace is not None and seat.app.trace.texts.text == text and seat.pipeline.status == "ready")


@pytest.fixture
def seat(seat):
    """The page with the first text on screen."""
    if seat.app.trace is None or seat.app.trace.texts.text != TEXT:
        _run(seat, TEXT)
    metrics_on_axes(seat)
    return seat


def _something(seat):
    """Heads and tokens are selected, a form is chosen, and the address says so."""
    seat.do(lambda: (seat.selection.select_heads(L1, label="layer 1"), seat.selection.select_pairs({3}, {5})))
    seat.do(lambda: seat.display.param.update(paint="received", aggregate="mean", threshold=0.05))
    wanted = Wanted(L1, frozenset({3}), frozenset({5}), min(L1))
    seat.until(lambda: (_says(seat).heads, _says(seat).queries, _says(seat).keys) == (L1, {3}, {5}))
    seat.until(lambda: _says(seat).display.get("threshold") == 0.05)
    return wanted


def _hidden(seat):
    """(colours that look like paper, where the slider is); the first colour is paper anyhow."""
    ground = raster_palette(dark=False)[BACKGROUND]
    weak = sum(colour == ground for colour in seat.plot(".aa-matrix").raster()["palette"][:BACKGROUND])
    return weak, int(float(seat.page.locator(".aa-threshold .noUi-handle").first.get_attribute("aria-valuenow")))


def _restored(seat, wanted):
    """The state and all views are as the address says."""
    seat.settled()
    seat.until(lambda: seat.selection.heads == wanted.heads and seat.selection.queries == wanted.queries)
    assert (seat.selection.keys, seat.selection.focus, seat.selection.label) == (wanted.keys, wanted.focus, "layer 1")
    assert seat.app.trace.texts.text == TEXT
    assert seat.pipeline.choice.name_or_path == "planted"
    assert (seat.display.threshold, seat.display.layout, seat.display.x) == (0.05, "metrics", "previous")
    seat.until(lambda: seat.page.locator(".aa-text textarea").first.input_value() == TEXT)
    assert_shown(seat, wanted)
    seat.until(lambda: _hidden(seat)[0] == _hidden(seat)[1] > 1)


def test_a_reload_brings_everything_back(seat):
    wanted = _something(seat)
    seat.arrive(seat.page.reload)
    _restored(seat, wanted)
    assert len(seat.visits) > 1
    assert seat.visits[-1].app is not seat.visits[-2].app


def test_a_link_opens_the_same_for_somebody_else_who_then_goes_their_own_way(seat):
    wanted = _something(seat)
    link = seat.page.evaluate("location.href")
    with seat.beside() as other:
        other.arrive(lambda: other.page.goto(link, wait_until="domcontentloaded"))
        _restored(other, wanted)
        other.plot(".aa-map").tap(*head_place(PREVIOUS, LAYERS, HEADS))
        other.until(lambda: other.selection.heads == {PREVIOUS})
        other.page.locator(".aa-clear-tokens button").click()
        other.until(lambda: other.selection.keys == frozenset())
    assert (seat.selection.heads, seat.selection.keys) == (wanted.heads, wanted.keys)
    assert_shown(seat, wanted)


def test_back_and_forward_go_through_what_was_selected(seat):
    seat.plot(".aa-map").tap(*head_place(PREVIOUS, LAYERS, HEADS))
    first = Wanted(frozenset({PREVIOUS}), focus=PREVIOUS)
    seat.until(lambda: _says(seat).heads == first.heads)
    seat.page.wait_for_timeout(300)  # two changes within a tenth of a second are one gesture, and one entry of the history
    seat.token(4).click()
    second = Wanted(first.heads, frozenset({4}), frozenset({4}), PREVIOUS)
    seat.until(lambda: _says(seat).keys == {4})
    seat.page.go_back()
    seat.until(lambda: seat.selection.keys == frozenset() and seat.selection.heads == first.heads)
    assert_shown(seat, first)
    seat.page.go_forward()
    seat.until(lambda: seat.selection.keys == {4})
    assert_shown(seat, second)
    assert len(seat.visits) == len({id(visit) for visit in seat.visits})
    assert seat.app.trace.texts.text == TEXT


def test_back_brings_the_threshold_before_and_the_slider_with_it(seat):
    handle = seat.page.locator(".aa-threshold .noUi-handle").first
    handle.focus()
    seat.page.keyboard.press("ArrowRight")
    seat.until(lambda: _hidden(seat) == (1, 1) and _says(seat).display.get("threshold", 0) > 0)
    first = seat.display.threshold
    seat.page.wait_for_timeout(300)
    handle.focus()
    seat.page.keyboard.press("ArrowRight")
    # The colours change in the browser; the server hears of it, and the address of the server.
    seat.until(lambda: _hidden(seat) == (2, 2) and _says(seat).display["threshold"] == seat.display.threshold > first)
    seat.page.go_back()
    seat.until(lambda: _hidden(seat) == (1, 1))
    seat.page.go_back()
    seat.until(lambda: _hidden(seat) == (1, 0) and seat.display.threshold == 0)


def test_back_brings_the_text_before_with_its_selection(seat):
    wanted = _something(seat)
    seat.page.wait_for_timeout(300)
    _run(seat, "she was late .")
    seat.until(lambda: _says(seat).text == "she was late .")
    before = seat.app.trace
    seat.page.go_back()
    seat.until(lambda: seat.app.trace is not before and seat.app.trace.texts.text == TEXT)
    _restored(seat, wanted)


def test_without_the_text_the_link_leaves_it_out_and_says_so_to_whoever_opens_it(seat):
    _something(seat)
    assert _says(seat).text == TEXT
    seat.page.locator(".aa-private input").click()
    seat.until(lambda: _says(seat).private and not _says(seat).text)
    link = seat.page.evaluate("location.href")
    with seat.beside() as other:
        other.arrive(lambda: other.page.goto(link, wait_until="domcontentloaded"))
        other.until(other.page.get_by_text("This link leaves its text out").first.is_visible)
        assert other.app.trace is None
        other.until(other.page.locator(".aa-card-map .empty").first.is_visible)
        _run(other, TEXT)
        other.until(lambda: other.selection.heads == L1)
    seat.page.locator(".aa-private input").click()
    seat.until(lambda: _says(seat).text == TEXT)


def test_a_text_too_long_for_a_link_is_left_out_and_that_is_said(seat):
    import random

    words = random.Random(0)
    text = " ".join("".join(words.choices("abcdefghijklmnopqrstuvwxyz", k=12)) for _ in range(500))
    _run(seat, text)
    seat.until(seat.page.get_by_text("It leaves the texts out; save the session as a file").first.is_visible)
    assert _says(seat).private
    assert len(seat.page.evaluate("location.href")) < 4_200
    _run(seat, TEXT)
    seat.until(lambda: _says(seat).text == TEXT)


def test_a_damaged_link_says_so_and_opens_as_if_there_was_none(seat):
    with seat.beside() as other:
        for token in ("v1.broken", "v9.abc", "%00", "v1." + "A" * 5_000):
            other.arrive(lambda token=token: other.page.goto(f"{other.url}/?s={token}", wait_until="domcontentloaded"))
            other.settled()
            assert other.app.trace.texts.text == TEXT
            other.until(other.page.get_by_text("could be restored").first.is_visible)


def test_what_a_link_names_that_is_not_there_is_left_out_and_said(seat):
    from atlas.state.link import State
    from atlas.state.share import encode

    heads = frozenset({PREVIOUS, HeadId("encoder", 11, 11)})
    token = encode(State(model="planted", text=TEXT, heads=heads, focus=PREVIOUS, keys=frozenset({2, 400}))).token
    with seat.beside() as other:
        other.arrive(lambda: other.page.goto(f"{other.url}/?other=1&s={token}", wait_until="domcontentloaded"))
        other.settled()
        other.until(lambda: other.selection.heads == {PREVIOUS} and other.selection.keys == {2})
        other.until(other.page.get_by_text("1 of 2 heads of this link do not exist").first.is_visible)
        assert "other=1" in other.page.evaluate("location.href"), "the rest of the address is somebody else's"
        assert other.selection.queries == frozenset()
