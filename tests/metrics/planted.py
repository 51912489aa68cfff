"""Head tables with groups of heads planted in them, and with none."""

from __future__ import annotations

import numpy as np
import pandas as pd

SIZES = {"previous": 20, "special": 30, "entropy_norm": 40}
"""Metric that is high in a group -> heads in the group."""

SHARES = ("special", "self", "previous", "next", "first_key", "punctuation")


def planted(seed=0, sizes=SIZES, noise=0.02):
    """(table, group of each row): every group has one metric high, as heads of that role have."""
    rng = np.random.default_rng(seed)
    n = sum(sizes.values())
    truth = np.repeat(np.arange(len(sizes)), list(sizes.values()))
    columns = {name: 0.1 + noise * rng.standard_normal(n) for name in SHARES}
    columns["entropy_norm"] = 0.4 + noise * rng.standard_normal(n)
    for group, metric in enumerate(sizes):
        columns[metric][truth == group] += 0.5
    table = with_names(columns)
    for name in SHARES:
        table[f"{name}_uniform"] = 0.05
    table["entropy_norm_uniform"] = 1.0
    return table, truth


def structureless(n=144, m=16, seed=0, *, correlated=True):
    """One cloud: whatever groups are found in it are chance."""
    from atlas.metrics import METRICS

    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, m))
    if correlated:
        values = values @ rng.standard_normal((m, m))
    return with_names(dict(zip(METRICS, values.T, strict=False)))


def with_names(columns):
    table = pd.DataFrame(columns)
    table.insert(0, "kind", "encoder")
    table.insert(1, "layer", np.arange(len(table)) // 12)
    table.insert(2, "head", np.arange(len(table)) % 12)
    return table
