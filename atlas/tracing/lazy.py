"""Statistics computed on first access: where the weights are kept, a run need not wait for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

import numpy as np


class LazyArrays(Mapping[str, np.ndarray]):
    """Read-only mapping; the missing arrays are all computed on first access."""

    def __init__(self, there: Mapping[str, np.ndarray], make: Callable[[], Mapping[str, np.ndarray]]) -> None:
        self._held = dict(there)
        self._make: Callable[[], Mapping[str, np.ndarray]] | None = make
        self._lock = threading.Lock()
        protect(self._held)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._held[name] if name in self._held else self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, np.ndarray]:
        with self._lock:
            if self._make is not None:
                made = dict(self._make())
                protect(made)
                # A new dictionary instead of a longer one, because another thread may be reading the old one.
                self._held = made | self._held
                self._make = None
        return self._held


def protect(arrays: Mapping[str, np.ndarray]) -> None:
    """Make arrays read-only: a write into a trace would change it for every session that shows it."""
    for array in arrays.values():
        array.setflags(write=False)
