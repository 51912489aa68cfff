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

GRADIENT, ABLATION, RANDOM = "gradient", "ablation", "random"
"""Orders in which heads go: by gradient importance, by the size of their effect alone, by chance."""

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
    """'gradient' and 'ablation': the heads, the least important first."""
    how: str
    """What the output of removed heads is replaced by."""

    def kept(self, order: str, removed: int) -> tuple[HeadId, ...]:
        """The heads that are left in an order when so many are removed."""
        return tuple(sorted(self.orders[order][removed:]))


def runs_of(heads: int, points: int = POINTS, orders: int = ORDERS) -> int:
    """Texts that the curves run through the model; a backward pass counts as two."""
    return heads + 5 + (2 + orders) * min(heads, points)
