"""A server searches for garbage once a minute, and neither Python nor Panel do it in between."""

from __future__ import annotations

import gc
import platform
import weakref
from unittest.mock import patch

import psutil
import pytest
from panel.io import document
from tornado.ioloop import PeriodicCallback

from atlas.patches import garbage


class Ring:
    """Refers to itself, so that only a search frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def clock(monkeypatch):
    """What a server starts; afterwards Python and Panel are as before."""
    before = gc.get_threshold()
    monkeypatch.setattr(document, "_garbage_collect", document._garbage_collect)
    with patch.object(PeriodicCallback, "start", autospec=True) as start:
        made = garbage.search_seldom()
    start.assert_called_once_with(made)
    yield made
    gc.set_threshold(*before)


def old_ring():
    """A weak reference to garbage that only a search of everything finds."""
    ring = Ring()
    for generation in (0, 1):
        gc.collect(generation)
    return weakref.ref(ring)


def test_a_session_that_ends_starts_no_search_and_the_clock_does(clock, monkeypatch):
    assert (clock.callback, clock.callback_time) == (garbage.search, 60_000)
    ring = old_ring()
    monkeypatch.setattr(gc, "get_count", lambda: (0, 0, garbage.FEW - 1))
    garbage.search()
    assert ring() is not None, "nothing new to speak of"
    document._garbage_collect()
    assert ring() is not None
    garbage.search()
    assert ring() is None
    ring = old_ring()
    garbage.search()
    assert ring() is not None, "that session was searched for"
    monkeypatch.setattr(gc, "get_count", lambda: (0, 0, garbage.FEW))
    garbage.search()
    assert ring() is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is freed")
def test_what_was_freed_goes_back_to_the_machine():
    process = psutil.Process()
    blocks = [bytearray(b"x" * 10_000) for _ in range(20_000)]
    last = blocks[-1]  # in the way of what glibc gives back by itself
    del blocks
    before = process.memory_info().rss
    garbage.give_back()
    assert before - process.memory_info().rss > 100e6
    assert len(last) == 10_000


def test_python_searches_everything_by_itself_only_after_millions_of_new_objects(clock):
    gc.collect()
    found = []

    def noted(phase, info):
        if phase == "stop":
            found.append(info["generation"])

    gc.callbacks.append(noted)
    kept = [[] for _ in range(300_000)]
    gc.callbacks.remove(noted)
    assert len(kept) == 300_000
    assert 1 in found
    assert 2 not in found
