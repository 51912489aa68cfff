"""The role profile of some heads: where each of their roles stands among all heads and among those of the layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.metrics.role_profile import LEAST_HEADS, RoleProfile, role_profile
from atlas.metrics.roles import FALSE_DISCOVERIES
from atlas.metrics.shared_keys import MIN_ROWS

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray

Profile = RoleProfile
"""The name for those who may import this room and not that of the metrics."""

UNLIKELY = FALSE_DISCOVERIES
"""Corrected chance up to which a role is more than chance: likewise."""

NONE_THERE = {
    "function_words": "no function words found",
    "content_words": "no content words found",
    "first_key": "no first token that several rows see",
    "special": "no special tokens",
    "punctuation": "no punctuation",
    "entities": "no named entities found",
    "long_range": "no two tokens five apart, or two texts",
    "self": "from one text to another",
}
"""Why a role is unknown, where it is unknown for every head."""

FEW_ROWS = "too few rows"
"""How the reason begins where a role rests on too few rows."""

SAME = 1e-9
"""z-scores nearer than this are equal: the mean of equal numbers may differ from them in its last digit."""


@dataclass(frozen=True)
class Role:
    """One role of the heads looked at: means over those of them where it is known."""

    role: str
    value: float
    uniform: float
    excess: float
    rows: int
    """The fewest rows over the heads."""
    z: float
    z_layer: float
    reason: str
    """Why there is no z against all heads; empty where there is one."""
    reason_layer: str
    """Why there is none against the layer."""
    lower: int
    """How many of all heads have a lower z."""
    known: int
    """How many of all heads have one."""
    q: float
    """The corrected chance; of several heads the largest."""
    unlikely: int
    """How many of the heads have more than chance gives."""


def profile_of(table: pd.DataFrame) -> Profile:
    """The roles of every head of a head table of one kind."""
    return role_profile(table)


def roles_of(profile: Profile, heads: Sequence[int]) -> list[Role]:
    """The roles of some heads, given as rows of the head table."""
    return [_role(profile, at, list(heads)) for at in range(len(profile.roles))]


def reached_by(profile: Profile, z: float) -> tuple[int, int]:
    """How many heads have a z at least as high in one of their roles, and of how many."""
    known = np.isfinite(profile.z).any(0)
    highest = np.where(np.isfinite(profile.z), profile.z, -np.inf).max(0)
    return int((highest >= z - SAME).sum()), int(known.sum())


def farthest(profile: Profile) -> float:
    """The largest distance of any z of any head from 0; NaN where none is known."""
    both = np.abs(np.concatenate([profile.z.reshape(-1), profile.z_layer.reshape(-1)]))
    known = both[np.isfinite(both)]
    return float(known.max()) if len(known) else math.nan


def strongest(profile: Profile, role: str, count: int) -> list[int]:
    """Rows of the heads with the highest z in a role, highest first."""
    z = profile.z[profile.roles.index(role)]
    order = np.argsort(-np.nan_to_num(z, nan=-np.inf), kind="stable")
    return [int(head) for head in order[:count] if np.isfinite(z[head])]


def _role(profile: Profile, at: int, heads: list[int]) -> Role:
    z, every = _mean(profile.z[at, heads]), profile.z[at][np.isfinite(profile.z[at])]
    z_layer = _mean(profile.z_layer[at, heads])
    q = profile.q[at, heads]
    return Role(
        role=profile.roles[at],
        value=_mean(profile.value[at, heads]),
        uniform=_mean(np.where(np.isfinite(profile.value[at]), profile.uniform[at], np.nan)[heads]),
        excess=_mean(profile.excess[at, heads]),
        rows=int(profile.rows[at, heads].min()) if heads else 0,
        z=z,
        z_layer=z_layer,
        reason="" if math.isfinite(z) else _reason(profile, at, heads, profile.alike),
        reason_layer="" if math.isfinite(z_layer) else _reason(profile, at, heads, profile.alike_layer),
        lower=int((every < z - SAME).sum()),
        known=len(every),
        q=float(q.max()) if len(q) and np.isfinite(q).all() else math.nan,
        unlikely=int((q <= UNLIKELY).sum()),
    )


def _reason(profile: Profile, at: int, heads: list[int], alike: Array) -> str:
    if np.isnan(profile.value[at, heads]).all():
        return NONE_THERE[profile.roles[at]]
    if (profile.rows[at, heads] < MIN_ROWS).all():
        return f"{FEW_ROWS} ({int(profile.rows[at, heads].max())}; it takes {MIN_ROWS})"
    if np.isnan(profile.excess[at, heads]).all():
        return "every visible token counts"
    return "all heads alike" if alike[at, heads].any() else f"fewer than {LEAST_HEADS} heads"


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan
