"""Tests inside an event loop: run a journey, and wait for a state in it, never for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine

PATIENCE = 60.0
"""Seconds until a test calls something hung."""


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop run until something holds, or fail."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.005)


def run(journey: Coroutine[object, object, object]) -> None:
    """A journey inside an event loop, which waits for every thread it started."""
    asyncio.run(asyncio.wait_for(journey, 3 * PATIENCE))
