"""Queries, keys and values of one head as its attention uses them: after rotation, and the keys that its group shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured, TooLarge
from atlas.metrics.keysets import key_sets

if TYPE_CHECKING:
    from atlas.ids import HeadId
    from atlas.trace import Trace

Array = np.ndarray

QK_CELLS = 4_200_000
"""Pairs of a query and a key shown at once, those of 2,049 tokens: a fifth of a second of arithmetic and 17 MB."""

QUERY, KEY, VALUE = "query", "key", "value"

COSINE, SCALED, ATTENTION = "cosine", "scaled", "attention"
"""What a pair of a query and a key can be compared by."""

TYPES = {"punctuation": "punctuation", "function_words": "function words", "content_words": "content words"}
"""Sets of tokens of the metrics -> categories of the colours."""

SPECIAL, UNTOLD = "special tokens", "N/A"


class HeadVectors(NamedTuple):
    """The vectors of one head, (token, width); `key` and `value` may be those of several heads."""

    query: Array
    key: Array
    value: Array | None
    sharing: int
    """Query heads that use the same keys."""


class JointMap(NamedTuple):
    """Queries and keys on the two axes along which all of them together differ most."""

    query: Array
    """(query, 2)"""
    key: Array
    shares: tuple[float, float]
    """Of the variance, along the first and the second axis."""


def without_qk(trace: Trace) -> str:
    """Why no queries and keys are known; empty: they are."""
    if any(attention.layers[0].has_ingredients for attention in trace.attentions.values()):
        return ""
    return "it holds weights only (recorded attention, or a model outside the attention interface), no queries and keys."


def vectors_of(trace: Trace, head: HeadId) -> HeadVectors:
    """Queries, keys and values of a head."""
    attention = trace.attention_of(head.kind)
    here = attention.layers[head.layer]
    if here.query is None or here.key is None:
        msg = f"There are no queries and keys of {head}: {without_qk(trace) or 'this kind was not observed.'}"
        raise NotCaptured(msg)
    shared = here.key_head(head.head)
    value = None if here.value is None else here.value[shared].astype(np.float32, copy=False)
    sharing = sum(here.key_head(other) == shared for other in range(attention.n_heads))
    query, key = (array.astype(np.float32, copy=False) for array in (here.query[head.head], here.key[shared]))
    return HeadVectors(query, key, value, sharing)


def lengths(vectors: Array) -> Array:
    """(token,) Euclidean length of each vector."""
    return np.asarray(np.linalg.norm(vectors.astype(np.float64), axis=-1))


def compared(trace: Trace, head: HeadId, by: str) -> Array:
    """(query, key) cosine, scaled dot product or attention of one head; NaN where the query may not look at the key.

    The scaled dot product is q·k × scaling, softly capped in models that cap it, before any position bias.
    """
    attention = trace.attention_of(head.kind)
    cells = attention.n_queries * attention.n_keys
    if cells > QK_CELLS:
        msg = (
            f"{attention.n_queries:,} × {attention.n_keys:,} tokens are {cells / 1e6:.1f} million pairs, and "
            f"{QK_CELLS / 1e6:.1f} million are the most. The Matrix shows the attention of longer texts, window by window."
        )
        raise TooLarge(msg)
    if by == ATTENTION:
        return attention.block(head.layer, head.head)
    if by == SCALED:
        found = attention.scores(head.layer, head.head)["scaled"].astype(np.float32)
    else:
        vectors = vectors_of(trace, head)
        query, key = _unit(vectors.query), _unit(vectors.key)
        found = np.clip(query @ key.T, -1.0, 1.0)
    visible = attention.layers[head.layer].visible(head.head, attention.n_queries, attention.n_keys)
    return found if visible is None else np.where(visible, found, np.float32(np.nan))


def joint_map(vectors: HeadVectors) -> JointMap:
    """Queries and keys on their first two principal components; the vector furthest out on an axis is on its positive side."""
    together = np.concatenate([vectors.query, vectors.key]).astype(np.float64)
    centred = together - together.mean(0)
    # By the covariance, which is small for any length of text.
    variances, axes = np.linalg.eigh(centred.T @ centred)
    kept = min(2, centred.shape[1])
    points = np.zeros((len(together), 2))
    points[:, :kept] = centred @ axes[:, ::-1][:, :kept]
    signs = np.sign(points[np.abs(points).argmax(0), [0, 1]])
    points *= np.where(signs == 0, 1.0, signs)
    total = float(variances.sum())
    shares = [float(variances[-1 - at] / total) if at < kept and total > 0 else np.nan for at in (0, 1)]
    n = len(vectors.query)
    return JointMap(points[:n], points[n:], (shares[0], shares[1]))


def token_types(trace: Trace, side: str) -> tuple[str, ...]:
    """The category of every token of a side."""
    table = trace.reading(side).table
    sets = key_sets(table)
    found = np.full(len(table), UNTOLD, dtype=object)
    for name, category in TYPES.items():
        members = sets[name]
        if members is not None:
            found[members & (found == UNTOLD)] = category
    found[table["special"].to_numpy(dtype=bool)] = SPECIAL
    return tuple(found)


def _unit(vectors: Array) -> Array:
    """Each vector with length 1; NaN where it has none."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.full(vectors.shape, np.nan, np.float32), where=length > 0)
