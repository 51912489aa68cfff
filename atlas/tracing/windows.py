"""What a matrix on screen shows: any window of a head, or of several heads together, in any of the readings of a weight.

Nothing here holds more than a window, because a matrix of 4,096 tokens is shown through the part of it that is on screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.tracing.levels import WORD, check_words, level_of, word_names
from atlas.tracing.record import Attention, Mask

if TYPE_CHECKING:
    from atlas.ids import HeadId
    from atlas.trace import Trace

Array = np.ndarray

WINDOW_CELLS = 40_000_000
"""Weights looked at for one picture, all heads together: half a second of arithmetic; beyond it thumbnails are shown."""

ROLLOUT_TOKENS = 1_024
"""Rollout multiplies whole matrices, layer by layer: at 1,024 tokens a second, at 4,096 a minute."""

MODES = ("weight", "column", "rollout", "moved")
"""Weights as they are; each column divided by its sum; rollout up to the layer; weight times the length of what is moved."""

AGGREGATES = ("mean", "max")


def window(
    trace: Trace, heads: Sequence[HeadId], rows: slice, columns: slice, *, mode: str = "weight", aggregate: str = "mean"
) -> Array:
    """(row, column) values of one head or of several of one kind together; NaN where no head of them may look.

    mode 'weight': the weights. 'column': each divided by what its key receives in all, so a column sums to 1. 'moved': times
    the length of what the key's value writes, ||v W_O|| (Kobayashi et al. 2020); 0 for a head that was ablated or whose output
    was patched, because what it writes then does not depend on where it looks. 'rollout': attention rollout up to the layer of
    the last of the heads (see `rollout`), which is of whole layers, not of single heads.
    """
    kind = one_kind(heads)
    attention = trace.attention_of(kind)
    if mode == "rollout":
        return rollout(trace, kind, max(head.layer for head in heads))[rows, columns]
    size = _length(rows, attention.n_queries) * _length(columns, attention.n_keys) * len(heads)
    if size > WINDOW_CELLS:
        msg = (
            f"This reading would look at {size / 1e6:,.0f} million weights, and {WINDOW_CELLS / 1e6:.0f} million are the most. "
            "Select fewer heads, or show the weights themselves."
        )
        raise TooLarge(msg)
    return combined((_read(attention, head, rows, columns, mode) for head in heads), aggregate)


def overview(trace: Trace, heads: Sequence[HeadId], aggregate: str = "mean") -> Array:
    """The thumbnails of the heads together: of every block of cells its largest weight, then the mean or largest over heads."""
    small = trace.attention_of(one_kind(heads)).thumbnails
    if small is None:
        msg = "This trace holds no overview of its weights. Trace the text again."
        raise NotCaptured(msg)
    return combined((small[head.layer, head.head] for head in heads), aggregate)


def one_kind(heads: Sequence[HeadId]) -> str:
    """The kind of these heads, which is one: heads of different kinds are never averaged."""
    kinds = {head.kind for head in heads}
    if len(kinds) != 1:
        msg = f"Heads of one kind are shown together, not of {', '.join(sorted(kinds)) or 'none'}."
        raise UnknownName(msg)
    return kinds.pop()


def combined(blocks: object, aggregate: str) -> Array:
    """Mean or maximum over heads, of those that may look at a cell; one block at a time in memory."""
    if aggregate not in AGGREGATES:
        msg = f"Heads are aggregated by one of {', '.join(AGGREGATES)}, not by {aggregate!r}."
        raise UnknownName(msg)
    total: Array | None = None
    count: Array | None = None
    for block in blocks:  # type: ignore[attr-defined]
        seen = ~np.isnan(block)
        if total is None or count is None:
            total, count = block.astype(np.float32), seen.astype(np.int32)
            continue
        if aggregate == "max":
            total = np.fmax(total, block)
        else:
            total = np.where(np.isnan(total), block, total + np.where(seen, block, 0))
        count += seen
    if total is None or count is None:
        msg = "There is no head to show."
        raise UnknownName(msg)
    if aggregate == "mean":
        # In place, and not by integers: that would make a window of 40 million cells twice as large.
        total /= np.maximum(count, 1).astype(np.float32)
    return total


def rollout(trace: Trace, kind: str, layer: int) -> Array:
    """Attention rollout from layer 0 to `layer` (Abnar & Zuidema 2020), (query, key).

    The product over the layers of (A + R) / 2. A is the mean over all heads of a layer. A head that was ablated or whose output
    was patched counts as zero in it, because nothing passes through its weights. R is the residual stream: the identity, and on
    top of it whatever a row of A leaves over (the share of those heads, of a learned sink, of a row that may see nothing), so
    that every row of the product sums to 1. The other heads keep the share they have in a run that changes nothing.
    """
    attention = trace.attention_of(kind)
    if kind == "cross":
        msg = "Rollout follows one stream of tokens through the layers; cross-attention links two. Choose encoder or decoder."
        raise UnknownName(msg)
    if attention.n_queries > ROLLOUT_TOKENS:
        msg = (
            f"Rollout multiplies whole matrices, and {attention.n_queries:,} tokens are more than {ROLLOUT_TOKENS:,}. "
            "Show another reading of the weights, or a shorter text."
        )
        raise TooLarge(msg)
    made: Array = trace.once(f"rollout {kind} {layer}", lambda: _rolled(trace, kind, layer))
    return made


def _rolled(trace: Trace, kind: str, layer: int) -> Array:
    attention = trace.attention_of(kind)
    mixed = halved_mean(attention, layer)
    mixed[np.diag_indices_from(mixed)] += 1 - mixed.sum(axis=1)
    made = mixed if layer == 0 else mixed @ np.nan_to_num(rollout(trace, kind, layer - 1))
    if all(_looks_back(each.mask) for each in attention.layers[: layer + 1]):
        # A later token can never have reached an earlier one, windows or not; how far back is reached, layers add up.
        made[np.triu_indices(len(made), 1)] = np.nan
    made.setflags(write=False)
    return made


def halved_mean(attention: Attention, layer: int) -> Array:
    """(query, key) half of the mean weights of all heads of a layer; 0 where masked and for heads whose output was replaced."""
    mixed = np.zeros((attention.n_queries, attention.n_keys), dtype=np.float32)
    for head in range(attention.n_heads):
        if head not in attention.layers[layer].replaced:
            mixed += np.nan_to_num(attention.block(layer, head))
    mixed /= 2 * attention.n_heads
    return mixed


def _looks_back(mask: Mask) -> bool:
    """Whether no query may see a later token."""
    return mask.causal if mask.cells is None else not np.triu(mask.cells, 1).any()


class Words(NamedTuple):
    """Attention between the words of a text."""

    weights: Array
    queries: list[str]
    keys: list[str]
    query_of: Array
    key_of: Array
    """The word of every token, by its place among them."""


def words(trace: Trace, heads: Sequence[HeadId], aggregate: str = "mean") -> Words:
    """(query word, key word) weights of the heads together, and the words of both axes."""
    kind = one_kind(heads)
    attention = trace.attention_of(kind)
    check_words(trace, kind)
    longest = max(attention.n_queries, attention.n_keys)
    if longest**2 * len(heads) > WINDOW_CELLS:
        msg = f"{len(heads)} heads of {longest:,} tokens are too many to sum to words. Select fewer heads, or show tokens."
        raise TooLarge(msg)
    level = level_of(trace, kind, WORD)
    weights = combined((level.pooled(attention.block(head.layer, head.head)) for head in heads), aggregate)
    queries, keys = (list(word_names(trace, trace.side(kind, axis))) for axis in ("query", "key"))
    assert level.queries is not None
    assert level.keys is not None
    return Words(weights, queries, keys, level.queries.of_token, level.keys.of_token)


def _length(part: slice, whole: int) -> int:
    return len(range(*part.indices(whole)))


def _read(attention: Attention, head: HeadId, rows: slice, columns: slice, mode: str) -> Array:
    weights = attention.block(head.layer, head.head, rows, columns)
    if mode == "weight":
        return weights
    if mode not in MODES:
        msg = f"A matrix shows one of {', '.join(MODES)}, not {mode!r}."
        raise UnknownName(msg)
    name = {"column": "received", "moved": "value_norm"}[mode]
    per_key = attention.stats.get(name)
    if per_key is None:
        msg = {
            "column": "This trace kept no sums of its columns. Trace the text again.",
            "moved": "What a weight really moves needs the values and the output projection, and this trace holds weights only.",
        }[mode]
        raise NotCaptured(msg)
    factor = per_key[head.layer, head.head][columns].astype(np.float32)
    if mode == "moved":
        return weights * (0 if head.head in attention.layers[head.layer].replaced else factor)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isnan(weights), weights, np.where(factor > 0, weights / factor, 0)).astype(np.float32)
