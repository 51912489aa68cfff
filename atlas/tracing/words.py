"""Attention between words, and what it says about syntax."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from atlas.errors import NotCaptured
from atlas.metrics.relations import DIRECTIONS, Arc, RelationCounts, arcs_of, predicted_heads
from atlas.text import words as word_level
from atlas.tracing.levels import unit_labels

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Special, Trace

Tell = Callable[[str, float], object]


def silent(message: str, share: float) -> None:
    """Report progress to nobody."""


NO_RELATIONS = "Cross-attention links two texts; it has no dependency relations."

NO_PARSE = (
    "Relations need a parse of the text, and there is none: no spaCy pipeline that parses is installed, or the text was not "
    "kept. Install one (python -m spacy download en_core_web_sm) and trace the text again."
)


def word_attention(
    trace: Trace, kind: str | None, layer: int, head: int, *, special: Special, zero_diagonal: bool
) -> xr.DataArray:
    """Weights of one head between the words of a text; the words as coordinates."""
    chosen = trace.attention_of(kind)
    weights = trace.attention(chosen.kind, layer, head).to_numpy()
    queries, keys = (trace.tokens(trace.side(chosen.kind, axis)) for axis in ("query", "key"))
    made = word_level.word_attention(
        weights,
        queries["word"].to_numpy(),
        keys["word"].to_numpy() if chosen.kind == "cross" else None,
        special=special,
        zero_diagonal=zero_diagonal,
    )
    coords = {
        "query": made.queries.word,
        "key": made.keys.word,
        "query_word": ("query", unit_labels(trace, trace.side(chosen.kind, "query"), made.queries)),
        "key_word": ("key", unit_labels(trace, trace.side(chosen.kind, "key"), made.keys)),
    }
    return xr.DataArray(made.weights, dims=("query", "key"), coords=coords, name="word_attention", attrs={"kind": chosen.kind})


def relations(trace: Trace, kind: str | None, tell: Tell = silent) -> pd.DataFrame:
    """Accuracy of every head on every dependency relation of the text; `tell` is called with a message and the share done."""
    chosen = trace.attention_of(kind)
    words = parsed_words(trace, chosen.kind)
    # Layer by layer, and of each only the words it points to: all weights between words would be gigabytes in a large model.
    predicted: dict[str, list[np.ndarray]] = {direction: [] for direction in DIRECTIONS}
    visible: dict[str, np.ndarray] = {}
    for layer in range(len(chosen.layers) if words.arcs else 0):
        tell("Reading which word each word looks at", layer / len(chosen.layers))
        weights = between_words(words, trace.attention(chosen.kind, layer).to_numpy())
        for direction in DIRECTIONS:
            found, seen = predicted_heads(weights[None], direction)
            predicted[direction].append(found)
            visible[direction] = seen | visible.get(direction, np.zeros_like(seen))
    counts = RelationCounts()
    for direction, seen in visible.items():
        counts.count(words.arcs, direction, np.concatenate(predicted[direction]), seen)
    table = counts.table()
    table.insert(0, "kind", chosen.kind)
    return table


class ParsedWords(NamedTuple):
    """The words of a parsed text that have tokens."""

    of_token: np.ndarray
    """The word of every token, as the token table numbers them."""
    units: word_level.Units
    parse: pd.DataFrame
    """One row a word, in the order of `units`."""
    arcs: list[Arc]
    """Dependent, head (places in `units`), relation."""


def parsed_words(trace: Trace, kind: str) -> ParsedWords:
    """The words of a kind's text with their syntactic heads."""
    reason = without_parse(trace, kind)
    if reason:
        raise NotCaptured(reason)
    reading = trace.reading(trace.side(kind, "query"))
    of_token = reading.table["word"].to_numpy()
    units = word_level.word_units(of_token, drop=True)
    assert reading.parse is not None
    seen = reading.parse.loc[units.word]
    return ParsedWords(of_token, units, seen, arcs_of(units.positions(seen["head"]).tolist(), list(map(str, seen["dep"]))))


def without_parse(trace: Trace, kind: str) -> str:
    """Why a kind of attention has no dependency relations; empty: it has."""
    if kind == "cross":
        return NO_RELATIONS
    parse = trace.reading(trace.side(kind, "query")).parse
    return NO_PARSE if parse is None or "head" not in parse.columns else ""


def between_words(words: ParsedWords, weights: np.ndarray) -> np.ndarray:
    """Weights (..., word, word) between the words, without special tokens and what a word gives to itself."""
    pooled = word_level.word_attention(weights, words.of_token, special="drop", zero_diagonal=True).weights
    return np.asarray(pooled)
