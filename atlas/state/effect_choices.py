"""The effects of heads under zero, mean and other texts as one plane, three rows a layer, and what the line says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.numbers import listed, three
from atlas.state.plane import Array, Cell, Plane
from atlas.tracing.effect_choices import CHOICES, MEAN, RANK, RESAMPLE, SIGN, ZERO, EffectChoices

if TYPE_CHECKING:
    import pandas as pd

SAID = {ZERO: "zero", MEAN: "mean", RESAMPLE: "other texts"}
"""What the rows of a layer are called, from above."""


def plane_of(table: pd.DataFrame, layers: int, heads: int) -> Plane:
    """Three rows a layer: zero, mean, other texts."""
    values: Array = np.stack([table[choice].to_numpy(dtype=float).reshape(layers, heads) for choice in CHOICES], axis=1)
    rows = tuple(f"L{layer} {said}" for layer in range(layers) for said in SAID.values())
    groups = tuple(f"L{layer}" for layer in range(layers))
    return Plane(rows, tuple(f"H{at}" for at in range(heads)), values.reshape(-1, heads), groups=groups)


def hanging(table: pd.DataFrame, heads: int) -> frozenset[tuple[int, int]]:
    """The middle cell of every head whose sign or rank hangs on the choice."""
    places = np.flatnonzero((table["hangs_on"] != "").to_numpy())
    return frozenset((len(CHOICES) * (at // heads) + 1, at % heads) for at in places.tolist())


def cell_of(row: pd.Series, choice: str) -> Cell:
    """The numbers of a head: the one pointed at, the two others, the interval, the ranks."""
    others: Cell = {SAID[other]: float(row[other]) for other in CHOICES if other != choice}
    ranks: Cell = {f"rank by {SAID[each]}": float(row[f"rank_{each}"]) for each in CHOICES}
    interval: Cell = {"other texts 95 % from": float(row["lo"]), "to": float(row["hi"])}
    return {"value": float(row[choice]), **others, **interval, **ranks}


def whose(choice: str, count: int) -> str:
    """How the heads of a row are replaced."""
    return {ZERO: "set to zero", MEAN: "set to its mean over the text", RESAMPLE: f"mean over {count} other texts"}[choice]


def in_words(found: EffectChoices, value: str) -> str:
    """How far the three agree, and which heads hang on the choice."""
    agreements, halves = [], ""
    table = found.agreements[value]
    pairs = zip(table["one"].astype(str), table["other"].astype(str), strict=True)
    for (one, other), (rho, lo, hi) in zip(pairs, table[["rho", "lo", "hi"]].to_numpy(dtype=float), strict=True):
        if not np.isfinite(rho):
            continue
        said = three(rho) + (f" ({three(lo)} to {three(hi)})" if np.isfinite(lo) else "")
        if other in CHOICES:
            agreements.append(f"{SAID[one]} and {SAID[other]} {said}")
        else:
            halves = f"; two halves of the other texts {said}"
    ranks = f"rank agreement ρ (95 %) of {', '.join(agreements)}{halves}" if agreements else "no ranks to compare"
    table = found.tables[value]
    hangs = [_named(table, what) for what in (SIGN, RANK)]
    told = [f"The {what} hangs on the choice for {heads}" for what, heads in zip((SIGN, RANK), hangs, strict=True) if heads]
    return f"{ranks}. {'. '.join(told) or 'No sign and no rank hangs on the choice'}"


def _named(table: pd.DataFrame, what: str) -> str:
    """The heads for which something hangs on the choice, the largest first; empty: none."""
    rows = table[table["hangs_on"].str.contains(what, regex=False)]
    size = rows[list(CHOICES)].abs().max(axis=1)
    rows = rows.loc[size.sort_values(ascending=False, kind="stable").index]
    return listed([f"L{layer} H{head}" for layer, head in zip(rows["layer"], rows["head"], strict=True)])
