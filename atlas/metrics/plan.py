"""What the statistics of a row need to know beforehand: built once for a mask and a set of tokens, used by every layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from atlas.metrics.pairs import Pairs, templates_of

Array = Any
"""A numpy array or a torch tensor: whatever the array API namespace of the weights is at home with."""

BoolArray = npt.NDArray[np.bool_]

LONG_RANGE = 5
"""Tokens between query and key from which attention counts as long-range; the first Attention Atlas's choice, kept so
that numbers can be compared. Seen in English sub-words it is about one phrase away."""

NEAR = LONG_RANGE - 1

WHOLE_ROW = ("entropy", "maximum", "mass", "square_sum", "below_uniform")
"""Statistics that any row has that may see a key at all."""

POSITIONAL = ("self", "previous", "next", "distance", "long_range", "induction", "duplicate")
"""Statistics that need queries and keys to be the same tokens: cross-attention has none of them."""


@dataclass(frozen=True, eq=False)
class Operands:
    """The arrays the reduction multiplies by, on the device of the weights."""

    n_visible: Array
    """(query,) keys this row may see."""
    special_keys: Array
    """Positions of the special tokens."""
    near_keys: Array
    """(query, 2 * NEAR + 1) key positions around the query, clipped to the text."""
    near_exists: Array
    """1 where `near_keys` is a real neighbour, 0 where it was clipped."""
    templates: Array
    """(query, template, key), see `atlas.metrics.pairs.templates_of`."""
    receive: Array
    """(2, query): ones, and 1 for informative rows."""
    defined: Array
    """(statistic, query): where a statistic exists for a row."""


@dataclass(frozen=True, eq=False)
class RowPlan:
    """The rows of one mask: who may see whom, which rows say anything, and what there is to look for.

    A row is *informative* when it may see two keys or more. A row that may see one (the first row of a causal model) is 1
    there whatever the head does, so it is left out of every mean. A mass on some keys is averaged over the informative
    rows that may see at least one of those keys.
    """

    n_queries: int
    n_keys: int
    same_axis: bool
    visible: BoolArray | None
    """(query, key); None where every query may see every key."""
    n_visible: npt.NDArray[np.int64]
    informative: BoolArray
    special: BoolArray
    names: tuple[str, ...]
    """Row statistics this plan yields, in the order of `Operands.defined`."""
    template_names: tuple[str, ...]
    counted: Mapping[str, BoolArray]
    """For each row statistic, the rows that enter a head's mean."""
    operands: Operands

    @classmethod
    def build(
        cls,
        visible: BoolArray | None,
        n_queries: int,
        n_keys: int,
        *,
        special: npt.ArrayLike | None = None,
        same_axis: bool = True,
        pairs: Pairs | None = None,
    ) -> RowPlan:
        """Work out the plan of one mask.

        Parameters
        ----------
        visible
            (query, key), True where the query may attend; None: everywhere.
        special
            (key,), True at special tokens; None: there are none.
        same_axis
            Whether queries and keys are the same tokens; False for cross-attention.
        pairs
            Candidate keys of the induction and duplicate-token scores; None: the scores are not asked for.
        """
        mask = None if visible is None else np.asarray(visible, dtype=bool)
        expected = (n_queries, n_keys)
        if mask is not None and mask.shape != expected:
            msg = f"The mask has shape {mask.shape}, but the attention has (query, key) = {expected}."
            raise ValueError(msg)
        if same_axis and n_queries != n_keys:
            msg = f"{n_queries} queries and {n_keys} keys cannot be the same tokens; pass same_axis=False for cross-attention."
            raise ValueError(msg)
        marks = np.zeros(n_keys, dtype=bool) if special is None else np.asarray(special, dtype=bool)
        n_visible = np.full(n_queries, n_keys, dtype=np.int64) if mask is None else mask.sum(1)
        informative = n_visible > 1
        found = pairs.found if pairs is not None and same_axis else {}
        defined = _where_defined(mask, n_visible, marks, found, same_axis=same_axis)
        near, exists = _neighbours(n_queries, n_keys)
        operands = Operands(
            n_visible=n_visible.astype(np.float32),
            special_keys=np.flatnonzero(marks),
            near_keys=near,
            near_exists=exists,
            templates=_templates(n_queries, n_keys, pairs, same_axis=same_axis),
            receive=np.stack([np.ones(n_queries), informative]).astype(np.float32),
            defined=np.stack(list(defined.values())),
        )
        return cls(
            n_queries=n_queries,
            n_keys=n_keys,
            same_axis=same_axis,
            visible=mask,
            n_visible=n_visible,
            informative=informative,
            special=marks,
            names=tuple(defined),
            template_names=("distance", *found) if same_axis else (),
            counted={name: rows & informative for name, rows in defined.items()},
            operands=operands,
        )

    def to(self, convert: Callable[[Any], Array]) -> RowPlan:
        """The same plan with the operands passed through `convert`, e.g. `torch.from_numpy`; the facts stay in numpy."""
        moved = {field.name: convert(getattr(self.operands, field.name)) for field in fields(Operands)}
        return replace(self, operands=Operands(**moved))

    def seen(self, keys: BoolArray) -> BoolArray:
        """(query,) whether a row may see at least one of these keys."""
        return _seen(self.visible, keys, self.n_queries)

    def uniform(self) -> npt.NDArray[np.float64]:
        """(query, key) attention that spreads evenly over the keys it may see.

        In double precision: the spread of weights that are all equal is a difference of equal numbers.
        """
        share = (1.0 / np.maximum(self.n_visible, 1))[:, None]
        if self.visible is None:
            return np.broadcast_to(share, (self.n_queries, self.n_keys))
        return np.where(self.visible, share, 0.0)


