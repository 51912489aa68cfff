"""The grid of the cards of a tab, which is filled one card at a time."""

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
"""Two cards in a row, or one in a narrow window; a wide card has a whole row.

Panel's column has an invisible scroll button, which would take a cell of the grid before the cards that are added later.
"""

PLACES = 2
"""Cards with a placeholder until they are made: those visible without scrolling."""


def show(grid: pn.Column, *, opened: bool) -> None:
    """Show or hide a grid. A class is needed too, because the `display` of the grid overrides that of Bokeh's `visible`."""
    grid.param.update(visible=opened, css_classes=["aa-grid"] if opened else ["aa-grid", "aa-closed"])


def empty_grid(cards: int) -> pn.Column:
    """A grid with placeholders for the first cards of a tab."""
    places = [pn.Spacer(css_classes=["aa-place"]) for _ in range(min(cards, PLACES))]
    return pn.Column(*places, sizing_mode="stretch_width", css_classes=["aa-grid"], stylesheets=[GRID])


def fill(grid: pn.Column, makers: Sequence[Callable[[], Any]]) -> Iterator[Any]:
    """Make the cards of a grid and add them, one at each step.

    Bokeh lays out a document with plots as a whole, many times, before anything can be clicked. With all cards in it a page
    took 8 seconds, with the first two 4.5; without any, the first card is shown after 2.5.
    """
    for at, make in enumerate(makers):
        card = make()
        if at < min(len(makers), PLACES):
            grid[at] = card
        else:
            grid.append(card)
        yield card
