"""What results on the model of a trace depend on, whatever its text."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atlas.trace import Trace


def model_key(trace: Trace) -> Hashable:
    """The model with its weights, and the heads that are switched off."""
    told = trace.provenance
    changed = tuple(told.get("changed", {}).get("ablated", ()))
    model = tuple(str(told.get(name)) for name in ("model", "revision", "dtype", "device"))
    weights = getattr(trace.live, "weights", None)  # of a model in memory, which may be trained on
    return model, weights, changed
