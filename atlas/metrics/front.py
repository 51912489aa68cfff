"""The Pareto front of points: those that no other point beats on one axis without losing on the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def on_front(x: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """(..., point) whether no other point is at least as high on both axes and higher on one.

    Equal points are on the front together; a point with an unknown value is never on it and beats nobody.
    """
    across, up = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
    known = np.isfinite(across) & np.isfinite(up)
    across, up = np.where(known, across, -np.inf), np.where(known, up, -np.inf)
    order = np.lexsort((-up, -across), axis=-1)
    right, high = (np.take_along_axis(values, order, axis=-1) for values in (across, up))
    count = right.shape[-1]
    # Points with the same x stand together, the highest first.
    begins = np.ones(right.shape, dtype=bool)
    begins[..., 1:] = right[..., 1:] != right[..., :-1]
    first = np.maximum.accumulate(np.where(begins, np.arange(count), 0), axis=-1)
    highest = np.maximum.accumulate(high, axis=-1)
    before = np.where(first > 0, np.take_along_axis(highest, np.maximum(first - 1, 0), axis=-1), -np.inf)
    found = (high > before) & (high == np.take_along_axis(high, first, axis=-1))
    back = np.empty_like(found)
    np.put_along_axis(back, order, found, axis=-1)
    return back & known
