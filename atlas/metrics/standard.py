"""Metrics on one footing: what clusters and layouts of heads are worked out from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from atlas.definitions import DEFINITIONS
from atlas.metrics.heads import COUNTED, METRICS
from atlas.metrics.shared_keys import MIN_ROWS

if TYPE_CHECKING:
    import pandas as pd

Values = npt.NDArray[np.float64]

ROUNDING = 1e-5
"""Two metrics that differ by less than this in every head say the same: it is how exact single-precision weights are."""

SHARE_SPREAD = 0.01
"""Standard deviation over the heads from which a share of attention tells heads apart: one point in a hundred. Scaled up to a
standard deviation of 1, less than that would weigh as much as any metric: T5's cross heads at entropies of 0.99997 and 0.9974
made two clusters."""

LEAST_SPREAD: Mapping[str, float] = MappingProxyType({
    "entropy": 0.03,  # nats: one hundredth of ln 20, so that it is a constant where the normalised entropy is
    "distance": 0.1,  # tokens
    "uniformity": 0.001,  # at 1,000 tokens a head with all of each row on one key has 0.03
    "median": 0.0005,  # a weight of usual size is 0.01 at 100 tokens, 0.001 at 1,000
})  # fmt: skip
"""The same for the metrics that are no shares of attention, in their own units."""

COMPARED = tuple(name for name in METRICS if not DEFINITIONS[name].costly)
"""Metrics that heads are compared by. Without the costly ones: a table has them or not, and both give the same groups."""

UNKNOWN = "not known for every head in this text"
CONSTANT = "nearly the same for every head"
FEW = f"rests on fewer than {MIN_ROWS} rows in this text"
COPY = "says the same as {}"


@dataclass(frozen=True, eq=False)
class Standard:
    """Mean 0 and standard deviation 1 over the heads it was made of; other tables are read on the same scale."""

    columns: tuple[str, ...]
    mean: Values
    scale: Values
    dropped: Mapping[str, str]
    """Metrics left out, and why."""

    @classmethod
    def of(cls, table: pd.DataFrame, columns: Sequence[str] = COMPARED) -> Standard:
        """Look at a head table: which metrics tell its heads apart, and on what scale.

        A metric that says the same as an earlier one is left out: where [CLS] is the first token, its mass would count twice.
        """
        kept: dict[str, Values] = {}
        dropped: dict[str, str] = {}
        for name in columns:
            reason = _useless(table, name, kept)
            if reason:
                dropped[name] = reason
            else:
                kept[name] = table[name].to_numpy(float)
        values = np.column_stack(list(kept.values())) if kept else np.empty((len(table), 0))
        mean, scale = (values.mean(0), values.std(0)) if kept else (np.empty(0), np.empty(0))
        return cls(tuple(kept), mean, scale, MappingProxyType(dropped))

    def apply(self, table: pd.DataFrame) -> Values:
        """(head, metric) values on this scale; what is unknown stands at the mean, where it moves a head nowhere."""
        raw = table.reindex(columns=list(self.columns)).to_numpy(float)
        scaled: Values = (raw - self.mean) / self.scale
        return np.where(np.isnan(scaled), 0.0, scaled)


def least_spread(name: str) -> float:
    """Standard deviation over the heads under which a metric is a constant."""
    return LEAST_SPREAD.get(name, SHARE_SPREAD)


def by_value(table: pd.DataFrame) -> npt.NDArray[np.intp]:
    """An order of the rows that depends on the metrics alone: sums, and what starts at random, depend on the order."""
    return np.lexsort(table.reindex(columns=list(COMPARED)).to_numpy(float).T[::-1])


def _useless(table: pd.DataFrame, name: str, kept: Mapping[str, Values]) -> str:
    """Why a metric is of no use here; empty where it is."""
    if name not in table.columns or not len(table) or table[name].isna().any():
        return UNKNOWN
    if name in COUNTED and f"{name}_rows" in table.columns and table[f"{name}_rows"].min() < MIN_ROWS:
        return FEW
    values = table[name].to_numpy(float)
    if values.std() < least_spread(name):
        return CONSTANT
    # Equal up to rounding, not merely proportional: shares that add up to 1 mirror each other and still mean two things.
    copies = [other for other, seen in kept.items() if np.abs(values - seen).max() < ROUNDING]
    return COPY.format(copies[0]) if copies else ""
