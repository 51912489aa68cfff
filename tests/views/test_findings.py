"""The notebook of findings without a browser: a pin of a card, and what the page's dialog asks for."""

from __future__ import annotations

import json
import re

import holoviews as hv
import pytest

from atlas.components.findings_book import FindingsBook
from atlas.ids import HeadId
from atlas.patches.messages import LONGEST_STRING, MOST_BYTES, problem_of
from atlas.resources import asset
from atlas.state.contradictions import HELP
from atlas.state.findings import EDITED, MOST, MOST_LETTERS, WRITTEN, dumps, loads
from atlas.state.share import Shared
from atlas.state.shared import SharedState
from atlas.views.findings import Notebook
from atlas.views.single import view_types
from tests.state.readers import single, workspace

HEADS = frozenset({HeadId("encoder", 1, 2)})


@pytest.fixture(scope="module", autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


class Desk:
    """A session: a view in its card, and the notebook of its page."""

    def __init__(self, key="matrix", trace=None):
        self.room = workspace()
        self.shared = SharedState(self.room)
        self.notebook = Notebook(self.room.findings, self.shared, dark=False)
        self.book = self.notebook.book
        self.sent = []
        self.book._send_msg = self.sent.append
        self.room.pipeline.choose("a recording", in_memory=True)
        self.room.pipeline.show(trace or single())
        self.view = view_types()[key](self.room)
        self.card = self.view.__panel__()
        self.card.head._send_msg = self.sent.append

    def ask(self, what, **texts):
        self.book._handle_msg({"ask": what} | texts)

    @property
    def found(self):
        return self.room.findings.found


@pytest.fixture
def desk():
    return Desk()


def test_a_pin_goes_to_the_browser_and_nothing_before_it(desk):
    assert desk.card.head.can_pin
    assert (desk.book.kept, desk.book.flags) == ("", {})
    desk.room.selection.select_heads(HEADS)
    desk.card.head._handle_msg("pin")
    assert desk.sent == [{"pinned": True}]
    (made,) = loads(desk.book.kept)[0]
    assert (made.view, made.about, made.line) == ("matrix", desk.view.title, desk.view.lens.line)
    table = desk.view.export().table
    assert made.numbers[:2] == pytest.approx([float(value) for value in table.select_dtypes("number").iloc[0]][:2])


def test_a_restored_finding_brings_the_state_back(desk):
    desk.room.selection.select_heads(HEADS)
    desk.card.head._handle_msg("pin")
    desk.room.selection.clear()
    desk.ask("restore", key=desk.found[0].key)
    assert desk.room.selection.heads == HEADS


def test_a_finding_without_a_usable_state_says_so(desk):
    desk.card.head._handle_msg("pin")
    desk.room.findings.found = (desk.found[0]._replace(token="v1.damaged"),)
    desk.ask("restore", key=desk.found[0].key)
    assert desk.book.said.startswith("This finding cannot be restored. This link is cut off")


def test_a_view_that_cannot_be_pinned_says_why_in_its_card(desk):
    desk.room.findings.link = lambda: Shared("", "It is too long.")
    desk.card.head._handle_msg("pin")
    assert desk.sent == [{"pinned": False}]
    assert desk.card.note == "This cannot be pinned: It is too long."


def test_without_a_notebook_a_card_offers_no_pin():
    room = workspace(single())
    card = view_types()["matrix"](room).__panel__()
    assert not card.head.can_pin
    card.head._handle_msg("pin")
    assert room.findings.found == ()


def test_the_fullest_notebook_is_no_message_that_the_server_refuses(desk):
    desk.card.head._handle_msg("pin")
    longest = {name: "a" * most for name, most in (EDITED | WRITTEN).items()}
    kept = dumps([desk.found[0]._replace(**(longest | {"key": f"{at:064}"})) for at in range(MOST)])
    assert LONGEST_STRING < len(kept) <= MOST_LETTERS
    size = int(re.search(r"PIECE = ([\d_]+)", asset("js", "findings_book.js").read_text(encoding="utf-8"))[1])
    sent = {"ask": "begin", "pieces": [kept[at : at + size] for at in range(0, len(kept), size)]}
    assert problem_of("PATCH-DOC", {"events": [{"kind": "MessageSent", "msg_data": sent}]}) == ""
    assert len(json.dumps(sent)) < MOST_BYTES
    desk.book._handle_msg(sent)
    assert len(desk.found) == MOST


def test_what_the_browser_kept_comes_back_and_what_cannot_be_read_is_left_to_it(desk):
    desk.card.head._handle_msg("pin")
    kept = desk.book.kept
    other = Desk()
    other.ask("begin", pieces=[kept[:100], kept[100:]])
    assert (other.found, other.book.kept, other.sent) == (desk.found, kept, [])
    other.ask("begin", pieces=["{"])
    assert other.sent == [{"unread": True}]
    assert "cannot be read" in other.book.said
    assert other.found == desk.found


def test_the_reader_edits_moves_deletes_loads_and_saves(desk):
    for _ in range(2):
        desk.card.head._handle_msg("pin")
    first, second = (each.key for each in desk.found)
    desk.ask("edit", key=first, name="title", value="<b>one</b>")
    desk.ask("edit", key=first, name="claim", value="reason")
    desk.ask("edit", key=second, name="claim", value="no reason")
    assert set(desk.book.flags) == {first, second}
    desk.ask("move", key=second, by=-1)
    assert [each.key for each in desk.found] == [second, first]
    desk.ask("export", ending="json")
    desk.ask("export", ending="md")
    json_file, md_file = (each["file"] for each in desk.sent[2:])
    assert json.loads(json_file["text"])["findings"][1]["title"] == "<b>one</b>"
    assert "\\<b\\>one\\<\\/b\\>" in md_file["text"]
    assert md_file["text"].count("**Contradiction**") == 2
    desk.ask("remove", key=first)
    assert [each.key for each in desk.found] == [second]
    desk.ask("load", pieces=[json_file["text"]])
    assert {each.key for each in desk.found} == {first, second}


@pytest.mark.parametrize(
    "message",
    [
        None,
        "pin",
        {"ask": "remove"},
        {"ask": "remove", "key": 1},
        {"ask": ["remove"], "key": "a"},
        {"ask": "edit", "key": "a", "name": "title", "value": {"a": 1}},
        {"ask": "move", "key": "a", "by": True},
        {"ask": "move", "key": "a", "by": "1"},
        {"ask": "begin", "pieces": None},
        {"ask": "load", "pieces": [5]},
        {"ask": "export", "ending": "exe"},
        {"ask": "__init__"},
        {"ask": "report"},
        {"ask": "report", "title": "", "question": 1},
    ],
)
def test_messages_that_make_no_sense_change_nothing(desk, message):
    desk.card.head._handle_msg("pin")
    before = desk.found
    desk.book._handle_msg(message)
    assert desk.found == before
    assert len(desk.sent) == 1
    assert desk.book.told == ""


def test_the_help_states_the_rules(desk):
    assert HELP in desk.book.help
    assert isinstance(desk.book, FindingsBook)
    assert dumps(()) != ""
