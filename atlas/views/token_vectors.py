"""Vectors of tokens as two plots: how long each is, and where all of them lie on one map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn

from atlas.numbers import component
from atlas.patches.panes import Markup
from atlas.plots.lines import Line, token_lines
from atlas.plots.vectors import ROLE, Points, vector_points
from atlas.views.base import Export, View, gesture
from atlas.views.events import on_reset, on_select
from atlas.views.glyph import Glyph

if TYPE_CHECKING:
    import pandas as pd

LENGTHS, MAP = 200, 270
"""Pixels of the two plots."""

POSITIONS = "On the map: the further a colour is from the background, the later the token stands; the shape says {}."


class TokenVectorsView(View):
    """Lengths of vectors over tokens, and a map on which picking them selects their tokens."""

    file: ClassVar[str] = ""
    """Name of the exported file."""

    def __init__(self, *given: Any, **params: Any) -> None:
        super().__init__(*given, **params)
        self.marks = Glyph()
        self._hears = [on_select(self._picked), on_reset(self._show_selection)]

    # -- what a view of vectors says -----------------------------------------------------------------------------------

    def lines(self) -> list[Line] | None:
        """Length over tokens, a line for each part; None while there are no vectors."""
        raise NotImplementedError

    def points(self) -> Points | None:
        """The marks of the map; None while there are no vectors."""
        raise NotImplementedError

    def shares(self) -> tuple[float, float]:
        """The shares of the variance along both axes of the map."""
        raise NotImplementedError

    def coloured_by(self) -> str:
        """What colours the marks of the map."""
        raise NotImplementedError

    def key_of_colours(self) -> str:
        """What the colours mean, as HTML."""
        raise NotImplementedError

    def pick(self, points: Points, rows: list[int]) -> None:
        """Select the tokens of some marks."""
        raise NotImplementedError

    def table(self) -> pd.DataFrame:
        """Every vector's length and place."""
        raise NotImplementedError

    # -- what all have -------------------------------------------------------------------------------------------------

    def body(self) -> Any:
        """Lengths over tokens, and the map."""
        self.visibility.follow_marks(self._show_selection)
        panes = []
        for name, draw, blank, height in (("lengths", self._lengths, no_lengths, LENGTHS), ("map", self._map, no_map, MAP)):
            streams = [self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])]
            drawn = hv.DynamicMap(self.drawing(draw, blank), streams=streams)
            panes.append(self.plot_pane(drawn, sizing_mode="stretch_width", height=height, css_classes=[f"aa-{self.key}-{name}"]))
        key = self.bound(self._key, self.visibility.param.revision)
        return pn.Column(panes[0], Markup(key, sizing_mode="stretch_width", margin=(0, 8)), panes[1], sizing_mode="stretch_width")

    def export(self) -> Export:
        """Every vector's length and place, and both plots."""
        return Export(self.file or self.key, self.table(), hv.Layout([self._lengths(), self._map()]).cols(1))

    def _lengths(self, **_: Any) -> hv.Overlay:
        lines = self.lines()
        if lines is None:
            return no_lengths()
        return token_lines(lines, n_tokens=max(len(line.x) for line in lines), label="length", dark=self.dark, height=LENGTHS)

    def _map(self, **_: Any) -> hv.Points:
        points = self.points()
        if points is None:
            return no_map()
        labels = [component(at, share) for at, share in enumerate(self.shares(), 1)]
        return vector_points(
            points, colour=self.coloured_by(), labels=(labels[0], labels[1]), dark=self.dark, height=MAP,
            hooks=self.faults.hooks([self.marks.hook, *self._hears]),
        )  # fmt: skip

    def _key(self, _: object) -> str:
        return "" if self.workspace.trace is None or self.points() is None else self.key_of_colours()

    @gesture
    def _picked(self, rows: list[int]) -> None:
        points = self.points()
        if points is not None:
            self.pick(points, rows)

    @gesture
    def _show_selection(self) -> None:
        """Mark the vectors of the selected tokens; a reset of the plot lets go of none."""
        points = self.points()
        if points is not None:
            self.marks.mark({}, list(points.chosen))


def no_lengths() -> hv.Overlay:
    """No vectors at all."""
    return token_lines([], n_tokens=1, label="length", height=LENGTHS)


def no_map() -> hv.Points:
    """No vectors at all."""
    nothing = Points(np.empty((0, 2)), [], np.empty(0, dtype=np.int64), [], [])
    return vector_points(nothing, colour=ROLE, labels=("", ""), height=MAP)
