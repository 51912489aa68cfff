"""Which role a head has: its metrics read as shares of what was possible, held against chance and the other heads.

A share of attention means little by itself: half of it on the previous token is remarkable among 500 tokens and chance
among two. So a role is read from the *excess*, 0 at uniform attention under the same mask and 1 where all attention goes
there; it has to be more than chance gives to one of so many heads; and how a head stands among the heads beside it is said by
its rank, not by a fixed cut-off.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from atlas.ids import HEAD
from atlas.metrics.chance import row_bound
from atlas.metrics.shared_keys import MIN_ROWS, SHARED, excess

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

FALSE_DISCOVERIES = 0.05
"""Share of the heads of a role that chance alone may have given it."""

UNNAMED = "unnamed"
"""What a head is called that has earned no role, and a cluster that has earned no name."""


def head_roles(table: pd.DataFrame) -> pd.DataFrame:
    """Long table, one row for each head and role that can be told in this text.

    Columns: those that name the head, role, value, uniform, excess (see above), rows (on how many the value rests), q (see
    `role_chances`), rank (1 = the head that does it most; equal heads share the better rank) and quantile (share of the heads
    that do it less, equal ones counted by half).
    """
    names = [column for column in HEAD if column in table.columns]
    parts = []
    for role in ROLES:
        part = table[names].copy()
        part["role"] = role
        part["value"] = table[role]
        part["uniform"] = table[f"{role}_uniform"]
        part["excess"] = excess(table[role], table[f"{role}_uniform"])
        part["rows"] = table[f"{role}_rows"]
        part["q"] = role_chances(table, role)
        part["rank"] = part["value"].rank(method="min", ascending=False)
        n_known = part["value"].notna().sum()
        part["quantile"] = (part["value"].rank(method="average") - 0.5) / n_known if n_known else np.nan
        parts.append(part[part["value"].notna()])
    return pd.concat(parts, ignore_index=True)


def main_role(table: pd.DataFrame) -> pd.DataFrame:
    """One row a head: the role that has the majority of its attention beyond chance, its excess, or "unnamed".

    Where several have it (all on [SEP] is also all on special tokens), the one with the lowest chance level says most.
    """
    share = np.column_stack([excess(table[role], table[f"{role}_uniform"]) for role in ROLES])
    real = np.column_stack([role_chances(table, role) <= FALSE_DISCOVERIES for role in ROLES])
    chance = np.column_stack([table[f"{role}_uniform"].to_numpy(float) for role in ROLES])
    chance = np.where((np.nan_to_num(share, nan=0.0) > MAJORITY) & real, chance, np.inf)
    # argmin takes the first of equals, and ROLES goes from the narrow claim to the wide one.
    best = chance.argmin(1)
    named = np.isfinite(chance.min(1))
    result = table[[column for column in HEAD if column in table.columns]].copy()
    result["role"] = np.where(named, np.array(ROLES)[best], UNNAMED)
    result["excess"] = np.where(named, share[np.arange(len(table)), best], np.nan)
    return result


def enough_rows(table: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """(head, role) whether a role is known and rests on `MIN_ROWS` rows or more."""
    known = table[list(ROLES)].notna().to_numpy()
    return np.asarray(known & (table[[f"{role}_rows" for role in ROLES]].to_numpy() >= MIN_ROWS))


def role_chances(table: pd.DataFrame, role: str) -> npt.NDArray[np.float64]:
    """(head,) q-values: the probability that chance gives a head this much of a role, corrected for the number of heads.

    Benjamini & Hochberg's correction over the heads of each kind, role by role: among the heads that get the role, at most
    `FALSE_DISCOVERIES` got it by chance. NaN where the role is unknown or rests on fewer than `MIN_ROWS` rows.
    """
    rows = table[f"{role}_rows"].to_numpy(float)
    # Rows that look at the same keys are no sample: there the keys are.
    shared = role in SHARED
    p = table[f"{role}_p"].to_numpy(float) if shared else row_bound(table[role], table[f"{role}_uniform"], rows)
    tested = ~np.isnan(p) & (rows >= MIN_ROWS)
    found = np.full(len(table), np.nan)
    for kind in table["kind"].unique() if "kind" in table.columns else [None]:
        here = tested if kind is None else tested & (table["kind"] == kind).to_numpy()
        if here.any():
            found[here] = stats.false_discovery_control(p[here], method="bh")
    return found


def best_heads(table: pd.DataFrame, metric: str, n: int = 5) -> pd.DataFrame:
    """The `n` heads with the highest value of a metric, highest first; heads where it is unknown are left out."""
    columns = [column for column in (*HEAD, metric, f"{metric}_uniform") if column in table.columns]
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
