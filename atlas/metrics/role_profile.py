"""How a head stands among other heads in each role: z-scores of what its attention has above chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from atlas.metrics.roles import role_chances
from atlas.metrics.shared_keys import MIN_ROWS, excess
from atlas.metrics.standard import least_spread

if TYPE_CHECKING:
    import pandas as pd

Values = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

PROFILE = ("function_words", "content_words", "special", "punctuation", "entities", "long_range", "self")
"""Roles of the profile, in its order."""

WITHOUT_SPECIAL = "first_key"
"""Stands in for 'special' in a text without special tokens: there heads rest their attention on the first token."""

LEAST_HEADS = 3
"""Heads that a z-score takes: of two, one is always at 1 and the other at -1, whatever they do."""


@dataclass(frozen=True, eq=False)
class RoleProfile:
    """The roles of every head of one kind; all arrays are (role, head), in the order of the head table."""

    roles: tuple[str, ...]
    value: Values
    uniform: Values
    excess: Values
    rows: npt.NDArray[np.int64]
    q: Values
    """Probability that chance gives a head this much, corrected for the number of heads."""
    z: Values
    """Excess in standard deviations from the mean of all heads; NaN where it is unknown, rests on too few rows, or the heads are
    alike."""
    z_layer: Values
    """The same against the heads of the head's own layer."""
    alike: BoolArray
    """Whether all heads are so nearly alike that a z-score would enlarge noise."""
    alike_layer: BoolArray
    """The same of the heads of the head's layer."""


def role_profile(table: pd.DataFrame) -> RoleProfile:
    """The profile of every head of a head table of one kind."""
    no_special = bool(table["special"].isna().all())
    roles = tuple(WITHOUT_SPECIAL if role == "special" and no_special else role for role in PROFILE)
    value = np.stack([table[role].to_numpy(float) for role in roles])
    uniform = np.stack([table[f"{role}_uniform"].to_numpy(float) for role in roles])
    rows = np.stack([table[f"{role}_rows"].to_numpy(np.int64) for role in roles])
    above = excess(value, uniform)
    counted = np.isfinite(above) & (rows >= MIN_ROWS)
    least = np.array([least_spread(role) for role in roles])
    everywhere, layers = np.zeros(len(table), dtype=int), table["layer"].to_numpy(int)
    against = [_standing(above, value - uniform, counted, group, least) for group in (everywhere, layers)]
    q = np.stack([role_chances(table, role) for role in roles])
    return RoleProfile(roles, value, uniform, above, rows, q, against[0][0], against[1][0], against[0][1], against[1][1])


def _standing(
    above: Values, surplus: Values, counted: BoolArray, group: npt.NDArray[np.int64], least: Values
) -> tuple[Values, BoolArray]:
    """(role, head) z-scores within groups of heads, and where the heads of a group are alike.

    Heads are alike by their surplus (value - uniform), a share of their attention: where nearly all tokens count, the excess
    divides a small share by a smaller one.
    """
    z, alike = np.full(above.shape, np.nan), np.zeros(above.shape, dtype=bool)
    for of in np.unique(group):
        here = np.flatnonzero(group == of)
        for role in range(len(above)):
            heads = here[counted[role, here]]
            if len(heads) < LEAST_HEADS:
                continue
            values = above[role, heads]
            if surplus[role, heads].std() < least[role]:
                alike[role, heads] = True
            else:
                z[role, heads] = (values - values.mean()) / values.std()
    return z, alike
