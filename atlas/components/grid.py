"""The grid of the cards of a tab, which is filled one card at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import panel as pn

from atlas.components.places import Places

GRID = """
:host { display: grid !important; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px; padding: 8px;
  grid-auto-rows: max-content; height: auto !important; align-items: start; }
:host(.aa-closed) { display: none !important; }
:host > * { min-width: 0; width: auto !important; }
:host > .aa-wide { grid-column: 1 / -1; }
:host > .scroll-button { display: none !important; }
@media (max-width: 1100px) { :host { grid-template-columns: minmax(0, 1fr); } }
"""
"""Two cards in a row, or one in a narrow window; a wide card has a whole row.

Panel's column has an invisible scroll button, which would take a cell of the grid before the cards that are added later.
"""


class Grid:
    """Cards in the order of their tab, and places where they are not made yet.

    Bokeh lays out a document with plots as a whole, many times, before anything can be clicked. With all cards in it a page took
    8 seconds, with the first two 4.5; without any, the first card is shown after 2.5.
    """

    def __init__(self, places: Iterable[Mapping[str, Any]]) -> None:
        """`places`: each with key, title, question and wide, in order."""
        self._places = {place["key"]: {**place, "order": at} for at, place in enumerate(places)}
        self._shown: set[str] = set()
        self._cards: dict[str, Any] = {}
        """All that were ever put in, as drawn."""
        self.there: set[str] = set()
        """Keys of the cards that are in the grid."""
        self.places = Places()
        self.column = pn.Column(self.places, sizing_mode="stretch_width", css_classes=["aa-grid"], stylesheets=[GRID])

    def offer(self, keys: Iterable[str]) -> None:
        """Show places of these cards where they are not made; none of the others."""
        self._shown = set(keys)
        self._show_places()

    def put(self, key: str, card: Any) -> None:
        """Put a card where its place is."""
        order = self._places[key]["order"]
        if key not in self._cards:
            drawn: Any = pn.panel(card)
            drawn.styles = {**drawn.styles, "order": str(order)}
            self._cards[key] = drawn
        before = sum(self._places[other]["order"] < order for other in self.there)
        self.there.add(key)
        self.column.insert(before, self._cards[key])
        self._show_places()

    def empty(self) -> None:
        """Take all cards out and show their places: a tab that comes back whole would keep all readers waiting."""
        self.there.clear()
        self.column.objects = [self.places]
        self.places.seen = []
        self._show_places()

    def show(self, *, opened: bool) -> None:
        """Show or hide the grid. A class is needed too, because its `display` overrides that of Bokeh's `visible`."""
        self.column.param.update(visible=opened, css_classes=["aa-grid"] if opened else ["aa-grid", "aa-closed"])

    def _show_places(self) -> None:
        left = [place for key, place in self._places.items() if key in self._shown and key not in self.there]
        if left != self.places.places:
            self.places.places = left
