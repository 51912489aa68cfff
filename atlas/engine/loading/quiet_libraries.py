"""Silences transformers and huggingface_hub while Atlas uses them, and restores their settings afterwards.

Atlas replaces their reports (a table of missing weights, a retry, a bar per shard) by its own errors, notes and progress. Calls
are counted, because two loads may overlap in two threads: the first saves the user's settings, the last restores them.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SILENT = logging.CRITICAL

_lock = threading.Lock()
_covered: Counter[str] = Counter()
_saved: dict[str, Any] = {}


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Suppress log lines of huggingface_hub."""
    with _covering("huggingface_hub"):
        yield


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Suppress log lines and progress bars of transformers."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.get_verbosity()  # makes the library set its own level now, because it would overwrite ours later
    with _covering("transformers"):
        with _lock:
            if _covered["bars"] == 0:
                _saved["bars"] = transformers_logging.set_tqdm_hook(_disabled_bar)
            _covered["bars"] += 1
        try:
            yield
        finally:
            with _lock:
                _covered["bars"] -= 1
                if _covered["bars"] == 0:
                    transformers_logging.set_tqdm_hook(_saved.pop("bars"))


@contextmanager
def _covering(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    with _lock:
        if _covered[name] == 0:
            _saved[name] = logger.level
            logger.setLevel(_SILENT)
        _covered[name] += 1
    try:
        yield
    finally:
        with _lock:
            _covered[name] -= 1
            if _covered[name] == 0:
                level = _saved.pop(name)
                if logger.level == _SILENT:  # keep a level that the user set meanwhile
                    logger.setLevel(level)


def _disabled_bar(factory: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return factory(*args, **{**kwargs, "disable": True})
