"""From masks and token tables to the plans of the row statistics: one place for a running pass, a saved trace and recordings.

Three planners that had to agree once did not: the layers of a model that alternates windows were scored over different tokens.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

import numpy as np

from atlas.metrics.pairs import Pairs
from atlas.metrics.plan import RowPlan

if TYPE_CHECKING:
    import pandas as pd

    from atlas.tracing.record import Layer, Mask


def side_of(kind: str, axis: str, sides: Container[str]) -> str:
    """Which tokens a kind's queries or keys are: 'source' or, of an encoder-decoder, 'target'."""
    if "target" not in sides or kind == "encoder":
        return "source"
    return "source" if kind == "cross" and axis == "key" else "target"


def plans_of(kind: str, tables: Mapping[str, pd.DataFrame]) -> Plans:
    """The plans of a kind for the token tables of a text."""
    return Plans(kind, tables[side_of(kind, "query", tables)], tables[side_of(kind, "key", tables)])


class Plans:
    """The plans of one kind of attention of one text; layers with one mask share one, heads that lost the same edges too."""

    def __init__(self, kind: str, tokens: pd.DataFrame, key_tokens: pd.DataFrame) -> None:
        self._same_axis = kind != "cross"
        self._shape = len(tokens), len(key_tokens)
        self._special = key_tokens["special"].to_numpy(dtype=bool)
        # By kind, not by mask: the mask of a sliding layer is no triangle, and its model is causal all the same.
        self._pairs = Pairs.build(tokens["id"].to_numpy(), self._special, causal=kind == "decoder") if self._same_axis else None
        self._plans: dict[int, tuple[RowPlan, Mask]] = {}
        self._cut: dict[tuple[int, frozenset[tuple[int, ...]]], RowPlan] = {}

    def of(self, mask: Mask) -> RowPlan:
        """The plan of the layers with this mask."""
        if mask.key not in self._plans:
            # The mask is held beside its plan: the key is an id, good only while the mask is alive.
            self._plans[mask.key] = self._build(mask.visible(*self._shape)), mask
        return self._plans[mask.key][0]

    def of_head(self, layer: Layer, head: int) -> RowPlan:
        """The plan of one head of a layer: that of the layer's mask, less the edges of the head that were knocked out."""
        whole = self.of(layer.mask)
        cut = layer.cut(head)
        if not len(cut):
            return whole
        key = layer.mask.key, frozenset(map(tuple, cut.tolist()))
        if key not in self._cut:
            self._cut[key] = self._build(layer.visible(head, *self._shape))
        return self._cut[key]

    def _build(self, visible: np.ndarray | None) -> RowPlan:
        return RowPlan.build(
            None if visible is None else np.asarray(visible),
            *self._shape,
            special=self._special,
            same_axis=self._same_axis,
            pairs=self._pairs,
        )
