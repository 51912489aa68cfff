"""How the query and the key of one edge come from the states that their attention block reads, as linear maps of this run.

The block runs again on its own inputs, and autograd reads off the linear maps between what it reads and the q and k that reach
the attention function: projections, biases, rotary positions. Norms of queries and keys are held at the sizes they divided by.
A second run on states of zero gives what is added; if both do not give q and k again, the block is not linear and the edge is
refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from atlas.engine.running.attention_block import AttentionBlock, Leaf, block_of, norms_of, wide
from atlas.errors import NotCaptured
from atlas.tracing.why import EdgeMap, SideMap

if TYPE_CHECKING:
    from atlas.trace import Trace


def edge_map(trace: Trace, kind: str, layer: int, head: int, query: int, key: int) -> EdgeMap:
    """The maps of one edge. Positions are those of the trace's own tokens."""
    with block_of(trace, kind, layer) as block, torch.enable_grad():
        return _maps(trace, block, head, query, key)


def _maps(trace: Trace, block: AttentionBlock, head: int, query: int, key: int) -> EdgeMap:
    given = block.sides(trace.attention_of(block.site.kind).n_keys)
    leaves = {id(value): Leaf(value.detach().clone().requires_grad_()) for value in given}
    terms = block.terms({at: leaf.state for at, leaf in leaves.items()}, block.followed(list(leaves.values())))
    with torch.no_grad():
        empty = block.terms({id(value): torch.zeros_like(value) for value in given}, block.as_held)
    shared = head // (terms.query.shape[1] // terms.key.shape[1])
    q, keys = terms.query[0, head, query], terms.key[0, shared]
    q_leaf, k_leaf = (leaves[id(value)] for value in given)
    q_map = q_leaf.gradient(list(q), [query])[:, 0]
    k_map = k_leaf.gradient(list(keys[key]), [key])[:, 0]
    everywhere = list(range(keys.shape[0]))
    along = k_leaf.gradient([(keys @ q.detach()).sum() * terms.scaling], everywhere)[0]
    k_empty, streams = empty.key[0, shared], block.streams()
    query_side = _side(streams[0], q_leaf.state, q_map, empty.query[0, head, query], query, q, block.allowed)
    key_side = _side(streams[1], k_leaf.state, k_map, k_empty[key], key, keys[key], block.allowed)
    return EdgeMap(query_side, key_side, wide(along), wide((k_empty @ q) * terms.scaling), norms_of(trace), bool(block.held))


def _side(
    stream: str, states: torch.Tensor, projection: torch.Tensor, bias: torch.Tensor, at: int, wanted: torch.Tensor, allowed: float
) -> SideMap:
    side = SideMap(stream, wide(states[0]), wide(projection), wide(bias))
    found, wanted_here = side.projection @ side.states[at] + side.bias, wide(wanted)
    error = float(abs(found - wanted_here).max() / max(abs(wanted_here).max(), 1e-30))
    if error > allowed:
        msg = (
            "Between the state that this attention block reads and its queries and keys there is a step that is neither linear "
            f"nor a norm (they differ by {error:.1e} of their size), so they cannot be taken apart by who wrote the state."
        )
        raise NotCaptured(msg)
    return side
