"""From a mask and a table of tokens to the plan of the row statistics: the same for a pass that runs and for recorded weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from atlas.metrics.pairs import Pairs
from atlas.metrics.plan import RowPlan

if TYPE_CHECKING:
    import pandas as pd

    from atlas.tracing.record import Mask


def plan_maker(tokens: pd.DataFrame, key_tokens: pd.DataFrame | None, *, causal: bool) -> Callable[[Mask], RowPlan]:
    """Plans for one text and kind; `key_tokens` only where keys are other tokens than queries (cross-attention)."""
    same_axis = key_tokens is None
    keys = tokens if key_tokens is None else key_tokens
    special = keys["special"].to_numpy(dtype=bool)
    n_queries, n_keys = len(tokens), len(keys)
    pairs = Pairs.build(keys["id"].to_numpy(), special, causal=causal) if same_axis and "id" in keys.columns else None

    def make(mask: Mask) -> RowPlan:
        visible = mask.visible(n_queries, n_keys)
        return RowPlan.build(
            None if visible is None else np.asarray(visible), n_queries, n_keys, special=special, same_axis=same_axis, pairs=pairs
        )

    return make
