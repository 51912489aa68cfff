"""Groups, roles and places of the heads of a trace: computed once and kept on the trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.metrics.clusters import Clusters, cluster_heads
from atlas.metrics.layouts import Components, pca, tsne
from atlas.metrics.roles import ROLES, UNNAMED, enough_rows, main_role
from atlas.metrics.shared_keys import MIN_ROWS
from atlas.metrics.traits import HIGH
from atlas.tracing.selected_heads import selected_heads

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

Division = Clusters
"""The name for those who may import this room and not that of the metrics."""

NOT_NAMED = UNNAMED
"""The role of a head that has none: the name for those who may import this room and not that of the metrics."""

UNTOLD = "N/A"
"""The role of a head of which no metric is known, as from rows that see one token only; the cluster of one not divided yet."""

FEW_ROWS = "too few rows"
"""The role of a head that is measured on so few rows that none of its metrics of targets can give a role."""

ROLE_ROWS = MIN_ROWS
"""Rows that a role takes: the name for those who may import this room and not that of the metrics."""

PREPARED_HEADS = 400
"""Heads that are divided into clusters before a new trace is shown, which takes 1 s at most: its cards are then drawn once. Of
more heads, the cards of heads say that they wait, and the others are there at once."""


def clusters(trace: Trace, kind: str) -> Clusters:
    """The heads of a kind in groups of heads that behave alike on this text."""
    made: Clusters = trace.once(f"clusters {kind}", lambda: cluster_heads(selected_heads(trace, kind)))
    return made


def components(trace: Trace, kind: str) -> Components:
    """The two directions in which the heads of a kind differ most."""
    made: Components = trace.once(f"components {kind}", lambda: pca(selected_heads(trace, kind)))
    return made


def neighbourhoods(trace: Trace, kind: str) -> np.ndarray:
    """(head, 2) t-SNE positions."""
    made: np.ndarray = trace.once(f"neighbourhoods {kind}", lambda: tsne(selected_heads(trace, kind)))
    return made


def roles(table: pd.DataFrame) -> list[str]:
    """The main role of each head of a table in the words that clusters are named in, "unnamed", FEW_ROWS or UNTOLD."""
    told = table[list(ROLES)].notna().any(axis=1)
    enough = np.any(enough_rows(table), axis=1).tolist()
    words = [HIGH.get(str(role), UNNAMED) for role in main_role(table)["role"]]
    return [word if rests else FEW_ROWS if known else UNTOLD for word, rests, known in zip(words, enough, told, strict=True)]


def few_rows(table: pd.DataFrame) -> dict[str, int]:
    """Roles whose metric is known, but on fewer than `MIN_ROWS` rows in some layer, with the number of rows."""
    fewest = {role: int(table[f"{role}_rows"].min()) for role in ROLES if len(table) and table[role].notna().any()}
    return {role: n for role, n in fewest.items() if n < MIN_ROWS}


def are_divided(trace: Trace, kind: str) -> bool:
    """Whether the clusters of a kind are there, so that nobody waits for them."""
    return trace.holds(f"clusters {kind}")


def are_mapped(trace: Trace, kind: str) -> bool:
    """Whether the t-SNE positions of a kind are there."""
    return trace.holds(f"neighbourhoods {kind}")


def prepare(trace: Trace) -> None:
    """Compute what the views of heads will ask for, before they are drawn."""
    for kind in trace.kinds:
        clusters(trace, kind)
        components(trace, kind)


def is_prepared(trace: Trace) -> bool:
    """Whether a trace can be shown as it is: its heads are divided, or so many that their cards wait for that themselves."""
    few = len(trace.head_ids) <= PREPARED_HEADS
    return not few or all(trace.holds(f"{what} {kind}") for what in ("clusters", "components") for kind in trace.kinds)
