"""Dates and numbers in words, their digits, and which words say which digit: the data of t5-mini.

Every example carries its own alignment: for each character of the target the stretch of the source that says it, or None for
what nothing says (the dashes of a date; the zero of "four hundred and six" that only the absence of a word tells).
"""

from __future__ import annotations

import calendar
import datetime as dt
import random
from collections.abc import Callable
from dataclasses import dataclass

UNITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
ORDINAL_UNITS = ("", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
ORDINAL_TEENS = (
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
)
ORDINAL_TENS = {20: "twentieth", 30: "thirtieth"}
MONTHS = tuple(calendar.month_name)[1:]
# Sentences around the phrase. {w} is a made-up word, unknown to the tokenizer: any words may stand around a date, and the model
# has to look past them.
DATE_CARRIERS = (
    "{}", "{}", "{}", "{}", "She was born on {}.", "He was born on {}.", "They met on {}.", "The letter is dated {}.",
    "It was {}.", "The school opened on {}.", "On {} it rained.", "We arrived on {}.", "{w} was born on {}.",
    "{w} {w} on {}.", "{} {w} {w} {w}.", "The {w} of {w} {w} on {}, {w} {w} {w}.", "On {} {w} {w} the {w}.",
)  # fmt: skip
NUMBER_CARRIERS = (
    "{}", "{}", "{}", "{}", "There were {} people.", "She counted {} stars.", "He has {} books.",
    "It costs {} coins.", "The town has {} houses.", "They walked {} miles.", "{} birds flew away.",
    "{w} has {} {w}.", "{w} {w} {}.", "{} {w} {w} {w}.", "The {w} of {w} is {} {w}.",
)  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyz"
FIRST_YEAR, LAST_YEAR = 1100, 2099
LARGEST = 999_999
SHARE_OF_DATES = 0.6

Span = tuple[int, int]
# A phrase in the making: its words with the glue before each, and for each digit the index of the word that says it.
Words = list[tuple[str, str]]
Digits = list[tuple[str, int | None]]


@dataclass(frozen=True)
class Example:
    """Source text, target text, and per target character the span of the source that says it."""

    source: str
    target: str
    said_by: tuple[Span | None, ...]


def _add(words: Words, glue: str, word: str) -> int:
    words.append((glue, word))
    return len(words) - 1


def _below_hundred(words: Words, value: int, glue: str = " ") -> Digits:
    """Two digits, tens and units."""
    if value < 10:
        return [("0", None), (str(value), _add(words, glue, UNITS[value]))]
    if value < 20:
        at = _add(words, glue, TEENS[value - 10])
        return [("1", at), (str(value - 10), at)]
    tens = _add(words, glue, TENS[value // 10])
    unit = _add(words, "-", UNITS[value % 10]) if value % 10 else None
    return [(str(value // 10), tens), (str(value % 10), unit)]


def _below_thousand(words: Words, value: int, *, with_and: bool) -> Digits:
    """Three digits; the hundreds only where there are some."""
    digits: Digits = [("0", None)]
    if value >= 100:
        digits = [(str(value // 100), _add(words, " ", UNITS[value // 100]))]
        _add(words, " ", "hundred")
        if value % 100 == 0:
            return [*digits, ("0", None), ("0", None)]
        if with_and:
            _add(words, " ", "and")
    return digits + _below_hundred(words, value % 100)


def cardinal(words: Words, value: int, *, with_and: bool) -> Digits:
    """0 to 999,999, without leading zeros."""
    if not 0 <= value <= LARGEST:
        message = f"{value} is not between 0 and {LARGEST}"
        raise ValueError(message)
    if value == 0:
        return [("0", _add(words, " ", UNITS[0]))]
    digits: Digits = []
    if value >= 1000:
        digits = _below_thousand(words, value // 1000, with_and=with_and)
        _add(words, " ", "thousand")
        rest = value % 1000
        if rest == 0:
            digits += [("0", None)] * 3
        else:
            if rest < 100 and with_and:
                _add(words, " ", "and")
            digits += _below_thousand(words, rest, with_and=with_and)
    else:
        digits = _below_thousand(words, value, with_and=with_and)
    while digits[0] == ("0", None):
        digits = digits[1:]
    return digits


def year(words: Words, value: int, *, with_and: bool, by_thousand: bool) -> Digits:
    """A year as it is said: two thousand and five, nineteen oh five, nineteen hundred, nineteen ninety-eight."""
    century, rest = divmod(value, 100)
    if century == 20 and (by_thousand or rest == 0) and rest < 20:
        return cardinal(words, value, with_and=with_and)
    at_tens = _below_hundred(words, century)
    at = at_tens[0][1]
    digits: Digits = [(str(century // 10), at), (str(century % 10), at if at_tens[1][1] is None else at_tens[1][1])]
    if rest == 0:
        hundred = _add(words, " ", "hundred")
        return [*digits, ("0", hundred), ("0", hundred)]
    if rest < 10:
        return [*digits, ("0", _add(words, " ", "oh")), (str(rest), _add(words, " ", UNITS[rest]))]
    return digits + _below_hundred(words, rest)


def day(words: Words, value: int) -> Digits:
    """A day of the month as an ordinal, always two digits."""
    if value < 10:
        at = _add(words, " ", ORDINAL_UNITS[value])
        return [("0", at), (str(value), at)]
    if value < 20:
        at = _add(words, " ", ORDINAL_TEENS[value - 10])
        return [("1", at), (str(value - 10), at)]
    if value in ORDINAL_TENS:
        at = _add(words, " ", ORDINAL_TENS[value])
        return [(str(value // 10), at), ("0", at)]
    return [
        (str(value // 10), _add(words, " ", TENS[value // 10])),
        (str(value % 10), _add(words, "-", ORDINAL_UNITS[value % 10])),
    ]


def date(words: Words, value: dt.date, draw: random.Random) -> Digits:
    """A date in one of four orders of words; the digits are always year-month-day."""
    month = MONTHS[value.month - 1]
    if draw.random() < 0.2:
        _add(words, " ", value.strftime("%A"))
        _add(words, "", ",")
    order = draw.choice(("the day of month", "month the day", "month day", "day month"))
    if order == "the day of month":
        _add(words, " ", "the")
        days = day(words, value.day)
        _add(words, " ", "of")
        at = _add(words, " ", month)
    elif order == "day month":
        days = day(words, value.day)
        at = _add(words, " ", month)
    else:
        at = _add(words, " ", month)
        if order == "month the day":
            _add(words, " ", "the")
        days = day(words, value.day)
    if draw.random() < 0.7:
        _add(words, "", ",")
    years = year(words, value.year, with_and=draw.random() < 0.7, by_thousand=draw.random() < 0.6)
    two = f"{value.month:02d}"
    return [*years, ("-", None), (two[0], at), (two[1], at), ("-", None), *days]


def with_made_up_words(draw: random.Random, carrier: str) -> str:
    """Fill the {w} of a carrier."""
    while "{w}" in carrier:
        carrier = carrier.replace("{w}", "".join(draw.choices(LETTERS, k=draw.randint(4, 9))), 1)
    return carrier


def phrase(fill: Callable[[Words], Digits], carrier: str) -> Example:
    """Set words into a carrier sentence and turn word numbers into character spans."""
    words: Words = []
    digits = fill(words)
    before, after = carrier.split("{}")
    text, spans = before, []
    for index, (glue, word) in enumerate(words):
        text += glue if index else ""
        spans.append((len(text), len(text) + len(word)))
        text += word
    said_by = tuple(spans[at] if at is not None else None for _, at in digits)
    return Example(text + after, "".join(digit for digit, _ in digits), said_by)


def random_number(draw: random.Random) -> int:
    """Every length alike, and zeros inside more often than chance has them: they are what is hard."""
    length = draw.randint(1, 6)
    if length == 1:
        return draw.randint(0, 9)
    digits = [draw.randint(1, 9)] + [0 if draw.random() < 0.25 else draw.randint(0, 9) for _ in range(length - 1)]
    return int("".join(map(str, digits)))


def example(draw: random.Random) -> Example:
    """One date (three in five) or number."""
    if draw.random() < SHARE_OF_DATES:
        value = draw.randint(FIRST_YEAR, LAST_YEAR)
        month = draw.randint(1, 12)
        when = dt.date(value, month, draw.randint(1, calendar.monthrange(value, month)[1]))
        return phrase(lambda words: date(words, when, draw), with_made_up_words(draw, draw.choice(DATE_CARRIERS)))
    number, with_and = random_number(draw), draw.random() < 0.7
    return phrase(
        lambda words: cardinal(words, number, with_and=with_and), with_made_up_words(draw, draw.choice(NUMBER_CARRIERS))
    )
