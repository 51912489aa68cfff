"""Attention between sentences: the attention mass that the tokens of one sentence put on the tokens of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

LETTERS = 60
"""Most letters of a sentence in its name: enough to tell sentences apart in an exported table."""


class SentenceUnits(NamedTuple):
    """The sentences of a text, in order, and the sentence of every token."""

    number: NDArray[np.int64]
    """Number of each sentence in the token table."""
    of_token: NDArray[np.int64]
    """Index of each token's sentence; -1 for special tokens and white space, which are in no sentence."""

    def __len__(self) -> int:
        return len(self.number)

    def names(self, tokens: pd.DataFrame, text: str | None, pair: str | None = None) -> list[str]:
        """The number, counted from 1, and the text of each sentence; its tokens where the text is unknown."""
        made = []
        for at, number in enumerate(self.number):
            rows = tokens.iloc[np.flatnonzero(self.of_token == at)]
            source = pair if "segment" in rows and int(rows["segment"].iloc[0]) == 1 else text
            known = source is not None and rows["start"].notna().all()
            written = (
                str(source)[int(rows["start"].min()) : int(rows["end"].max())] if known else " ".join(map(str, rows["token"]))
            )
            words = " ".join(written.split())
            made.append(f"{number + 1}: {words if len(words) <= LETTERS else f'{words[: LETTERS - 1]}…'}")
        return made


def sentence_units(sentences: NDArray[np.int64], special: NDArray[np.bool_]) -> SentenceUnits:
    """The sentences of a `sentence` column. Special tokens are in no sentence, even if the column has a number for them."""
    inside = np.where(special, -1, sentences)
    number = np.unique(inside[inside >= 0])
    return SentenceUnits(number, np.where(inside >= 0, np.searchsorted(number, inside), -1))


def stretches(labels: Sequence[str]) -> SentenceUnits:
    """Neighbouring tokens of one label as one unit. Tokens without a label are in none, and do not end one."""
    of_token, count, last = np.full(len(labels), -1, np.int64), 0, ""
    for at, label in enumerate(labels):
        if label:
            count += label != last
            of_token[at], last = count - 1, label
    return SentenceUnits(np.arange(count), of_token)


def sentence_mass(weights: NDArray[np.float32], rows: SentenceUnits, columns: SentenceUnits) -> NDArray[np.float32]:
    """(row sentence, column sentence): mean attention mass of the row sentence's tokens on the column sentence.

    A token that sees only some tokens of a sentence has the mass on those; a token that sees none of them has mass 0. The result
    is NaN where no token of the row sentence sees any token of the column sentence. A row of `weights` without a visible key is
    left out of the mean, because its weights are unknown.
    """
    seen = ~np.isnan(weights)
    members = (columns.of_token[:, None] == np.arange(len(columns))).astype(np.float32)
    mass, visible = np.where(seen, weights, 0).astype(np.float32) @ members, seen.astype(np.float32) @ members
    attending = (rows.of_token == np.arange(len(rows))[:, None]) & seen.any(axis=1)
    total, reached = attending.astype(np.float64) @ mass, attending.astype(np.float64) @ visible
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / attending.sum(axis=1, keepdims=True)
    return np.where(reached > 0, mean, np.nan).astype(np.float32)


def uniform_rows(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights of attention that each row spreads evenly over its visible keys; NaN where masked."""
    seen = ~np.isnan(weights)
    with np.errstate(divide="ignore"):
        share = 1 / seen.sum(axis=1, keepdims=True)
    return np.where(seen, share, np.nan).astype(np.float32)
