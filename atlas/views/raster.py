"""What the Map and the matrix share: one image of the part of a plane that is on screen, and frames over it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import holoviews as hv
import param
from holoviews import streams

from atlas.views.base import View
from atlas.views.glyph import Raster

Picture = tuple[hv.Image, list[str], Callable[[Any, Any], None]]
"""An image, its colours, and the hook that names its axes."""


class RasterView(View):
    """A view of one image. Another image on the same axes goes past HoloViews; other axes are another drawing."""

    redrawn = param.Integer(default=0, doc="Counts the changes that only a whole new drawing can show.")

    def __init__(self, *given: Any, **params: Any) -> None:
        super().__init__(*given, **params)
        self.sheet = Raster()
        self.ranges, self.size = streams.RangeXY(), streams.PlotSize()
        self._drawn_on: Hashable = None
        self.turn.follow_revision(self._again)
        self.turn.follow_marks(self.mark)

    def axes(self) -> Hashable:
        """What is on the axes."""
        raise NotImplementedError

    def picture(self, x_range: Any, y_range: Any, width: Any, height: Any) -> Picture:
        """The part of the plane that is on screen."""
        raise NotImplementedError

    def mark(self) -> None:
        """Put the frames around what is selected now."""
        raise NotImplementedError

    def parts(self, shown: str, *others: Callable[..., Any]) -> list[hv.DynamicMap]:
        """The image and what lies over it, drawn anew with a Param of the display, the theme, the window.

        All parts have all streams: one that had not would put back the frames it was last drawn with.
        """
        display = streams.Params(self.workspace.display, [shown], rename={shown: "colours"})
        all_of_it = [display, streams.Params(self, ["dark", "redrawn"]), self.ranges, self.size]
        made = [hv.DynamicMap(part, streams=all_of_it) for part in (self._image, *others)]
        self.ranges.source = self.size.source = made[0]
        return made

    def _image(self, x_range: Any, y_range: Any, width: Any, height: Any, **_: Any) -> hv.Image:
        image, palette, hook = self.picture(x_range, y_range, width, height)
        self._drawn_on = self.axes()
        return image.opts(cmap=palette, hooks=[hook, self.sheet.hook])

    def _again(self) -> None:
        ranges, size = self.ranges, self.size
        window = ranges.x_range, ranges.y_range, size.width, size.height
        if self.axes() == self._drawn_on and self.sheet.show(*self.picture(*window)):
            self.mark()
        else:
            self.redrawn += 1
