"""Random sets of heads that a chosen set is compared with: as many heads, of the same layers where these have enough."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from atlas.ids import HeadId
from atlas.tracing.verdict import ALPHA

HeadSet = tuple[HeadId, ...]

ENOUGH = math.ceil(1 / ALPHA) - 1
"""Other sets without which no p can be as low as ALPHA."""


class Alternatives(NamedTuple):
    """Sets of heads, each different from the chosen one and from each other."""

    sets: tuple[HeadSet, ...]
    same_layers: bool
    """Whether each has as many heads in every layer as the chosen one; else only as many of its kind."""


def alternatives(heads: Sequence[HeadId], every: Sequence[HeadId], draws: int, seed: int = 0) -> Alternatives:
    """At most `draws` sets like `heads`, of all heads there are: all of them where there are no more, else some at random.

    The chosen set is as likely as any of them if it was chosen by chance, so its rank among them has a uniform distribution.
    """
    chosen = tuple(sorted(set(heads)))
    by_layer = _drawn(chosen, _pools(every, layers=True), draws, seed, layers=True)
    if len(by_layer) >= ENOUGH:
        return Alternatives(by_layer, same_layers=True)
    by_kind = _drawn(chosen, _pools(every, layers=False), draws, seed, layers=False)
    wider = len(by_kind) > len(by_layer)
    return Alternatives(by_kind if wider else by_layer, same_layers=not wider)


def number_of_alternatives(heads: Sequence[HeadId], every: Sequence[HeadId], draws: int) -> int:
    """How many sets `alternatives` gives. Drawing them, to count them, takes a fifth of a second where heads are hundreds."""
    chosen = set(heads)
    by_layer, by_kind = (
        min(_others(_counts(chosen, layers=layers), _pools(every, layers=layers)), draws) for layers in (True, False)
    )
    return by_layer if by_layer >= ENOUGH else max(by_layer, by_kind)


Pool = tuple[str, int]
"""(kind, layer); layer -1: all layers."""


def _pool(head: HeadId, *, layers: bool) -> Pool:
    return head.kind, head.layer if layers else -1


def _pools(every: Sequence[HeadId], *, layers: bool) -> dict[Pool, list[HeadId]]:
    pools: dict[Pool, list[HeadId]] = {}
    for head in every:
        pools.setdefault(_pool(head, layers=layers), []).append(head)
    return pools


def _counts(chosen: Iterable[HeadId], *, layers: bool) -> Counter[Pool]:
    return Counter(_pool(head, layers=layers) for head in chosen)


def _others(counts: Mapping[Pool, int], pools: Mapping[Pool, Sequence[HeadId]]) -> int:
    """Sets with as many heads of each pool, without the chosen one."""
    return math.prod(math.comb(len(pools[pool]), count) for pool, count in counts.items()) - 1


def _drawn(
    chosen: HeadSet, pools: Mapping[Pool, Sequence[HeadId]], draws: int, seed: int, *, layers: bool
) -> tuple[HeadSet, ...]:
    counts = _counts(chosen, layers=layers)
    if _others(counts, pools) <= draws:
        return tuple(each for each in _all_sets(counts, pools) if each != chosen)
    random = np.random.default_rng(seed)
    # A dictionary, because it keeps the order in which they were drawn.
    found: dict[HeadSet, None] = {}
    while len(found) < draws:
        drawn = tuple(
            sorted(
                pools[pool][at] for pool, count in counts.items() for at in random.choice(len(pools[pool]), count, replace=False)
            )
        )
        if drawn != chosen:
            found[drawn] = None
    return tuple(found)


def _all_sets(counts: Mapping[Pool, int], pools: Mapping[Pool, Sequence[HeadId]]) -> Iterator[HeadSet]:
    for parts in itertools.product(*(itertools.combinations(pools[pool], count) for pool, count in counts.items())):
        yield tuple(sorted(itertools.chain.from_iterable(parts)))
