"""The attention between the tokens of two sentences, and its strongest links, each with the head it is strongest in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import TooLarge
from atlas.metrics.links import strongest
from atlas.tracing.links import chances
from atlas.tracing.windows import combined, one_kind

if TYPE_CHECKING:
    from atlas.ids import HeadId
    from atlas.trace import Trace

Array = np.ndarray

BLOCK_CELLS = 10_000_000
"""Weights between the tokens of two sentences, all heads together: a quarter of a second of arithmetic."""

BLOCK_LINKS = 10
"""Links told in words: what is read without scrolling."""


class SentenceBlock(NamedTuple):
    """The tokens of one sentence x those of another."""

    queries: Array
    """Positions of the tokens of the sentence that looks, in order."""
    keys: Array
    """Positions of the tokens of the sentence that is looked at."""
    weights: Array
    """(query, key): the heads' mean, or the largest of them; NaN where masked."""
    chance: Array
    """The same of attention that each query spreads evenly over what it may see."""
    query: Array
    key: Array
    """(link,) positions of the strongest links, the strongest first. A link is there once, whatever the number of heads."""
    weight: Array
    """(link,) the weight in the head that has most of it."""
    head: tuple[HeadId, ...]
    """(link,) that head."""
    by_chance: Array
    """(link,) the weight of evenly spread attention in that head."""


def sentence_block(
    trace: Trace,
    heads: Sequence[HeadId],
    queries: Array,
    keys: Array,
    aggregate: str = "mean",
    most: int = BLOCK_LINKS,
    tell: Callable[[float], object] = lambda _: None,
) -> SentenceBlock:
    """The weights from some tokens to some tokens, of the heads together, and the strongest links of single heads.

    `tell` is called with the share of the heads that are read.
    """
    attention = trace.attention_of(one_kind(heads))
    check_block(len(queries), len(keys), len(heads))
    highest = np.full((len(queries), len(keys)), -np.inf, np.float32)
    of_head = np.zeros(highest.shape, np.intp)

    def blocks() -> object:
        for number, head in enumerate(heads):
            tell(number / len(heads))
            block = attention.block(head.layer, head.head, queries, keys)
            # The first head of equal ones stays, so that the list is the same whatever else is selected after it.
            stronger = np.nan_to_num(block, nan=-np.inf) > highest
            highest[stronger], of_head[stronger] = block[stronger], number
            yield block

    weights = combined(blocks(), aggregate)
    row, column = strongest(np.where(np.isfinite(highest), highest, np.nan), most)
    chosen = tuple(heads[number] for number in of_head[row, column])
    places = [
        chances(attention, [head], queries[[q]], keys[[k]], "mean")[0] for head, q, k in zip(chosen, row, column, strict=True)
    ]
    grid = np.repeat(queries, len(keys)), np.tile(keys, len(queries))
    return SentenceBlock(
        queries, keys, weights, chances(attention, heads, *grid, aggregate).reshape(highest.shape),
        queries[row], keys[column], highest[row, column], chosen, np.asarray(places, np.float32),
    )  # fmt: skip


def check_block(n_queries: int, n_keys: int, n_heads: int) -> None:
    """Refuse more weights than a reader waits for."""
    size = n_queries * n_keys * n_heads
    if size > BLOCK_CELLS:
        msg = (
            f"{n_heads:,} heads of {n_queries:,} × {n_keys:,} tokens are {size / 1e6:,.0f} million weights, and at most "
            f"{BLOCK_CELLS / 1e6:.0f} million are shown between two sentences. Select fewer heads, or shorter sentences."
        )
        raise TooLarge(msg)
