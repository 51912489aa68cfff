"""Sums over the attention of a padded batch, from which every metric of the head table follows, text by text.

A trace reduces one text after another to numbers for every row. Over thousands of short texts the calls themselves then cost more
than the forward pass. Here a batch is reduced at once and to sums over rows: most metrics are linear in the weights, and the sums
along the diagonals and down the columns give all of those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from atlas.metrics.pairs import Pairs
from atlas.metrics.plan import LONG_RANGE
from atlas.metrics.rows import ROUNDING, TINY

PAIR_NAMES = ("induction", "duplicate")


class SideFacts(NamedTuple):
    """The tokens of one side of a text."""

    ids: np.ndarray
    special: np.ndarray
    sets: Mapping[str, np.ndarray | None]
    """As `atlas.metrics.keysets.key_sets` gives them."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one mask over a batch, as tensors on the device of the weights."""

    visible: torch.Tensor
    """(text, query, key), nothing visible in padding."""
    informative: torch.Tensor
    """(text, query) 1 for rows that may see two keys or more."""
    entropy_weights: torch.Tensor
    """(text, query, 2) of every row in the mean entropy and in the mean normalised entropy, before the division by the rows."""
    share: torch.Tensor
    """(text, query) below which a weight is less than an even share; −1 in rows that do not count."""
    hidden: torch.Tensor
    """(text,) cells of informative rows that are masked or padding."""
    ordinary: torch.Tensor
    """(text, key) 1 for keys that are neither special nor the first."""
    pairs: torch.Tensor | None
    """(text, query * key, 2) candidates of induction and duplicate in rows that count."""
    counts: Mapping[str, np.ndarray]
    """(text,) rows that count for each metric; informative rows as '', their visible cells as 'cells'."""


Spare = dict[tuple[tuple[int, ...], torch.dtype], torch.Tensor]
"""Arrays whose zeros stay zeros, by the shape they are for."""


class Sums(NamedTuple):
    """What is kept of a layer or of some of its heads, (text, head, ...) each."""

    entropies: torch.Tensor
    """(text, head, 2): entropy, normalised entropy."""
    largest: torch.Tensor
    row_largest: torch.Tensor
    squares: torch.Tensor
    below: torch.Tensor
    received: torch.Tensor
    """(text, head, key)"""
    active: torch.Tensor
    """(text, head, query): what a row gives to ordinary keys."""
    diagonals: torch.Tensor | None
    """(text, head, offset modulo the width)"""
    scaled_diagonals: torch.Tensor | None
    """The same of rows scaled to sum to 1, where a learned sink takes a part."""
    pairs: torch.Tensor | None
    known: torch.Tensor | None
    """(text, head) informative rows that give anything to a token at all; None: all do."""


def rows_of(
    kind: str, queries: Sequence[SideFacts], keys: Sequence[SideFacts], visible: torch.Tensor | None, like: torch.Tensor
) -> Rows:
    """Work out what the reduction multiplies by.

    Parameters
    ----------
    queries, keys
        Facts of every text.
    visible
        (text or 1, query, key) the mask; None: every query sees every key.
    like
        The weights (text, head, query, key), for their sizes and device.
    """
    n_queries, n_keys = like.shape[-2:]
    real_queries = _lengths(queries, n_queries)
    real_keys = _lengths(keys, n_keys)
    seen = real_queries[:, :, None] & real_keys[:, None, :]
    if visible is not None:
        seen = seen & visible.cpu().numpy()
    n_visible = seen.sum(axis=2)
    informative = n_visible > 1
    special = _padded([side.special for side in keys], n_keys)
    counts = {"": informative.sum(axis=1), "cells": (n_visible * informative).sum(axis=1)}
    counts["special"] = _counted(seen, special, informative)
    for name in keys[0].sets:
        known = np.array([side.sets[name] is not None for side in keys])
        members = _padded([_or_none(side.sets[name], len(side.ids)) for side in keys], n_keys)
        counts[name] = np.where(known, _counted(seen, members, informative), 0)
    pairs = None
    if kind != "cross":
        counts |= _positional_counts(seen, informative)
        pairs = _pairs(kind, queries, seen, informative, counts)
    most = np.log(np.maximum(n_visible, 2))
    # As `metrics.rows` does: weights within some rounding of an even share are not below it.
    share = (1.0 - ROUNDING * float(torch.finfo(torch.float32).eps)) / np.maximum(n_visible, 1)
    ordinary = real_keys & ~special
    ordinary[:, 0] = False

    def tensor(array: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), device=like.device).to(dtype)

    return Rows(
        visible=tensor(seen, torch.bool),
        informative=tensor(informative),
        entropy_weights=tensor(np.stack([informative, informative / most], axis=-1)),
        share=tensor(np.where(informative, share, -1.0)),
        hidden=tensor(((n_keys - n_visible) * informative).sum(axis=1)),
        ordinary=tensor(ordinary),
        pairs=None if pairs is None else tensor(pairs),
        counts=counts,
    )


