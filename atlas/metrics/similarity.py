"""How alike heads are: by where they look (Jensen-Shannon distance of their patterns), and by what they write (cosine)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

Floats = npt.NDArray[np.floating]
Matrix = npt.NDArray[np.float64]

BLOCK_NUMBERS = 1 << 21
"""Numbers compared at a time: 8 MB, which stays near a core."""

BEST_ORDERED = 400
"""Heads up to which the leaves of the tree are turned so that neighbours are most alike; the work grows with the cube."""

PAIRS = 200
"""Pairs of heads whose mean is the level of chance."""


def divergences(patterns: Floats, report: Callable[[float], None] = lambda _: None) -> Matrix:
    """(head, head) sum over rows of the Jensen-Shannon divergence in bits between patterns (head, cell) whose rows sum to 1.

    `report` is called with the share that is done.
    """
    heads, cells = patterns.shape
    found = np.zeros((heads, heads))
    own = entropy_terms(patterns)
    step = max(1, BLOCK_NUMBERS // max(cells, 1))
    for first in range(heads - 1):
        if first % 16 == 0:
            report(1 - (1 - first / heads) ** 2)
        for start in range(first + 1, heads, step):
            others = slice(start, min(start + step, heads))
            terms = entropy_terms((patterns[first] + patterns[others]) * patterns.dtype.type(0.5))
            # Cell by cell: the difference of two sums would lose what is left of nearly equal patterns.
            terms -= (own[first] + own[others]) * patterns.dtype.type(0.5)
            found[first, others] = np.maximum(terms.sum(1), 0.0)
    return found + found.T


def entropy_terms(values: Floats) -> Floats:
    """−p log₂ p of every cell; 0 where p is 0."""
    logs = np.log2(np.maximum(values, np.finfo(values.dtype).tiny))
    logs *= values
    return np.negative(logs, out=logs)


def similarity_of(divergence: Matrix, rows: int) -> Matrix:
    """1 − √(mean divergence of a row): 1 for one pattern, 0 for patterns that never look at the same key."""
    return 1.0 - np.sqrt(np.clip(divergence / max(rows, 1), 0.0, 1.0))


def directions(vectors: Floats) -> Floats:
    """Each vector with length 1; one without any length stays 0."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def order_of(similarity: Matrix) -> npt.NDArray[np.int64]:
    """Heads in the order of the leaves of average-linkage clustering: alike heads stand side by side."""
    if len(similarity) < 2:
        return np.arange(len(similarity))
    distance = np.where(np.isfinite(similarity), 1.0 - similarity, 1.0)
    np.fill_diagonal(distance, 0.0)
    condensed = squareform(np.maximum((distance + distance.T) / 2, 0.0), checks=False)
    tree = linkage(condensed, "average")
    if len(similarity) <= BEST_ORDERED:
        tree = optimal_leaf_ordering(tree, condensed)
    return np.asarray(leaves_list(tree), dtype=np.int64)


def random_pairs(layers: npt.NDArray[np.int64], rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Pairs of heads of different layers, drawn with replacement; of any two heads where there is only one layer."""
    several = len(set(layers.tolist())) > 1
    for _ in range(PAIRS):
        first = int(rng.integers(len(layers)))
        others = np.flatnonzero(layers != layers[first]) if several else np.delete(np.arange(len(layers)), first)
        yield first, int(rng.choice(others))


def shuffled_rows(pattern: Floats, visible: npt.NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """A pattern (row, key) whose weights lie on other keys of their row, drawn among those it may see."""
    found = np.zeros_like(pattern)
    for row, seen in enumerate(visible):
        keys = np.flatnonzero(seen)
        found[row, keys] = pattern[row, rng.permutation(keys)]
    return found
