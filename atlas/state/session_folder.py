"""A temporary folder that lasts as long as its session, and no longer."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas.errors import NotCaptured

GONE = "This session has ended."

_OPEN: weakref.WeakSet[SessionFolder] = weakref.WeakSet()


def remove_all() -> None:
    """Remove the folders of all sessions: for a server that ends its process without Python's own end."""
    for folder in list(_OPEN):
        folder.remove()


class SessionFolder:
    """Made when it is first used; removed with the session, once no work writes into it, or at the latest with the process."""

    def __init__(self) -> None:
        _OPEN.add(self)
        self._lock = threading.Lock()
        self._users = 0
        self._path: Path | None = None
        self._closed = False

    @contextmanager
    def used(self) -> Iterator[Path]:
        """The folder, which is not removed while the context is open; raises once the session is over."""
        with self._lock:
            if self._closed:
                raise NotCaptured(GONE)
            if self._path is None:
                self._path = Path(tempfile.mkdtemp(prefix="atlas-session-"))
                weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)
            self._users += 1
            path = self._path
        try:
            yield path
        finally:
            with self._lock:
                self._users -= 1
                self._remove_if_over()

    def remove(self, name: str = "") -> None:
        """Remove one thing in it, or everything."""
        with self._lock:
            if self._path is not None:
                shutil.rmtree(self._path / name, ignore_errors=True)

    def close(self) -> None:
        """The session is over."""
        with self._lock:
            self._closed = True
            self._remove_if_over()

    def _remove_if_over(self) -> None:
        # Work that was cancelled ends at its next report, and what it writes until then would make the folder anew.
        if self._closed and not self._users and self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            self._path = None
