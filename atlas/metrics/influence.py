"""Who made a token what it is: the shares of a layer's tokens in each other, and how shares multiply through the layers.

Two methods give the shares of one layer: `contribution_shares` (ALTI) and attention rollout. Both give rows that sum to 1, the
residual stream included, so the influence of one token on another through all layers is the sum over all paths of products of
shares. `trace_back` follows it down from one token; `strongest_paths` keeps the paths that carry most of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

BLOCK_BYTES = 32 << 20
"""Bytes of what heads write that exist at once: a block of keys x heads x width (270 MB for all of 512 keys in a 7B model)."""

PRODUCT = 1 << 18
"""Multiplications of one product of weights and what heads write: BLAS starts threads for larger ones, and waits for them longer
than the product takes; where the machine is busy, fifty times as long."""

MOST_ROWS, LEAST_ROWS = 128, 16
"""Queries whose distances to one key are computed at once: their vectors, 50 kB for 16 of a width of 768, fit a core's cache."""

NO_HEAD = -1
"""Stands for the head of an edge that no head makes."""

ROUNDING = 1e-7
"""A sum of shares may fall short by this: the shares are in single precision."""


class Step(NamedTuple):
    """The shares of one layer: what each token after it is made of.

    Positions of a walk through the layers count the tokens of all streams: those of an encoder first, then those of the decoder
    that reads it. A layer changes the tokens of its own stream; the others wait.
    """

    kind: str
    """'encoder' or 'decoder'."""
    layer: int
    start: int
    """Position of the stream's first token among all."""
    own: Floats
    """(to, from) shares of the stream's tokens before the layer. The diagonal includes the residual stream."""
    seen: Flags
    """(to, from) whether any head may look there; the diagonal is always True."""
    cross: Floats | None = None
    """(to, from) shares of the source's tokens after the last encoder layer, where the layer has cross-attention."""
    cross_seen: Flags | None = None
    even_diagonal: Floats | None = None
    """(to,) the diagonal of `own` for uniform attention; None: as it is."""

    @property
    def block(self) -> slice:
        """The stream's positions among all."""
        return slice(self.start, self.start + len(self.own))


