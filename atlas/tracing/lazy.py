"""Statistics that are worked out when somebody first looks: where the weights are kept, a run need not wait for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

import numpy as np


class LazyArrays(Mapping[str, np.ndarray]):
    """A read-only mapping of arrays, of which some are there and the rest is made at once, by the first who asks for one."""

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
                # A new dictionary, not a longer one: another thread may be looking at the old.
                self._held = made | self._held
                self._make = None
        return self._held


def protect(arrays: Mapping[str, np.ndarray]) -> None:
    """Make arrays read-only: whoever writes into a trace would change it for all who look at it."""
    for array in arrays.values():
        array.setflags(write=False)
