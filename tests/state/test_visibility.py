"""Visibility: what is on screen is told at once; what is not computes nothing, and catches up once."""

from __future__ import annotations

from atlas.ids import HeadId
from atlas.state.heads import HeadsLens
from atlas.state.visibility import Visibility
from tests.state.readers import ENCODER, Listener, both, single, workspace

COUNTS = ("revision", "marks")
HEAD, OTHER = HeadId(ENCODER, 1, 2), HeadId(ENCODER, 0, 1)


def a_view(**params):
    """(workspace, lens, the visibility of one view of it)."""
    space = workspace(single())
    lens = space.lens(HeadsLens)
    return space, lens, Visibility(lens, space.one_message, **params)


def test_a_view_on_screen_is_told_at_once():
    space, lens, visibility = a_view()
    heard = Listener(visibility, COUNTS)
    space.selection.select_heads([HEAD])
    assert heard.take() == [{"marks": lens.marks}]
    space.selection.select_tokens([1], axis="from", side="source")
    assert heard.take() == [{"revision": lens.revision}]


def test_a_view_out_of_sight_computes_nothing_and_is_told_once_when_it_comes_back():
    space, lens, visibility = a_view(seen=False)
    heard, computed = Listener(visibility, COUNTS), []
    lens.forget = lambda: computed.append("forgotten")
    space.selection.select_heads([HEAD])
    space.selection.select_heads([OTHER])
    space.selection.select_tokens([1], axis="from", side="source")
    assert (heard.take(), computed, lens.revision, lens.marks) == ([], [], 0, 0)
    visibility.seen = True
    assert len(heard.take()) <= 2  # once for the numbers, once for the marks
    assert computed == ["forgotten"]
    assert (visibility.revision, visibility.marks) == (lens.revision, lens.marks) == (1, 1)


def test_a_view_that_comes_back_to_what_it_showed_is_not_drawn_again():
    space, lens, visibility = a_view(opened=False)
    space.selection.select_tokens([1], axis="from", side="source")
    space.selection.clear()
    visibility.opened = True
    assert (lens.revision, visibility.revision) == (0, 0)


def test_a_new_trace_reaches_a_hidden_view_when_it_comes_back():
    space, lens, visibility = a_view(opened=False)
    space.pipeline.show(both())
    assert lens.revision == 0
    visibility.opened = True
    assert visibility.revision == lens.revision == 1
    assert len(lens.table()) == both().n_layers(ENCODER) * both().n_heads(ENCODER)


def test_one_view_out_of_sight_keeps_no_other_waiting():
    space, lens, hidden = a_view(seen=False)
    shown = Visibility(lens, space.one_message)
    space.selection.select_heads([HEAD])
    assert (hidden.marks, shown.marks) == (0, lens.marks) == (0, 1)


def test_a_callback_is_called_once_for_counts_that_changed_together():
    space, lens, visibility = a_view(seen=False)
    drawn = []
    visibility.follow(lambda: drawn.append(("drawn", visibility.revision, visibility.marks)))
    visibility.follow_revision(lambda: drawn.append(("again", visibility.revision, visibility.marks)))
    visibility.follow_marks(lambda: drawn.append(("marked", visibility.revision, visibility.marks)))
    assert drawn == [("drawn", 0, 0)]  # the plot itself is drawn the first time by its caller
    drawn.clear()
    space.selection.select_heads([HEAD])
    space.selection.select_tokens([1], axis="from", side="source")
    assert drawn == []
    visibility.seen = True
    assert {name for name, _, _ in drawn} == {"drawn", "again", "marked"}
    assert drawn[-1][1:] == (lens.revision, lens.marks) == (1, 1)


def test_an_error_while_drawing_stands_in_the_card_and_the_other_views_draw(caplog):
    space, lens, broken = a_view()
    drawn = []
    broken.follow_marks(lambda: {}["plus"])
    Visibility(lens, space.one_message).follow_marks(lambda: drawn.append("drawn"))
    space.selection.select_heads([HEAD])
    assert drawn == ["drawn"]
    assert lens.problem == "This is a fault of Atlas, not yours (KeyError: 'plus'). The log has the details."
    assert "A view failed in a way that was not foreseen." in caplog.text
