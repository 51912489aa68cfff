"""What the model wrote on the text on screen, as a link holds it; and the spans of a text that were analysed with it.

The ids of the written tokens are kept, not the seed they were drawn by: one pass of the model gives their probabilities back
exactly, on any machine, and nobody waits for the writing again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import param

from atlas.state.compact import MOST_TOKENS, Unusable, shown
from atlas.state.validate import flag, name, text
from atlas.tracing.spans import Span
from atlas.tracing.writing import END, ENOUGH, FULL

CANCELLED = "cancelled"

STOPS = (ENOUGH, END, FULL, CANCELLED)
"""Why the writing ended, in the order of the numbers that stand for it in a link."""

MOST_WRITTEN = 1_000
"""Tokens of a writing in a link: five times what is written at once. Their ids take some 3,000 of the letters of a link."""

MOST_IDS = 1 << 22
"""Ids are below this: eight times the largest vocabulary there is."""

MOST_SPANS = 200
"""Spans of a text in a link: a long conversation has a hundred messages."""

SPAN_LETTERS = 40
"""Letters of a span's name: roles are 'system', 'assistant', 'tool'."""

MOST_LETTERS = 1 << 20
"""Places in a text are below this; a link that unpacks to more is refused before."""

SIDES = ("source", "target")

MOST_AT_ONCE = 200
"""Most tokens written at once: a page of text, of which each token is a button."""


class WritingChoices(param.Parameterized):
    """Choices of the writing view; they take effect when the model next writes."""

    tokens = param.Integer(default=20, bounds=(1, MOST_AT_ONCE), doc="How many tokens are written at most.")
    sample = param.Boolean(default=False, doc="Whether each token is drawn; otherwise the likeliest is taken.")
    temperature = param.Number(default=1.0, bounds=(0.05, 5.0), doc="Below 1 likely tokens become likelier.")
    top_p = param.Number(default=1.0, bounds=(0.01, 1.0), doc="Draw among the likeliest tokens that together have this share.")
    seed = param.Integer(default=0, bounds=(0, 2**31 - 1), doc="The same seed draws the same text.")


class Written(NamedTuple):
    """A writing: what was written, and how."""

    kept: int | None
    """Tokens of the trace that stay before it; None: all of a text, and none of a decoder's target."""
    ids: tuple[int, ...]
    """Ids of all written tokens."""
    asked: int
    """How many tokens were asked for at most when it was last written on."""
    sampling: tuple[tuple[str, Any], ...]
    """How they were chosen then: `sample`, and with it `temperature`, `top_p` and `seed`."""
    stopped: str
    """One of `STOPS`."""


class WrittenRecord(param.Parameterized):
    """The writing on the trace on screen."""

    record = param.Parameter(default=None, doc="A `Written`; None: nothing is written. Another trace ends it.")


def pack_written(written: Written | None) -> list[Any] | None:
    """What a link holds of a writing."""
    if written is None or not written.ids or len(written.ids) > MOST_WRITTEN:
        return None
    chosen = dict(written.sampling)
    drawn = [chosen["temperature"], chosen["top_p"], chosen["seed"]] if chosen["sample"] else []
    return [written.kept, list(written.ids), written.asked, STOPS.index(written.stopped), bool(chosen["sample"]), drawn]


def unpack_written(given: Any) -> Written:
    """The writing again, every part of it checked: how it was written, by the bounds of the choices it was written by."""
    if not isinstance(given, list) or len(given) != 6:
        msg = "is no writing"
        raise Unusable(msg)
    kept, ids, asked, stopped, sample, drawn = given
    if not isinstance(ids, list) or not 0 < len(ids) <= MOST_WRITTEN:
        msg = f"has no list of 1 to {MOST_WRITTEN:,} tokens"
        raise Unusable(msg)
    found = Written(
        kept=None if kept is None else _whole(kept, 1, MOST_TOKENS),
        ids=tuple(_whole(token, 0, MOST_IDS) for token in ids),
        asked=int(_inside(asked, "tokens")),
        sampling=(("sample", flag(sample)),),
        stopped=STOPS[_whole(stopped, 0, len(STOPS))],
    )
    if not sample:
        return found
    names = ("temperature", "top_p", "seed")
    if not isinstance(drawn, list) or len(drawn) != len(names):
        msg = "does not say how its tokens were drawn"
        raise Unusable(msg)
    values = tuple((each, _inside(value, each)) for each, value in zip(names, drawn, strict=True))
    return found._replace(sampling=(*found.sampling, *values))


def pack_spans(spans: tuple[Span, ...]) -> list[list[Any]]:
    """What a link holds of the spans of a text; more than it may hold are left out."""
    return [[SIDES.index(side), *rest] for side, *rest in spans] if len(spans) <= MOST_SPANS else []


def unpack_spans(given: Any) -> tuple[Span, ...]:
    """The spans again, every part of them checked."""
    if not isinstance(given, list) or len(given) > MOST_SPANS:
        msg = f"is no list of at most {MOST_SPANS} spans"
        raise Unusable(msg)
    found: list[Span] = []
    for span in given:
        if not isinstance(span, list) or len(span) != 4:
            msg = f"has {shown(span)} among its spans"
            raise Unusable(msg)
        side, start, end, called = span
        first = _whole(start, 0, MOST_LETTERS)
        last = _whole(end, first + 1, MOST_LETTERS + 1)
        found.append((SIDES[_whole(side, 0, len(SIDES))], first, last, text(name(called), SPAN_LETTERS)))
    return tuple(found)


def _whole(value: Any, low: int, end: int) -> int:
    """A whole number from `low` on and below `end`."""
    if type(value) is not int or not low <= value < end:
        msg = f"has {shown(value)} where a whole number from {low:,} to {end - 1:,} belongs"
        raise Unusable(msg)
    return value


def _inside(value: Any, field: str) -> float:
    """A number that a choice may have."""
    low, high = WritingChoices.param[field].bounds
    whole = isinstance(WritingChoices.param[field], param.Integer)
    # A NaN is outside of every bound.
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
        msg = f"has {shown(value)} for {field}"
        raise Unusable(msg)
    return value
