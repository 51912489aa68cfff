from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import TextError
from atlas.tracing.conversation import MOST_MESSAGES, ROLES, messages_of, with_answer

TALK = "system: Be brief.\n\nUser:  Who said so?\nIn which book: the red one?\n assistant : The cat.\nuser: Thanks"


def test_a_line_that_begins_with_a_role_begins_a_message():
    assert messages_of(TALK) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who said so?\nIn which book: the red one?"},
        {"role": "assistant", "content": "The cat."},
        {"role": "user", "content": "Thanks"},
    ]


words = st.text(st.characters(exclude_categories=("C",)), min_size=1).map(str.strip).filter(lambda said: said and ":" not in said)


@given(st.lists(st.tuples(st.sampled_from(ROLES), words), min_size=1, max_size=8))
def test_what_is_written_so_is_read_so(said):
    text = "\n".join(f"{role}: {content}" for role, content in said)
    assert messages_of(text) == [{"role": role, "content": content} for role, content in said]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("The doctor said so.", "begins with 'The doctor said so.', which is nobody's message"),
        ("Hello\nuser: who", "begins with 'Hello'"),
        ("", "begins with ''"),
        ("user: hello\nassistant:\nuser: you", r"Message 2 of the conversation \(assistant\) is empty"),
        ("user: a\n" * (MOST_MESSAGES + 1), "501 messages, more than 500"),
    ],
)
def test_what_is_no_conversation_is_said(text, says):
    with pytest.raises(TextError, match=says):
        messages_of(text)


def test_an_answer_is_a_message_or_ends_the_one_that_was_begun():
    assert with_answer("user: Who?\n", " The cat.") == "user: Who?\nassistant: The cat."
    assert with_answer("user: Who?\nassistant: The", " cat.") == "user: Who?\nassistant: The cat."