def causal_mask(n_tokens: int, window: int | None = None) -> BoolArray:
    """(query, key) mask of a causal model, optionally with a sliding window of that many keys."""
    mask = np.tri(n_tokens, dtype=bool)
    return mask if window is None else np.triu(mask, 1 - window)


def visible_cells(weights: npt.NDArray[np.floating[Any]]) -> BoolArray | None:
    """The mask that data with NaN at its masked cells speaks of: a cell is masked where it is NaN in every head."""
    if not np.isnan(weights).any():
        return None
    heads = weights.reshape(-1, *weights.shape[-2:])
    return ~np.isnan(heads).all(0)


def _where_defined(
    mask: BoolArray | None, n_visible: npt.NDArray[np.int64], special: BoolArray, found: dict[str, BoolArray], *, same_axis: bool
) -> dict[str, BoolArray]:
    """For each statistic, the rows for which it means anything: those that may see a key it speaks of."""
    n_queries, n_keys = len(n_visible), len(special)
    defined = dict.fromkeys(WHOLE_ROW, n_visible > 0) | {"special": _seen(mask, special, n_queries)}
    if not same_axis:
        return defined
    for name, offset in (("self", 0), ("previous", -1), ("next", 1)):
        defined[name] = _target_visible(mask, n_queries, offset)
    defined["distance"] = n_visible > 0
    places = np.arange(n_queries)
    # The farthest visible key on either side settles whether any is far enough: no (query, key) temporary is needed.
    first, last = (np.zeros(n_queries), np.full(n_queries, n_keys - 1)) if mask is None else _ends(mask)
    defined["long_range"] = (n_visible > 0) & (np.maximum(places - first, last - places) >= LONG_RANGE)
    for name, candidates in found.items():
        defined[name] = np.asarray((candidates if mask is None else candidates & mask).any(1))
    return defined


def _seen(mask: BoolArray | None, keys: BoolArray, n_queries: int) -> BoolArray:
    if mask is None:
        return np.full(n_queries, bool(keys.any()))
    return np.asarray(mask[:, keys].any(1))


def _target_visible(mask: BoolArray | None, n_tokens: int, offset: int) -> BoolArray:
    """Whether the key at `offset` from each query exists and may be seen."""
    queries = np.arange(n_tokens)
    keys = queries + offset
    exists = (keys >= 0) & (keys < n_tokens)
    return exists if mask is None else exists & np.asarray(mask[queries, keys.clip(0, n_tokens - 1)])


def _ends(mask: BoolArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and last visible key of every row."""
    return mask.argmax(1), mask.shape[1] - 1 - mask[:, ::-1].argmax(1)


def _neighbours(n_queries: int, n_keys: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    keys = np.arange(n_queries)[:, None] + np.arange(-NEAR, NEAR + 1)
    exists = (keys >= 0) & (keys < n_keys)
    return keys.clip(0, max(n_keys - 1, 0)), exists.astype(np.float32)


def _templates(n_queries: int, n_keys: int, pairs: Pairs | None, *, same_axis: bool) -> npt.NDArray[np.float32]:
    if not same_axis:
        return np.zeros((n_queries, 0, n_keys), dtype=np.float32)
    return templates_of(n_queries, n_keys, {}) if pairs is None else pairs.templates
