"""Visibility: what is on screen is told at once, what is not right after."""

from __future__ import annotations

from atlas.ids import HeadId
from atlas.state.heads import HeadsLens
from atlas.state.visibility import Visibility
from tests.state.readers import ENCODER, Listener, single, workspace

COUNTS = ("revision", "marks")


def told_of(seen, trace=None):
    """(workspace, lens, visibility, what is put off)."""
    space = workspace(trace or single())
    put_off = []
    space.after_paint = put_off.append
    lens = HeadsLens(space)
    return space, lens, Visibility(lens, space, seen=seen), put_off


def test_a_view_on_screen_is_told_at_once():
    space, lens, visibility, put_off = told_of(seen=True)
    heard = Listener(visibility, COUNTS)
    space.selection.select_heads([HeadId(ENCODER, 1, 2)])
    assert heard.take() == [{"marks": lens.marks}]
    space.selection.select_tokens([1], axis="from", side="source")
    assert heard.take() == [{"revision": lens.revision}]
    assert not put_off


def test_a_view_out_of_sight_is_told_once_of_all_that_changed_meanwhile():
    space, lens, visibility, put_off = told_of(seen=False)
    heard = Listener(visibility, COUNTS)
    space.selection.select_heads([HeadId(ENCODER, 1, 2)])
    space.selection.select_heads([HeadId(ENCODER, 0, 1)])
    space.selection.select_tokens([1], axis="from", side="source")
    assert heard.take() == []
    assert len(put_off) == 1
    put_off.pop()()
    assert heard.take() == [{"revision": lens.revision, "marks": lens.marks}]
    assert (visibility.revision, visibility.marks) == (lens.revision, lens.marks)
    space.selection.select_heads([HeadId(ENCODER, 1, 1)])
    assert len(put_off) == 1  # it is put off again


def test_what_came_into_sight_meanwhile_is_told_with_the_next_change_and_not_again():
    space, lens, visibility, put_off = told_of(seen=False)
    heard = Listener(visibility, COUNTS)
    space.selection.select_heads([HeadId(ENCODER, 1, 2)])
    visibility.seen = True
    space.selection.select_heads([HeadId(ENCODER, 0, 1)])
    assert heard.take() == [{"marks": lens.marks}]
    put_off.pop()()
    assert heard.take() == []


def test_one_view_out_of_sight_keeps_no_other_waiting():
    space, lens, hidden, put_off = told_of(seen=False)
    shown = Visibility(lens, space)
    space.selection.select_heads([HeadId(ENCODER, 1, 2)])
    assert (hidden.marks, shown.marks) == (lens.marks - 1, lens.marks)
    assert len(put_off) == 1


def test_where_there_is_no_page_later_is_now():
    space = workspace(single())
    lens = HeadsLens(space)
    visibility = Visibility(lens, space, seen=False)
    space.selection.select_heads([HeadId(ENCODER, 1, 2)])
    assert visibility.marks == lens.marks == 1


def test_who_follows_is_called_once_for_counts_that_changed_together_and_nothing_breaks():
    space, lens, visibility, put_off = told_of(seen=False)
    drawn = []
    visibility.follow(lambda: drawn.append(("drawn", visibility.revision, visibility.marks)))
    visibility.follow_revision(lambda: drawn.append(("again", visibility.revision, visibility.marks)))
    visibility.follow_marks(lambda: drawn.append(("marked", visibility.revision, visibility.marks)))
    assert drawn == [("drawn", 0, 0)]  # who draws anew or marks has been drawn by somebody else
    drawn.clear()
    space.selection.select_heads([HeadId(ENCODER, 1, 2)])
    space.selection.select_tokens([1], axis="from", side="source")
    assert (drawn, lens.revision, lens.marks) == ([], 1, 1)
    put_off.pop()()
    assert sorted(drawn) == [("again", 1, 1), ("drawn", 1, 1), ("marked", 1, 1)]


def test_a_view_that_comes_into_sight_with_both_counts_behind_is_told_of_both_by_the_next_change():
    space, lens, visibility, _ = told_of(seen=False)
    drawn = []
    visibility.follow(lambda: drawn.append((visibility.revision, visibility.marks)))
    space.selection.select_tokens([1], axis="from", side="source")
    visibility.seen = True
    space.selection.select_heads([HeadId(ENCODER, 1, 2)])
    assert drawn == [(0, 0), (lens.revision, lens.marks)] == [(0, 0), (1, 1)]
