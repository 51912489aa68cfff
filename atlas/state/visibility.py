"""When a view learns that what it shows is out of date: at once while it is on screen, else when it comes back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import param

if TYPE_CHECKING:
    from atlas.state.lens import Lens


class Revisions(param.Parameterized):
    """Counts the changes a view follows."""

    revision = param.Integer(default=0, doc="Counts the changes after which the view is to be drawn again.")
    marks = param.Integer(default=0, doc="Counts the changes after which other things are marked in what is shown.")

    def follow(self, draw: Callable[[], object]) -> None:
        """Call `draw` now and after every change; for components, which take values instead of streams."""
        self.param.watch(lambda *_: self.safely(draw), ["revision", "marks"])
        self.safely(draw)

    def follow_revision(self, draw: Callable[[], object]) -> None:
        """Call `draw` whenever the shown data became stale. The caller draws the first time."""
        self.param.watch(lambda *_: self.safely(draw), "revision")

    def follow_marks(self, mark: Callable[[], object]) -> None:
        """Call `mark` whenever something else is marked; a plot that is drawn anew marks by itself."""
        self.param.watch(lambda *_: self.safely(mark), "marks")

    def safely(self, draw: Callable[[], object]) -> None:
        """Call `draw`; a subclass that can show an error catches it, so that the other views still draw."""
        draw()


class Visibility(Revisions):
    """The counts of a lens as one view is told them.

    A view that nobody sees, because its tab is closed or it is scrolled away, is told nothing: it neither computes nor draws,
    and catches up once when it comes back.
    """

    seen = param.Boolean(default=True, allow_refs=True, doc="Whether the view is on screen; True until a browser says no.")
    opened = param.Boolean(default=True, doc="Whether the tab of the view is open.")

    def __init__(
        self,
        lens: Lens,
        one_message: Callable[[], AbstractContextManager[Any]],
        attempt: Callable[[Callable[[], object]], object] | None = None,
        **params: object,
    ) -> None:
        super().__init__(**params)
        self._lens, self._one_message = lens, one_message
        self._attempt = attempt or lens.attempt_drawing
        self.param.watch(self._look, ["seen", "opened"])
        lens.param.watch(self._on_change, ["revision", "marks"])
        self._look()

    @property
    def active(self) -> bool:
        """Whether somebody sees the view."""
        return bool(self.seen and self.opened)

    def safely(self, draw: Callable[[], object]) -> None:
        """Call `draw`; an error stands where the plot would be, and the other views still draw."""
        self._attempt(draw)

    def _look(self, *_: object) -> None:
        """Wake the lens for this view, or let it sleep; then catch up."""
        self._lens.watched_by(self, active=self.active)
        self._on_change()

    def _on_change(self, *_: object) -> None:
        lens = self._lens
        if self.active and (self.revision, self.marks) != (lens.revision, lens.marks):
            with self._one_message():
                self.param.update(revision=lens.revision, marks=lens.marks)
