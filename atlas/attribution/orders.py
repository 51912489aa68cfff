"""Orders of tokens by importance, what a model says along them, and the orders that nothing can beat: plain numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Order = npt.NDArray[np.int64]
Sets = npt.NDArray[np.bool_]
"""(row, token) which tokens are taken out."""

Values = Callable[[Sets], Floats]
"""The target's number without the tokens of each set."""

WIDTH = 3
"""Sets kept at each step of a search."""

ALL_ORDERS = 10
"""Tokens up to which every order is compared: all 1,024 sets of ten tokens are run, and none is dropped."""

ROUNDING = 1e-9
"""A share of tokens that is a whole number but for rounding is that number: a tenth of ten is one."""


class Bounds(NamedTuple):
    """Orders between which all others are."""

    highest: Order
    """Its deletion falls the most."""
    lowest: Order
    """Its deletion falls the least."""
    exact: bool
    """Whether all orders were compared."""


def bin_sizes(bins: Sequence[float], count: int) -> npt.NDArray[np.int64]:
    """Tokens in each bin: its share of the tokens, rounded up, at least one."""
    return np.clip(np.ceil(np.asarray(bins, dtype=float) * count - ROUNDING), min(1, count), count).astype(np.int64)


def first(order: Order, sizes: npt.ArrayLike) -> Sets:
    """(size, token) the first tokens of an order, as a set for each size."""
    places = np.argsort(order)
    return np.asarray(places[None] < np.asarray(sizes)[:, None])


def eraser(values: Values, order: Order, sizes: npt.ArrayLike) -> tuple[float, float]:
    """(comprehensiveness, sufficiency) of DeYoung et al. 2020: means over the bins of what the target loses.

    It loses that without the first tokens of the order, and with nothing but them.
    """
    top = first(order, sizes)
    whole = np.zeros((1, len(order)), dtype=bool)
    found = values(np.concatenate([whole, top, ~top]))
    without, alone = np.split(found[0] - found[1:], 2)
    return float(without.mean()), float(alone.mean())


def area(values: Values, order: Order) -> float:
    """Mean loss of the target over all numbers of first tokens that are taken out, from one to all of them."""
    found = values(first(order, np.arange(len(order) + 1)))
    return float((found[0] - found[1:]).mean())


def bounds(values: Values, count: int, width: int = WIDTH) -> Bounds:
    """The orders of the largest and the smallest `area`: of all orders up to `ALL_ORDERS` tokens, else by beam search."""
    exact = count <= ALL_ORDERS
    kept = None if exact else width
    return Bounds(_search(values, count, kept, 1.0), _search(values, count, kept, -1.0), exact)


def search_rows(count: int, width: int = WIDTH) -> int:
    """Sets that a search for both bounds may run."""
    return 2**count if count <= ALL_ORDERS else width * count * (count + 1)


def _search(values: Values, count: int, width: int | None, sign: float) -> Order:
    """The order of the largest sum of losses, by the best way to each set; where no set is dropped, that is the best of all."""
    ways: dict[bytes, tuple[float, tuple[int, ...]]] = {bytes(count): (0.0, ())}
    for _ in range(count):
        longer: dict[bytes, tuple[float, tuple[int, ...]]] = {}
        steps = [
            (name, token, name[:token] + b"\1" + name[token + 1 :]) for name in ways for token in range(count) if not name[token]
        ]
        names = list(dict.fromkeys(step[2] for step in steps))
        sets = np.frombuffer(b"".join(names), dtype=np.uint8).reshape(-1, count).astype(bool)
        losses = dict(zip(names, (-sign * values(sets)).tolist(), strict=True))
        for name, token, to in steps:
            total, order = ways[name]
            if to not in longer or total + losses[to] > longer[to][0]:
                longer[to] = total + losses[to], (*order, token)
        best = sorted(longer, key=lambda name: -longer[name][0])[:width]
        ways = {name: longer[name] for name in best}
    return np.array(next(iter(ways.values()))[1], dtype=np.int64)


def normalised(areas: npt.ArrayLike, highest: float, lowest: float) -> Floats:
    """Areas between the two bounds as 0 to 1 (NAOPC, Edin et al. 2025); an area beyond a searched bound moves the bound.

    NaN where all areas are equal.
    """
    found = np.asarray(areas, dtype=float)
    top, bottom = max(highest, *found.tolist()), min(lowest, *found.tolist())
    return (found - bottom) / (top - bottom) if top > bottom else np.full_like(found, np.nan)
