"""A plane of heads with a dot in some of its cells."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from atlas.plots import plane as plots
from atlas.state.workspace import Workspace
from atlas.views.glyph import Glyph
from atlas.views.plane import HeadPlaneView

if TYPE_CHECKING:
    import holoviews as hv


class DottedPlaneView(HeadPlaneView):
    """A plane whose dots follow what it shows."""

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.dots = Glyph()

    def dotted(self) -> Collection[tuple[int, int]]:
        """The cells with a dot: (row, column)."""
        raise NotImplementedError

    def over(self) -> list[tuple[Callable[..., Any], Callable[[], Any]]]:
        """The dots lie over the marks."""
        return [*super().over(), (self._dots, no_dots)]

    def mark(self) -> None:
        """Move the frames, and the dots to the cells of now."""
        super().mark()
        self.dots.mark(plots.cell_centres(self.dotted(), *self._size()))

    def _size(self) -> tuple[int, int]:
        plane = self.plane.plane()
        return max(1, len(plane.rows)), max(1, len(plane.columns))

    def _dots(self, **_: Any) -> hv.Points:
        made = plots.dots(self.dotted(), *self._size(), dark=self.dark)
        return made.opts(hooks=self.faults.hooks([self.dots.hook]), default_tools=[])


def no_dots() -> hv.Points:
    """No dots at all."""
    return plots.dots((), 1, 1, dark=False)
