"""Groups, roles and places of the heads of a trace, or of a corpus: computed once and kept there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.metrics.clusters import Clusters, cluster_heads
from atlas.metrics.layouts import Components, pca, tsne
from atlas.metrics.roles import ROLES, UNNAMED, enough_rows, main_role
from atlas.metrics.shared_keys import MIN_ROWS
from atlas.metrics.traits import HIGH
from atlas.tracing.corpus import Corpus
from atlas.tracing.corpus_heads import compared
from atlas.tracing.selected_heads import selected_heads

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

    Source = Trace | Corpus
    """What heads were measured on."""

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


def heads_of(source: Source, kind: str) -> pd.DataFrame:
    """The heads of a kind on the whole text, or over all texts. Do not write into it."""
    return compared(source, kind) if isinstance(source, Corpus) else selected_heads(source, kind)


def clusters(source: Source, kind: str) -> Clusters:
    """The heads of a kind in groups of heads that behave alike on this text, or over these texts."""
    made: Clusters = source.once(f"clusters {kind}", lambda: cluster_heads(heads_of(source, kind)))
    return made


def components(source: Source, kind: str) -> Components:
    """The two directions in which the heads of a kind differ most."""
    made: Components = source.once(f"components {kind}", lambda: pca(heads_of(source, kind)))
    return made


def neighbourhoods(source: Source, kind: str) -> np.ndarray:
    """(head, 2) t-SNE positions."""
    made: np.ndarray = source.once(f"neighbourhoods {kind}", lambda: tsne(heads_of(source, kind)))
    return made


def roles(table: pd.DataFrame) -> list[str]:
    """The main role of each head of a table in the words that clusters are named in, "unnamed", FEW_ROWS or UNTOLD."""
    told = are_told(table)
    enough = np.any(enough_rows(table), axis=1).tolist()
    words = [HIGH.get(str(role), UNNAMED) for role in main_role(table)["role"]]
    return [word if rests else FEW_ROWS if known else UNTOLD for word, rests, known in zip(words, enough, told, strict=True)]


def are_told(table: pd.DataFrame) -> np.ndarray:
    """(head,) whether any metric that gives a role is known of a head."""
    return table[[role for role in ROLES if role in table]].notna().any(axis=1).to_numpy()


def few_rows(table: pd.DataFrame) -> dict[str, int]:
    """Roles whose metric is known, but on fewer than `MIN_ROWS` rows in some layer, with the number of rows."""
    fewest = {role: int(table[f"{role}_rows"].min()) for role in ROLES if len(table) and table[role].notna().any()}
    return {role: n for role, n in fewest.items() if n < MIN_ROWS}


def are_divided(source: Source, kind: str) -> bool:
    """Whether the clusters of a kind are there, so that nobody waits for them."""
    return source.holds(f"clusters {kind}")


def are_mapped(source: Source, kind: str) -> bool:
    """Whether the t-SNE positions of a kind are there."""
    return source.holds(f"neighbourhoods {kind}")


def prepare(trace: Trace) -> None:
    """Compute what the views of heads will ask for, before they are drawn."""
    for kind in trace.kinds:
        clusters(trace, kind)
        components(trace, kind)


def is_prepared(trace: Trace) -> bool:
    """Whether a trace can be shown as it is: its heads are divided, or so many that their cards wait for that themselves."""
    few = len(trace.head_ids) <= PREPARED_HEADS
    return not few or all(trace.holds(f"{what} {kind}") for what in ("clusters", "components") for kind in trace.kinds)
