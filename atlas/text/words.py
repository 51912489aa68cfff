"""Attention between words: attention to the pieces of a word is summed, attention from them is averaged (Clark et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from atlas.text.segment import NO_WORD, words

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Special", "Units", "WordAttention", "pool", "word_attention", "word_units", "words"]

Special = Literal["keep", "drop", "renormalise"]
_SPECIAL = ("keep", "drop", "renormalise")


@dataclass(frozen=True)
class Units:
    """The rows or columns of word-level attention, in the order of their first tokens."""

    word: NDArray[np.int64]
    """The word of each unit, or -1 for a single token that belongs to no word."""
    first: NDArray[np.int64]
    """Position of the unit's first token."""
    size: NDArray[np.int64]
    """Number of tokens of the unit."""
    of_token: NDArray[np.int64]
    """The unit of every token, or -1 where the token was dropped."""

    def __len__(self) -> int:
        return len(self.word)

    def positions(self, words: ArrayLike) -> NDArray[np.int64]:
        """The unit of each of these words, or -1. This turns the `head` column of a parse into row numbers."""
        wanted = np.asarray(words, dtype=np.int64)
        order = np.argsort(self.word, kind="stable")
        at = np.searchsorted(self.word[order], wanted)
        found = (wanted != NO_WORD) & (at < len(self))
        found[found] = self.word[order][at[found]] == wanted[found]
        made = np.full(wanted.shape, -1, dtype=np.int64)
        made[found] = order[at[found]]
        return made

    def labels(self, tokens: pd.DataFrame, text: str, pair: str | None = None) -> list[str]:
        """The label of each unit: the text that its tokens cover, or the tokens themselves where that is unknown."""
        texts = (text, pair or "")
        made = []
        for unit in range(len(self)):
            rows = tokens.iloc[np.flatnonzero(self.of_token == unit)]
            side = int(rows["segment"].iloc[0])
            if self.word[unit] == NO_WORD or side < 0 or rows["start"].isna().any():
                made.append("".join(rows["token"]))
            else:
                made.append(texts[side][int(rows["start"].min()) : int(rows["end"].max())])
        return made


class WordAttention(NamedTuple):
    """Attention between units, and the units of both axes."""

    weights: NDArray[Any]
    queries: Units
    keys: Units


def word_units(token_words: ArrayLike, *, drop: bool = False) -> Units:
    """Group tokens by word. A token of no word is a unit by itself, or is dropped."""
    word_of = np.asarray(token_words, dtype=np.int64)
    if word_of.ndim != 1:
        msg = f"Words have to be one row of numbers, one a token, not an array of shape {word_of.shape}."
        raise ValueError(msg)
    alone = word_of < 0
    position = np.arange(len(word_of))
    key = np.where(alone, -1 - position, word_of)  # every token of no word gets a unique key
    kept = position[~alone] if drop else position
    _, first, inverse, size = np.unique(key[kept], return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    of_token = np.full(len(word_of), -1, dtype=np.int64)
    of_token[kept] = rank[inverse]
    first = kept[first[order]]
    return Units(np.where(alone[first], NO_WORD, word_of[first]), first, size[order].astype(np.int64), of_token)


def word_attention(
    weights: ArrayLike,
    query_words: Sequence[int] | ArrayLike,
    key_words: Sequence[int] | ArrayLike | None = None,
    *,
    special: Special = "keep",
    zero_diagonal: bool = False,
) -> WordAttention:
    """Pool token-level attention to word level.

    Attention to a word is the sum over its tokens, attention from it the mean over its tokens. So rows that sum to 1 still do,
    and nothing changes where every word is one token.

    A masked pair (NaN) counts as no attention if any other pair of tokens of the two words is visible (in a causal model the
    first piece of a word cannot see the second). If none is visible, the result is NaN. A query token that sees no key is left
    out of the mean.

    Parameters
    ----------
    weights
        `(..., query, key)`; NaN where masked. Half precision is computed and returned in float32.
    query_words, key_words
        The `word` column of the token tables of queries and keys; `key_words` defaults to `query_words`.
    special
        How to treat the tokens of no word ([CLS], [SEP], white space): 'keep' each as a unit, 'drop' their rows and columns,
        or drop them and 'renormalise' the rest so that rows sum to 1 again (a row without attention left is NaN).
    zero_diagonal
        Set the attention of a unit to itself to 0 (before renormalising).

    Notes
    -----
    Clark et al. (2019, section 4.2 and their notebook) evaluate heads with `special='drop', zero_diagonal=True` and take the
    argmax of each row. They also treat the possessive clitic `'s` as a separate word at which a `poss` relation may be found.
    That case does not occur here, because `dog's` is one word (see `atlas.text.segment`).
    """
    if special not in _SPECIAL:
        msg = f"{special!r} says nothing about special tokens; use one of {', '.join(_SPECIAL)}."
        raise ValueError(msg)
    array = np.asarray(weights)
    array = array.astype(np.float32) if array.dtype.kind != "f" or array.dtype.itemsize < 4 else array
    queries = word_units(query_words, drop=special != "keep")
    keys = queries if key_words is None else word_units(key_words, drop=special != "keep")
    if array.ndim < 2 or array.shape[-2:] != (len(queries.of_token), len(keys.of_token)):
        msg = (
            f"Weights of shape {array.shape} do not fit {len(queries.of_token)} query tokens and {len(keys.of_token)} key "
            "tokens; the last two axes have to be (query, key)."
        )
        raise ValueError(msg)
    if zero_diagonal and not np.array_equal(queries.of_token, keys.of_token):
        msg = "There is no diagonal where queries and keys are different tokens; leave zero_diagonal out for cross attention."
        raise ValueError(msg)
    pooled = pool(array, queries, keys)
    if zero_diagonal:
        diagonal = np.einsum("...ii->...i", pooled)
        diagonal[~np.isnan(diagonal)] = 0
    if special == "renormalise":
        left = np.nansum(pooled, axis=-1, keepdims=True)
        pooled = np.divide(pooled, left, out=np.full_like(pooled, np.nan), where=left > 0)
    return WordAttention(pooled, queries, keys)


def pool(weights: NDArray[Any], queries: Units, keys: Units) -> NDArray[Any]:
    """Weights (..., query, key) between units, as `word_attention` pools them."""
    visible = ~np.isnan(weights)
    if visible.all():
        totals = _add(_add(weights, keys, -1), queries, -2)
        return totals / queries.size[:, None].astype(totals.dtype)
    seeing = visible.any(axis=-1, keepdims=True)
    totals = _add(_add(np.where(visible, weights, 0), keys, -1), queries, -2)
    givers = _add(seeing.astype(weights.dtype), queries, -2)
    seen = _add(_add(visible.astype(np.int32), keys, -1), queries, -2) > 0
    return np.divide(totals, givers, out=np.full_like(totals, np.nan), where=seen)


def _add(values: NDArray[Any], units: Units, axis: int) -> NDArray[Any]:
    """Sum the tokens of each unit along an axis."""
    if len(units) == 0:
        return np.take(values, [], axis=axis)
    order = np.argsort(units.of_token, kind="stable")[np.count_nonzero(units.of_token < 0) :]
    starts = np.concatenate([[0], np.cumsum(units.size)[:-1]])
    ordered = values if np.array_equal(order, np.arange(values.shape[axis])) else np.take(values, order, axis=axis)
    return np.add.reduceat(ordered, starts, axis=axis)