def sums_of(weights: torch.Tensor, rows: Rows, *, same_axis: bool, sinks: bool = False, spare: Spare | None = None) -> Sums:
    """Reduce the weights (text, head, query, key) of some heads; masked cells of rows that count are exactly 0.

    `spare` keeps an array between the layers of a batch.
    """
    spare = {} if spare is None else spare
    dtype = weights.dtype
    inside = rows.informative.to(dtype)
    row = inside[:, None, None, :]
    scratch = torch.maximum(weights, torch.tensor(TINY, dtype=dtype, device=weights.device)).log_()
    entropy = -torch.mul(weights, scratch, out=scratch).sum(dim=-1)
    known = mass = None
    if sinks:
        mass = weights.sum(dim=-1)
        there = (mass > 0) & (rows.informative > 0)[:, None]
        mass = torch.where(there, mass, 1.0)
        # H(p / m) = -(sum p ln p) / m + ln m
        entropy = torch.where(there, entropy / mass + mass.log(), 0.0)
        known = there.sum(dim=-1)
    largest = weights.amax(dim=-1)
    below = torch.less(weights, rows.share.to(dtype)[:, None, :, None], out=scratch).sum(dim=(-1, -2))
    squares = torch.linalg.vector_norm(weights, dim=-1) ** 2
    return Sums(
        entropies=entropy.clamp_(min=0.0) @ rows.entropy_weights.to(dtype)[:, :],
        largest=(largest * inside[:, None]).amax(dim=-1),
        row_largest=(largest * inside[:, None]).sum(dim=-1),
        squares=(squares * inside[:, None]).sum(dim=-1),
        below=below - rows.hidden.to(dtype)[:, None],
        received=(row @ weights)[..., 0, :],
        active=(weights @ rows.ordinary.to(dtype)[:, None, :, None])[..., 0],
        diagonals=_diagonals(weights, inside, spare) if same_axis else None,
        scaled_diagonals=_diagonals(weights / mass[..., None], inside, spare) if same_axis and mass is not None else None,
        pairs=None if rows.pairs is None else weights.flatten(2) @ rows.pairs.to(dtype),
        known=known,
    )


def uniform_of(rows: Rows) -> torch.Tensor:
    """(text, 1, query, key) attention that spreads evenly over what a row may see, in double precision."""
    seen = rows.visible.double()
    return (seen / seen.sum(dim=-1, keepdim=True).clamp(min=1.0))[:, None]


def _diagonals(weights: torch.Tensor, inside: torch.Tensor, spare: Spare) -> torch.Tensor:
    """(text, head, n) sums over the rows that count, by key − query modulo n = query + key.

    The rows are written one cell shorter than they are read back, so that every diagonal becomes a column.
    """
    *lead, n_queries, n_keys = weights.shape
    width = n_queries + n_keys
    key = tuple(weights.shape), weights.dtype
    if key not in spare:
        spare[key] = torch.zeros((*lead, n_queries * width), dtype=weights.dtype, device=weights.device)
    flat = spare[key]
    written = flat[..., : n_queries * (width - 1)].view(*lead, n_queries, width - 1)
    torch.mul(weights, inside[:, None, :, None], out=written[..., :n_keys])
    return flat.view(*lead, n_queries, width).sum(dim=-2)


def _lengths(sides: Sequence[SideFacts], longest: int) -> np.ndarray:
    return np.arange(longest) < np.array([len(side.ids) for side in sides])[:, None]


def _padded(parts: Sequence[np.ndarray], length: int) -> np.ndarray:
    made = np.zeros((len(parts), length), dtype=bool)
    for row, part in zip(made, parts, strict=True):
        row[: len(part)] = part
    return made


def _or_none(members: np.ndarray | None, length: int) -> np.ndarray:
    return np.zeros(length, dtype=bool) if members is None else members


def _counted(seen: np.ndarray, members: np.ndarray, informative: np.ndarray) -> np.ndarray:
    """(text,) informative rows that may see at least one of these keys."""
    reached = np.matmul(seen.astype(np.float32), members.astype(np.float32)[:, :, None])[..., 0] > 0
    return np.asarray((reached & informative).sum(axis=1))


def _positional_counts(seen: np.ndarray, informative: np.ndarray) -> dict[str, np.ndarray]:
    n_tokens = seen.shape[1]
    places = np.arange(n_tokens)
    counts = {"distance": informative.sum(axis=1)}
    for name, offset in (("self", 0), ("previous", -1), ("next", 1)):
        keys = places + offset
        exists = (keys >= 0) & (keys < n_tokens)
        there = exists & seen[:, places, keys.clip(0, n_tokens - 1)]
        counts[name] = (there & informative).sum(axis=1)
    # The farthest visible key on either side settles whether any is far enough.
    first, last = seen.argmax(axis=2), n_tokens - 1 - seen[:, :, ::-1].argmax(axis=2)
    far = np.maximum(places - first, last - places) >= LONG_RANGE
    counts["long_range"] = (far & informative).sum(axis=1)
    return counts


def _pairs(
    kind: str, queries: Sequence[SideFacts], seen: np.ndarray, informative: np.ndarray, counts: dict[str, np.ndarray]
) -> np.ndarray:
    """(text, query * key, 2); writes the rows that count into `counts`."""
    n_texts, n_queries, n_keys = seen.shape
    found = np.zeros((n_texts, n_queries, n_keys, len(PAIR_NAMES)), dtype=np.float32)
    for at, side in enumerate(queries):
        pairs = Pairs.build(side.ids, side.special, causal=kind == "decoder")
        n = len(side.ids)
        for place, name in enumerate(PAIR_NAMES):
            found[at, :n, :n, place] = getattr(pairs, name)
    found *= informative[:, :, None, None]
    found *= seen[..., None]
    for place, name in enumerate(PAIR_NAMES):
        counts[name] = found[..., place].any(axis=2).sum(axis=1)
    return found.reshape(n_texts, n_queries * n_keys, len(PAIR_NAMES))
