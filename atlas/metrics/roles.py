"""Which job a head does: its metrics read as shares of what was possible, and compared with the other heads.

A share of attention means little by itself: half of it on the previous token is remarkable among 500 tokens and chance
among two. So a role is read from the *excess*, 0 at uniform attention under the same mask and 1 where all attention goes
there; and how a head stands among the heads beside it is said by its rank, not by a fixed cut-off.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from atlas.metrics.heads import COUNTED

ROLES = (
    "previous",
    "next",
    "self",
    "induction",
    "duplicate",
    "balance",
    "first_key",
    "special",
    "punctuation",
    "entities",
    "function_words",
    "content_words",
    "long_range",
)
"""Metrics that are shares of a head's attention and say where it goes."""

MAJORITY = 0.5
"""Excess from which a role is a head's own: more than half of the way from chance to everything. It is Clark et al.'s
"more than half of the attention", corrected for chance, and no two roles without common keys can both have it."""

MIN_ROWS = 5
"""Rows under which the mean of an induction or duplicate score is an anecdote and names no role: on three rows
of a recorded GPT-2 sentence (its commas) L3 H6 passed for an induction head."""

MIXED = "mixed"
"""What a head is called that no role has the majority of."""

ID_COLUMNS = ("kind", "layer", "head")


def head_roles(table: pd.DataFrame) -> pd.DataFrame:
    """Long table, one row for each head and role that can be told in this text.

    Columns: those that name the head, role, value, uniform, excess (see above), rank (1 = the head that does it most; equal
    heads share the better rank) and quantile (share of the heads that do it less, equal ones counted by half).
    """
    names = [column for column in ID_COLUMNS if column in table.columns]
    parts = []
    for role in ROLES:
        part = table[names].copy()
        part["role"] = role
        part["value"] = table[role]
        part["uniform"] = table[f"{role}_uniform"]
        part["excess"] = _excess(table, role)
        part["rank"] = part["value"].rank(method="min", ascending=False)
        n_known = part["value"].notna().sum()
        part["quantile"] = (part["value"].rank(method="average") - 0.5) / n_known if n_known else np.nan
        parts.append(part[part["value"].notna()])
    return pd.concat(parts, ignore_index=True)


def main_role(table: pd.DataFrame) -> pd.DataFrame:
    """One row a head: the role that has the majority of its attention, its excess, or "mixed".

    Where several have it (all on [SEP] is also all on special tokens), the one with the lowest chance level says most.
    """
    excess = np.column_stack([_excess(table, role) for role in ROLES])
    chance = np.column_stack([table[f"{role}_uniform"].to_numpy(float) for role in ROLES])
    chance = np.where(_majority(table, excess), chance, np.inf)
    # argmin takes the first of equals, and ROLES goes from the narrow claim to the wide one.
    best = chance.argmin(1)
    named = np.isfinite(chance.min(1))
    result = table[[column for column in ID_COLUMNS if column in table.columns]].copy()
    result["role"] = np.where(named, np.array(ROLES)[best], MIXED)
    result["excess"] = np.where(named, excess[np.arange(len(table)), best], np.nan)
    return result


def best_heads(table: pd.DataFrame, metric: str, n: int = 5) -> pd.DataFrame:
    """The `n` heads with the highest value of a metric, highest first; heads where it is unknown are left out."""
    columns = [column for column in (*ID_COLUMNS, metric, f"{metric}_uniform") if column in table.columns]
    known = table.loc[table[metric].notna(), columns]
    return known.sort_values(metric, ascending=False, kind="stable").head(n).reset_index(drop=True)


def bands(values: npt.ArrayLike) -> tuple[float, float]:
    """The two cuts that divide the heads at hand into low, middle and high thirds; NaN where nothing is known."""
    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, (1 / 3, 2 / 3))
    return float(low), float(high)


def _excess(table: pd.DataFrame, role: str) -> npt.NDArray[np.float64]:
    """(value - uniform) / (1 - uniform); NaN where uniform attention has everything already."""
    value, uniform = table[role].to_numpy(float), table[f"{role}_uniform"].to_numpy(float)
    room = 1.0 - uniform
    return np.divide(value - uniform, room, out=np.full(len(table), np.nan), where=room > 1e-9)


def _majority(table: pd.DataFrame, excess: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(head, role) whether a role has the majority, on enough rows."""
    majority = np.nan_to_num(excess, nan=0.0) > MAJORITY
    for place, role in enumerate(ROLES):
        if role in COUNTED:
            majority[:, place] &= table[f"{role}_rows"].to_numpy() >= MIN_ROWS
    return majority
