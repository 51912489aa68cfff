"""One text without, and with nothing but, the first tokens of each method, of random orders, and of the orders at the bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.attribution.compare import kept_attribution
from atlas.attribution.faithfulness import LEAST, at_places, random_orders, removal_of
from atlas.attribution.methods import METHODS
from atlas.attribution.orders import WIDTH, Bounds, Floats, Order, Sets, bin_sizes, bounds, eraser, first, search_rows
from atlas.attribution.statistics import order_of
from atlas.errors import NotCaptured, TooLarge
from atlas.tracing.explained import Target
from atlas.tracing.faithfulness import (
    BEST,
    BINS,
    CURVES,
    ESTIMATE,
    MASK,
    RANDOM,
    WORST,
    Curve,
    Curves,
)

if TYPE_CHECKING:
    from atlas.engine.gradients.removal import Removal
    from atlas.trace import Trace

Tell = Callable[[str, float], None]
"""(message, share done)"""

DRAWS = 20
"""Random orders: 5 % of them are one."""

POINTS = 32
"""Steps of a curve at most."""

MOST_SEARCHED = 100_000
"""Tokens through the model for the search of the bounds at most: some seconds of a small model, a minute or two of BERT-base."""

MOST_RUN = 1_000_000
"""Tokens through the model in all at most."""


def curves(
    trace: Trace, target: Target, methods: Sequence[str], remove: str = MASK, seed: int = 0, tell: Tell | None = None
) -> Curves:
    """Deletion and insertion curves of a trace for one target; what a model cannot have stands as its reason."""
    removal = removal_of(trace, target, remove)
    count = len(removal.places)
    if count < LEAST:
        msg = f"This text has {count} tokens that can be taken out, and an order needs {LEAST}. Type a longer text."
        raise NotCaptured(msg)
    length = sum(map(len, trace.token_tables.values()))
    width = _width(count, length)
    rows = _rows(count, len(methods), width)
    if rows * length > MOST_RUN:
        msg = (
            f"The curves take about {rows:,} passes of {length:,} tokens, and {MOST_RUN:,} tokens are the most. Shorten the "
            "text, or give fewer bins to atlas.attribution.faithfulness in Python."
        )
        raise TooLarge(msg)
    steps = np.unique(np.linspace(0, count, min(count, POINTS) + 1).round().astype(int))

    def told(sets: Sets) -> Floats:
        def report(done: int, _: int) -> None:
            if tell is not None:
                run = removal.passes + done
                tell(f"Taking tokens out: {run:,} of about {rows:,} passes", min(run / rows, 1.0))

        return removal.values(sets, report)

    def curve(name: str, order: Order) -> Curve:
        top = first(order, steps)
        lost = eraser(told, order, bin_sizes(BINS, count))
        return Curve(name, tuple(order.tolist()), told(top), told(~top), *lost)

    found = [_of_method(trace, removal, target, name, curve, tell) for name in methods]
    random = [curve(RANDOM, order) for order in random_orders(count, (seed, 0), DRAWS)]
    limits = bounds(told, count, width) if width else None
    ends = [] if limits is None else [curve(WORST, limits.lowest), curve(BEST, limits.highest)]
    return Curves(
        removal.subject.target, removal.places, tuple(steps.tolist()), tuple(found), tuple(random), tuple(ends),
        _searched(limits, width, count), removal.said, removal.of, removal.passes,
    )  # fmt: skip


def estimate(trace: Trace, methods: Sequence[str]) -> int:
    """About how many passes the curves of a trace take, attributions among them; most of them is known only when it runs."""
    count = sum(int((~table["special"].to_numpy(dtype=bool)).sum()) for table in trace.token_tables.values())
    length = sum(map(len, trace.token_tables.values()))
    return _rows(count, len(methods), _width(count, length)) + sum(METHODS[name].passes(length) for name in methods)


def _of_method(
    trace: Trace, removal: Removal, target: Target, name: str, curve: Callable[[str, Order], Curve], tell: Tell | None
) -> Curve:
    try:
        made = kept_attribution(trace, target, name, tell)
    except (NotCaptured, TooLarge) as error:
        nothing = np.empty(0)
        return Curve(name, (), nothing, nothing, np.nan, np.nan, str(error))
    return curve(name, order_of(at_places(made, removal)))


def _rows(count: int, methods: int, width: int) -> int:
    """Passes at most: two curves and two scores for each order, and the search."""
    orders = methods + DRAWS + 2
    return orders * 2 * (min(count, POINTS) + 1) + (search_rows(count, width) if width else 0)


def _width(count: int, length: int) -> int:
    """How wide the bounds are searched; 0: not at all."""
    return next((width for width in (WIDTH, 1) if search_rows(count, width) * length <= MOST_SEARCHED), 0)


def _searched(found: Bounds | None, width: int, count: int) -> str:
    if found is None:
        return f"The best and the worst order are not searched: of {count} tokens that takes {search_rows(count, 1):,} passes."
    if found.exact:
        return "The best and the worst order are those of all orders."
    kept = f"the {width} best sets" if width > 1 else "the best set"
    return f"The best and the worst order were searched step by step, keeping {kept}; better and worse ones may exist."


TASKS: Mapping[str, Callable[..., Any]] = {CURVES: curves, ESTIMATE: estimate}
"""Work with the model that views may request, by name."""
