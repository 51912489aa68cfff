"""Where the ribbons of a flow lie: between two columns of tokens, or from layer to layer. On a plane of side 1, from the top."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

FILLED = 0.6
"""Share of a token's room that its ribbons fill at most; the rest is the gap to the next token."""

MOST_TITLES = 16
"""Most layers that are named above their ribbons."""

POINTS = 33
"""Points of each edge of a ribbon."""

STEPS: Floats = np.linspace(0.0, 1.0, POINTS)
ACROSS: Floats = 1.5 * STEPS * (1 - STEPS) + STEPS**3
DOWN: Floats = 3 * STEPS**2 - 2 * STEPS**3
"""The cubic Bézier curve of every ribbon, from (0, 0) to (1, 1), both inner control points at the middle of the way across: it
leaves and arrives level."""


class Step(NamedTuple):
    """The links drawn between two columns of tokens, the strongest first."""

    query: Ints
    key: Ints
    weight: Floats
    chance: Floats
    sent: Floats
    received: Floats
    """(query,) and (key,): what each token gives and gets in all, drawn or not."""


class Column(NamedTuple):
    """A column of tokens."""

    x: float
    axis: str
    """What a token here is: 'query', 'key', or 'token' where it is both."""
    low: Floats
    high: Floats
    """Upper and lower end of every token's bar."""
    drawn: Floats
    mass: Floats
    """Attention of every token that is drawn, and in all."""

    @property
    def middle(self) -> Floats:
        """Where the name of every token stands."""
        return (self.low + self.high) / 2


class Ribbons(NamedTuple):
    """The ribbons: middle of the left and the right end, and how high both are."""

    x0: Floats
    y0: Floats
    x1: Floats
    y1: Floats
    width: Floats
    query: Ints
    key: Ints
    weight: Floats
    chance: Floats
    step: Ints


class Flow(NamedTuple):
    """A picture of ribbons."""

    ribbons: Ribbons
    columns: tuple[Column, ...]
    titles: tuple[tuple[float, str], ...]
    """(position, words) above the ribbons."""

    @property
    def stacked(self) -> bool:
        """Whether the ribbons of a token lie on each other, and its bar is as high as its attention."""
        return any(column.axis != "token" for column in self.columns)


def heads_flow(step: Step) -> Flow:
    """From queries at the left to keys at the right; the bar of a token is as high as what it gives or gets.

    The same height stands for the same weight on both sides. Queries have equal rooms; keys share what is left of the height.
    """
    n_queries, n_keys = len(step.sent), len(step.received)
    highest = float(step.sent.max(initial=0.0)) or 1.0
    scale = FILLED / n_queries / highest
    middle = (np.arange(n_queries) + 0.5) / n_queries
    half = scale * step.sent / 2
    gap = (1 - scale * step.received.sum()) / n_keys
    high = np.cumsum(scale * step.received + gap) - gap / 2
    low = high - scale * step.received
    left = Column(0.0, "query", middle - half, middle + half, total(step.query, step.weight, n_queries), step.sent)
    right = Column(1.0, "key", low, high, total(step.key, step.weight, n_keys), step.received)
    width = scale * step.weight
    ribbons = Ribbons(
        np.zeros(len(width)), stacked(step.query, step.key, width, middle), np.ones(len(width)),
        stacked(step.key, step.query, width, right.middle), width, step.query, step.key, step.weight, step.chance,
        np.zeros(len(width), int),
    )  # fmt: skip
    return Flow(ribbons, (left, right), ((0.0, "from (query)"), (1.0, "to (key)")))


