"""Python and Panel search all objects for garbage, and nobody is answered meanwhile: a server says when."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from typing import Any

from panel.io import document

from atlas.patches.private import replace_private

EVERY = 60.0
"""Seconds between searches of everything. One takes 0.6 s with twelve pages open; Python and Panel made seven a minute there."""

FEW = 10
"""Searches of what is younger, after which it is worth while: Python's own number."""

THRESHOLDS = (700, FEW, 1000)
"""Python's own, but for the last: a search of everything does not come by itself before 7 million new objects."""

_ENDED = threading.Event()
"""Whether a session has ended since the last search. After the last reader has left nothing is new, and 0.2 GB would stay."""


def settle() -> None:
    """Take all there is out of every later search: libraries stay as long as the process.

    Before anything is loaded or drawn, because of what is taken out nothing that refers to itself is ever freed.
    """
    gc.collect()
    gc.freeze()


def search_seldom() -> Any:
    """Search everything once a minute, if there is something new, and hardly ever else; the clock that does it.

    Called in the thread of the event loop.
    """
    from tornado.ioloop import PeriodicCallback

    gc.set_threshold(*THRESHOLDS)
    replace_private(document, "_garbage_collect", _ENDED.set, "garbage")
    clock = PeriodicCallback(search, 1000 * EVERY)
    clock.start()
    return clock


def search() -> None:
    """Search everything, if there is something new or a session has ended, and give what was freed back to the machine."""
    if _ENDED.is_set() or gc.get_count()[2] >= FEW:
        _ENDED.clear()
        gc.collect()
        # In a thread of its own: it needs nothing of Python, and took a third of the time in which nobody was answered.
        threading.Thread(target=give_back, name="give back", daemon=True).start()


def give_back() -> None:
    """Give freed memory back, where the C library is one that keeps it (glibc): of 2 GB after a class had left it kept 0.7."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