def contribution_shares(
    weights: Floats, values: Floats, projection: Floats, output: Floats, *, own: bool
) -> tuple[Floats, Floats]:
    """Share of every key in every query's output by ALTI's measure (Ferrando et al. 2022), and that of the residual stream.

    The output is a sum of vectors: y_i = sum_j T_i(x_j), with T_i(x_j) = sum_h A_hij v_hj W_h, and the residual stream with all
    biases as the rest. The share of j is max(0, |y_i| - |y_i - T_i(x_j)|), divided by the sum over all j, in the L1 norm. Where
    nothing contributes, the residual has all of it.

    Parameters
    ----------
    weights
        (head, query, key); 0 where masked and for heads that were switched off.
    values
        (group, key, width); as many consecutive heads share a group as there are heads to a group.
    projection
        (head, width, d): what each head writes of a value.
    output
        (query, d): y.
    own
        Whether queries and keys are the same tokens. The residual stream then belongs to the query's own key, and its share is
        in the diagonal; otherwise it has a share of its own.

    Returns
    -------
    shares
        (query, key).
    residual
        (query,): the share of the residual stream; 0 with `own`.
    """
    n_heads, n_queries, n_keys = weights.shape
    group = n_heads // len(values)
    length = np.abs(output).sum(axis=1, dtype=np.float64).astype(np.float32)
    distance = np.repeat(length[:, None], n_keys, axis=1)
    looks = (weights != 0).any(axis=0)
    ones = np.ones(output.shape[1], dtype=np.float32)
    attended = written_by(np.stack([own @ values[head // group] for head, own in enumerate(weights)]), projection)
    at_once = rows_at_once(n_heads * output.shape[1])
    buffer = np.empty((at_once, output.shape[1]), dtype=np.float32)
    size = max(1, BLOCK_BYTES // (4 * n_heads * output.shape[1]))
    for first in range(0, n_keys, size):
        keys = slice(first, min(first + size, n_keys))
        written = np.stack([values[head // group, keys] @ projection[head] for head in range(n_heads)], axis=1)
        by_key = np.ascontiguousarray(weights[:, :, keys].transpose(2, 1, 0))
        for at, key in enumerate(range(keys.start, keys.stop)):
            rows = np.flatnonzero(looks[:, key])
            for low in range(int(rows[0]), int(rows[-1]) + 1, at_once) if len(rows) else ():
                high = min(low + at_once, int(rows[-1]) + 1)
                apart = buffer[: high - low]
                np.matmul(by_key[at, low:high], written[at], out=apart)
                np.subtract(output[low:high], apart, out=apart)
                np.abs(apart, out=apart)
                distance[low:high, key] = apart @ ones
            if own and key < n_queries:
                # All but the token's own part and the residual, which is what the other tokens write.
                distance[key, key] = np.abs(attended[key] - by_key[at, key] @ written[at]).sum()
    if own:
        looks[np.diag_indices(min(n_queries, n_keys))] = True
    close = np.where(looks, np.maximum(length[:, None] - distance, 0), 0)
    rest = np.zeros(n_queries, np.float32) if own else np.maximum(length - np.abs(attended).sum(axis=1), 0)
    total = close.sum(axis=1) + rest
    nothing = total <= 0
    safe = np.where(nothing, 1, total).astype(np.float32)
    shares, residual = (close / safe[:, None]).astype(np.float32), (rest / safe).astype(np.float32)
    if own:
        shares[nothing, np.flatnonzero(nothing)] = 1
    else:
        residual[nothing] = 1
    return shares, residual


def rows_at_once(of_each: int) -> int:
    """Rows of a product with so many multiplications of each."""
    return int(np.clip(PRODUCT // of_each, LEAST_ROWS, MOST_ROWS))


def closeness(whole: NDArray[np.floating[Any]], without: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(row,) ALTI's measure of a part of each row: by how much the row is longer than what differs from it, in the L1 norm.

    `without` is the row less the part; the measure is 0 where the part is no closer to the row than nothing is.
    """
    length = np.abs(whole).sum(-1, dtype=np.float64)
    return np.asarray(np.maximum(length - np.abs(without).sum(-1, dtype=np.float64), 0))


def strongest_heads(weights: Floats, values: Floats, projection: Floats, output: Floats, to: Integers, fro: Integers) -> Integers:
    """For each edge the head whose part alone is closest to the output; `NO_HEAD` where no head looks there."""
    group, n_heads = len(weights) // len(values), len(weights)
    apart = np.empty((n_heads, len(to)), dtype=np.float32)
    # Many edges come from one key, so what heads write is worked out once a key.
    keys, of_key = np.unique(fro, return_inverse=True)
    ones = np.ones(output.shape[1], dtype=np.float32)
    for head in range(n_heads):
        written = values[head // group, keys] @ projection[head]
        for first in range(0, len(to), MOST_ROWS):
            edges = slice(first, first + MOST_ROWS)
            left = written[of_key[edges]]
            left *= weights[head, to[edges], fro[edges], None]
            np.subtract(output[to[edges]], left, out=left)
            apart[head, edges] = np.abs(left, out=left) @ ones
    looks = weights[:, to, fro] != 0
    apart[~looks] = np.inf
    return np.where(looks.any(axis=0), apart.argmin(axis=0), NO_HEAD)


def trace_back(steps: Sequence[Step], root: int, size: int, *, even: bool = False) -> Floats:
    """(level, position): influence of every token before each layer, and after the last, on the token at `root` after the last.

    `size` is the number of tokens of all streams. With `even` the shares of each layer are `even_shares`, which is chance.
    """
    after = np.zeros(size)
    after[root] = 1
    return traced_back(steps, after, even=even)


def traced_back(steps: Sequence[Step], after: NDArray[np.floating[Any]], *, even: bool = False) -> Floats:
    """The same for a mixture of tokens after the last layer, (position,)."""
    levels = np.zeros((len(steps) + 1, len(after)), dtype=np.float64)
    levels[-1] = after
    for at in range(len(steps) - 1, -1, -1):
        step, above, below = steps[at], levels[at + 1], levels[at]
        own, cross = even_shares(step) if even else (step.own, step.cross)
        below[:] = above
        below[step.block] = above[step.block] @ own
        if cross is not None:
            below[: cross.shape[1]] += above[step.block] @ cross
    return levels.astype(np.float32)


def reached(steps: Sequence[Step], root: int, size: int) -> Flags:
    """(level, position): whether a token could have reached the root at all, as the masks allow."""
    levels = np.zeros((len(steps) + 1, size), dtype=bool)
    levels[-1, root] = True
    for at in range(len(steps) - 1, -1, -1):
        step, above, below = steps[at], levels[at + 1], levels[at]
        below[:] = above
        below[step.block] = step.seen[above[step.block]].any(axis=0)
        if step.cross_seen is not None:
            below[: step.cross_seen.shape[1]] |= step.cross_seen[above[step.block]].any(axis=0)
    return levels


def even_shares(step: Step) -> tuple[Floats, Floats | None]:
    """Shares of uniform attention: what a token takes from others is spread evenly over the tokens it may look at."""
    kept, cross = np.ones(len(step.own)), None
    if step.cross is not None and step.cross_seen is not None:
        read = step.cross.sum(axis=1)
        kept = kept - read
        cross = step.cross_seen * (read / np.maximum(step.cross_seen.sum(axis=1), 1))[:, None]
    others = step.seen.copy()
    np.fill_diagonal(others, val=False)
    n_others = others.sum(axis=1)
    diagonal = np.where(n_others > 0, step.own.diagonal() if step.even_diagonal is None else step.even_diagonal, kept)
    own = others * ((kept - diagonal) / np.maximum(n_others, 1))[:, None]
    np.fill_diagonal(own, diagonal)
    return own.astype(np.float32), None if cross is None else cross.astype(np.float32)


class Edges(NamedTuple):
    """Edges of a graph, from the last layer to the first; arrays of one length."""

    step: Integers
    """Index of the layer among the steps."""
    to: Integers
    """Position after the layer, among the tokens of all streams."""
    fro: Integers
    """Position before the layer; after the last encoder layer where a decoder's token reads the source."""
    contribution: Floats
    """Share of `fro` in `to`."""
    share: Floats
    """The same, rescaled so that the kept edges of each `to` sum to 1."""
    flow: Floats
    """`share` times the share of `to`: how much of the shown influence passes here."""


class Paths(NamedTuple):
    """The strongest paths into a token."""

    edges: Edges
    levels: Floats
    """(level, position): share of every token in the shown influence; a level sums to 1."""
    kept: float
    """Influence that the kept paths carry, of 1."""
    left_out: Integers
    """(step,): edges with influence that are not kept."""


def strongest_paths(steps: Sequence[Step], root: int, size: int, *, mass: float, most: int) -> Paths:
    """Keep, layer by layer from the root down, the fewest edges that carry `mass` of the root's influence to the first layer.

    Every layer keeps the heaviest edges that carry mass^(1 / layers) of what reached it, and at most `most`, so the paths carry
    less than `mass` only where `most` is reached. An edge to a token without a kept edge of its own is dropped, and the shares
    of every token are rescaled to sum to 1, so that the products of shares along all paths sum to 1 again.
    """
    portion = mass ** (1 / len(steps))
    state = np.zeros(size)
    state[root] = 1
    found: list[_Kept] = []
    left_out = np.zeros(len(steps), dtype=np.int64)
    for at in range(len(steps) - 1, -1, -1):
        step = steps[at]
        active = np.flatnonzero(state[step.block])
        shares = step.own[active] if step.cross is None else np.concatenate([step.own[active], step.cross[active]], axis=1)
        flow = shares * state[step.block][active, None]
        chosen = _heaviest(flow.reshape(-1), portion * float(flow.sum()), most)
        left_out[at] = np.count_nonzero(flow) - len(chosen)
        row, column = np.unravel_index(chosen, flow.shape)
        fro = np.where(column < len(step.own), column + step.start, column - len(step.own))
        found.append(_Kept(active[row] + step.start, fro, shares[row, column]))
        state[step.block] = 0
        state += np.bincount(fro, flow.reshape(-1)[chosen].astype(np.float64), minlength=size)
    found = _without_dead_ends(steps, found[::-1], left_out, size)
    edges, levels = _rescaled(steps, found, root, size)
    return Paths(edges, levels.astype(np.float32), float(state.sum()), left_out)


class _Kept(NamedTuple):
    """The kept edges of one layer."""

    to: Integers
    fro: Integers
    contribution: Floats


def _heaviest(flow: NDArray[np.floating[Any]], wanted: float, most: int) -> Integers:
    """The fewest cells that sum to `wanted`, heaviest first; at most `most`."""
    here = np.flatnonzero(flow)
    if len(here) > most:
        here = here[np.argpartition(flow[here], len(here) - most)[-most:]]
    order = here[np.argsort(-flow[here], kind="stable")]
    enough = np.searchsorted(np.cumsum(flow[order], dtype=np.float64), wanted * (1 - ROUNDING))
    return order[: enough + 1]


def _without_dead_ends(steps: Sequence[Step], found: Sequence[_Kept], left_out: Integers, size: int) -> list[_Kept]:
    """Drop the edges to tokens that have no kept edge themselves, from the first layer up."""
    alive = np.ones(size, dtype=bool)
    living = []
    for at, (step, kept) in enumerate(zip(steps, found, strict=True)):
        on = alive[kept.fro]
        left_out[at] += np.count_nonzero(~on)
        living.append(_Kept(kept.to[on], kept.fro[on], kept.contribution[on]))
        alive[step.block] = False
        alive[kept.to[on]] = True
    return living


def _rescaled(steps: Sequence[Step], found: Sequence[_Kept], root: int, size: int) -> tuple[Edges, NDArray[np.float64]]:
    """Rescale the shares of every token and multiply them, from the root down; drop edges that nothing reaches any more."""
    levels = np.zeros((len(steps) + 1, size))
    levels[-1, root] = 1
    parts = []
    for at in range(len(steps) - 1, -1, -1):
        to, fro, contribution = found[at]
        used = levels[at + 1][to] > 0
        to, fro, contribution = to[used], fro[used], contribution[used]
        share = contribution / np.bincount(to, contribution, minlength=size)[to]
        flow = share * levels[at + 1][to]
        levels[at] = levels[at + 1]
        levels[at][steps[at].block] = 0
        levels[at] += np.bincount(fro, flow, minlength=size)
        parts.append((np.full(len(to), at), to, fro, contribution, share, flow))
    columns = [np.concatenate(each) for each in zip(*parts, strict=True)]
    return Edges(*columns[:3], *(column.astype(np.float32) for column in columns[3:])), levels


def written_by(reads: Floats, projection: Floats) -> Floats:
    """(query, d): what all heads write of what they read, (head, query, width), in one product."""
    joined: Floats = reads.transpose(1, 0, 2).reshape(reads.shape[1], -1) @ projection.reshape(-1, projection.shape[2])
    return joined
