"""A conversation written as one text, as a person types it: a line that begins with a role and a colon begins a message."""

from __future__ import annotations

import re

from atlas.errors import TextError

ROLES = ("system", "user", "assistant")
"""Whose words a message can be."""

MOST_MESSAGES = 500
"""Messages of a conversation: far more than anybody types, few enough for a template to be asked where it puts each."""

_BEGINS = re.compile(rf"^[ \t]*({'|'.join(ROLES)})[ \t]*:", re.IGNORECASE | re.MULTILINE)

HOW = "Begin each message on a line of its own with system:, user: or assistant:."


def messages_of(text: str) -> list[dict[str, str]]:
    """The messages of a text, without the white space around them.

    Raises
    ------
    TextError
        If words stand before the first message, a message has none, or there are too many.
    """
    marks = list(_BEGINS.finditer(text))
    before = text[: marks[0].start()] if marks else text
    if not marks or before.strip():
        msg = f"The conversation begins with {before.strip()[:40]!r}, which is nobody's message. {HOW}"
        raise TextError(msg)
    if len(marks) > MOST_MESSAGES:
        msg = f"The conversation has {len(marks):,} messages, more than {MOST_MESSAGES:,}. Leave the oldest out."
        raise TextError(msg)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    found = [{"role": mark[1].lower(), "content": text[mark.end() : end].strip()} for mark, end in zip(marks, ends, strict=True)]
    for number, message in enumerate(found, start=1):
        if not message["content"]:
            msg = f"Message {number} of the conversation ({message['role']}) is empty. Write it, or remove its line."
            raise TextError(msg)
    return found


def with_answer(text: str, answer: str) -> str:
    """A conversation with what the model wrote: its last message goes on, if that is the assistant's, or one is added."""
    last = messages_of(text)[-1]["role"]
    return text.rstrip() + (answer if last == ROLES[-1] else f"\n{ROLES[-1]}: {answer.strip()}")
