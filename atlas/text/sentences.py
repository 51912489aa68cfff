"""Attention between sentences: how much of what the tokens of one sentence look at lies in another."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

LETTERS = 60
"""Letters of a sentence in its name: enough to tell sentences apart in an exported table."""


class SentenceUnits(NamedTuple):
    """The sentences of a text, in order, and the one every token is in."""

    number: NDArray[np.int64]
    """Number of each sentence, as the token table has it."""
    of_token: NDArray[np.int64]
    """Place of a token's sentence among them; -1 for special tokens and white space, which are in none."""

    def __len__(self) -> int:
        return len(self.number)

    def names(self, tokens: pd.DataFrame, text: str | None, pair: str | None = None) -> list[str]:
        """Number, counted from 1, and words of each sentence; of a text that was not kept, its tokens."""
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
    """The sentences of a `sentence` column; special tokens are in none, whatever the column says."""
    inside = np.where(special, -1, sentences)
    number = np.unique(inside[inside >= 0])
    return SentenceUnits(number, np.where(inside >= 0, np.searchsorted(number, inside), -1))


def sentence_mass(weights: NDArray[np.float32], rows: SentenceUnits, columns: SentenceUnits) -> NDArray[np.float32]:
    """(row sentence, column sentence): mean, over the tokens of the row sentence, of the weight they give to the column sentence.

    A token that may see only some tokens of a sentence gives it what it gives to those, one that may see none of them gives it 0.
    NaN where no token of the row sentence may see any of the column sentence. A row of `weights` without any visible key is left
    out of the mean, because nothing is known of it.
    """
    seen = ~np.isnan(weights)
    members = (columns.of_token[:, None] == np.arange(len(columns))).astype(np.float32)
    mass, visible = np.where(seen, weights, 0).astype(np.float32) @ members, seen.astype(np.float32) @ members
    looking = (rows.of_token == np.arange(len(rows))[:, None]) & seen.any(axis=1)
    total, reached = looking.astype(np.float64) @ mass, looking.astype(np.float64) @ visible
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / looking.sum(axis=1, keepdims=True)
    return np.where(reached > 0, mean, np.nan).astype(np.float32)


def uniform_rows(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights of attention spread evenly over the keys each row may see; NaN where it may not look."""
    seen = ~np.isnan(weights)
    with np.errstate(divide="ignore"):
        share = 1 / seen.sum(axis=1, keepdims=True)
    return np.where(seen, share, np.nan).astype(np.float32)
