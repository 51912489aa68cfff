"""Attributions of one decision on both sides of a comparison: the words that are held together, and plain records."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from atlas.errors import NotCaptured
from atlas.text.pairs import NO_PARTNER
from atlas.tracing.two_traces import TOKENS

if TYPE_CHECKING:
    from atlas.tracing.explained import Attribution
    from atlas.tracing.two_traces import TwoTraces

TWO_ATTRIBUTIONS, METHODS_OF_BOTH = "attributions of both sides", "methods of both sides"
"""Names of the tasks that attribute the same decision on both sides, and that say which methods a side cannot run."""

SAME, OWN = "same", "own"
"""What is explained on B: the outcome that is explained on A, or the likeliest of B."""

BOTH, ONLY_A, ONLY_B = "both", "only A", "only B"
"""Where the word of a row is."""


class TwoAttributions(NamedTuple):
    """One decision on both sides, by one method, word by word."""

    a: Attribution
    b: Attribution
    table: pd.DataFrame
    """One row a word (a token where both sides have the same ones): side, word, where (`BOTH`, `ONLY_A`, `ONLY_B`), tokens_a and
    tokens_b (positions), raw_a and raw_b (sums of scores), a and b (shares), difference (b - a), compared.

    Pairs come first, then what only A has, then what only B has. A share is a row's score over the sum of the magnitudes of all
    rows of that side that count: special tokens do not, nor what comes after the target in a model that looks back only.
    """
    instead: str = ""
    """Why not the outcome of A is explained on B, where that was asked for; empty: it is."""
    rho: float = np.nan
    """Spearman's correlation of the shares of the words that both sides have; NaN where it is unknown."""
    lo: float = np.nan
    hi: float = np.nan
    p: float = np.nan
    n: int = 0
    left_out: tuple[float, float] = (0.0, 0.0)
    """On either side, the share of all magnitudes that special tokens hold."""


def aligned_words(two: TwoTraces) -> pd.DataFrame:
    """One row a word: side, word, where, tokens_a, tokens_b; pairs first, then the tokens that only A, and that only B has."""
    parts = [_words_of(two, side) for side in dict.fromkeys([*two.a.token_tables, *two.b.token_tables])]
    rows = [row for kind in (BOTH, ONLY_A, ONLY_B) for part in parts for row in part if row[2] == kind]
    return pd.DataFrame(rows, columns=["side", "word", "where", "tokens_a", "tokens_b"])


def not_known(two: TwoTraces) -> pd.DataFrame:
    """The words of both sides as `TwoAttributions.table` has them, before anything is known of them."""
    return aligned_words(two).assign(**dict.fromkeys(("raw_a", "raw_b", "a", "b", "difference"), np.nan), compared=False)


def has_words(two: TwoTraces, table: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are of more than special tokens."""
    special = [
        {side: each["special"].to_numpy(dtype=bool) for side, each in trace.token_tables.items()} for trace in (two.a, two.b)
    ]
    found = [
        any(not flags[side][at] for flags, tokens in zip(special, both, strict=True) for at in tokens)
        for side, *both in table[["side", "tokens_a", "tokens_b"]].to_numpy().tolist()
    ]
    return pd.Series(found, index=table.index, dtype=bool)


def _words_of(two: TwoTraces, side: str) -> list[tuple[str, str, str, tuple[int, ...], tuple[int, ...]]]:
    tables = [trace.token_tables.get(side) for trace in (two.a, two.b)]
    names: list[list[str]] = [[] if table is None else table["token"].astype(str).tolist() for table in tables]
    pairs: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    units = [np.full(len(each), NO_PARTNER) for each in names]
    if all(names):
        try:
            words = two.words(side, TOKENS)
            units = [words.units.old, words.units.new]
            pairs = [(name, _tokens(units[0], unit), _tokens(units[1], unit)) for unit, name in enumerate(words.names)]
        except NotCaptured:
            pairs = []  # nothing in common: every token is without partner
    alone = [_tokens(each, NO_PARTNER) for each in units]
    return [
        *((side, name, BOTH, a, b) for name, a, b in sorted(pairs, key=lambda pair: pair[1])),
        *((side, names[0][at], ONLY_A, (at,), ()) for at in alone[0]),
        *((side, names[1][at], ONLY_B, (), (at,)) for at in alone[1]),
    ]


def _tokens(units: np.ndarray, unit: int) -> tuple[int, ...]:
    return tuple(np.flatnonzero(units == unit).tolist())
