"""Tokens of two texts in pairs of words, and how far attention between words differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.metrics.between import Moved, moved
from atlas.text.pairs import NO_PARTNER, Units, same_units, units_of_numbers, with_spaces

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace
    from atlas.tracing.counterfactual import Counterfactual, Span


def units_of(old: pd.DataFrame, new: pd.DataFrame, found: Counterfactual) -> Units:
    """Pairs of words from the token tables of two texts; special tokens are paired in their order, where they are the same."""
    one, other = (_word_of(table, [pair[side] for pair in found.aligned]) for side, table in enumerate((old, new)))
    return units_of_numbers(old, new, one, other, len(found.aligned))


def _word_of(table: pd.DataFrame, spans: list[Span]) -> np.ndarray:
    """The stretch that each token shares letters with, -1: none, or a special token."""
    special = table["special"].to_numpy(dtype=bool)
    start, end = (table[side].to_numpy(dtype=float, na_value=np.nan) for side in ("start", "end"))
    found = np.full(len(table), NO_PARTNER)
    for number, (first, last) in enumerate(spans):
        found[(start < last) & (end > first) & ~special & (found == NO_PARTNER)] = number
    return with_spaces(table, found)


def equal_tokens(old: pd.DataFrame, new: pd.DataFrame, found: Counterfactual) -> list[tuple[int, int]]:
    """Pairs of positions of tokens that are the same in both texts, within words that are."""
    changed = set(found.changed)
    kept = found._replace(aligned=tuple(pair for pair in found.aligned if pair[1] not in changed))
    units, pairs = units_of(old, new, kept), []
    for unit in np.flatnonzero(units.words):
        one, other = np.flatnonzero(units.old == unit), np.flatnonzero(units.new == unit)
        if old["id"].to_numpy()[one].tolist() == new["id"].to_numpy()[other].tolist():
            pairs += list(zip(one.tolist(), other.tolist(), strict=True))
    return pairs


def pooled(weights: np.ndarray, queries: np.ndarray, keys: np.ndarray, n_queries: int, n_keys: int) -> np.ndarray:
    """(head, query unit, key unit + 1) attention between units: to a unit summed, from it averaged; last, what has no partner."""
    rows = (queries[None] == np.arange(n_queries)[:, None]).astype(float)
    rows /= np.maximum(rows.sum(axis=1, keepdims=True), 1)
    columns = (np.where(keys < 0, n_keys, keys)[:, None] == np.arange(n_keys + 1)).astype(float)
    return np.asarray(rows @ np.nan_to_num(weights.astype(float)) @ columns)


class Sides(NamedTuple):
    """The units of both sides of two runs."""

    source: Units
    target: Units | None

    def of(self, trace: Trace, kind: str, axis: str) -> Units:
        """The units of the queries or keys of a kind."""
        target = trace.side(kind, axis) == "target"
        assert not target or self.target is not None
        return self.target if target and self.target is not None else self.source


def sides_of(old: Trace, new: Trace, found: Counterfactual) -> Sides:
    """The pairs of two traces: of their texts, and of what the decoder read, which is the same where it is a text of its own."""
    tables, others = old.token_tables, new.token_tables
    source = units_of(tables["source"], others["source"], found)
    if "target" not in tables:
        return Sides(source, None)
    own_text = old.texts.target is not None
    return Sides(source, same_units(tables["target"]) if own_text else units_of(tables["target"], others["target"], found))


def reaction(old: Trace, new: Trace, kind: str, layer: int, sides: Sides, weights: np.ndarray) -> Moved:
    """How far the heads of a layer moved; `weights` are those of the old trace."""
    queries, keys = sides.of(old, kind, "query"), sides.of(old, kind, "key")
    sizes = len(queries.words), len(keys.words)
    one = pooled(weights, queries.old, keys.old, *sizes)
    other = pooled(new.attention(kind, layer).to_numpy(), queries.new, keys.new, *sizes)
    return moved(one, other, queries.words)
