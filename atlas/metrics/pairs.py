"""Which earlier occurrences of a token a query could attend to: the ground of the induction and duplicate-token scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

BoolMatrix = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Candidate keys of every query, found by comparing token ids; one object serves all masks of a text.

    Attributes
    ----------
    induction
        (query, key): the token before the key is the query's token, seen earlier. Attending there is what completes
        "A B ... A" with B. Includes the query itself in "A A", where it stands right after the first A.
    duplicate
        (query, key): the key is an earlier occurrence of the query's own token.
    """

    induction: BoolMatrix
    duplicate: BoolMatrix

    @classmethod
    def build(cls, token_ids: npt.ArrayLike, special: npt.ArrayLike, *, causal: bool = False) -> Pairs:
        """Compare all tokens of one text.

        Special tokens are neither queries nor keys here: every head that parks its attention on [SEP] would otherwise
        look like an induction head wherever a repeated word stands before [SEP]. In a causal model the first token is no
        duplicate candidate for the same reason: it collects idle attention whatever it says. Bidirectional models are
        read the same way, backwards only, so that the scores of both families mean the same.
        """
        ids = np.asarray(token_ids)
        plain = ~np.asarray(special, dtype=bool)
        same = (ids[:, None] == ids[None, :]) & plain[:, None] & plain[None, :]
        duplicate = np.tril(same, -1)
        induction = np.zeros_like(duplicate)
        induction[:, 1:] = duplicate[:, :-1] & plain[None, 1:]
        if causal and len(ids):
            duplicate[:, 0] = False
        return cls(induction=induction, duplicate=duplicate)

    @property
    def found(self) -> dict[str, BoolMatrix]:
        """The kinds of pair that occur in this text at all."""
        both = {"induction": self.induction, "duplicate": self.duplicate}
        return {name: matrix for name, matrix in both.items() if matrix.any()}

    @cached_property
    def templates(self) -> FloatArray:
        """`templates_of` these pairs, kept: plans of different masks (sliding window and full) share it."""
        return templates_of(len(self.induction), len(self.induction), self.found)


def templates_of(n_queries: int, n_keys: int, found: Mapping[str, BoolMatrix]) -> FloatArray:
    """(query, template, key): the distance |i - j|, then one 0/1 template for each kind of pair."""
    stack = np.empty((n_queries, 1 + len(found), n_keys), dtype=np.float32)
    np.abs(np.arange(n_queries, dtype=np.float32)[:, None] - np.arange(n_keys, dtype=np.float32), out=stack[:, 0])
    for place, matrix in enumerate(found.values(), start=1):
        stack[:, place] = matrix
    return stack
