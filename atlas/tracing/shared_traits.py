"""The traits of some heads of a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from atlas.ids import HeadId
from atlas.metrics.shared_traits import COLUMNS, shared_traits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "traits_of"]


def traits_of(table: pd.DataFrame, heads: Iterable[HeadId]) -> pd.DataFrame:
    """`shared_traits` of `heads` beside all heads of a table, which are of one kind."""
    chosen = {(head.layer, head.head) for head in heads}
    inside = [at in chosen for at in zip(table["layer"], table["head"], strict=True)]
    return shared_traits(table, np.array(inside, dtype=bool))
