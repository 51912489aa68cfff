from __future__ import annotations

import pytest

from atlas.patches.messages import LONGEST_STRING, is_ours, problem_of, shortened
from atlas.state.inputs import LONGEST_TEXT


def changed(new: object, kind: object = "ModelChanged") -> dict[str, object]:
    return {"events": [{"kind": kind, "model": {"id": "p1"}, "attr": "value", "new": new}]}


def test_a_message_holds_as_long_a_text_as_a_box_takes_and_no_longer():
    assert LONGEST_STRING == LONGEST_TEXT
    assert problem_of("PATCH-DOC", changed("x" * LONGEST_STRING)) == ""
    too_long = "x" * (LONGEST_STRING + 1)
    for new in (
        too_long,
        [[{"a": too_long}]],
        {too_long: 1},
        {"type": "map", "entries": [["data", too_long]]},
        {"data": too_long},
    ):
        assert "200,001 letters" in problem_of("PATCH-DOC", changed(new))


def test_the_bytes_of_a_file_are_not_a_text():
    piece = {"type": "bytes", "data": "x" * 1_400_000}
    assert problem_of("PATCH-DOC", changed({"type": "map", "entries": [["data", piece]]}, "MessageSent")) == ""


@pytest.mark.parametrize("kind", ["RootAdded", "RootRemoved", "TitleChanged", "ColumnsStreamed", "", None, 5, ["x"], {"a": 1}])
def test_a_page_changes_what_it_shows_and_adds_nothing(kind):
    assert "may not send" in problem_of("PATCH-DOC", changed("x", kind))


def test_deep_and_strange_contents_are_read_without_recursion():
    deep: object = "x"
    for _ in range(100_000):
        deep = [deep]
    assert problem_of("PATCH-DOC", changed(deep)) == ""
    for content in (None, 5, [], {}, {"events": None}, {"events": [5]}, {"events": {}}):
        assert problem_of("PATCH-DOC", content) == "a message cannot be read"


def test_a_fault_in_the_reading_of_a_message_is_the_strangers_and_one_beyond_it_is_ours():
    from atlas.components.token_strip import TokenStrip

    strip = TokenStrip(tokens=[{"position": 0, "text": "a"}])
    for data in (None, 5, {"mode": "x"}, {"mode": "replace", "positions": [[]]}):
        with pytest.raises((AttributeError, ValueError, TypeError)) as error:
            strip._handle_msg(data)
        assert not is_ours(error.value)
    from atlas.text.files import read_texts

    strip.on_pick(lambda _: read_texts(None))
    with pytest.raises(Exception) as ours:
        strip._handle_msg({"mode": "replace", "positions": [0]})
    assert is_ours(ours.value)


def test_what_a_stranger_sends_is_quoted_on_one_short_line():
    said = shortened("a\nb\x1b[31m" + "x" * 10_000)
    assert len(said) < 300
    assert said.isprintable()
