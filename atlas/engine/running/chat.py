"""Encodes a conversation through the tokenizer's own chat template, and says whose words every token is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from atlas.engine.running.encode import Encoded
from atlas.errors import SET_A_TEMPLATE, TextError
from atlas.text.checks import check_text
from atlas.tracing.spans import with_spans

if TYPE_CHECKING:
    from atlas.engine.model import Model

Message = Mapping[str, str]
"""`role` and `content` of one message."""

ASSISTANT = "assistant"

SENTINEL = "\ue000{number}\ue001"
"""Stands for the text of a message while the template is asked where it puts it. Private-use characters are in no template."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as the template writes it."""

    text: str
    spans: tuple[tuple[int, int, str], ...]
    """(start, end, role): the characters of every message's own text. The rest was written by the template."""


def read(
    model: Model, text: Any, pair: str | None, messages: Sequence[Message] | None, *, truncate: bool, answer: bool = False
) -> Encoded:
    """The inputs of a text, or of messages; with `answer` these end where the assistant's answer begins."""
    if messages is not None:
        if text is None and pair is not None:
            msg = "A conversation has no second text: leave it empty."
            raise TextError(msg)
        if text is not None:
            msg = "Give either a text, with or without a pair, or messages=, not both."
            raise TextError(msg)
        return encode_messages(model, messages, truncate=truncate, answer=answer)
    encoded: Encoded = model.encode(text, pair, truncate=truncate)
    return encoded


def encode_messages(model: Model, messages: Sequence[Message], *, truncate: bool = False, answer: bool = False) -> Encoded:
    """Render messages through the model's chat template and tokenize the result.

    With `answer` the text ends where the assistant's answer begins; after a last message of the assistant, in that message.
    """
    conversation = render(model, messages, answer=answer)
    # The template has written every special token that belongs there, so the tokenizer adds none: a second BOS would be read.
    encoded = model.encode(conversation.text, truncate=truncate, add_special_tokens=False)
    return replace(encoded, tokens=with_spans(encoded.tokens, conversation.spans))


def render(model: Model, messages: Sequence[Message], *, answer: bool = False) -> Conversation:
    """The messages as the template writes them, and where it puts the text of each."""
    checked = _checked(messages)
    if not getattr(model.tokenizer, "chat_template", None):
        msg = f"The tokenizer of {model.name} has no chat template, so it cannot read messages. {SET_A_TEMPLATE}"
        raise TextError(msg)
    if answer:
        ending = "continue_final_message" if checked[-1]["role"] == ASSISTANT else "add_generation_prompt"
        options = {ending: True}
    else:
        options = {}
    text = _rendered(model, checked, options)
    check_text(text, what="conversation")
    return Conversation(text, tuple(_spans(model, checked, options, text)))


def _checked(messages: Any) -> list[dict[str, str]]:
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not messages:
        msg = "messages= is a list of at least one {'role': ..., 'content': ...}."
        raise TextError(msg)
    for number, message in enumerate(messages):
        parts = [message.get(name) for name in ("role", "content")] if isinstance(message, Mapping) else [None]
        if not all(isinstance(part, str) for part in parts):
            msg = f"Message {number} has to be {{'role': ..., 'content': ...}} with two strings, not {message!r:.80}."
            raise TextError(msg)
    return [dict(message) for message in messages]


def _rendered(model: Model, messages: Sequence[Message], options: Mapping[str, bool]) -> str:
    import jinja2

    try:
        text: str = model.tokenizer.apply_chat_template(list(messages), tokenize=False, **options)
    except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
        # Templates refuse what their model was not trained on, such as two messages of the user in a row.
        msg = f"The chat template of {model.name} refuses these messages: {error}."
        raise TextError(msg) from error
    return text


def _spans(model: Model, messages: Sequence[Message], options: Mapping[str, bool], text: str) -> list[tuple[int, int, str]]:
    """Where the text of every message is, found between what the template writes around it."""
    marks = [SENTINEL.format(number=number) for number in range(len(messages))]
    marked = [{**message, "content": mark} for message, mark in zip(messages, marks, strict=True)]
    try:
        pattern = _rendered(model, marked, options)
    except TextError:
        pattern = ""  # a template that looks into the messages may refuse the marks
    found: list[tuple[int, int, str]] = []
    at = 0
    for mark, message in zip(marks, messages, strict=True):
        before, there, pattern = pattern.partition(mark)
        # Without its mark, the text of a message is looked for after the message before it.
        begin = at + len(before) if there else at
        whole = message["content"]
        content = whole if there and text.startswith(whole, begin) else whole.strip()  # templates may trim a message
        start = text.find(content, begin)
        if start >= 0 and content:
            at = start + len(content)
            found.append((start, at, message["role"]))
    return found
