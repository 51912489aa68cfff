"""When a view is told that what it shows is out of date: at once where it is on screen, else right after those that are."""

from __future__ import annotations

from collections.abc import Callable

import param

from atlas.state.workspace import Workspace


class Revisions(param.Parameterized):
    """Counts what a view follows."""

    revision = param.Integer(default=0, doc="Counts the changes after which the view is to be drawn again.")
    marks = param.Integer(default=0, doc="Counts the changes after which other things are marked in what is shown.")

    def follow(self, draw: Callable[[], object]) -> None:
        """Draw now, and whenever what is shown or marked became out of date; for components, which take values, not streams."""
        self.param.watch(lambda *_: draw(), ["revision", "marks"])
        draw()

    def follow_revision(self, draw: Callable[[], object]) -> None:
        """Draw anew whenever what is shown became out of date; who draws at first is somebody else."""
        self.param.watch(lambda *_: draw(), "revision")

    def follow_marks(self, mark: Callable[[], object]) -> None:
        """Mark anew whenever something else is marked in what is shown; the plot itself says what is marked when it is drawn."""
        self.param.watch(lambda *_: mark(), "marks")


class Visibility(Revisions):
    """The counts of a lens as one view is told them. Views below the edge of the window would keep those above it waiting."""

    seen = param.Boolean(default=True, allow_refs=True, doc="Whether the view is on screen; it is, until a browser says no.")

    def __init__(self, followed: Revisions, workspace: Workspace, **params: object) -> None:
        super().__init__(revision=followed.revision, marks=followed.marks, **params)
        self._followed, self._workspace = followed, workspace
        self._owed = False
        followed.param.watch(self._on_change, ["revision", "marks"])

    def _on_change(self, *_: object) -> None:
        if self.seen:
            self._catch_up()
        elif not self._owed:
            self._owed = True
            self._workspace.after_paint(self._catch_up)

    def _catch_up(self) -> None:
        self._owed = False
        with self._workspace.one_message():
            self.param.update(revision=self._followed.revision, marks=self._followed.marks)
