"""The vectors that make the first state of a stream: token, position and segment embeddings, their sum, what is left after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured, TooLarge
from atlas.metrics.geometry import Projection, project, scaled

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

NEAREST_TOKENS = "nearest tokens"
"""Name of the task that compares embeddings with the model's whole table of tokens."""

TOKEN, POSITION, SEGMENT, SUM, NORMED, ENTERING = "token", "position", "segment", "sum", "after the norm", "enters layer 0"
"""The vectors of a token, in the order in which a model makes them."""

PARTS = (TOKEN, POSITION, SEGMENT, SUM, NORMED, ENTERING)

DERIVED = (SUM, NORMED, ENTERING)
"""Vectors that a model may make without changing anything: a sum of one, a norm that it does not have."""

NORM_ERROR = 2e-2
"""Largest error of what a norm makes, as a share of the largest number: half precision needs as much."""

CAPTURED = {
    TOKEN: "token_embedding",
    POSITION: "position",
    SEGMENT: "segment",
    SUM: "embedding_sum",
    NORMED: "embedding_norm_out",
    ENTERING: "embedding",
}
"""Vector -> name of what is captured of it."""

COSINE_CELLS = 4_200_000
"""Pairs of tokens compared at once, those of 2,049 tokens: 17 MB, and a quarter of a second of arithmetic at width 768."""

RAW_CELLS = 17_000_000
"""Numbers of a raw picture: those of 4,096 tokens at width 4,096, 67 MB."""

NEAREST_WORK = 100_000_000_000
"""Multiplications of one search of the table of tokens, some five seconds of two cores: 127 tokens in a table of 256,000 rows of
3,072 numbers."""

NEAREST = 8
"""Nearest tokens kept of each vector."""


class NearestTokens(NamedTuple):
    """The tokens of the vocabulary whose rows in the model's table point most in the direction of some vectors."""

    part: str
    positions: tuple[int, ...]
    n_tokens: int
    """Rows of the table"""
    ids: Array
    """(position, rank) without the token itself"""
    names: Array
    cosines: Array
    """of `ids`"""
    own_cosine: Array
    """(position,) cosine to the token's own row; NaN where that row is all zeros"""
    own_rank: Array
    """(position,) 1: no row of another token is nearer"""


def without_embeddings(trace: Trace) -> str:
    """Why a trace has no embeddings; empty: it has, or its model can give them."""
    if CAPTURED[TOKEN] in trace.held_arrays():
        return ""
    if trace.live is None:
        return "it holds no embeddings, and its model is not here to make them."
    return "" if trace.live.group_of(CAPTURED[TOKEN]) is not None else trace.live.reason(CAPTURED[TOKEN])


def are_held(trace: Trace, stream: str) -> bool:
    """Whether the embeddings are there without another run of the model."""
    held = trace.held_arrays()
    names = [CAPTURED[part] for part in PARTS if part != NORMED]
    if any(name not in held and _known(trace, name) for name in names):
        return False
    return CAPTURED[NORMED] in held or not _is_widened(trace, stream)


def embeddings(trace: Trace, stream: str) -> dict[str, Array]:
    """Vector -> (token, width), in the order in which they are made, without those that are equal to one before.

    The vectors of tokens are those that are added: Gemma multiplies the rows of its table by √width first.
    """
    made: dict[str, Array] = trace.once(f"embeddings {stream}", lambda: _embeddings(trace, stream))
    return made


def _embeddings(trace: Trace, stream: str) -> dict[str, Array]:
    reason = without_embeddings(trace)
    if reason:
        msg = f"There are no embeddings: {reason}"
        raise NotCaptured(msg)
    found: dict[str, Array] = {}
    for part in PARTS:
        # Those after the norm are in a group as large as all states together, so it is captured only where it must be.
        if part == NORMED and not _is_widened(trace, stream):
            continue
        vectors = trace.captured(CAPTURED[part]).get((stream, 0)) if _known(trace, CAPTURED[part]) else None
        if vectors is not None and not (part in DERIVED and any(_same(vectors, here) for here in found.values())):
            found[part] = vectors
    if TOKEN not in found:
        msg = f"The embeddings of the {stream} were not found in this model."
        raise NotCaptured(msg)
    if NORMED not in found and ENTERING in found and _is_normed(found[ENTERING], found.get(SUM, found[TOKEN])):
        found[NORMED] = found.pop(ENTERING)
    return found


def _known(trace: Trace, name: str) -> bool:
    return name in trace.held_arrays() or (trace.live is not None and trace.live.group_of(name) is not None)


def _is_widened(trace: Trace, stream: str) -> bool:
    """Whether a linear map stands between the norm of the embeddings and the first layer (ELECTRA, ALBERT)."""
    if not all(_known(trace, CAPTURED[part]) for part in (SUM, NORMED, ENTERING)):
        return False
    total, entering = (trace.captured(CAPTURED[part]).get((stream, 0)) for part in (SUM, ENTERING))
    return total is not None and entering is not None and total.shape != entering.shape


def _is_normed(after: Array, before: Array) -> bool:
    """Whether some scale and offset of every dimension turn rows of one size into `after`: a LayerNorm's or an RMSNorm's."""
    if after.shape != before.shape:
        return False
    x, y = before.astype(np.float64), after.astype(np.float64)
    for centred in (x - x.mean(-1, keepdims=True), x):
        rows = centred / np.maximum(np.sqrt((centred**2).mean(-1, keepdims=True)), np.finfo(np.float64).tiny)
        apart, wanted = rows - rows.mean(0), y - y.mean(0)
        scale = (apart * wanted).sum(0) / np.maximum((apart**2).sum(0), np.finfo(np.float64).tiny)
        if np.abs(apart * scale - wanted).max() <= NORM_ERROR * max(float(np.abs(y).max()), 1e-6):
            return True
    return False


def _same(vectors: Array, others: Array) -> bool:
    return vectors.shape == others.shape and bool(np.allclose(vectors, others, rtol=1e-5, atol=1e-7))


def cosines(vectors: Array) -> Array:
    """(token, token) cosines; NaN with a vector of zeros."""
    if len(vectors) ** 2 > COSINE_CELLS:
        msg = (
            f"{len(vectors):,} tokens are {len(vectors) ** 2 / 1e6:.1f} million pairs, and {COSINE_CELLS / 1e6:.1f} million are "
            "the most. Show the raw numbers, or trace a shorter text."
        )
        raise TooLarge(msg)
    directions = scaled(vectors)
    directions[~directions.any(-1)] = np.nan
    return np.clip(directions @ directions.T, -1.0, 1.0).astype(np.float32)


def raw(vectors: Array) -> Array:
    """The numbers themselves, (token, dimension)."""
    if vectors.size > RAW_CELLS:
        msg = (
            f"{len(vectors):,} tokens of {vectors.shape[1]:,} dimensions are {vectors.size / 1e6:.0f} million numbers, and "
            f"{RAW_CELLS / 1e6:.0f} million are the most. Trace a shorter text."
        )
        raise TooLarge(msg)
    return vectors.astype(np.float32)


def lengths(parts: Mapping[str, Array]) -> dict[str, Array]:
    """Vector -> (token,) Euclidean length."""
    return {part: np.linalg.norm(vectors.astype(np.float64), axis=-1) for part, vectors in parts.items()}


def placed(vectors: Array) -> Projection:
    """The tokens on the two directions in which their vectors differ most."""
    return project(vectors)
