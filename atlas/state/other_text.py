"""The other text, whose outputs stand in for those of the text on screen: the reader's own, or an example."""

from __future__ import annotations

from atlas.state.library import examples
from atlas.trace import Trace

LETTERS = 32
"""Letters of the other text in a line."""

LONGEST_OWN = 1_000
"""Letters of a text of the reader's whose outputs are put in: it takes a run of its own, and is put in position by position."""


def own_text(text: str) -> str:
    """The reader's other text as it is used; empty: an example stands in."""
    return text.strip()[:LONGEST_OWN]


def quoted(text: str) -> str:
    """The beginning of a text, between quotes."""
    return f"“{text if len(text) <= LETTERS else f'{text[: LETTERS - 1]}…'}”"


def other_text(trace: Trace) -> str:
    """The text that outputs are taken from: an example that begins otherwise, of the same model where there is one.

    Outputs are put in position by position: a model that looks back has the same ones wherever two texts begin alike.
    """
    return other_texts(trace, 1)[0]


def other_texts(trace: Trace, most: int) -> tuple[str, ...]:
    """At most so many of them, those of the same model first."""
    beginning = _beginning(trace.texts.text or "")
    model = trace.provenance.get("model")
    known = [each for each in examples() if _beginning(each.text) != beginning]
    return tuple(each.text for each in sorted(known, key=lambda each: each.model != model)[:most])


def _beginning(text: str) -> list[str]:
    return text.lower().split()[:2]
