"""Similarity of all heads of a kind with each other on one text, in chunks of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured, TooLarge
from atlas.ids import HeadId
from atlas.metrics.similarity import directions, divergences, order_of, random_pairs, shuffled_rows, similarity_of

if TYPE_CHECKING:
    from atlas.trace import Trace
    from atlas.tracing.record import Attention

Array = np.ndarray

PATTERN, WRITES = "pattern", "writes"
"""What heads are compared by: where they look, or what they write into the stream."""

PATTERN_CELLS = 3_500_000_000
"""Cells compared, pairs of heads times cells of a pattern: 1,200 heads at 64 tokens are 2.9 thousand million, half a minute."""

WRITE_PRODUCTS = 500_000_000_000
"""Products for the cosines of what heads write, pairs times width times tokens: half a minute on a laptop."""

MOST_HEADS = 2_048
"""Heads compared with each other: more make a plane of more than four million cells."""

LEAST_ROWS = 8
"""Rows that stand for a text; a similarity that rests on fewer, unasked, would be that of a few words."""

CHUNK_BYTES = 64 << 20
"""Patterns, or what heads write, in memory at a time."""

SEED = 0

Report = Callable[[float], None]


class SimilarHeads(NamedTuple):
    """All heads of a kind, in the order of their clustering."""

    heads: tuple[HeadId, ...]
    values: Array
    """(head, head): 1 − Jensen-Shannon distance, or cosine; NaN where a head writes nothing"""
    chance: float
    """The mean of random pairs of heads of different layers, one of them shuffled"""
    rows: tuple[int, ...]
    """The queries it rests on"""
    all_rows: int
    """Queries it could rest on: the selected ones, else all that see two keys or more"""


def without_similarity(trace: Trace) -> str:
    """Why heads cannot be compared; empty: they can."""
    sizes = [trace.n_layers(kind) * trace.n_heads(kind) for kind in trace.kinds]
    return "" if max(sizes) > 1 else "it has one head, and nothing to compare it with."


def similar_heads(trace: Trace, kind: str, by: str, queries: Sequence[int] = (), report: Report = lambda _: None) -> SimilarHeads:
    """Compare all heads of a kind at some queries (none given: all that see two keys or more, or as many as are affordable)."""
    attention = trace.attention_of(kind)
    heads = [HeadId(kind, layer, head) for layer in range(len(attention.layers)) for head in range(attention.n_heads)]
    if len(heads) > MOST_HEADS:
        msg = f"{len(heads):,} heads are {len(heads) ** 2 / 1e6:.1f} million pairs; at most {MOST_HEADS:,} are compared."
        raise TooLarge(msg)
    if len(heads) < 2:
        msg = f"There is one {kind} head, and nothing to compare it with."
        raise NotCaptured(msg)
    possible = _rows(attention, queries)
    if not possible:
        msg = "None of these tokens sees two tokens or more, so all heads do the same there. Select other tokens."
        raise NotCaptured(msg)
    rows = _affordable(possible, _most_rows(trace, attention, by), asked=bool(queries))
    find = _patterns if by == PATTERN else _writes
    values, chance = find(trace, attention, heads, rows, report)
    np.fill_diagonal(values, np.where(np.isfinite(np.diag(values)), 1.0, np.nan))
    order = order_of(values)
    ordered = values[np.ix_(order, order)].astype(np.float32)
    return SimilarHeads(tuple(heads[at] for at in order), ordered, chance, tuple(rows), len(possible))


def _rows(attention: Attention, queries: Sequence[int]) -> list[int]:
    """Rows that may see two keys or more in every head, of those asked for."""
    size = attention.n_queries, attention.n_keys
    blocks = [mask.visible(*size) for mask in {layer.mask.key: layer.mask for layer in attention.layers}.values()]
    blocks += [layer.visible(head, *size) for layer in attention.layers for head in layer.cut_heads]
    seen = np.full(attention.n_queries, attention.n_keys)
    for visible in blocks:
        seen = seen if visible is None else np.minimum(seen, visible.sum(1))
    wanted = sorted(set(queries)) or range(attention.n_queries)
    return [int(row) for row in wanted if seen[row] >= 2]


def _most_rows(trace: Trace, attention: Attention, by: str) -> int:
    n_heads = len(attention.layers) * attention.n_heads
    if by == PATTERN:
        return PATTERN_CELLS // (n_heads * (n_heads - 1) // 2 * attention.n_keys)
    return WRITE_PRODUCTS // (n_heads**2 * _projections(trace, attention)[0].shape[-1])


def _affordable(rows: list[int], most: int, *, asked: bool) -> list[int]:
    """As many of the rows as can be afforded, evenly spread with the last among them."""
    if len(rows) <= most:
        return rows
    if most < (1 if asked else LEAST_ROWS):
        msg = f"Comparing all of these heads is affordable at {most:,} of {len(rows):,} tokens, too few to stand for the text."
        raise TooLarge(msg + (f" Select up to {most:,} tokens." if most else " Take a shorter text."))
    places = np.unique(np.linspace(len(rows) - 1, 0, most).round().astype(int))
    return [rows[at] for at in places]


# -- where they look -----------------------------------------------------------------------------------------------------


def _patterns(trace: Trace, attention: Attention, heads: list[HeadId], rows: list[int], report: Report) -> tuple[Array, float]:  # noqa: ARG001
    """1 − √ of the mean Jensen-Shannon divergence over the rows, and the same by chance."""
    step = max(1, CHUNK_BYTES // (4 * len(heads) * attention.n_keys))
    found = np.zeros((len(heads), len(heads)))
    used, shuffled, rng = 0, [], np.random.default_rng(SEED)
    pairs = list(random_pairs(np.array([head.layer for head in heads]), rng))
    for start in range(0, len(rows), step):
        chunk = np.array(rows[start : start + step])
        weights = np.stack([attention.block(head.layer, head.head, chunk) for head in heads])
        filled = np.nan_to_num(weights)
        total = filled.sum(-1, keepdims=True)
        # A row that gives nothing to any token, because its edges were cut or a sink has it all, is no pattern to compare.
        known = (total[..., 0] > 0).all(0)
        filled, seen = (filled / np.where(total > 0, total, 1.0))[:, known], ~np.isnan(weights[:, known])
        used += int(known.sum())
        cells = seen.any(0)

        def told(share: float, start: int = start) -> None:
            report((start + share * min(step, len(rows) - start)) / len(rows))

        found += divergences(np.ascontiguousarray(filled[:, cells]), told)
        shuffled.append([
            divergences(np.stack([filled[first].ravel(), shuffled_rows(filled[other], seen[other], rng).ravel()]))[0, 1]
            for first, other in pairs
        ])  # fmt: skip
    if not used:
        msg = "At each of these tokens some head looks at nothing, so their patterns cannot be compared."
        raise NotCaptured(msg)
    return similarity_of(found, used), float(similarity_of(np.sum(shuffled, axis=0), used).mean())


# -- what they write -----------------------------------------------------------------------------------------------------


def _projections(trace: Trace, attention: Attention) -> list[Array]:
    """(head, width, d_model) output projection of every layer."""
    places = trace.captured("output_projection")
    missing = [layer for layer in range(len(attention.layers)) if (attention.kind, layer) not in places]
    if missing:
        msg = f"The output projection of layer {missing[0]} was not found, so what its heads write is not known."
        raise NotCaptured(msg)
    return [places[attention.kind, layer] for layer in range(len(attention.layers))]


def _writes(trace: Trace, attention: Attention, heads: list[HeadId], rows: list[int], report: Report) -> tuple[Array, float]:
    """Mean over the rows of the cosine of what two heads write there, and the same by chance."""
    projections, layers = _projections(trace, attention), range(len(attention.layers))
    read = [trace.vectors("head_read", attention.kind, layer=layer).to_numpy()[:, rows] for layer in layers]
    rng = np.random.default_rng(SEED)
    pairs = list(random_pairs(np.array([head.layer for head in heads]), rng))
    elsewhere = rng.permutation(len(rows))
    step = max(1, CHUNK_BYTES // (4 * len(heads) * projections[0].shape[-1]))
    found, counted = np.zeros((len(heads), len(heads))), np.zeros((len(heads), len(heads)))
    by_chance: list[float] = []
    for start in range(0, len(rows), step):
        report(start / len(rows))
        chunk = slice(start, start + step)
        written = _written(read, projections, np.arange(len(rows))[chunk])
        known = np.asarray(written.any(-1), dtype=np.float32)
        for at in range(written.shape[1]):
            found += written[:, at] @ written[:, at].T
            counted += np.outer(known[:, at], known[:, at])
        if len(rows) > 1:
            other = _written(read, projections, elsewhere[chunk])
            away = elsewhere[chunk] != np.arange(len(rows))[chunk]
            for first, second in pairs:
                by_chance += (written[first, away] * other[second, away]).sum(-1).tolist()
    values = np.divide(found, counted, out=np.full(found.shape, np.nan), where=counted > 0)
    return np.clip(values, -1.0, 1.0), float(np.mean(by_chance)) if by_chance else np.nan


def _written(read: list[Array], projections: list[Array], rows: Array) -> Array:
    """(head, row, d_model) direction of what each head writes at some rows."""
    parts = [states[:, rows].astype(np.float32) @ out.astype(np.float32) for states, out in zip(read, projections, strict=True)]
    found: Array = directions(np.concatenate(parts))
    return found
