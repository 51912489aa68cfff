"""Which role a head has over many texts: its mean share of attention against that of even attention, by text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from atlas.ids import HEAD
from atlas.metrics.drift import above, corrected
from atlas.metrics.moments import Moments
from atlas.metrics.roles import FALSE_DISCOVERIES, MAJORITY, ROLES, UNNAMED
from atlas.metrics.shared_keys import excess

if TYPE_CHECKING:
    from collections.abc import Sequence

Values = npt.NDArray[np.float64]


def corpus_roles(table: pd.DataFrame, moments: Moments, metrics: Sequence[str]) -> pd.DataFrame:
    """One row a head and role, heads in the order of the table and roles in that of ROLES.

    Columns: kind, layer, head, role, value, lo, hi, uniform, excess, excess_lo, excess_hi (the excess of the interval's ends),
    effect (value − uniform in standard deviations between texts), n, q, rank (1: no head of its kind does it more), known (how
    many heads of its kind have a value), beyond (more than chance gives) and earned (beyond, and the whole interval more than
    half of the way from chance to everything).

    `q` is of a t-test by text, one-sided, of the mean against the mean for even attention over the same texts, corrected for the
    heads of a kind, role by role (Benjamini & Hochberg).
    """
    parts = [_role(table, moments, list(metrics).index(role), role) for role in ROLES if role in metrics]
    every = pd.concat(parts, ignore_index=True)
    return every.sort_values("at", kind="stable", ignore_index=True).drop(columns="at")


def main_roles(roles: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """The role of every head of the table: the earned one with the lowest chance level, which says most, or "unnamed"."""
    earned = roles[roles["earned"]].sort_values("uniform", kind="stable").drop_duplicates(HEAD)
    names = {tuple(row): role for *row, role in earned[[*HEAD, "role"]].itertuples(index=False)}
    return [names.get(tuple(row), UNNAMED) for row in table[HEAD].itertuples(index=False)]


def _role(table: pd.DataFrame, moments: Moments, place: int, role: str) -> pd.DataFrame:
    value, uniform, lo, hi = (table[f"{role}{end}"].to_numpy(float) for end in ("", "_uniform", "_lo", "_hi"))
    own = Moments(moments.n[:, place], moments.mean[:, place], moments.m2[:, place])
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = (value - uniform) / np.sqrt(own.m2 / (own.n - 1.0))
    found = table[HEAD].assign(
        at=np.arange(len(table)), role=role, value=value, lo=lo, hi=hi, uniform=uniform, excess=excess(value, uniform),
        excess_lo=excess(lo, uniform), excess_hi=excess(hi, uniform), effect=effect, n=own.n.astype(int),
        q=_corrected(above(own, uniform), table["kind"].to_numpy()),
    )  # fmt: skip
    by_kind = found.groupby("kind")["value"]
    found["rank"] = by_kind.rank(method="min", ascending=False)
    found["known"] = by_kind.transform("count")
    found["beyond"] = (found["q"] <= FALSE_DISCOVERIES) & (found["excess"] > 0)
    found["earned"] = found["beyond"] & (found["excess_lo"] > MAJORITY)
    return found


def _corrected(p: Values, kinds: npt.NDArray[np.object_]) -> Values:
    found = np.full(len(p), np.nan)
    for kind in set(kinds):
        found[kinds == kind] = corrected(p[kinds == kind])
    return found
