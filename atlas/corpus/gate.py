"""Who is inside a model: its user's calls, or a monitor's pass, which switches the attention function for a moment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType


class Gate:
    """Lets any number of threads in, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: dict[int, FrameType] = {}
        """Thread -> the frame that called. The frame itself: the id of one that is gone may be that of another one."""
        self._alone: int | None = None

    def nested(self) -> bool:
        """Whether this thread is inside already: the model calls itself.

        A call that was interrupted from the keyboard never left; its frame is gone, and it counts no more.
        """
        with self._changed:
            outer = self._inside.get(threading.get_ident())
        return outer is not None and any(frame is outer for frame in _frames())

    def enter(self, frame: FrameType) -> None:
        """Wait while a thread is alone, then count as inside."""
        own = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._alone in (None, own))
            self._inside[own] = frame

    def leave(self) -> None:
        """Count as inside no more."""
        with self._changed:
            self._inside.pop(threading.get_ident(), None)
            self._changed.notify_all()

    @contextmanager
    def alone(self, patience: float = 0.0) -> Iterator[bool]:
        """Be alone while the context is open; False where another thread is inside for longer than that many seconds."""
        own = threading.get_ident()
        with self._changed:
            got = self._alone is None
            if got:
                self._alone = own
                self._inside.pop(own, None)
                got = self._changed.wait_for(self._empty, patience)
                if not got:
                    self._alone = None
                    self._changed.notify_all()
        try:
            yield got
        finally:
            if got:
                with self._changed:
                    self._alone = None
                    self._changed.notify_all()

    def _empty(self) -> bool:
        running = {thread.ident for thread in threading.enumerate()}
        self._inside = {thread: frame for thread, frame in self._inside.items() if thread in running}
        return not self._inside


def _frames() -> Iterator[FrameType]:
    """All frames of this thread, from the inside."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - CPython's own name for it
    while frame is not None:
        yield frame
        frame = frame.f_back


def call_of(file: str) -> FrameType:
    """What tells the call of a model that a hook runs in from another: the outermost of its frames that are in torch's file."""
    frame = sys._getframe(1)  # noqa: SLF001 - as above
    while frame.f_code.co_filename != file:
        assert frame.f_back is not None, "hooks are called from torch's file"
        frame = frame.f_back
    while frame.f_back is not None and frame.f_back.f_code.co_filename == file:
        frame = frame.f_back
    return frame


class Hook:
    """A hook that stays with its model: a copy of the model, or one read from a file, has one that does nothing."""

    def __init__(self, work: Callable[..., None] | None = None) -> None:
        self._work = work

    def __call__(self, *given: Any) -> None:
        """What torch calls."""
        if self._work is not None:
            self._work(*given)

    def __deepcopy__(self, memo: dict[int, Any]) -> Hook:
        return Hook()

    def __reduce__(self) -> tuple[type[Hook], tuple[()]]:
        return Hook, ()
