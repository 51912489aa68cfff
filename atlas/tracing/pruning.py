"""How few heads a prediction needs: what is left of it when heads go from the least important on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from atlas.tracing.explained import Resolved

if TYPE_CHECKING:
    import pandas as pd

    from atlas.ids import HeadId

PRUNING = "pruning"
"""Name of the task."""

GRADIENT, ABLATION, INTEGRATED, RANDOM = "gradient", "ablation", "integrated_gradients", "random"
"""Orders in which heads go: by gradient importance, by the size of their effect alone, by integrated gradients on their weights,
by chance."""

INTEGRATED_PASSES = 24
"""Texts a layer that integrated gradients take where the first round is enough, which it mostly is; a backward pass is two."""

POINTS = 16
"""Points of a curve at most, besides that of all heads: of more heads, several go at once."""

ORDERS = 6
"""Random orders: their range is what chance gives."""


class Pruning(NamedTuple):
    """The curves of all orders."""

    target: Resolved
    table: pd.DataFrame
    """order, run (of the random orders), removed, kept, value (the explained number), probability, kl."""
    orders: Mapping[str, tuple[HeadId, ...]]
    """'gradient', 'ablation' and perhaps 'integrated_gradients': the heads, the least important first."""
    how: str
    """What the output of removed heads is replaced by."""

    def kept(self, order: str, removed: int) -> tuple[HeadId, ...]:
        """The heads that are left in an order when so many are removed."""
        return tuple(sorted(self.orders[order][removed:]))


def runs_of(heads: int, points: int = POINTS, orders: int = ORDERS, integrated_layers: int = 0) -> int:
    """Texts that the curves run through the model; a backward pass counts as two."""
    curves = 2 + orders + (integrated_layers > 0)
    return heads + 5 + curves * min(heads, points) + INTEGRATED_PASSES * integrated_layers
