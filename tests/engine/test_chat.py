"""Messages through a chat template: the tokens are the template's own, none is added, and every token's role is known."""

from __future__ import annotations

import pytest

import atlas
from atlas.engine.loading.load import load
from atlas.errors import TextError, TextTooLong
from atlas.tracing.spans import spans_of
from tests.engine.families import BY_NAME, loaded, tokenizer

PLAIN = (
    "{% for message in messages %}{{ message.role }} , {{ message.content | trim }} . {% endfor %}"
    "{% if add_generation_prompt %}assistant , {% endif %}"
)
WITH_BOS = "{{ bos_token }} " + PLAIN
SYSTEM_IN_USER = (
    "{{ bos_token }}{% set first = messages[0].content if messages[0].role == 'system' else '' %}"
    "{% for message in messages if message.role != 'system' %}"
    "{% if loop.first and first %}he , {{ first }} . {% endif %}{{ message.role }} , {{ message.content }} . "
    "{% endfor %}{% if add_generation_prompt %}assistant , {% endif %}"
)
STRICT = "{% if messages[0].role != 'user' %}{{ raise_exception('a conversation begins with the user') }}{% endif %}" + PLAIN

MESSAGES = [
    {"role": "system", "content": "she said hello"},
    {"role": "user", "content": " the cat ran away \n"},
    {"role": "assistant", "content": "a tired dog"},
    {"role": "user", "content": "the cat"},
]
WORDS = {"system": "she said hello", "user": "the cat ran away the cat", "assistant": "a tired dog"}


def chat(template, name="Llama", **changes):
    """A model whose tokenizer begins every text with [CLS], unless a template writes the text."""
    special = tokenizer(special=True, bos_token="[CLS]", eos_token="[SEP]", **changes)
    special.chat_template = template
    return load((BY_NAME[name].model(), special))


@pytest.mark.parametrize("template", [PLAIN, WITH_BOS, SYSTEM_IN_USER], ids=["plain", "with BOS", "system in user"])
@pytest.mark.parametrize("name", ["Llama", "GPT-2", "T5"])
def test_tokens_are_the_templates_own_and_their_roles_are_known(template, name):
    found = chat(template, name)
    trace = found.trace(messages=MESSAGES)
    table = trace.tokens()
    own = found.tokenizer.apply_chat_template(MESSAGES, tokenize=True, return_dict=False)
    assert table["id"].tolist() == list(own)
    assert table["id"].tolist().count(2) == (template != PLAIN), "the BOS is the template's, once"
    assert found.trace("the cat").tokens()["id"].tolist()[0] == 2, "this tokenizer adds none, so this proves nothing"
    for role, words in WORDS.items():
        assert " ".join(table["token"][table["span"] == role]) == words
    assert set(table["span"]) == {*WORDS, ""}
    assert trace.texts.text == found.tokenizer.apply_chat_template(MESSAGES, tokenize=False)


def test_a_message_that_reads_like_the_markup_keeps_its_own_tokens():
    messages = [{"role": "user", "content": ","}, {"role": "assistant", "content": "."}, {"role": "user", "content": ","}]
    table = chat(PLAIN).trace(messages=messages).tokens()
    places = [i for i, span in enumerate(table["span"]) if span]
    assert [table["span"][i] for i in places] == ["user", "assistant", "user"]
    assert [table["token"][i] for i in places] == [",", ".", ","]
    assert all(table["token"][i - 1] == "," for i in places), "the markup's comma comes before each"


@pytest.mark.parametrize("template", [PLAIN, WITH_BOS], ids=["plain", "with BOS"])
def test_the_answer_is_written_after_the_templates_prompt(template):
    found = chat(template)
    trace = found.write(MESSAGES, tokens=4)
    table = trace.tokens()
    prompt = found.tokenizer.apply_chat_template(MESSAGES, tokenize=True, add_generation_prompt=True, return_dict=False)
    n = len(prompt)
    assert table["id"].tolist()[:n] == list(prompt)
    assert table["span"].tolist()[n:] == ["written"] * 4
    assert trace.outcomes.ids[n - 1 : -1, 0].tolist() == table["id"].tolist()[n:]
    assert set(table["span"][:n]) == {*WORDS, ""}
    assert found.tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True).endswith("assistant , ")


def test_an_answer_that_is_begun_is_continued():
    found = chat(WITH_BOS)
    begun = [*MESSAGES, {"role": "assistant", "content": "the tired"}]
    trace = found.write(begun, tokens=3)
    spans = trace.tokens()["span"].tolist()
    assert spans[-5:] == ["assistant", "assistant", "written", "written", "written"]


def test_spans_are_there_after_a_file(tmp_path):
    trace = chat(WITH_BOS).write(MESSAGES, tokens=3)
    read = atlas.open(trace.save(tmp_path / "chat.nc"))
    assert spans_of(read, "source") == spans_of(trace, "source")
    assert list(spans_of(read, "source")) == ["system", "user", "assistant", "written"]
    assert read.texts.text == trace.texts.text


def test_what_cannot_be_read_is_said():
    with pytest.raises(TextError, match=r"has no chat template.*Give the conversation as one text"):
        loaded("GPT-2").trace(messages=MESSAGES)
    with pytest.raises(TextError, match="refuses these messages: a conversation begins with the user"):
        chat(STRICT).trace(messages=MESSAGES)
    assert set(chat(STRICT).trace(messages=MESSAGES[1:]).tokens()["span"]) == {"user", "assistant", ""}
    with pytest.raises(TextError, match="not both"):
        chat(PLAIN).trace("the cat", messages=MESSAGES)
    for wrong in ([], "the cat", [{"role": "user"}], [{"role": "user", "content": 3}], ["the cat"]):
        with pytest.raises(TextError, match="role"):
            chat(PLAIN).trace(messages=wrong)
    with pytest.raises(TextTooLong, match="too many"):
        chat(PLAIN).trace(messages=[{"role": "user", "content": "the cat " * 60}])
    cut = chat(PLAIN).trace(messages=[{"role": "user", "content": "the cat " * 60}], truncate=True)
    assert cut.tokens()["span"].tolist()[-1] == "user"
    assert any("cut" in note for note in cut.provenance["notes"])
