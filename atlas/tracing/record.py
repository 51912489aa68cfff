"""What one kind of attention left behind in one run, and the arithmetic that gives any part of its weights back, exactly.

Two ways to hold attention: the weights themselves, or the ingredients they are made of (queries, keys, scaling, mask, bias,
softcap, sinks). The ingredients of 4,096 tokens are 300 MB where the weights would be 9.7 GB; with the log-sum-exp of every
row, kept from the pass, any block of any head comes from them without touching the rest of its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from atlas.errors import NotCaptured
from atlas.tracing.lazy import protect

Array = np.ndarray
Index = np.ndarray | slice
Heads = int | np.ndarray
"""One head, or an array of heads: what is made of an array has an axis of heads before all others."""

OneOrMore = TypeVar("OneOrMore", int, np.ndarray, Heads)
ALL = slice(None)


@dataclass(frozen=True, slots=True)
class Mask:
    """Which keys each query may see: everything, everything up to itself, or as said cell by cell."""

    causal: bool = False
    cells: Array | None = None
    """Boolean (query, key), or (head, query, key) where heads differ; None where `causal` says it all."""

    @property
    def key(self) -> int:
        """Equal for layers that share a mask."""
        return int(self.causal) if self.cells is None else id(self.cells)

    def visible(self, n_queries: int, n_keys: int, head: Heads = 0, rows: Index = ALL, columns: Index = ALL) -> Array | None:
        """Boolean block of what is visible, without an axis of heads where they do not differ; None where all of it is."""
        if self.cells is not None:
            cells = self.cells if self.cells.ndim == 2 else self.cells[head % len(self.cells)]
            return cells[..., rows, :][..., columns]
        if not self.causal:
            return None
        return np.arange(n_keys)[columns][None, :] <= np.arange(n_queries)[rows][:, None]


@dataclass(frozen=True, slots=True)
class Bias:
    """A position bias added to the scores: by distance where it depends on nothing else (T5), else cell by cell."""

    diagonals: Array | None = None
    """(head, query + key - 1): entry j - i + n_queries - 1 is the bias from query i to key j."""
    cells: Array | None = None
    """(head, query, key)."""

    def block(self, n_queries: int, n_keys: int, head: Heads, rows: Index = ALL, columns: Index = ALL) -> Array:
        """The bias of one head or several for some queries and keys."""
        if self.cells is not None:
            return self.cells[head % len(self.cells)][..., rows, :][..., columns]
        if self.diagonals is None:
            msg = "A bias holds diagonals or cells."
            raise ValueError(msg)
        distance = np.arange(n_keys)[columns][None, :] - np.arange(n_queries)[rows][:, None]
        return self.diagonals[head % len(self.diagonals)][..., distance + n_queries - 1]


NO_MASK = Mask()

NO_EDGES = np.empty((0, 2), dtype=np.int64)


def simplified(visible: Array) -> Mask:
    """The mask of what is visible, said shorter where it says nothing special."""
    if visible.all():
        return NO_MASK
    if visible.shape[0] == visible.shape[1] and np.array_equal(visible, np.tri(len(visible), dtype=bool)):
        return Mask(causal=True)
    return Mask(cells=np.ascontiguousarray(visible))


@dataclass(frozen=True, slots=True)
class Layer:
    """The attention of one layer. Arrays are (head, token, ...) and never written to."""

    n_heads: int
    mask: Mask = NO_MASK
    weights: Array | None = None
    query: Array | None = None
    key: Array | None = None
    value: Array | None = None
    scaling: float | None = None
    softcap: float | None = None
    sinks: Array | None = None
    """(head,): an extra logit per head that takes mass and gives nothing, so rows sum to less than 1."""
    bias: Bias | None = None
    edges: Array | None = None
    """(n, 3) head, query, key: edges knocked out in this run. For their head they are masked, as if the model hid them."""
    patterns: Mapping[int, Array] = field(default_factory=dict)
    """Heads whose weights were replaced by a given pattern in this run."""
    replaced: tuple[int, ...] = ()
    """Heads whose output was replaced in this run (ablated, or patched with another): nothing passes through their weights."""

    def __post_init__(self) -> None:
        # A trace is looked at by many; whoever writes into it would change it for all of them, and for the saved file.
        for array in (self.weights, self.query, self.key, self.value, self.sinks, self.edges, *self.patterns.values()):
            if array is not None:
                array.setflags(write=False)

    @property
    def has_ingredients(self) -> bool:
        """Whether scores can be recomputed."""
        return self.query is not None and self.key is not None

    def key_head(self, head: OneOrMore) -> OneOrMore:
        """The key/value head that a query head shares with its group (grouped-query attention)."""
        if self.key is None:
            return head
        return head // (self.n_heads // len(self.key))

    def cut(self, head: int) -> Array:
        """(n, 2) query, key: the edges of one head that this run knocked out."""
        return NO_EDGES if self.edges is None else self.edges[self.edges[:, 0] == head, 1:]

    @property
    def cut_heads(self) -> list[int]:
        """The heads that lost edges in this run."""
        return [] if self.edges is None else np.unique(self.edges[:, 0]).tolist()

    def visible(self, head: int, n_queries: int, n_keys: int, rows: Index = ALL, columns: Index = ALL) -> Array | None:
        """Boolean block of what one head may see: what the mask lets through less the edges knocked out. None: all."""
        seen = self.mask.visible(n_queries, n_keys, head, rows, columns)
        cut = self.cut_cells(head, n_queries, n_keys, rows, columns)
        if cut is None:
            return seen
        return ~cut if seen is None else seen & ~cut

    def cut_cells(self, head: int, n_queries: int, n_keys: int, rows: Index = ALL, columns: Index = ALL) -> Array | None:
        """Boolean block of the edges of one head that were knocked out; None where none of it was."""
        cut = self.cut(head)
        if not len(cut):
            return None
        queries, keys = np.arange(n_queries)[rows], np.arange(n_keys)[columns]
        cut = cut[np.isin(cut[:, 0], queries) & np.isin(cut[:, 1], keys)]
        if not len(cut):
            return None
        cells = np.zeros((len(queries), len(keys)), dtype=bool)
        for query, key in cut:
            cells[np.ix_(queries == query, keys == key)] = True
        return cells


@dataclass(frozen=True, slots=True)
class Attention:
    """One kind of attention over all layers: encoder, decoder or cross."""

    kind: str
    n_heads: int
    n_queries: int
    n_keys: int
    layers: tuple[Layer, ...]
    stats: Mapping[str, Array] = field(default_factory=dict)
    """Reductions made while the pass ran: (layer, head, query) or (layer, head, key)."""
    small: Mapping[str, Array] = field(default_factory=dict)
    """'maximum': see `thumbnails`."""

    def __post_init__(self) -> None:
        for arrays in (self.stats, self.small):
            if isinstance(arrays, dict):
                protect(arrays)

    @property
    def thumbnails(self) -> Array | None:
        """(layer, head, row, column): the maximum of each block of visible weights; the weights themselves in a short text."""
        return self.small.get("maximum")

    def log_sum_exp(self) -> Array:
        """(layer, head, query) log of the softmax's denominator, from q and k."""
        layers = range(len(self.layers))
        return np.stack([[self._rows_log_sum_exp(layer, head, ALL) for head in range(self.n_heads)] for layer in layers])

    @property
    def keeps_weights(self) -> bool:
        """Whether the weights themselves are held (else they are recomputed)."""
        return all(layer.weights is not None for layer in self.layers)

    @property
    def itemsize(self) -> int:
        """Bytes of one weight."""
        first = self.layers[0]
        array = first.weights if first.weights is not None else first.query
        return 4 if array is None else array.dtype.itemsize

    def scores(self, layer: int, head: int, rows: Index = ALL, columns: Index = ALL) -> dict[str, Array]:
        """The steps from q·k to the masked score, for one head: `dot`, `scaled` (and capped, where scores are), `masked`.

        `masked` is NaN where the model may not look, and -inf where it might and the run knocked the edge out.
        """
        steps = self.score_steps(layer, head, rows, columns)
        return {"dot": steps["dot"], "scaled": steps.get("capped", steps["scaled"]), "masked": steps["masked"]}

    def score_steps(self, layer: int, head: Heads, rows: Index = ALL, columns: Index = ALL) -> dict[str, Array]:
        """Each operation on the scores by itself, in order: `dot`, `scaled`, `capped`, `biased`, `masked`.

        `capped` is there only in a model with a softcap, `biased` only where positions have a bias. `masked` is as in `scores`.
        Of several heads none may have lost an edge.
        """
        here = self.layers[layer]
        if here.query is None or here.key is None or here.scaling is None:
            msg = "This trace holds weights only (recorded attention, or a model outside the attention interface), no q and k."
            raise NotCaptured(msg)
        query = here.query[head][..., rows, :].astype(np.float32, copy=False)
        key = here.key[here.key_head(head)][..., columns, :].astype(np.float32, copy=False)
        dot = query @ key.swapaxes(-1, -2)
        score = dot * np.float32(here.scaling)
        steps = {"dot": dot, "scaled": score}
        if here.softcap is not None:
            cap = np.float32(here.softcap)
            score = steps["capped"] = np.tanh(score / cap) * cap
        if here.bias is not None:
            score = steps["biased"] = score + here.bias.block(self.n_queries, self.n_keys, head, rows, columns)
        visible = here.mask.visible(self.n_queries, self.n_keys, head, rows, columns)
        cut = here.cut_cells(head, self.n_queries, self.n_keys, rows, columns) if isinstance(head, int) else None
        if cut is not None:
            score = np.where(cut, np.float32(-np.inf), score)
        if visible is not None:
            score = np.where(visible, score, np.float32(np.nan))
        return steps | {"masked": score}

    def denominator(self, layer: int, head: int, rows: Index = ALL) -> tuple[Array, Array]:
        """(top, total) of whole rows: a weight is exp(score - top) / total, and the total contains the share of a sink."""
        _, total, top = self._softmax_parts(self.layers[layer], head, self._cut_scores(layer, head, rows, ALL))
        return top, total

    def block(self, layer: int, head: int, rows: Index = ALL, columns: Index = ALL) -> Array:
        """Weights of one head for some queries and keys; NaN where a query may not look, by the mask or by a knocked-out edge."""
        here = self.layers[layer]
        visible = here.visible(head, self.n_queries, self.n_keys, rows, columns)
        known = here.patterns.get(head) if here.weights is None else here.weights[head]
        if known is not None:
            weights = known[rows][:, columns].astype(np.float32)
        else:
            weights = self._recomputed(layer, head, rows, columns)
        if visible is not None:
            weights[~visible] = np.nan
        return weights

    def blocks(self, layer: int, heads: Array, rows: Index, columns: Index) -> Array:
        """(head, row, column) `block` of several heads, all at once where the run changed none of the layer's heads."""
        here = self.layers[layer]
        if here.edges is not None or here.patterns:
            return np.stack([self.block(layer, head, rows, columns) for head in heads.tolist()])
        if here.weights is None:
            weights = self._recomputed(layer, heads, rows, columns)
        else:
            weights = here.weights[heads][:, rows][..., columns].astype(np.float32)
        visible = here.mask.visible(self.n_queries, self.n_keys, heads, rows, columns)
        if visible is not None:
            np.copyto(weights, np.float32(np.nan), where=~visible)
        return weights

    def _recomputed(self, layer: int, head: Heads, rows: Index, columns: Index) -> Array:
        """Weights from q and k: a softmax where whole rows are asked for, else through the row's kept log-sum-exp."""
        here = self.layers[layer]
        scores = self._cut_scores(layer, head, rows, columns)
        if isinstance(columns, slice) and columns == ALL:
            powers, total, _ = self._softmax_parts(here, head, scores)
            # A row whose every edge was knocked out has no total to divide by.
            return powers / np.where(total > 0, total, np.float32(1.0))[..., None]
        kept = self.stats.get("log_sum_exp")
        lse = kept[layer, head][..., rows] if kept is not None else self._rows_log_sum_exp(layer, head, rows)
        # The difference in float64: at scores of thousands, float32 loses in it what the weight is made of. The power in float32,
        # which takes an eighth of the time and is as exact as the weight.
        safe = np.where(np.isfinite(lse), lse, 0.0).astype(np.float64)
        return np.exp((scores - safe[..., None]).astype(np.float32))

    def _cut_scores(self, layer: int, head: Heads, rows: Index, columns: Index) -> Array:
        """Scores with -inf where nothing may be seen or the run cut the edge."""
        masked = self.score_steps(layer, head, rows, columns)["masked"]
        return np.where(np.isnan(masked), np.float32(-np.inf), masked)

    def _rows_log_sum_exp(self, layer: int, head: Heads, rows: Index) -> Array:
        _, total, top = self._softmax_parts(self.layers[layer], head, self._cut_scores(layer, head, rows, ALL))
        with np.errstate(divide="ignore"):
            return top.astype(np.float64) + np.log(total.astype(np.float64))

    @staticmethod
    def _softmax_parts(here: Layer, head: Heads, scores: Array) -> tuple[Array, Array, Array]:
        """exp(score - top), its sum over the row with the sink's share, and top."""
        top = scores.max(axis=-1)
        sinks = None if here.sinks is None else here.sinks[head][..., None]
        if sinks is not None:
            top = np.maximum(top, sinks)
        top = np.where(np.isfinite(top), top, np.float32(0.0))
        powers = np.exp(scores - top[..., None])
        total = powers.sum(axis=-1)
        if sinks is not None:
            total = total + np.exp(sinks - top)
        return powers, total, top
