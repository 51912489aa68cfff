"""What a head reads through its queries, keys and values, as linear readers of the states that its block reads.

A sum over products with given weights (of scores, or of values) is linear in the queries, in the keys and in the values alone.
So each has one linear reader a token, which autograd reads off as for one edge; norms inside the block are held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.engine.running.attention_block import Leaf, block_of, norms_of, wide
from atlas.tracing.composition import Reader, Readers

if TYPE_CHECKING:
    from atlas.trace import Trace


def head_readers(trace: Trace, kind: str, layer: int, head: int, on_scores: np.ndarray, on_values: np.ndarray) -> Readers:
    """Readers of Σ on_scores · (scaled q · k) through the query and through the key, and of Σ on_values · v.

    `on_scores` is (query, key), `on_values` (key, value width).
    """
    with block_of(trace, kind, layer) as block, torch.enable_grad():
        given = block.sides(trace.attention_of(kind).n_keys)
        leaves = {id(value): Leaf(value.detach().clone().requires_grad_()) for value in given}
        terms = block.terms({at: leaf.state for at, leaf in leaves.items()}, block.followed(list(leaves.values())))
        with torch.no_grad():
            empty = block.terms({id(value): torch.zeros_like(value) for value in given}, block.as_held)
        shared = head // (terms.query.shape[1] // terms.key.shape[1])
        scores, values = (torch.as_tensor(each).to(terms.query) for each in (on_scores * terms.scaling, on_values))
        to_query, to_key = scores @ terms.key[0, shared].detach(), scores.T @ terms.query[0, head].detach()
        sides = {
            "q": (0, to_query, terms.query[0, head], empty.query[0, head]),
            "k": (1, to_key, terms.key[0, shared], empty.key[0, shared]),
            "v": (1, values, terms.value[0, shared], empty.value[0, shared]),
        }
        streams, found = block.streams(), {}
        for path, (side, onto, vectors, at_zero) in sides.items():
            leaf = leaves[id(given[side])]
            reader = leaf.gradient([(vectors * onto).sum()], list(range(vectors.shape[0])))[0]
            found[path] = Reader(streams[side], wide(leaf.state[0]), wide(reader), wide((at_zero * onto).sum(-1)))
        return Readers(found, norms_of(trace), bool(block.held))
