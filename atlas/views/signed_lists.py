"""What views of writers share: lists of signed parts, one bar a writer, a click on a head focuses it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import holoviews as hv
import panel as pn
import param

from atlas.plots.signed_bars import Bar, bar_columns, bar_hook, height_of, signed_bars
from atlas.views.base import View, gesture
from atlas.views.events import on_tap
from atlas.views.glyph import Glyph
from atlas.views.plain import plain

APART = 14
"""Pixels between the numbers of a list and the names of the next."""


class SignedLists(View):
    """Several lists of bars; the axes of all of them end at the same value."""

    rows: ClassVar[Mapping[str, int]] = {}
    """List -> rows that it has room for."""
    quiet: ClassVar[frozenset[str]] = frozenset()
    """Lists in which a click means nothing."""
    label: ClassVar[str] = ""
    """What the length of a bar is."""

    redrawn = param.Integer(default=0, doc="Counts the changes that only a whole new drawing can show.")

    def __init__(self, *given: Any, **params: Any) -> None:
        super().__init__(*given, **params)
        self._glyphs = {name: Glyph() for name in self.rows}
        self._listeners = {name: _Listener(self, name) for name in self.rows if name not in self.quiet}
        self._hears = {name: [on_tap(listener.tapped)] for name, listener in self._listeners.items()}

    @abstractmethod
    def bars(self, name: str) -> list[Bar]:
        """The rows of one list."""

    @abstractmethod
    def heading(self, name: str) -> str:
        """What stands above a list."""

    @abstractmethod
    def focus(self, name: str, place: int) -> None:
        """Focus the head of a row, if a head it is."""

    def press(self, name: str, place: int) -> None:
        """A row was clicked with Shift or Ctrl held."""
        self.focus(name, place)

    def listed(self) -> dict[str, pn.Column]:
        """List -> its heading and its plot."""
        changes, lists = self.visibility.param.revision, {}
        self.visibility.follow_revision(self._move)
        for name, rows in self.rows.items():
            streams = [self.follows(self, ["dark", "redrawn"])]
            drawn = hv.DynamicMap(self.drawing(self.drawer(name), partial(self._no_bars, rows)), streams=streams)
            pane = self.plot_pane(
                drawn, sizing_mode="stretch_width", height=height_of(rows), css_classes=[f"aa-{self.key}-{name}"]
            )
            words = plain(self.bound(lambda _, name=name: self._headed(name), changes), f"aa-{self.key}-{name}-words")
            lists[name] = pn.Column(words, pane, sizing_mode="stretch_width", margin=(0, APART, 0, 0))
        return lists

    def drawer(self, name: str) -> Callable[..., hv.Overlay]:
        """Draws one list."""

        def draw(**_: Any) -> hv.Overlay:
            bars, largest = self._all_bars()
            return signed_bars(
                bars[name], rows=self.rows[name], largest=largest, label=self.label, dark=self.dark,
                hooks=self.faults.hooks([self._glyphs[name].hook, *self._hears.get(name, [])]),
            )  # fmt: skip

        return draw

    def _all_bars(self) -> tuple[dict[str, list[Bar]], float]:
        """The rows of every list, and the longest of all bars."""
        bars = {name: self.bars(name) for name in self.rows}
        return bars, max((abs(bar.part) for each in bars.values() for bar in each), default=1.0)

    def _move(self) -> None:
        """Other bars on the plots that are there: to draw three of them anew takes a tenth of a second."""
        bars, largest = self._all_bars()
        for name, rows in self.rows.items():
            hook = bar_hook(bars[name], rows=rows, largest=largest, dark=self.dark)
            if not self._glyphs[name].mark(bar_columns(bars[name], dark=self.dark), hook=hook):
                self.redrawn += 1
                return

    def picture(self) -> hv.Layout:
        """All lists, below each other."""
        return hv.Layout([self.drawer(name)() for name in self.rows]).cols(1)

    def _headed(self, name: str) -> str:
        return self.heading(name) if self.workspace.trace is not None else ""

    def _no_bars(self, rows: int) -> hv.Overlay:
        return signed_bars([], rows=rows, largest=1.0, label=self.label)

    @gesture
    def tap(self, name: str, y: float, *, additive: bool = False) -> None:
        """A row of a list was clicked."""
        (self.press if additive else self.focus)(name, round(y))


@dataclass
class _Listener:
    """Hears the taps on one list: plots refer to it weakly, and its view keeps it."""

    view: SignedLists
    name: str

    def tapped(self, _: float, y: float, *, additive: bool = False) -> None:
        self.view.tap(self.name, y, additive=additive)
