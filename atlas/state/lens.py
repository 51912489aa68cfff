"""A lens: what one view shows now. Marked stale by whatever it depends on, worked out when the view looks."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, ClassVar, TypeVar

import param

from atlas.errors import AtlasError
from atlas.ids import HeadId
from atlas.state.visibility import Revisions
from atlas.state.workspace import Workspace
from atlas.trace import Trace

T = TypeVar("T")

EMPTY = "Nothing is analysed yet. Type a text and run it."


class Lens(Revisions):
    """Reads a workspace for one view; `revision` counts the moments at which what the view shows became out of date."""

    line = param.String(default="", doc="Says what is shown now.")
    problem = param.String(default="", doc="Why there is nothing to show, and what to do.")
    empty = param.String(default=EMPTY, doc="What to do to see something; empty once there is a trace.")

    reads: ClassVar[dict[str, tuple[str, ...]]] = {}
    """What it depends on beside the trace: fields of 'selection' and of 'display'."""

    marked_by: ClassVar[tuple[str, ...]] = ()
    """Fields of the selection that change no number: they say what is marked."""

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(**params)
        self.workspace = workspace
        self._depended: Hashable = self.depends() if workspace.trace is not None else None
        workspace.param.watch(self._new_trace, "revision")
        for part, fields in self.reads.items():
            getattr(workspace, part).param.watch(self._changed, list(fields))
        if self.marked_by:
            workspace.selection.param.watch(self._marked, list(self.marked_by))
        if workspace.trace is not None:  # a view that is opened late finds the trace there
            self.empty = ""
            self.forget()

    @property
    def trace(self) -> Trace:
        """The trace on screen; asked for only where `problem` has said that there is one."""
        found = self.workspace.trace
        if found is None:
            raise AtlasError(EMPTY)
        return found

    @property
    def kind(self) -> str:
        """The kind of attention on screen."""
        return self.workspace.kind

    def attempt(self, work: Callable[[], T], otherwise: T) -> T:
        """What `work` gives; where it cannot, the reason is where the plot would be, and `otherwise` is drawn under it."""
        if self.workspace.trace is None:  # that is no problem, and `empty` says what to do
            return otherwise
        try:
            found = work()
        except AtlasError as error:
            self.problem = str(error)
            return otherwise
        self.problem = ""
        return found

    def shown_heads(self) -> tuple[HeadId, ...]:
        """The heads that token views are about: the selected ones of the kind on screen, or all of that kind."""
        trace, kind = self.trace, self.kind
        return self.workspace.selection.heads_of(kind) or tuple(head for head in trace.head_ids if head.kind == kind)

    def forget(self) -> None:
        """What was worked out is out of date."""

    def depends(self) -> Hashable:
        """What the view shows hangs on this; equal after a change, nothing is drawn again. None: on everything it reads.

        A lens reads the focus for its kind alone, and the focus moves with every tap: the Map was sent again each time.
        """
        return None

    def _new_trace(self, *_: object) -> None:
        self.empty = "" if self.workspace.trace is not None else EMPTY
        self._depended = self.depends() if self.workspace.trace is not None else None
        self._redraw()

    def _changed(self, *_: object) -> None:
        # While a new trace settles, the selection changes too; the views are told once, when all of it fits.
        if self.workspace.settling or self.workspace.trace is None:
            return
        depends = self.depends()
        if depends is None or depends != self._depended:
            self._depended = depends
            self._redraw()

    def _marked(self, *_: object) -> None:
        if not self.workspace.settling and self.workspace.trace is not None:
            with self.workspace.one_message():
                self.marks += 1

    def _redraw(self) -> None:
        with self.workspace.one_message():
            self.forget()
            self.revision += 1


def counted(count: int, noun: str) -> str:
    """'1 head', '7 heads'."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(items: list[str], most: int = 4) -> str:
    """The first few of some names, and how many more there are."""
    return ", ".join(items) if len(items) <= most else f"{', '.join(items[:most])} and {len(items) - most:,} more"
