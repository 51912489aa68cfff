"""Keeping transformers and huggingface_hub quiet while we use them, and leaving them as they were.

Their reports (a table of missing weights, a retry, a bar per shard) are answered by our own errors, notes and progress. The
user's settings are only covered while any of our calls runs, counted, because two loads may overlap in two threads.
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
_before: dict[str, Any] = {}


@contextmanager
def quiet_hub() -> Iterator[None]:
    """No log lines of huggingface_hub inside."""
    with _covering("huggingface_hub"):
        yield


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No log lines and no bars of transformers inside."""
    from transformers.utils import logging as theirs

    theirs.get_verbosity()  # sets the library's own level if nothing has yet, so that it is not set over ours later
    with _covering("transformers"):
        with _lock:
            if _covered["bars"] == 0:
                _before["bars"] = theirs.set_tqdm_hook(_hidden)
            _covered["bars"] += 1
        try:
            yield
        finally:
            with _lock:
                _covered["bars"] -= 1
                if _covered["bars"] == 0:
                    theirs.set_tqdm_hook(_before.pop("bars"))


@contextmanager
def _covering(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    with _lock:
        if _covered[name] == 0:
            _before[name] = logger.level
            logger.setLevel(_SILENT)
        _covered[name] += 1
    try:
        yield
    finally:
        with _lock:
            _covered[name] -= 1
            if _covered[name] == 0:
                level = _before.pop(name)
                if logger.level == _SILENT:  # not if somebody chose another level meanwhile
                    logger.setLevel(level)


def _hidden(factory: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return factory(*args, **{**kwargs, "disable": True})
