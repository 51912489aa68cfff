"""NAME_p of the metrics whose targets are the same keys in many rows: classes of tokens, resting places, what is far away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from atlas.metrics.chance import label_bound, pooled, row_bound, stretches
from atlas.metrics.plan import RowPlan

Values = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MIN_ROWS = 5
"""Rows under which the mean of a metric of targets is an anecdote. On three rows of a recorded GPT-2 sentence (its commas)
L3 H6 passed for an induction head, and in a causal text whose only full stop is its last token, the mass on punctuation is
that one token's attention to itself."""

MIN_MEMBERS = 2
"""Members under which a class cannot be told from its one token, which the head may like for any other reason."""

CLASSES = ("punctuation", "function_words", "content_words", "entities")
"""Sets of keys that belong together because of what they are: compared with other keys of the same head."""

RESTING_PLACES = ("balance", "special", "first_key")
"""Sets of one or two keys, in the same place in every text: compared with other places of all heads."""

FAR = "long_range"
"""Compared with what the head's favourite keys alone would give: an early favourite is far away for most of a causal text."""

SHARED = (*RESTING_PLACES, *CLASSES, FAR)


@dataclass
class KeyFacts:
    """What one mask and one set of tokens say about the keys; layers with the same mask share it."""

    plan: RowPlan
    sets: Mapping[str, BoolArray | None]
    """Sets of keys by the name of their metric, 'special' among them."""
    expected: Values
    """(key,) mass received by each key where the informative rows spread evenly."""
    seen: Values = field(init=False)
    """(key,) informative rows that may see each key."""
    far_share: Values | None = field(init=False)
    """(key,) of the rows that see a key, the share that has it far away and counts for `long_range`."""

    def __post_init__(self) -> None:
        plan = self.plan
        everywhere = np.full(plan.n_keys, float(plan.informative.sum()))
        self.seen = everywhere if plan.visible is None else plan.visible[plan.informative].sum(0).astype(float)
        self.far_share = self._far_share() if FAR in plan.counted else None

    def _far_share(self) -> Values:
        plan, rows = self.plan, np.flatnonzero(self.plan.counted[FAR])
        n_seen = np.full(plan.n_keys, float(len(rows))) if plan.visible is None else plan.visible[rows].sum(0).astype(float)
        near = np.asarray(plan.operands.near_keys)[rows]
        exists = np.asarray(plan.operands.near_exists)[rows] > 0
        if plan.visible is not None:
            exists &= plan.visible[rows[:, None], near]
        n_near = np.bincount(near[exists], minlength=plan.n_keys)
        return np.divide(n_seen - n_near, self.seen, out=np.zeros(plan.n_keys), where=self.seen > 0)

    def class_bound(self, name: str, received: Values) -> Values:
        """(head,) bound of the probability that a class of tokens drawn anew gets as much."""
        members = self.sets[name]
        pool = ~self.plan.special & (self.seen > 0)
        if members is None or (members & pool).sum() < MIN_MEMBERS:
            return np.full(len(received), np.nan)
        return label_bound(received[:, pool] - self.expected[pool], members[pool])

    def controls(self, name: str, received: Values) -> Values:
        """(head * stretch,) excess of heads on stretches of other keys, as long as the resting place has keys."""
        members, plan = self.sets[name], self.plan
        if members is None:
            return np.empty(0)
        length = int(members.sum())
        first = stretches(length, ~plan.special & ~members)
        if plan.visible is None:
            n_rows = np.full(len(first), int(plan.informative.sum()))
        else:
            n_rows = (_within(plan.visible[plan.informative], first, length) > 0).sum(0)
        first, n_rows = first[n_rows >= MIN_ROWS], n_rows[n_rows >= MIN_ROWS]
        value, even = (_within(mass, first, length) / n_rows for mass in (received, self.expected[None]))
        return excess(value, even).reshape(-1)

    def far_bound(self, value: Values, received: Values) -> Values:
        """(head,) far mass against that of attention with the same mass in every key, spread evenly over the rows that see it."""
        if self.far_share is None:
            return np.full(len(value), np.nan)
        n_rows = int(self.plan.counted[FAR].sum())
        return row_bound(value, np.minimum(received @ self.far_share / max(n_rows, 1), 1.0), n_rows)


def excess(value: npt.ArrayLike, uniform: npt.ArrayLike) -> Values:
    """(value - uniform) / (1 - uniform); NaN where uniform attention has everything already."""
    share, even = np.broadcast_arrays(np.asarray(value, dtype=float), np.asarray(uniform, dtype=float))
    room = 1.0 - even
    return np.divide(share - even, room, out=np.full(share.shape, np.nan), where=room > 1e-9)


def shared_chances(
    received: Values, facts: Sequence[KeyFacts], values: Mapping[str, Values], uniform: Mapping[str, Values]
) -> dict[str, Values]:
    """NAME_p for `SHARED`, (layer * head,); NaN in a layer with fewer than `MIN_ROWS` informative rows.

    Parameters
    ----------
    received
        (layer, head, key) mass from the informative rows.
    facts
        For each layer.
    values, uniform
        Metrics of all heads, and the same of uniform attention.
    """
    n_layers, n_heads, n_keys = received.shape
    found = {name: np.full(n_layers * n_heads, np.nan) for name in SHARED}
    controls: dict[str, list[Values]] = {name: [np.empty(0)] for name in RESTING_PLACES}
    # Layers that share a mask in one go; on so few rows no role is told, and what a selection knows of them is no sample.
    for fact in {id(fact): fact for fact in facts if fact.plan.informative.sum() >= MIN_ROWS}.values():
        layers = [layer for layer, other in enumerate(facts) if other is fact]
        heads = (np.array(layers)[:, None] * n_heads + np.arange(n_heads)).reshape(-1)
        mass = received[layers].reshape(-1, n_keys)
        for name in CLASSES:
            found[name][heads] = fact.class_bound(name, mass)
        for name in RESTING_PLACES:
            controls[name].append(fact.controls(name, mass))
        found[FAR][heads] = fact.far_bound(values[FAR][heads], mass)
    for name in RESTING_PLACES:
        found[name] = pooled(excess(values[name], uniform[name]), np.concatenate(controls[name]))
    return {f"{name}_p": found[name] for name in SHARED}


def _within(mass: npt.NDArray[Any], first: npt.NDArray[np.intp], length: int) -> npt.NDArray[Any]:
    """(row, stretch) sums over stretches of consecutive columns."""
    ends = np.concatenate([np.zeros((len(mass), 1)), np.cumsum(mass, axis=1)], axis=1)
    return np.asarray(ends[:, first + length] - ends[:, first])
