from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given

from atlas.text.segment import is_visible, label_characters, majority, trim, word_spans, words
from tests.text.made import TEXTS


def split(text):
    return [text[start:end] for start, end in word_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("don't stop", ["don't", "stop"]),
        ("the dogs' l’été", ["the", "dogs", "'", "l’été"]),
        ("a well-known fact...", ["a", "well", "-", "known", "fact", ".", ".", "."]),
        ("3.14 of 1,000 in snake_case", ["3.14", "of", "1,000", "in", "snake_case"]),
        ("cost $5, 10% (C++)", ["cost", "$", "5", ",", "10", "%", "(", "C", "+", "+", ")"]),
        ("nai\u0308ve cafe\u0301.", ["nai\u0308ve", "cafe\u0301", "."]),
        ("👩‍👩‍👧 is 🇵🇹🇪🇸👍🏽1️⃣", ["👩‍👩‍👧", "is", "🇵🇹", "🇪🇸", "👍🏽", "1️⃣"]),
        ("שלום, world! مرحبا؟", ["שלום", ",", "world", "!", "مرحبا", "؟"]),
        ("我爱北京。OK", ["我", "爱", "北", "京", "。", "OK"]),
        ("私はラーメンです", ["私", "は", "ラーメン", "です"]),
        ("안녕하세요 세계", ["안녕하세요", "세계"]),
        ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया", "।"]),
        ("สวัสดีชาวโลก ครับ", ["สวัสดีชาวโลก", "ครับ"]),
        ("a\t\tb\r\n  c\u00a0d", ["a", "b", "c", "d"]),
        ("\x00ab\x00 \u200b \ufeff", ["ab"]),
        (" \u0301x", ["\u0301", "x"]),
        # Files begin with a byte-order mark and pages hold marks of direction: neither is a part of a word.
        ("\ufeffHello world\ufeff.", ["Hello", "world", "."]),
        ("\u202eab\u202c c\u200b", ["ab", "c"]),
        # Within a word they stay, and what joins several signs into one is not cut off its end.
        ("co\u00adop می‌خواهم 🏴\U000e0067\U000e0062\U000e007f", ["co\u00adop", "می‌خواهم", "🏴\U000e0067\U000e0062\U000e007f"]),
        ("", []),
    ],
)
def test_words_of_known_texts(text, expected):
    assert split(text) == expected


@given(TEXTS)
def test_words_partition_what_is_visible(text):
    spans = word_spans(text)
    assert all(start < end for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    covered = label_characters(spans, len(text)) >= 0
    assert all(covered[i] for i, letter in enumerate(text) if is_visible(letter))
    assert all(is_visible(text[start:end]) and (start, end) == trim(text, start, end) for start, end in spans)


@given(TEXTS, TEXTS)
def test_a_pair_goes_on_counting(text, pair):
    alone, both = words(text), words(text, pair)
    assert both["word"].tolist() == both.index.tolist() == list(range(len(both)))
    assert both[both["segment"] == 0].equals(alone)
    assert both.loc[both["segment"] == 1, "text"].tolist() == split(pair)


def test_majority_takes_the_first_of_equals_and_ignores_gaps():
    labels = np.array([0, 0, 0, -1, 1, 1, -1, 2, 2], dtype=np.int32)
    assert majority(labels, 0, 6) == 0
    assert majority(labels, 2, 6) == 1
    assert majority(labels, 4, 9) == 1
    assert majority(labels, 3, 4) == -1
    assert majority(labels, 5, 5) == -1
