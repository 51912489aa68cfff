"""The grid the cards of a tab stand in, filled one card at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import panel as pn

GRID = """
:host { display: grid !important; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px; padding: 8px;
  grid-auto-rows: max-content; height: auto !important; align-items: start; }
:host(.aa-closed) { display: none !important; }
:host > * { min-width: 0; width: auto !important; }
:host > .aa-wide { grid-column: 1 / -1; }
:host > .scroll-button { display: none !important; }
:host > .aa-place { display: grid; place-items: center; height: 580px !important; border: 1px solid rgb(128 128 128 / 25%);
  border-radius: 8px; color: rgb(128 128 128); background: var(--mui-palette-background-paper, transparent); }
:host > .aa-place::after { content: "Drawing…"; }
@media (max-width: 1100px) { :host { grid-template-columns: minmax(0, 1fr); } }
"""
"""Two cards beside each other, one below the other in a narrow window; a wide card has a row of its own.

Panel's column has a button that scrolls it down, unseen; before a card that came later it would take that card's place.
"""

PLACES = 2
"""Cards whose places are held until they come: those above the edge of a window."""


def show(grid: pn.Column, *, opened: bool) -> None:
    """Show a grid or hide it; by a class too, because the grid's own display is stronger than Bokeh's word for hidden."""
    grid.param.update(visible=opened, css_classes=["aa-grid"] if opened else ["aa-grid", "aa-closed"])


def empty_grid(cards: int) -> pn.Column:
    """A grid with places for the first cards of a tab."""
    places = [pn.Spacer(css_classes=["aa-place"]) for _ in range(min(cards, PLACES))]
    return pn.Column(*places, sizing_mode="stretch_width", css_classes=["aa-grid"], stylesheets=[GRID])


def fill(grid: pn.Column, makers: Sequence[Callable[[], Any]]) -> Iterator[Any]:
    """Make the cards of a grid and put them in, one at each step.

    A document that has plots in it is laid out as a whole, again and again, before anything can be clicked: with all cards in
    it a page took 8 seconds, with the first two 4.5; without, the first is there after 2.5.
    """
    for at, make in enumerate(makers):
        card = make()
        if at < min(len(makers), PLACES):
            grid[at] = card
        else:
            grid.append(card)
        yield card
