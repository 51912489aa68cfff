"""Attention between words, and what it says about syntax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from atlas.errors import NotCaptured
from atlas.metrics.relations import ParsedAttention, relation_accuracy
from atlas.text import words as word_level

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Special, Trace

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
        "query_word": ("query", _labels(trace, chosen.kind, "query", made.queries)),
        "key_word": ("key", _labels(trace, chosen.kind, "key", made.keys)),
    }
    return xr.DataArray(made.weights, dims=("query", "key"), coords=coords, name="word_attention", attrs={"kind": chosen.kind})


def _labels(trace: Trace, kind: str, axis: str, units: word_level.Units) -> list[str]:
    side = trace.side(kind, axis)
    text, pair = (trace.texts.target, None) if side == "target" else (trace.texts.text, trace.texts.pair)
    tokens = trace.tokens(side)
    if text is None:
        return [str(tokens["token"].iloc[int(first)]) for first in units.first]
    return list(units.labels(tokens, text, pair))


def relations(trace: Trace, kind: str | None) -> pd.DataFrame:
    """Accuracy of every head on every dependency relation of the text."""
    chosen = trace.attention_of(kind)
    parse = trace.reading(trace.side(chosen.kind, "query")).parse
    if chosen.kind == "cross" or parse is None or "head" not in parse.columns:
        raise NotCaptured(NO_PARSE if chosen.kind != "cross" else NO_RELATIONS)
    words = trace.tokens(trace.side(chosen.kind, "query"))["word"].to_numpy()
    units = word_level.word_units(words, drop=True)
    layers = range(len(chosen.layers))
    weights = np.stack(
        [
            word_level.word_attention(
                trace.attention(chosen.kind, layer).to_numpy(), words, special="drop", zero_diagonal=True
            ).weights
            for layer in layers
        ]
    )
    seen = parse.loc[units.word]
    table = relation_accuracy([ParsedAttention(weights, units.positions(seen["head"]).tolist(), list(seen["dep"]))])
    table.insert(0, "kind", chosen.kind)
    return table
