"""Groups of heads of two traces: which group a head is in on one side, and its partner on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured
from atlas.metrics.between import NO_HEAD
from atlas.metrics.groupings import Agreement, agreement
from atlas.tracing.groups import clusters, roles
from atlas.tracing.selected_heads import selected_heads
from atlas.tracing.two_heads import Partners, partners

if TYPE_CHECKING:
    from collections.abc import Callable

    from atlas.trace import Trace
    from atlas.tracing.two_traces import TwoTraces

Array = np.ndarray

ROLES, CLUSTERS = "roles", "clusters"

LEAST_PAIRS = 2
"""Heads that are paired: one cannot be grouped."""


class GroupsOfBoth(NamedTuple):
    """The groups of heads that stand for each other."""

    found: Agreement
    row: Array
    """(head,) of the first side, layer by layer: the row of its group; -1: it has no partner."""
    column: Array
    """The column of the group of its partner."""
    pairs: Partners


def groups_of_both(
    two: TwoTraces, kind: str, of: str = ROLES, by: str | None = None, report: Callable[[float], None] = lambda _: None
) -> GroupsOfBoth:
    """Roles, or clusters, of the heads of the first side against those of their partners, on the whole of both texts."""
    made: GroupsOfBoth = two.once(("groups", kind, of, by), lambda: _grouped(two, kind, of, by, report))
    return made


def _grouped(two: TwoTraces, kind: str, of: str, by: str | None, report: Callable[[float], None]) -> GroupsOfBoth:
    pairs = partners(two, kind, by, report)
    there = np.flatnonzero(pairs.head != NO_HEAD)
    if len(there) < LEAST_PAIRS:
        msg = "Fewer than two heads have a partner on the other side, so groups cannot be compared."
        raise NotCaptured(msg)
    one, other = _names(two.a, kind, of), _names(two.b, two.kind_beside(kind), of)
    first, second = [one[at] for at in there], [other[pairs.head[at]] for at in there]
    found = agreement(first, second, (there // two.a.n_heads(kind)).tolist())
    row, column = np.full(len(pairs.head), -1), np.full(len(pairs.head), -1)
    row[there] = [found.rows.index(name) for name in first]
    column[there] = [found.columns.index(name) for name in second]
    return GroupsOfBoth(found, row, column, pairs)


def _names(trace: Trace, kind: str, of: str) -> list[str]:
    """The group of every head, layer by layer."""
    if of == ROLES:
        return roles(selected_heads(trace, kind))
    return [str(name) for name in clusters(trace, kind).name_of_rows]
