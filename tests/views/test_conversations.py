"""A conversation typed into the sidebar: what the model reads of it, in links, written on, and where there is no template."""

from __future__ import annotations

import panel as pn  # noqa: F401  (it runs what is asynchronous, as it does for a page)
import pytest

from atlas.engine.running.service import Service
from atlas.jobs import listed_models, worked_out
from atlas.state.inputs import InputModel
from atlas.state.restore import apply
from atlas.state.share import encode
from atlas.state.shared import SharedState
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.conversation import messages_of
from atlas.views.sidebar import CONVERSATION, Sidebar, on_the_page
from atlas.views.writing import WritingView
from tests.engine.families import loaded
from tests.engine.test_chat import WITH_BOS, chat

TALK = "system: she said hello\nuser: the cat ran away\nassistant: a tired dog\nuser: the cat"


@pytest.fixture
def room():
    """A workspace whose model has a template that writes the BOS itself."""
    service = Service()
    made = Workspace(lambda job, ticket: worked_out(service, job, ticket), tasks=TASKS)
    made.model = chat(WITH_BOS)
    made.pipeline.choose(service.give(made.model), in_memory=True)
    return made


def ran(room, text, **given):
    room.pipeline.input.param.update(text=text, chat=True, **given)
    room.pipeline.run()
    assert room.pipeline.error == ""
    return room.trace


@pytest.mark.parametrize("text", [TALK, f"{TALK}\nassistant: a tired"])
def test_the_model_reads_what_its_template_writes_and_the_text_ends_where_the_answer_begins(room, text):
    table = ran(room, text).tokens()
    ends = {"continue_final_message": True} if text.endswith("tired") else {"add_generation_prompt": True}
    written = room.model.tokenizer.apply_chat_template(messages_of(text), tokenize=True, return_dict=False, **ends)
    assert table["id"].tolist() == list(written)
    assert table["id"].tolist().count(2) == 1, "the BOS is the template's, once"
    assert " ".join(table["token"][table["span"] == "user"]) == "the cat ran away the cat"
    assert not room.pipeline.pending


def test_a_link_brings_a_conversation_back(room, tmp_path):
    for part in (room.model.hf, room.model.tokenizer):
        part.save_pretrained(tmp_path)
    shared = SharedState(room)
    room.pipeline.choose(str(tmp_path))
    ids = ran(room, TALK).tokens()["id"].tolist()
    assert ids.count(2) == 1
    token = encode(shared.state()).token
    room.pipeline.input.put("the cat")
    room.pipeline.run()
    assert room.trace.tokens()["id"].tolist() != ids
    assert apply(token, room) == []
    assert (room.pipeline.input.text, room.pipeline.input.chat) == (TALK, True)
    assert room.trace.tokens()["id"].tolist() == ids


def test_what_is_written_on_it_is_the_assistants_and_stays_what_the_model_read(room):
    ran(room, TALK)
    view = WritingView(room)
    view.__panel__()
    room.choices_of("writing").tokens = 4
    view._write()
    answer = room.model.write(messages_of(TALK), tokens=4).tokens()
    assert [token.id for token in view.writing.shown().tokens] == answer["id"].tolist()[-4:]
    view.writing.analyse()
    assert room.pipeline.error == ""
    assert room.pipeline.input.chat
    assert messages_of(room.pipeline.input.text)[:-1] == messages_of(TALK)
    assert messages_of(room.pipeline.input.text)[-1]["role"] == "assistant"
    assert room.trace.tokens()["id"].tolist() == answer["id"].tolist()


def test_another_text_is_no_conversation():
    given = InputModel(text=TALK, chat=True)
    given.put("the cat", target="le chat")
    assert (given.text, given.pair, given.target, given.chat) == ("the cat", "", "le chat", False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text": "the cat ran"}, "which is nobody's message"),
        ({"pair": "the dog"}, "A conversation has no second text"),
    ],
)
def test_what_cannot_be_read_is_said_and_the_picture_stays(room, change, says):
    trace = ran(room, TALK)
    room.pipeline.input.param.update(**change)
    room.pipeline.run()
    assert room.pipeline.status == "failed"
    assert says in room.pipeline.error
    assert room.trace is trace


def test_a_model_without_a_template_says_what_to_untick(room):
    service = Service()
    plain = Workspace(lambda job, ticket: worked_out(service, job, ticket))
    plain.pipeline.choose(service.give(loaded("GPT-2")), in_memory=True)
    plain.pipeline.input.param.update(text=TALK, chat=True)
    plain.pipeline.run()
    assert "has no chat template" in plain.pipeline.error
    assert f"Untick “{CONVERSATION}”" in on_the_page(plain.pipeline.error)
    assert "model.tokenizer" not in on_the_page(plain.pipeline.error)


def test_the_box_is_unfolded_while_the_text_is_a_conversation(room):
    (more,) = Sidebar(room, listed_models(), ())._more()
    assert more.active == []
    room.pipeline.input.chat = True
    assert more.active == [0]


def test_side_b_with_a_text_of_its_own_reads_it_as_it_is(room):
    ran(room, TALK)
    room.second.put(text="the dog ran")
    assert not room.second.job().chat
    room.second.put(ablated=frozenset())
    assert room.second.job().chat
