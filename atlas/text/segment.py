"""Splits a text into words by the text alone, so that two models that read one text have the same words.

The rule is Unicode's default word boundaries (UAX #29), with two tailorings and one reading:

* A word is a stretch of letters, digits and marks. Apostrophes and full stops between letters belong to it (`don't`,
  `l’été`, `e.g`), as do separators between digits (`3.14`, `1,000`) and underscores (`snake_case`). A hyphen does not:
  `well-known` is three words. Every other punctuation mark or symbol is a word, and so is every emoji, however many code
  points it has (families, flags, skin tones).
* Every Han character is a word, because there is no dictionary; runs of katakana and of hangul are one word.
* Tailored: runs of hiragana, and of the scripts that need a dictionary (Thai, Lao, Khmer, Burmese, ...), are one word, because
  Unicode's rule would break them after every letter.
* White space, and control and format characters that stand alone, are no words: the words partition everything visible. They
  are not part of the next word (a byte-order mark before a text), nor of the previous word unless they join characters.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pandas as pd
import regex
from numpy.typing import NDArray

Labels = NDArray[np.int32]
"""One number for each character of a text."""

Span = tuple[int, int]
"""The first character, and the one after the last."""

NO_WORD = -1
"""The word number of tokens that belong to no word: special tokens, white space, stray control characters."""

_HIRAGANA_RUN = r"(?:(?<!\p{Script=Hiragana}ー*)|(?![\p{Script=Hiragana}ー]))"
_DICTIONARY_SCRIPT_RUN = r"(?:(?<!\p{Line_Break=Complex_Context})|(?!\p{Line_Break=Complex_Context}))"
_BREAK = regex.compile(r"\b" + _DICTIONARY_SCRIPT_RUN + _HIRAGANA_RUN, regex.WORD | regex.V1)
_VISIBLE = regex.compile(r"[^\p{White_Space}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]", regex.V1)
_LEADING = regex.compile(r"[\p{Cc}\p{Cf}]+", regex.V1)
_TRAILING = regex.compile(r"[\u00AD\u061C\u200B\u200E\u200F\u202A-\u202E\u2060\u2066-\u2069\uFEFF]+$", regex.V1)
"""Format characters that do not change the letter before them, unlike joiners and the tags of a flag, which make one sign."""
_SPACE = regex.compile(r"\p{White_Space}", regex.V1)


def is_visible(text: str) -> bool:
    """Whether a text has a visible character."""
    return _VISIBLE.search(text) is not None


def trim(text: str, start: int, end: int) -> Span:
    """The span without white space at its ends; a span of only white space is returned unchanged."""
    first, last = start, end
    while first < last and _SPACE.match(text[first]):
        first += 1
    while last > first and _SPACE.match(text[last - 1]):
        last -= 1
    return (first, last) if first < last else (start, end)


def word_spans(text: str) -> list[Span]:
    """The spans of the words of a text, in order."""
    cuts = [0, *(found.start() for found in _BREAK.finditer(text)), len(text)]
    return [_word(text, *trim(text, start, end)) for start, end in pairwise(cuts) if is_visible(text[start:end])]


def _word(text: str, start: int, end: int) -> Span:
    """The span of a word without invisible characters at its ends, because many tokenizers leave those out of their tokens."""
    before, after = _LEADING.match(text, start, end), _TRAILING.search(text, start, end)
    return before.end() if before else start, after.start() if after else end


def words(text: str, pair: str | None = None) -> pd.DataFrame:
    """One row for each word of `text` and then of `pair`.

    Returns
    -------
    pandas.DataFrame
        Columns `word` (the word's number, also the index), `text`, `start` and `end` (characters of the word's segment) and
        `segment` (0 for `text`, 1 for `pair`).
    """
    rows = [
        (segment_text[start:end], start, end, segment)
        for segment, segment_text in enumerate((text, pair or ""))
        for start, end in word_spans(segment_text)
    ]
    table = pd.DataFrame(
        {
            "word": np.arange(len(rows)),
            "text": pd.Series([row[0] for row in rows], dtype="str"),
            "start": np.array([row[1] for row in rows], dtype=np.int64),
            "end": np.array([row[2] for row in rows], dtype=np.int64),
            "segment": np.array([row[3] for row in rows], dtype=np.int64),
        },
    )
    return table.set_index("word", drop=False).rename_axis(index=None)


def label_characters(spans: Iterable[Span], length: int, first: int = 0) -> Labels:
    """For every character the number of its span, counted from `first`, or -1."""
    labels = np.full(length, NO_WORD, dtype=np.int32)
    for number, (start, end) in enumerate(spans, start=first):
        labels[start:end] = number
    return labels


def majority(labels: Labels, start: int, end: int) -> int:
    """The label that most characters of a span have, the first one in a tie; -1 where no character has a label."""
    inside = labels[start:end]
    inside = inside[inside >= 0]
    if inside.size == 0:
        return NO_WORD
    if inside[0] == inside[-1]:  # labels increase along the text, so equal ends mean that all labels are equal
        return int(inside[0])
    values, counts = np.unique(inside, return_counts=True)
    return int(values[np.argmax(counts)])
