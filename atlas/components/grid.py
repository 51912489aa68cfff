"""The grid the cards of a page stand in, and how a page that has just been opened comes by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import panel as pn

GRID = """
:host { display: grid !important; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px; padding: 8px;
  grid-auto-rows: max-content; height: auto !important; align-items: start; }
:host > * { min-width: 0; width: auto !important; }
:host > .aa-card-profile { grid-column: 1 / -1; }
:host > .scroll-button { display: none !important; }
:host > .aa-place { display: grid; place-items: center; height: 580px !important; border: 1px solid rgb(128 128 128 / 25%);
  border-radius: 8px; color: rgb(128 128 128); background: var(--mui-palette-background-paper, transparent); }
:host > .aa-place::after { content: "Drawing…"; }
@media (max-width: 1100px) { :host { grid-template-columns: minmax(0, 1fr); } }
"""
"""Two cards beside each other, one below the other in a narrow window; Depth, which is wide and low, has a row of its own.

Panel's column has a button that scrolls it down, unseen; before a card that came later it would take that card's place.
"""

PLACES = 2
"""Cards whose places are held until they come: those above the edge of a window."""


def card_grid(views: Iterable[Any]) -> pn.Column:
    """Cards beside each other."""
    return pn.Column(*views, sizing_mode="stretch_width", css_classes=["aa-grid"], stylesheets=[GRID])


def one_by_one(grid: pn.Column) -> Iterator[Any]:
    """Empty a grid now, and give it back, one card at each step.

    A document that has plots in it is laid out as a whole, again and again, before anything can be clicked: with all cards in
    it a page took 8 seconds, with the first two 4.5; without, the first is there after 2.5.
    """
    views = list(grid)
    grid[:] = [pn.Spacer(css_classes=["aa-place"]) for _ in views[:PLACES]]
    return _filled(grid, views)


def _filled(grid: pn.Column, views: list[Any]) -> Iterator[Any]:
    for at, view in enumerate(views):
        if at < PLACES:
            grid[at] = view
        else:
            grid.append(view)
        yield view
