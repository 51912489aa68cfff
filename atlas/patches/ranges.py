"""HoloViews (1.23) looks at every end of a range as if it were a table: for a plot some seven hundred times."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from holoviews.core import util
from holoviews.plotting import plot

from atlas.patches.private import replace_private

FLOATS = frozenset({float, np.float64})


def patch_ranges() -> None:
    """Patch HoloViews once for the process."""
    if hasattr(util.isfinite, "__wrapped__"):
        return
    finite = _of_numbers(util.isfinite)
    for module in (util, plot):
        replace_private(module, "isfinite", finite, "ranges")


def _of_numbers(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Whether a value is finite; of a plain number, without asking first whether it is an array, a table or a date."""

    @wraps(work)
    def finite(val: Any) -> Any:
        kind = type(val)
        if kind in FLOATS:
            return np.bool_(math.isfinite(val))
        return False if val is None else work(val)

    return finite
