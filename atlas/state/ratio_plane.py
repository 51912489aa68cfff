"""What planes share that show of every head the ratio of its attention to flagged words, over evenly spread attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from atlas.state.plane import Array, Cell, PlaneLens
from atlas.tracing.chance import BEYOND

if TYPE_CHECKING:
    import pandas as pd

LEAST_RATIO = 1 / 64
"""Ratios under this have the colour of this: a head that never looks there has no logarithm."""


class RatioPlaneLens(PlaneLens):
    """Layers x heads, coloured by the logarithm of the ratio."""

    missing: ClassVar = "looks at no word"
    figures: ClassVar[tuple[str, ...]] = ("ratio", "lo", "hi", "p", "q")
    """What the pointer says of a head."""

    def ratios(self) -> pd.DataFrame | None:
        """The heads of the kind on screen, layer by layer; None while there are none."""
        raise NotImplementedError

    @property
    def signed(self) -> bool:
        """Above and below what evenly spread attention gives."""
        return True

    def reading(self) -> str:
        """What the value of a cell is called."""
        return "log₂ of it"

    def whose(self) -> str:
        """Whose numbers they are."""
        return "attention to flagged words / evenly spread"

    def _numbers(self, row: int, column: int) -> Cell:
        numbers, heads = super()._numbers(row, column), self.ratios()
        if heads is None:
            return numbers
        head = heads.iloc[row * self.trace.n_heads(self.kind) + column]
        return {**numbers, **{name: float(head[name]) for name in self.figures}}

    def beyond(self) -> frozenset[tuple[int, int]]:
        """The heads beyond chance: (layer, head)."""
        heads = self.ratios() if self.plane().rows else None
        if heads is None:
            return frozenset()
        return frozenset((int(layer), int(head)) for layer, head in heads.loc[heads["q"] <= BEYOND, ["layer", "head"]].to_numpy())


def logarithms(ratios: pd.Series) -> Array:
    """To the base 2."""
    return np.asarray(np.log2(np.maximum(ratios.to_numpy(dtype=float), LEAST_RATIO)))
