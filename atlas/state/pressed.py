"""A lens whose work is long and runs at a press, for just what was on screen then."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any
from weakref import ref

from atlas.state.lens import Lens

if TYPE_CHECKING:
    from atlas.trace import Trace


class PressedLens(Lens):
    """Runs for a request once the reader has pressed for it; each request of a trace is pressed for once."""

    def __init__(self, workspace: Any, **params: Any) -> None:
        self._pressed: set[Hashable] = set()
        self._of: ref[Trace] | None = None
        """The trace that was pressed for; weakly, because a lens that sleeps would keep it in memory."""
        super().__init__(workspace, **params)

    def request(self) -> Hashable:
        """What a press would run."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drop what is shown, and of another trace what was pressed for."""
        if not self.is_of_trace:
            self._remember(self.workspace.trace)
            self._pressed.clear()

    def _remember(self, trace: Trace | None) -> None:
        self._of = None if trace is None else ref(trace)

    def start(self) -> None:
        """The reader presses for what is chosen."""
        self._pressed.add(self.request())
        self._redraw()

    def begin(self) -> None:
        """Start what is chosen, where anything can be started."""
        if self.can_start:
            self.start()

    def handed_over(self) -> Any:
        """What was pressed for."""
        return set(self._pressed)

    def take_over(self, handed: Any) -> None:
        """Show what was pressed for there."""
        self._remember(self.workspace.trace)
        self._pressed = handed
        self._redraw()

    def cancel(self) -> None:
        """Stop; the button asks anew."""
        self._pressed.discard(self.request())
        super().cancel()

    @property
    def is_of_trace(self) -> bool:
        """Whether what was pressed for is of the trace on screen."""
        return (None if self._of is None else self._of()) is self.workspace.trace

    @property
    def is_pressed(self) -> bool:
        """Whether what is chosen has been pressed for."""
        return self.request() in self._pressed

    @property
    def can_start(self) -> bool:
        """Whether a press would start anything."""
        return self.workspace.trace is not None and not self.busy and (not self.is_pressed or bool(self.problem))
