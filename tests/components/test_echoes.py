"""What a browser says again of what it was told is no choice of the reader."""

from __future__ import annotations

from atlas.views import glyph
from atlas.views.glyph import Echoes


def test_a_late_echo_is_no_choice_and_is_heard_once():
    echoes = Echoes()
    echoes.told([1, 2])
    echoes.told([])
    echoes.told([3])
    assert echoes.hears([])
    assert echoes.hears([3])
    assert not echoes.hears([])


def test_the_same_rows_can_be_chosen_again_after_they_were_let_go_of_elsewhere():
    echoes = Echoes()
    assert not echoes.hears([5])
    echoes.told([5])  # the browser has them: no echo comes
    echoes.told([])
    assert echoes.hears([])
    assert not echoes.hears([5])


def test_an_echo_that_never_comes_is_not_awaited_for_ever(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(glyph.time, "monotonic", lambda: clock[0])
    echoes = Echoes()
    echoes.told([1])
    clock[0] = glyph.ECHO + 1
    assert not echoes.hears([1])
