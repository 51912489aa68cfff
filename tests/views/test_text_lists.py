"""The lists at the side without a page: what stands in them, and what a press does."""

from __future__ import annotations

import pytest

import atlas
from atlas.components.text_rows import TextRows
from atlas.errors import UnknownName
from atlas.state.inputs import LONGEST_TEXT
from atlas.state.workspace import Workspace
from atlas.tracing.listed import MOST_BYTES, list_of
from atlas.views.sidebar import Sidebar
from atlas.views.text_lists import LONGEST_FILTER, NONE_YET, ListedPanel, RecentPanel
from tests.state.readers import single


@pytest.fixture
def room():
    return Workspace(lambda *_: single())


def test_a_file_is_taken_and_its_rows_are_pressed(room):
    panel = ListedPanel(room)
    assert (panel.rows.visible, panel.filter.visible, panel.hint.visible) == (False, False, True)
    panel.upload.param.update(filename="mine.csv", value=b"text,label\na cat,x\n,y\na <b>dog</b>,z\n")
    assert panel.about.object == "mine.csv: 2 texts\n1 row cannot be used:\nrow 2 is empty"
    assert (panel.rows.visible, panel.filter.visible, panel.hint.visible) == (True, True, False)
    assert [tuple(row) for row in panel.rows.rows] == [
        ("0", "1", "a cat", "x", False, ()),
        ("1", "3", "a <b>dog</b>", "z", False, ()),
    ]
    panel.rows._handle_msg({"key": "1"})
    assert room.pipeline.shown.text == "a <b>dog</b>"
    assert [row.now for row in panel.rows.rows] == [False, True]
    assert panel.rows.where == "2 of 2"
    panel.rows._handle_msg({"step": -1})
    assert (room.pipeline.shown.text, panel.rows.where) == ("a cat", "1 of 2")
    panel.filter.value_input = "DOG"
    assert [row.text for row in panel.rows.rows] == ["a <b>dog</b>"]
    panel.filter.value_input = "x" * 9_999
    assert len(room.listed.filter) == LONGEST_FILTER
    panel.upload.param.update(filename="other.exe", value=b"MZ")
    assert "not from 'other.exe'" in panel.problem.problem
    panel.upload.param.update(filename="other.txt", value=b"one\n")
    assert (panel.problem.problem, panel.filter.value_input, panel.rows.where) == ("", "", "– of 1")
    panel.upload.param.update(filename="large.txt", value=b"x" * (MOST_BYTES + 1))
    assert "Split it" in panel.problem.problem


def test_recent_texts_are_pressed(room):
    panel = RecentPanel(room)
    assert (panel.none.object, panel.none.visible, panel.rows.visible) == (NONE_YET, True, False)
    room.pipeline.choose("gpt-mini")
    for text in ("one", "two"):
        room.pipeline.input.put(text, "beside")
        room.pipeline.run()
    assert [tuple(row) for row in panel.rows.rows] == [
        ("0", "", "two · beside", "gpt-mini", True, ()), ("1", "", "one · beside", "gpt-mini", False, ()),
    ]  # fmt: skip
    room.pipeline.input.put("three")
    assert [row.now for row in panel.rows.rows] == [False, False]
    panel.rows._handle_msg({"key": "1"})
    assert (room.pipeline.shown.text, room.pipeline.shown.pair) == ("one", "beside")
    assert [row.text for row in panel.rows.rows] == ["one · beside", "two · beside"]


def test_the_lists_are_folded_away_unless_one_was_given(room):
    assert fold(room).active == []
    room.listed.put(list_of(["one"], LONGEST_TEXT))
    assert fold(room).active == [1]
    room.pipeline.input.pair = "two"
    assert fold(room).active == [0, 1]


def test_a_list_is_given_in_python(monkeypatch, tmp_path):
    jobs = []
    monkeypatch.setattr("atlas.state.pipeline.Pipeline.run", lambda pipeline: jobs.append(pipeline.job()))
    app = atlas.explore("gpt-mini", texts=["one", ("two", "more")])
    app.workspace.listed.step(1)
    assert [(job.text, job.pair) for job in jobs] == [("one", None), ("two", "more")]
    # A model in memory, of which the catalog knows nothing.
    atlas.explore(atlas.load("t5-mini"), texts=[{"text": "May", "target": "5"}])
    assert jobs[-1].target == "5"
    (tmp_path / "mine.txt").write_text("one\ntwo\n", encoding="utf-8")
    app = atlas.explore("gpt-mini", "a text", texts=tmp_path / "mine.txt")
    assert (jobs[-1].text, app.workspace.listed.where()) == ("a text", "– of 2")
    with pytest.raises(UnknownName, match="needs a text"):
        atlas.explore("gpt-mini", texts=[])


def fold(room):
    """The part of the sidebar that is folded away."""
    (found,) = Sidebar(room, (), ())._more()
    assert len(found.select(TextRows)) == 2
    return found
