"""A session as a file: there and back whatever it holds, and whatever a stranger writes into it."""

from __future__ import annotations

import contextlib
import json
import time

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.ids import HeadId
from atlas.state import session_file
from atlas.state.compact import Unusable
from atlas.state.findings import MOST
from atlas.state.inputs import LONGEST_TEXT
from atlas.state.link import State
from atlas.state.session_file import MOST_BYTES, opened, read, saved, written
from atlas.state.share import decode, encode, without_text
from atlas.state.shared import SharedState
from atlas.views.session_panel import SessionPanel
from tests.state.readers import DECODER, both, single, workspace
from tests.state.test_findings import STATE, finding
from tests.state.test_share import STRANGE


def on_screen():
    room = workspace()
    shared = SharedState(room)
    room.pipeline.choose("tiny", in_memory=True)
    room.pipeline.input.text = "the doctor said that she ran"
    room.pipeline.show(single())
    return room, shared


@pytest.mark.parametrize("text", [*STRANGE, "ж" * LONGEST_TEXT])
def test_a_session_with_any_text_comes_back(text):
    state = State(model="gpt-mini", text=text, heads=frozenset({HeadId(DECODER, 1, 2)}), display={"tab": "deep"})
    found, findings, said = read(written(state, (finding("a"), finding("b"))))
    assert (found.text, found.heads, found.display, said) == (text, state.heads, state.display, [])
    assert findings == (finding("a"), finding("b"))


def test_the_longest_session_fits():
    state = State(model="gpt-mini", text="𝕬" * LONGEST_TEXT, pair="𝕬" * LONGEST_TEXT, target="𝕬" * LONGEST_TEXT)
    longest = finding(hypothesis="ж" * 2_000, uncertainty="ж" * 2_000, steps="ж" * 2_000)
    assert len(written(state, tuple(longest._replace(key=str(at)) for at in range(MOST)))) < MOST_BYTES


def test_a_text_too_long_for_a_link_is_in_the_file_and_put_on_the_page():
    text = " ".join(f"word{at * 7919 % 10_007}" for at in range(3_000))
    state = State(model="gpt-mini", text=text)
    assert encode(state).message.startswith("With its texts this link would have")
    room = workspace(both())
    shared = SharedState(room)
    assert opened(shared, written(state, (finding("a"),))) == ""
    assert room.pipeline.input.text == text
    assert [each.key for each in room.findings.found] == ["a"]


def test_what_is_saved_is_what_is_on_screen_and_comes_back_to_it():
    room, shared = on_screen()
    room.selection.select_tokens([2])
    room.display.tab = "bias"
    data = saved(shared)
    room.selection.clear()
    room.display.tab = "explore"
    assert opened(shared, data) == ""
    assert room.selection.queries == room.selection.keys == {2}
    assert room.display.tab == "bias"


def test_who_leaves_the_text_out_of_links_leaves_it_out_of_the_file():
    room, shared = on_screen()
    text = room.pipeline.input.text
    assert text
    table = pd.DataFrame({"weight": [0.5]})
    pinned = room.findings.pin(room, "matrix", "Matrix", f"of {text}", table)
    room.findings.edit(pinned.key, "title", "what I wrote")
    assert text in saved(shared).decode()
    shared.private = True
    state, (finding,), _ = read(saved(shared))
    assert state.private
    # It was pinned while the text was still in links: its words, its line and its link had it.
    assert text not in saved(shared).decode()
    assert decode(finding.token)[0] == without_text(decode(pinned.token)[0])
    assert (finding.text, finding.line, finding.title) == ("", "", "what I wrote")
    assert room.findings.get(pinned.key).text, "what the page keeps is as it was"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[1, 2]", "no file of a session"),
        (b'{"findings": []}', "no file of a session"),
        (b"[" * 100_000, "no JSON"),
        (json.dumps({session_file.MARK: 2}).encode(), "of version 2"),
        (json.dumps({session_file.MARK: True}).encode(), "of version True"),
        (json.dumps({session_file.MARK: 1, "state": [1]}).encode(), "no file of a session"),
        (json.dumps({session_file.MARK: 1, "findings": 5}).encode(), "no file of findings"),
        (b" " * (MOST_BYTES + 1), "are the most"),
    ],
)
def test_what_is_no_session_changes_nothing_and_says_why(data, said):
    room, shared = on_screen()
    before = saved(shared)
    begun = time.perf_counter()
    assert said in opened(shared, data)
    assert time.perf_counter() - begun < 1
    assert saved(shared) == before
    assert room.findings.found == ()


def test_what_cannot_be_used_is_named_and_the_rest_is_kept():
    given = json.loads(written(STATE, (finding("a"), finding("b"))))
    given["state"] |= {"focus": 5, "unheard of": 1}
    given["findings"]["findings"][1]["key"] = "a"
    state, findings, said = read(json.dumps(given).encode())
    assert state == State(model=STATE.model, text=STATE.text, heads=STATE.heads)
    assert len(findings) == 1
    assert len(said) == 3


KEYS = [*State.__annotations__, "x"]

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
)


@given(ANY, ANY)
@settings(max_examples=200, deadline=None)
def test_a_file_of_a_stranger_is_read_or_refused_in_words(state, findings):
    data = json.dumps({session_file.MARK: 1, "state": state, "findings": findings}).encode()
    with contextlib.suppress(Unusable):
        assert isinstance(read(data)[0], State)


def test_the_panel_opens_a_file_and_says_what_is_wrong_with_one():
    room, shared = on_screen()
    panel = SessionPanel(shared)
    panel.upload.value = b"{}"
    assert panel.problem == "This file cannot be read: it is no file of a session."
    room.display.tab = "deep"
    data = panel.download.callback().getvalue()
    assert data == saved(shared)
    room.display.tab = "explore"
    panel.upload.value = data
    assert (room.display.tab, panel.problem) == ("deep", "")