def layers_flow(steps: Sequence[Step]) -> Flow:
    """Layer by layer: between two columns, from the token that is read at the left to the token that reads it at the right.

    A token stands at the same height in every column, so a ribbon is centred on its token instead of stacked: what a token
    gets from all others together may be many times what it gives.
    """
    n, layers = len(steps[0].sent), len(steps)
    middle, half = (np.arange(n) + 0.5) / n, FILLED / n / 2
    highest = max((float(step.weight.max(initial=0.0)) for step in steps), default=0.0) or 1.0
    parts = [
        Ribbons(
            np.full(len(step.key), layer / layers), middle[step.key], np.full(len(step.key), (layer + 1) / layers),
            middle[step.query], 2 * half * step.weight / max(highest, 1.0), step.query, step.key, step.weight, step.chance,
            np.full(len(step.key), layer),
        )
        for layer, step in enumerate(steps)
    ]  # fmt: skip
    nothing = np.zeros(n)
    # A token in a column was written by the layer before and is read by the layer after.
    read = [*(total(step.key, step.weight, n) for step in steps), nothing]
    reads = [nothing, *(total(step.query, step.weight, n) for step in steps)]
    masses = [nothing, *(step.sent for step in steps)], [*(step.received for step in steps), nothing]
    columns = tuple(
        Column(at / layers, "token", middle - half, middle + half, read[at] + reads[at], masses[0][at] + masses[1][at])
        for at in range(layers + 1)
    )
    every = -(-layers // MOST_TITLES)
    titles = tuple(((layer + 0.5) / layers, f"layer {layer}") for layer in range(0, layers, every))
    return Flow(Ribbons(*(np.concatenate(part) for part in zip(*parts, strict=True))), columns, titles)


def total(places: Ints, weight: Floats, n: int) -> Floats:
    """The sum of the weights at each of so many places."""
    return np.bincount(places, weights=weight, minlength=n).astype(float)


def stacked(group: Ints, order: Ints, width: Floats, middle: Floats) -> Floats:
    """The middle of each ribbon's end where the ribbons of a token lie on each other, around the middle of the token."""
    found = np.empty(len(width))
    sorted_ = np.lexsort((order, group))
    ends = np.cumsum(width[sorted_])
    sums = total(group, width, len(middle))
    before = np.concatenate([[0.0], np.cumsum(sums)[:-1]])  # of the tokens above
    top = (middle - sums / 2)[group[sorted_]]
    found[sorted_] = top + ends - width[sorted_] / 2 - before[group[sorted_]]
    return found


def ribbon_at(ribbons: Ribbons, x: float, y: float, reach: float) -> int | None:
    """The ribbon under a point: of several the strongest, of none the nearest that is no further away than `reach`."""
    here = np.flatnonzero((ribbons.x0 <= x) & (x <= ribbons.x1))
    if not len(here):
        return None
    x0, y0, x1, y1, width = (each[here] for each in ribbons[:5])
    middle = y0 + (y1 - y0) * np.interp((x - x0) / (x1 - x0), ACROSS, DOWN)
    away = np.abs(y - middle) - width / 2
    under = np.flatnonzero(away <= 0)
    if len(under):
        return int(here[under[np.argmax(ribbons.weight[here[under]])]])
    return int(here[np.argmin(away)]) if away.min() <= reach else None


def token_at(column: Column, y: float) -> int | None:
    """The token whose name or bar is nearest to a height."""
    return int(np.argmin(np.maximum(np.maximum(column.low - y, y - column.high), 0))) if len(column.low) else None


def named(column: Column, view: tuple[float, float], pixels: float, first: Collection[int] = ()) -> Ints:
    """Which tokens of a column are named where the part `view` of it has so many pixels: names never touch.

    Those in `first` before the others, then those with most attention drawn.
    """
    low, high = view
    places = (column.middle - low) / (high - low) * pixels
    order = np.lexsort((-column.drawn, ~np.isin(np.arange(len(places)), list(first))))
    taken = np.zeros(int(pixels) + 2 * NAME + 2, bool)
    found = []
    for at in order:
        if 0 <= places[at] <= pixels:
            place = int(places[at]) + NAME
            if not taken[place - NAME + 1 : place + NAME].any():
                taken[place] = True
                found.append(at)
    return np.sort(np.array(found, dtype=np.intp))


NAME = 11
"""Pixels from the name of a token to the next."""
