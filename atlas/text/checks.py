"""Refuses a text without content before a model reads it."""

from __future__ import annotations

from atlas.errors import TextError
from atlas.text.segment import is_visible


def check_text(text: object, *, what: str = "text") -> str:
    """Return `text` unchanged if it has visible content.

    NUL and other control characters inside an otherwise visible text are accepted, because tokenizers handle them, and
    changing the text would shift every character offset.

    Raises
    ------
    TextError
        If it is not a string, is empty, has only white space, control and format characters, or cannot be encoded.
    """
    if not isinstance(text, str):
        msg = f"The {what} has to be a string, not {type(text).__name__}."
        raise TextError(msg)
    if not text:
        msg = f"The {what} is empty; give at least one word."
        raise TextError(msg)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        msg = (
            f"The {what} has half of a surrogate pair (U+{ord(text[error.start]):04X}) at character {error.start}, which no "
            f"encoding can hold. Remove it, or repair the whole with "
            "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')."
        )
        raise TextError(msg) from None
    if text.isspace():
        msg = f"The {what} is nothing but white space; give at least one word."
        raise TextError(msg)
    if not is_visible(text):
        msg = f"The {what} is nothing but control, format or other invisible characters; give at least one word."
        raise TextError(msg)
    return text
