"""Attention between the sentences of a trace, of one head or of several together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured, TooLarge
from atlas.text.sentences import SentenceUnits, sentence_mass, sentence_units, stretches, uniform_rows
from atlas.tracing.spans import SPAN
from atlas.tracing.windows import combined, one_kind

if TYPE_CHECKING:
    from atlas.ids import HeadId
    from atlas.trace import Trace
    from atlas.tracing.record import Attention

Array = np.ndarray

SENTENCE_CELLS = 40_000_000
"""Weights that are summed to sentences for one picture, all heads together: half a second of arithmetic."""

Masses = dict[tuple[int, int], Array]
"""(layer, head) -> masses between sentences; (layer, -1) -> the same of uniform attention."""

SENTENCE, PART = "sentence", "part"
"""What is summed to: sentences; or the messages of a conversation, prompt and what was written, the two texts of a pair."""

UNIFORM = -1
"""Stands for a head whose attention is uniform."""


class Sentences(NamedTuple):
    """Attention between sentences."""

    mass: Array
    """(row sentence, column sentence); NaN where no token of the row sentence may see one of the column sentence."""
    chance: Array
    """The same of uniform attention under the same masks."""
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row_of: Array
    column_of: Array
    """The sentence of every token, -1 for a token in none."""


def sentences(trace: Trace, heads: Sequence[HeadId], aggregate: str = "mean", by: str = SENTENCE) -> Sentences:
    """Mean attention mass from the tokens of each sentence to those of each sentence: the heads' mean, or the largest of them.

    Rows are sentences of the text that looks, columns of the text that is looked at; a second segment has sentences of its own.
    With `by` 'part' they are the messages, spans or texts of a side, and all of a side that has none.
    """
    kind = one_kind(heads)
    attention = trace.attention_of(kind)
    size = attention.n_queries * attention.n_keys * len(heads)
    if size > SENTENCE_CELLS:
        msg = (
            f"{len(heads):,} heads of {attention.n_queries:,} × {attention.n_keys:,} tokens are {size / 1e6:,.0f} million "
            f"weights, and at most {SENTENCE_CELLS / 1e6:.0f} million are summed to sentences at once. Select fewer heads."
        )
        raise TooLarge(msg)
    reason = "" if by == PART else without_sentences(trace, kind)
    if reason:
        raise NotCaptured(reason)
    (rows, row_names), (columns, column_names) = (sentences_of(trace, trace.side(kind, axis), by) for axis in ("query", "key"))
    # Every head once: to select other heads then costs a mean over small matrices.
    kept: Masses = trace.once(f"{by} masses {kind}", dict)
    for head in heads:
        if (head.layer, head.head) not in kept:
            weights = attention.block(head.layer, head.head)
            kept[head.layer, head.head] = sentence_mass(weights, rows, columns)
            if _uniform_of(attention, head) not in kept:
                kept[_uniform_of(attention, head)] = sentence_mass(uniform_rows(weights), rows, columns)
    mass = combined((kept[head.layer, head.head] for head in heads), aggregate)
    chance = combined((kept[_uniform_of(attention, head)] for head in heads), aggregate)
    return Sentences(mass, chance, row_names, column_names, rows.of_token, columns.of_token)


def _uniform_of(attention: Attention, head: HeadId) -> tuple[int, int]:
    """Under which key uniform attention is kept: the heads of a layer share its mask, but an edge is cut for one head alone."""
    cut = head.head in attention.layers[head.layer].cut_heads
    return (head.layer, UNIFORM - 1 - head.head) if cut else (head.layer, UNIFORM)


def without_sentences(trace: Trace, kind: str) -> str:
    """Why a trace has no sentences; empty: it has."""
    for axis in ("query", "key"):
        side = trace.side(kind, axis)
        table = trace.reading(side).table
        if "sentence" not in table:
            reason = table.attrs.get("missing", {}).get("sentence", "this recording has tokens and no text")
            return f"Nobody knows the sentences here: {reason}."
        if not (table["sentence"].to_numpy() >= 0).any():
            return f"The {side} text has no sentence, only special tokens."
    return ""


def has_parts(trace: Trace, kind: str) -> bool:
    """Whether a side has messages, spans or two texts to compare."""
    return any(len(set(_labels(trace, trace.side(kind, axis))) - {""}) > 1 for axis in ("query", "key"))


def sentences_of(trace: Trace, side: str, by: str = SENTENCE) -> tuple[SentenceUnits, tuple[str, ...]]:
    """The sentences of the tokens of a side, or its parts, and their names."""

    def found() -> tuple[SentenceUnits, tuple[str, ...]]:
        table = trace.reading(side).table
        special = table["special"].to_numpy(dtype=bool)
        text, pair = (trace.texts.target, None) if side == "target" else (trace.texts.text, trace.texts.pair)
        if by == SENTENCE:
            units = sentence_units(table["sentence"].to_numpy().astype(np.int64), special)
            return units, tuple(units.names(table, text, pair))
        labels = [("" if out else label) for label, out in zip(_labels(trace, side), special, strict=True)]
        units = stretches(labels)
        first = [labels[int(np.argmax(units.of_token == at))] for at in range(len(units))]
        return units, tuple(f"{label} {name}" for label, name in zip(first, units.names(table, text, pair), strict=True))

    made: tuple[SentenceUnits, tuple[str, ...]] = trace.once(f"{by} units {side}", found)
    return made


def _labels(trace: Trace, side: str) -> list[str]:
    """The part of every token of a side; '' for what the tokenizer or a chat template put there."""
    table = trace.reading(side).table
    if SPAN in table and (table[SPAN] != "").any():
        return [str(name) for name in table[SPAN]]
    if "segment" in table and (table["segment"] == 1).any():
        return ["second text" if segment == 1 else "first text" for segment in table["segment"]]
    return ["text"] * len(table)
