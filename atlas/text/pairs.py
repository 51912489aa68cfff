"""Tokens of two texts in pairs: word by word, whatever tokenizer cut either text, or token by token where both are the same."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.ids import WORD_MARKS
from atlas.text.words import Units as WordUnits
from atlas.text.words import pool

if TYPE_CHECKING:
    import pandas as pd

NO_PARTNER = -1

SPACES = f" {WORD_MARKS}"
"""What a token of white space alone is spelled with."""


class Units(NamedTuple):
    """Words of two texts in pairs: the unit of every token of either."""

    old: np.ndarray
    """(token,) number of the pair it belongs to, -1 where it has no partner."""
    new: np.ndarray
    words: np.ndarray
    """(unit,) whether it is a word, and no special token."""


def paired_words(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    """Places of words of two texts that stand for each other, in their order.

    Equal words (whatever their case) of the longest common stretches are paired, and between them as many words of one text with
    as many of the other: 'he' with 'she' where nothing else differs. A word that was put in or left out has no partner.
    """
    pairs: list[tuple[int, int]] = []
    alike = SequenceMatcher(None, [word.lower() for word in one], [word.lower() for word in other], autojunk=False)
    for what, start, stop, start_other, stop_other in alike.get_opcodes():
        if what == "equal" or (what == "replace" and stop - start == stop_other - start_other):
            pairs += zip(range(start, stop), range(start_other, stop_other), strict=True)
    return pairs


def units_of_words(old: pd.DataFrame, new: pd.DataFrame, pairs: Sequence[tuple[int, int]]) -> Units:
    """Units of pairs of words, given by their numbers in the column `word` of two token tables."""
    sides = []
    for side, table in enumerate((old, new)):
        of_word = {pair[side]: number for number, pair in enumerate(pairs)}
        found = np.array([of_word.get(int(word), NO_PARTNER) for word in table["word"]], dtype=int)
        sides.append(with_spaces(table, found))
    return units_of_numbers(old, new, sides[0], sides[1], len(pairs))


def same_units(table: pd.DataFrame) -> Units:
    """Tokens that are the same in both runs, such as what a decoder reads: each is a unit of its own."""
    each = np.arange(len(table))
    return Units(each, each, ~table["special"].to_numpy(dtype=bool))


def units_of_numbers(old: pd.DataFrame, new: pd.DataFrame, one: np.ndarray, other: np.ndarray, count: int) -> Units:
    """Units of tokens that are numbered by the pair they belong to (-1: none), of `count` pairs.

    A pair without a token on one side (a text that was cut) is none. Special tokens are paired in their order, where both texts
    have the same ones.
    """
    usable = np.intersect1d(one[one >= 0], other[other >= 0])
    number = np.full(count + 1, NO_PARTNER)  # the last is what -1 finds
    number[usable] = np.arange(len(usable))
    units = [number[numbers] for numbers in (one, other)]
    special = [np.flatnonzero(table["special"].to_numpy(dtype=bool)) for table in (old, new)]
    names = [table["token"].to_numpy()[at].tolist() for table, at in zip((old, new), special, strict=True)]
    ordinary = np.ones(len(usable), dtype=bool)
    if names[0] == names[1]:
        for unit, at in zip(units, special, strict=True):
            unit[at] = len(usable) + np.arange(len(at))
        ordinary = np.concatenate([ordinary, np.zeros(len(special[0]), dtype=bool)])
    return Units(units[0], units[1], ordinary)


def with_spaces(table: pd.DataFrame, found: np.ndarray) -> np.ndarray:
    """Numbers of tokens, where a token of white space alone (SentencePiece has such) goes with the word after it."""
    special = table["special"].to_numpy(dtype=bool)
    for at in range(len(table) - 2, -1, -1):
        if found[at] == NO_PARTNER and not special[at] and not str(table["token"].iloc[at]).strip(SPACES):
            found[at] = found[at + 1]
    return found


def pooled_pairs(weights: np.ndarray, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(..., query unit, key unit + 1) attention between units, pooled as between words; last, what goes to no partner.

    `queries` and `keys` are the units of the tokens of one side, -1 for those without a partner. NaN where no token of a unit may
    look at any of another.
    """
    n_keys = int(keys.max(initial=NO_PARTNER)) + 1
    alone = keys == NO_PARTNER
    columns = pool(weights, _grouped(queries), _grouped(np.where(alone, n_keys, keys)))
    if not alone.any():
        return np.concatenate([columns, np.zeros((*columns.shape[:-1], 1), columns.dtype)], axis=-1)
    columns[..., -1] = np.nan_to_num(columns[..., -1])
    return columns


def _grouped(unit_of: np.ndarray) -> WordUnits:
    """Units by their number, each with the tokens that have it."""
    kept = unit_of >= 0
    number, first, size = np.unique(unit_of[kept], return_index=True, return_counts=True)
    return WordUnits(number.astype(np.int64), np.flatnonzero(kept)[first], size.astype(np.int64), unit_of.astype(np.int64))
