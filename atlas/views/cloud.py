"""A cloud of heads: what a gesture changes in it is sent as columns, and only other axes or looks are drawn anew."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from atlas.plots.frame import Hook
from atlas.views.glyph import Glyph

STYLES = {"colour": "color", "edge": "line_color", "edge_width": "line_width", "size": "size", "marker": "marker"}
"""Column of the points -> what HoloViews calls it where it draws with it."""


class Cloud(Glyph):
    """The points of `head_scatter`, and the columns of those that are on screen."""

    def __init__(self) -> None:
        super().__init__()
        self.shown = pd.DataFrame()
        self._drawn_with: tuple[Hashable, pd.DataFrame] = (None, self.shown)

    def draws(self, plan: Hashable, points: pd.DataFrame) -> None:
        """HoloViews draws these points. `plan` is what axes, key and number of points hang on."""
        self.shown = points
        self._drawn_with = plan, points

    def move(self, plan: Hashable, points: pd.DataFrame, chosen: Sequence[int], hook: Hook | None = None) -> bool:
        """Put all points elsewhere. False if they have to be drawn anew."""
        self.shown = points
        return self._change(plan, [str(name) for name in points], chosen, hook)

    def marked(self, plan: Hashable, columns: Mapping[str, Any], chosen: Sequence[int]) -> bool:
        """Put marks on the points where they are. False if they have to be drawn anew."""
        if any(len(values) != len(self.shown) for values in columns.values()):
            return True  # other points are about to come, with their own marks
        self.shown = self.shown.assign(**columns)
        return self._change(plan, list(columns), chosen)

    def _change(self, plan: Hashable, names: Sequence[str], chosen: Sequence[int], hook: Hook | None = None) -> bool:
        drawn_of, before = self._drawn_with
        if plan != drawn_of or not _can_change(before, self.shown):
            return False
        # A look is sent once, as HoloViews draws with it, and not at all where it is the same in all rows.
        sent = {name: STYLES.get(name, name) for name in names if name not in STYLES or _several(before[name])}
        return self.mark({style: _values(self.shown[name]) for name, style in sent.items()}, chosen, hook)


def _can_change(before: pd.DataFrame, now: pd.DataFrame) -> bool:
    """Whether columns can be sent: what was the same in all rows HoloViews has drawn without a column."""
    return all(_several(before[name]) or before[name].equals(now[name]) for name in STYLES)


def _values(column: pd.Series[Any]) -> Any:
    """As a source takes them: strings in an array would be sent as something else."""
    return column.to_numpy() if column.dtype.kind in "biuf" else column.tolist()


def _several(column: pd.Series[Any]) -> bool:
    return len(set(column)) > 1
