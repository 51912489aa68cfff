"""Compare two traces: heads, matrices, words, predictions and residual streams, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import xarray as xr

from atlas.errors import UnknownName
from atlas.ids import as_heads
from atlas.tracing.predictions import distributions
from atlas.tracing.two_heads import BY_INDEX, BY_PATTERN, head_differences, matrices
from atlas.tracing.two_predictions import beside, places
from atlas.tracing.two_streams import stream_alignment
from atlas.tracing.two_traces import TwoTraces

if TYPE_CHECKING:
    from atlas.ids import Headlike
    from atlas.trace import Trace

NO_PARTNER = "(no partner)"
"""The key that stands for all words without a partner."""


class Compared:
    """A trace held against another; every difference is the second minus the first."""

    def __init__(self, a: Trace, b: Trace, match: str | None = None) -> None:
        self._two, self._match = TwoTraces(a, b), match
        if match == BY_INDEX and not all(self._two.same_shape(kind) for kind, _ in self._two.kinds()):
            msg = "The two sides differ in their kind of attention, layers or heads: pair their heads by 'pattern'."
            raise UnknownName(msg)

    @property
    def a(self) -> Trace:
        """The first side."""
        return self._two.a

    @property
    def b(self) -> Trace:
        """The second side."""
        return self._two.b

    @property
    def words(self) -> pd.DataFrame:
        """One row a pair of words, then the words without partner: side, a, b, tokens_a, tokens_b, special."""
        sides = [side for side in self.a.token_tables if side in self.b.token_tables]
        return pd.concat([self._two.word_table(side).assign(side=side) for side in sides], ignore_index=True)

    @property
    def heads(self) -> pd.DataFrame:
        """One row a head of the first side: its partner, how alike both are, every metric on both sides and its change."""
        return pd.concat(
            [head_differences(self._two, kind, self._match, medians=True) for kind, _ in self._two.kinds()], ignore_index=True
        )

    def matrix(self, *heads: Headlike, level: str = "token", aggregate: str = "mean") -> xr.Dataset:
        """Attention between the same words (query, key): `a`, `b` and `difference`, of one head or of several of a kind together.

        To a word it is summed over its tokens, from it averaged. The last key is everything without a partner.
        """
        chosen = as_heads(heads, self.a.kinds)
        if len({head.kind for head in chosen}) != 1:
            msg = f"A matrix is of one head, or of several of one kind, not of {heads!r}."
            raise UnknownName(msg)
        found = matrices(self._two, chosen, aggregate, level, self._match)
        dims = ("query", "key")
        values = {"a": (dims, found.a), "b": (dims, found.b), "difference": (dims, found.difference)}
        return xr.Dataset(values, coords={"query": list(found.queries), "key": [*found.keys, NO_PARTNER]})

    @property
    def cka(self) -> xr.Dataset:
        """Linear CKA of the residual streams (layer of a, layer of b), its level by chance and p; of the first kind."""
        found = stream_alignment(self._two, self._two.kinds()[0][0]).found
        dims = ("layer_a", "layer_b")
        return xr.Dataset({"cka": (dims, found.values), "chance": (dims, found.chance), "p": (dims, found.p)})

    @property
    def predictions(self) -> pd.DataFrame:
        """The five likeliest outcomes of either side at the same words.

        Columns place, position_a, position_b, outcome, a, b (probabilities), difference.
        """
        found = places(self._two)
        at = [place.a for place in found], [place.b for place in found]
        sides = [distributions(trace.kept_outcomes(), where) for trace, where in zip((self.a, self.b), at, strict=True)]
        rows = [
            (place.name, place.a, place.b, each.name, each.a, each.b, each.b - each.a)
            for place, one, other in zip(found, *sides, strict=True)
            for each in beside(one, other, 5)
        ]
        return pd.DataFrame(rows, columns=["place", "position_a", "position_b", "outcome", "a", "b", "difference"])


def compare(a: Trace, b: Trace, match: str | None = None) -> Compared:
    """Hold a trace against another: another text, another model, the same text with heads switched off.

    Parameters
    ----------
    a, b
        Any two traces. Words are aligned whatever the tokenizers.
    match
        How heads are paired: 'number' (the same layer and number), 'pattern' (by what they look at, each with one partner at
        most); None: by number where both have as many layers and heads of one kind, else by pattern.

    Returns
    -------
    `words`, `heads`, `cka`, `predictions` and `matrix(head)`; every difference is b minus a.
    """
    if match not in (None, BY_INDEX, BY_PATTERN):
        msg = f"Heads are paired by {BY_INDEX!r} or by {BY_PATTERN!r}, not by {match!r}."
        raise UnknownName(msg)
    return Compared(a, b, match)
