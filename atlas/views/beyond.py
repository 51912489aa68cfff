"""A plane of heads in which those beyond chance have a mark of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from atlas.plots import plane as plots
from atlas.plots.marks import FOCUS, marks
from atlas.plots.raster import Box
from atlas.state.workspace import Workspace
from atlas.views.glyph import Glyph
from atlas.views.plane import HeadPlaneView, no_bands

if TYPE_CHECKING:
    import holoviews as hv

DOT = 0.36, 0.64
"""Where in its cell the mark of a head beyond chance begins and ends: the colour of the cell stays to be seen around it."""


class BeyondChanceView(HeadPlaneView):
    """Layers x heads, with small squares in some cells."""

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.beyond = Glyph()

    def beyond_chance(self) -> frozenset[tuple[int, int]]:
        """The heads that are marked: (layer, head)."""
        raise NotImplementedError

    def dots(self) -> list[Box]:
        """Where the marks of heads beyond chance stand."""
        plane = self.plane.plane()
        down, across = max(1, len(plane.rows)), max(1, len(plane.columns))
        low, high = DOT
        return [
            ((head + low) / across, (layer + low) / down, (head + high) / across, (layer + high) / down)
            for layer, head in sorted(self.beyond_chance())
        ]

    def mark(self) -> None:
        """Frames of selected heads, and what is beyond chance."""
        super().mark()
        self.beyond.outline(self.dots())

    def over(self) -> list[tuple[Callable[..., Any], Callable[[], Any]]]:
        """The marks lie under the frames."""
        return [(self._dots, no_bands), *super().over()]

    def _dots(self, **_: Any) -> hv.Rectangles:
        colour = marks(dark=self.dark)[FOCUS]
        look = {"fill_alpha": 1.0, "line_width": 0, "hooks": [self.beyond.hook], "default_tools": []}
        return plots.bands(self.dots(), colour).opts(**look)
