from __future__ import annotations

import datetime as dt
import random
import re

from hypothesis import given
from hypothesis import strategies as st

from assets.recipes import number_words, t5_dates

VALUES = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
}
VALUES |= {
    word: 10 * value
    for value, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)
}
ORDINALS = {
    "first": "one",
    "second": "two",
    "third": "three",
    "fifth": "five",
    "eighth": "eight",
    "ninth": "nine",
    "twelfth": "twelve",
    "twentieth": "twenty",
    "thirtieth": "thirty",
}


def read(words):
    """Value of a cardinal, by the schoolbook rule and not by the generator's tables."""
    total = current = 0
    for word in words:
        if word == "hundred":
            current *= 100
        elif word == "thousand":
            total, current = total + current * 1000, 0
        elif word != "and":
            current += VALUES[word]
    return total + current


def read_year(words):
    if "thousand" in words:
        return read(words)
    if words[-1] == "hundred":
        return 100 * read(words[:-1])
    # two numbers below a hundred, side by side: try every place to part them
    for cut in range(1, len(words)):
        century, rest = words[:cut], words[cut:]
        if rest[0] == "oh":
            rest = rest[1:]
        elif read(rest) < 10:
            continue
        if 10 <= read(century) <= 20:
            return 100 * read(century) + read(rest)
    raise AssertionError(words)


def read_date(source):
    words = re.findall(r"[a-z]+", source.lower())
    months = [dt.date(2000, number, 1).strftime("%B").lower() for number in range(1, 13)]
    month = next(index for index, name in enumerate(months, 1) if name in words)
    rest = [word for word in words if word not in months]
    day = year = None
    for index, word in enumerate(rest):
        plain = ORDINALS.get(word, word[:-2] if word.endswith("th") else None)
        if plain in VALUES:
            before = VALUES.get(rest[index - 1], 0) if index and rest[index - 1] in {"twenty", "thirty"} else 0
            day = before + VALUES[plain]
            tail = [word for word in rest[index + 1 :] if word in VALUES or word in {"hundred", "thousand", "and", "oh"}]
            year = read_year(tail)
    return dt.date(year, month, day)


@given(st.integers(0, number_words.LARGEST), st.booleans())
def test_a_number_in_words_reads_back(value, with_and):
    made = number_words.phrase(lambda words: number_words.cardinal(words, value, with_and=with_and), "{}")
    assert made.target == str(value)
    assert read(re.findall(r"[a-z]+", made.source)) == value


@given(st.dates(dt.date(number_words.FIRST_YEAR, 1, 1), dt.date(number_words.LAST_YEAR, 12, 31)), st.integers(0, 10**6))
def test_a_date_in_words_reads_back(value, seed):
    made = number_words.phrase(lambda words: number_words.date(words, value, random.Random(seed)), "{}")
    assert made.target == value.isoformat()
    assert read_date(made.source) == value
    if made.source.split(",")[0].endswith("day") and " " not in made.source.split(",")[0]:
        assert made.source.startswith(value.strftime("%A"))


def test_examples_are_seeded_and_said_by_words_that_mean_the_digit():
    first = t5_dates.examples(4, 400)
    assert first == t5_dates.examples(4, 400)
    spoken = 0
    for item in first:
        assert len(item.said_by) == len(item.target)
        for digit, span in zip(item.target, item.said_by, strict=True):
            if digit == "-":
                assert span is None
            elif span is not None:
                word = item.source[slice(*span)].lower()
                spoken += 1
                assert re.fullmatch(r"[a-z]+", word)
                if word in VALUES and word != "zero":
                    assert digit in str(VALUES[word]), (item, word)
            else:
                assert digit == "0"
    assert spoken > 1500


def test_the_tokenizer_keeps_words_whole_digits_apart_and_text_intact(t5_tokenizer):
    tokenizer = t5_tokenizer
    ids = tokenizer("the third of March, nineteen ninety-eight")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [
        "▁the",
        "▁third",
        "▁of",
        "▁march",
        ",",
        "▁nineteen",
        "▁ninety",
        "-",
        "eight",
        "</s>",
    ]
    target = tokenizer("1998-03-03")["input_ids"]
    assert len(target) == 11
    assert tokenizer.decode(target, skip_special_tokens=True) == "1998-03-03"
    known = 0
    for item in t5_dates.examples(9, 300):
        for text in (item.source, item.target):
            encoded = tokenizer(text)["input_ids"]
            if tokenizer.unk_token_id not in encoded:
                known += 1
                assert tokenizer.decode(encoded, skip_special_tokens=True) == text.lower()
        # only the made-up words around a phrase are unknown: never its own words, never a digit
        assert tokenizer.unk_token_id not in tokenizer(item.target)["input_ids"]
        said = {item.source[slice(*span)] for span in item.said_by if span}
        assert tokenizer.unk_token_id not in tokenizer(" ".join(sorted(said)))["input_ids"]
    assert known > 400
