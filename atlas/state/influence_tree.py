"""The tree of what a token is made of, layer by layer: only the branches that a reader has opened."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from atlas.tracing.influence import Graph, NodeKey

Path = tuple[tuple[int, int], ...]
"""(level, position) of every token from the root to a branch."""

MOST_CHILDREN = 8
"""Branches of one token: they fit the screen, and the weaker ones are one leaf."""

MOST_ROWS = 400
"""Rows of the tree: ten screens."""


class Branch(NamedTuple):
    """One row of the tree."""

    path: Path
    node: NodeKey | None
    """None: a leaf for the weaker branches."""
    share: float
    """Of its parent."""
    influence: float
    """Of the root: the product of the shares along the path."""
    opened: bool
    closed: bool
    """Whether it can be opened."""
    weaker: int = 0
    """How many branches a leaf stands for."""


def branches(graph: Graph, mass: float, opened: set[Path]) -> list[Branch]:
    """The rows from the root down; each token's branches carry `mass` of it, and a leaf says how many weaker ones there are."""
    top = len(graph.steps), graph.starts[graph.root.kind] + graph.root.token
    rows: list[Branch] = []
    waiting = [(Branch((top,), graph.root, 1.0, 1.0, (top,) in opened, (top,) not in opened))]
    while waiting and len(rows) < MOST_ROWS:
        branch = waiting.pop()
        rows.append(branch)
        if branch.opened:
            waiting += _children(graph, branch, mass, opened)[::-1]
    return rows


def _children(graph: Graph, branch: Branch, mass: float, opened: set[Path]) -> list[Branch]:
    level, position = branch.path[-1]
    at = _step_of(graph, level, position)
    if at < 0:
        return []
    step = graph.steps[at]
    row = position - step.start
    shares, positions = step.own[row], np.arange(len(step.own)) + step.start
    if step.cross is not None:
        shares = np.concatenate([shares, step.cross[row]])
        positions = np.concatenate([positions, np.arange(step.cross.shape[1])])
    order = np.argsort(-shares, kind="stable")[: np.count_nonzero(shares)]
    kept = min(int(np.searchsorted(np.cumsum(shares[order], dtype=np.float64), mass * (1 - 1e-7))) + 1, MOST_CHILDREN)
    found = []
    for place in order[:kept]:
        path = (*branch.path, (at, int(positions[place])))
        below = _step_of(graph, *path[-1]) >= 0
        found.append(
            Branch(
                path,
                graph.node(*path[-1]),
                float(shares[place]),
                branch.influence * float(shares[place]),
                below and path in opened,
                below and path not in opened,
            )
        )
    if kept < len(order):
        rest = float(shares[order[kept:]].sum())
        found.append(Branch((*branch.path, (at, -1)), None, rest, branch.influence * rest, False, False, len(order) - kept))  # noqa: FBT003
    return found


def _step_of(graph: Graph, level: int, position: int) -> int:
    """The layer that made a token what it is at a level; -1 for an input token. An encoder's last states wait for the decoder."""
    at = level - 1
    while at >= 0 and not graph.steps[at].block.start <= position < graph.steps[at].block.stop:
        at -= 1
    return at
