"""Turn: what is on screen is told at once, what is not right after."""

from __future__ import annotations

from atlas.ids import HeadId
from atlas.state.heads import HeadsLens
from atlas.state.turn import Turn
from tests.state.readers import ENCODER, Listener, single, workspace

COUNTS = ("revision", "marks")


def told_of(seen, trace=None):
    """(workspace, lens, turn, what is put off)."""
    space = workspace(trace or single())
    put_off = []
    space.later = put_off.append
    lens = HeadsLens(space)
    return space, lens, Turn(lens, space, seen=seen), put_off


def test_a_view_on_screen_is_told_at_once():
    space, lens, turn, put_off = told_of(seen=True)
    heard = Listener(turn, COUNTS)
    space.selection.select_heads([HeadId(ENCODER, 1, 2)])
    assert heard.take() == [{"marks": lens.marks}]
    space.selection.select_tokens([1], axis="from", side="source")
    assert heard.take() == [{"revision": lens.revision}]
    assert not put_off


def test_a_view_out_of_sight_is_told_once_of_all_that_changed_meanwhile():
    space, lens, turn, put_off = told_of(seen=False)
    heard = Listener(turn, COUNTS)
    space.selection.select_heads([HeadId(ENCODER, 1, 2)])
    space.selection.select_heads([HeadId(ENCODER, 0, 1)])
    space.selection.select_tokens([1], axis="from", side="source")
    assert heard.take() == []
    assert len(put_off) == 1
    put_off.pop()()
    assert heard.take() == [{"revision": lens.revision, "marks": lens.marks}]
    assert (turn.revision, turn.marks) == (lens.revision, lens.marks)
    space.selection.select_heads([HeadId(ENCODER, 1, 1)])
    assert len(put_off) == 1  # it is put off again


def test_what_came_into_sight_meanwhile_is_told_with_the_next_change_and_not_again():
    space, lens, turn, put_off = told_of(seen=False)
    heard = Listener(turn, COUNTS)
    space.selection.select_heads([HeadId(ENCODER, 1, 2)])
    turn.seen = True
    space.selection.select_heads([HeadId(ENCODER, 0, 1)])
    assert heard.take() == [{"marks": lens.marks}]
    put_off.pop()()
    assert heard.take() == []


def test_one_view_out_of_sight_keeps_no_other_waiting():
    space, lens, hidden, put_off = told_of(seen=False)
    shown = Turn(lens, space)
    space.selection.select_heads([HeadId(ENCODER, 1, 2)])
    assert (hidden.marks, shown.marks) == (lens.marks - 1, lens.marks)
    assert len(put_off) == 1


def test_where_there_is_no_page_later_is_now():
    space = workspace(single())
    lens = HeadsLens(space)
    turn = Turn(lens, space, seen=False)
    space.selection.select_heads([HeadId(ENCODER, 1, 2)])
    assert turn.marks == lens.marks == 1


def test_who_follows_is_called_once_for_counts_that_changed_together_and_nothing_breaks():
    space, lens, turn, put_off = told_of(seen=False)
    drawn = []
    turn.follow(lambda: drawn.append(("drawn", turn.revision, turn.marks)))
    turn.follow_revision(lambda: drawn.append(("again", turn.revision, turn.marks)))
    turn.follow_marks(lambda: drawn.append(("marked", turn.revision, turn.marks)))
    assert drawn == [("drawn", 0, 0)]  # who draws anew or marks has been drawn by somebody else
    drawn.clear()
    space.selection.select_heads([HeadId(ENCODER, 1, 2)])
    space.selection.select_tokens([1], axis="from", side="source")
    assert (drawn, lens.revision, lens.marks) == ([], 1, 1)
    put_off.pop()()
    assert sorted(drawn) == [("again", 1, 1), ("drawn", 1, 1), ("marked", 1, 1)]


def test_a_view_that_comes_into_sight_with_both_counts_behind_is_told_of_both_by_the_next_change():
    space, lens, turn, _ = told_of(seen=False)
    drawn = []
    turn.follow(lambda: drawn.append((turn.revision, turn.marks)))
    space.selection.select_tokens([1], axis="from", side="source")
    turn.seen = True
    space.selection.select_heads([HeadId(ENCODER, 1, 2)])
    assert drawn == [(0, 0), (lens.revision, lens.marks)] == [(0, 0), (1, 1)]
