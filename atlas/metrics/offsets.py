"""Bins of the offset from a query to a key, key − query: each of the nearest alone, farther ones in half octaves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from atlas.metrics.plan import LONG_RANGE
from atlas.metrics.sketches import LONGEST

Ints = npt.NDArray[np.int64]


def _starts() -> Ints:
    """The smallest distance of every bin: 0, 1, 2, 3, 4, 5, 8, 12, 16, 24, 32, ..."""
    octaves = 2 ** np.arange(3, int(np.log2(LONGEST)))
    return np.sort(np.concatenate([np.arange(LONG_RANGE + 1), octaves, octaves * 3 // 2]))


STARTS = _starts()

LOW: Ints = np.concatenate([-np.append(STARTS[2:] - 1, LONGEST)[::-1], STARTS])
"""The smallest offset of every bin."""

HIGH: Ints = np.concatenate([-STARTS[1:][::-1], np.append(STARTS[1:] - 1, LONGEST)])
"""The largest offset of every bin."""


def bin_of(offsets: npt.ArrayLike) -> Ints:
    """The number of the bin of each offset; what is farther than the last bin reaches is in it."""
    given = np.clip(np.asarray(offsets), -LONGEST, LONGEST)
    return np.asarray(np.searchsorted(LOW, given, side="right") - 1)
