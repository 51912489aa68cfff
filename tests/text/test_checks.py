from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import TextError
from atlas.text.align import check_text
from atlas.text.segment import word_spans


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("   ", "white space"),
        ("\n\t\u3000\u00a0", "white space"),
        ("\x00\x01\x7f", "invisible"),
        (" \u200b\u200d\ufeff ", "invisible"),
        ("fine \ud83d no", "U\\+D83D.*character 5"),
        ("\udc00", "U\\+DC00.*character 0"),
        (None, "string, not NoneType"),
        (b"bytes", "string, not bytes"),
        (["a", "list"], "string, not list"),
    ],
)
def test_refused(text, says):
    with pytest.raises(TextError, match=f"(?s)second text.*{says}"):
        check_text(text, what="second text")


@pytest.mark.parametrize("text", ["a", "a\x00b", "\x00.", "我", "👩‍👩‍👧", "\u0301", "\ufffd", "a" * 1_000_000])
def test_allowed_unchanged(text):
    assert check_text(text) is text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_allowed_exactly_where_there_is_a_word(text):
    if word_spans(text):
        assert check_text(text) == text
    else:
        with pytest.raises(TextError):
            check_text(text)
