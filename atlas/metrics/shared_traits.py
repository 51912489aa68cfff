"""What some heads have in common: the mean of every metric, its interval, and what other heads of the same layers have."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from atlas.metrics.standard import Standard

LEAST_HEADS = 2
"""Heads from which their mean has an interval."""

DRAWS = 999
"""Random sets of heads, and resamples of the heads: enough for a corrected 0.05 over 20 metrics."""

KEPT_DRAWS = 4
"""Sets of heads whose random draws are kept, up to 6 MB each: selected tokens change the metrics, not the heads."""

SAME = 1e-9
"""z-scores nearer than this are equal: sums of the same numbers may differ in their last digit."""

TAIL = 2.5
"""Percent on either side of an interval of 95 %."""

COLUMNS = ("metric", "mean", "lo", "hi", "others", "uniform", "z", "z_lo", "z_hi", "chance_lo", "chance_hi", "p", "q")

Values = npt.NDArray[np.float64]


def shared_traits(table: pd.DataFrame, inside: npt.NDArray[np.bool_], *, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """One row a metric that tells the heads of `table` apart, the largest |z| first.

    mean, lo, hi: of the heads `inside`, with the 95 % interval of a bootstrap over these heads (NaN for one head); others: the
    mean of the other heads; uniform: the mean chance level of the heads inside. z is (mean − mean of all heads) / standard
    deviation of all heads, with the same interval. chance_lo and chance_hi hold the z of 95 % of the sets with as many heads of
    each layer, drawn at random; p is the share of these sets that lie at least as far from their mean (two-sided, the set itself
    counted), q is p after Benjamini & Hochberg's correction over the metrics. p and q are NaN where the layers leave nothing to
    draw.
    """
    standard = Standard.of(table)
    heads, size = np.flatnonzero(inside), int(inside.sum())
    if not size or not standard.columns:
        return pd.DataFrame({name: pd.Series(dtype=object if name == "metric" else float) for name in COLUMNS})
    scaled = standard.apply(table)
    counts, sets = _drawn(table["layer"].to_numpy(np.int64).tobytes(), inside.tobytes(), draws, seed)
    z = scaled[heads].mean(0)
    resampled = counts.astype(np.float64) @ scaled[heads] / size
    z_lo, z_hi = np.percentile(resampled, [TAIL, 100 - TAIL], axis=0) if size >= LEAST_HEADS else np.full((2, len(z)), np.nan)
    null = sets.astype(np.float64) @ scaled / size
    chance_lo, chance_hi = np.percentile(null, [TAIL, 100 - TAIL], axis=0)
    p = _two_sided(z, null)
    q = p if np.isnan(p).any() else stats.false_discovery_control(p)
    in_units: Mapping[str, Values] = {
        name: value * standard.scale + standard.mean for name, value in (("mean", z), ("lo", z_lo), ("hi", z_hi))
    }
    columns = list(standard.columns)
    values, even = table[columns].to_numpy(float), table.reindex(columns=[f"{name}_uniform" for name in columns]).to_numpy(float)
    found = pd.DataFrame({
        "metric": columns, **in_units,
        "others": values[~inside].mean(0) if size < len(table) else np.nan,
        "uniform": even[inside].mean(0),
        "z": z, "z_lo": z_lo, "z_hi": z_hi, "chance_lo": chance_lo, "chance_hi": chance_hi, "p": p, "q": q,
    })  # fmt: skip
    return found.iloc[np.argsort(-np.abs(z), kind="stable")].reset_index(drop=True)


@functools.lru_cache(maxsize=KEPT_DRAWS)
def _drawn(layers: bytes, inside: bytes, draws: int, seed: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """How often each head inside is in every resample, and the random sets; of the arrays' bytes, which can be a key."""
    random, chosen = np.random.default_rng(seed), np.frombuffer(inside, dtype=bool)
    size = int(chosen.sum())
    counts = random.multinomial(size, np.full(size, 1 / size), draws).astype(np.int32)
    return counts, _sets(np.frombuffer(layers, dtype=np.int64), chosen, draws, random)


def _sets(
    layers: npt.NDArray[np.int64], inside: npt.NDArray[np.bool_], draws: int, random: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """(draw, head) whether a head is in a random set that has as many heads of each layer as the given one."""
    drawn = np.zeros((draws, len(layers)), dtype=bool)
    for layer in np.unique(layers[inside]):
        here = np.flatnonzero(layers == layer)
        order = random.random((draws, len(here))).argsort(1)[:, : int(inside[here].sum())]
        np.put_along_axis(drawn, here[order], values=True, axis=1)
    return drawn


def _two_sided(z: Values, null: Values) -> Values:
    """(metric,) the share of random sets at least as far from their mean as the set itself; NaN where all sets are the same."""
    centre = null.mean(0)
    far = np.abs(null - centre) >= np.abs(z - centre) * (1 - SAME)
    p: Values = np.where(np.ptp(null, axis=0) > SAME, (1 + far.sum(0)) / (1 + len(null)), np.nan)
    return p
