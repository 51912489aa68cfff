"""Groups, jobs and places of the heads of a trace: worked out once, kept where everything derived is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.metrics.clusters import Clusters, cluster_heads
from atlas.metrics.layouts import Components, pca, tsne
from atlas.metrics.roles import MIXED, ROLES, main_role
from atlas.metrics.traits import HIGH
from atlas.tracing.selected_heads import selected_heads

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from atlas.trace import Trace


UNTOLD = "N/A"
"""The job of a head of which no metric is known, as from rows that see one token only."""


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
    """The main job of each head of a table in the words that clusters are named in, "mixed", or UNTOLD."""
    told = table[list(ROLES)].notna().any(axis=1)
    return [HIGH.get(str(role), MIXED) if known else UNTOLD for role, known in zip(main_role(table)["role"], told, strict=True)]


def prepare(trace: Trace) -> None:
    """Work out what the views of heads will ask for, before anybody waits for it."""
    for kind in trace.kinds:
        clusters(trace, kind)
        components(trace, kind)


def is_prepared(trace: Trace) -> bool:
    """Whether that has been done."""
    return all(trace.holds(f"{what} {kind}") for what in ("clusters", "components") for kind in trace.kinds)
