"""Traits of some heads: equal to a plain recomputation, right under the null, and found where they are planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from atlas.metrics.shared_traits import DRAWS, shared_traits
from atlas.metrics.standard import Standard

LAYERS, HEADS = 6, 8


def table(seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    layer, head = np.divmod(np.arange(LAYERS * HEADS), HEADS)
    values = {name: random.uniform(0, 1, len(layer)) for name in ("entropy_norm", "previous", "special", "distance")}
    even = {f"{name}_uniform": np.full(len(layer), 0.25) for name in values}
    return pd.DataFrame({"kind": "decoder", "layer": layer, "head": head, **values, **even})


def chosen(*heads: int) -> np.ndarray:
    return np.isin(np.arange(LAYERS * HEADS), heads)


def test_means_and_differences_are_those_of_the_heads():
    heads, inside = table(), chosen(1, 9, 30)
    for row in shared_traits(heads, inside).itertuples():
        values = heads[row.metric].to_numpy()
        assert row.mean == pytest.approx(values[inside].mean())
        assert row.others == pytest.approx(values[~inside].mean())
        assert row.z == pytest.approx((values[inside].mean() - values.mean()) / values.std())
        assert row.uniform == 0.25
        assert row.lo <= row.mean <= row.hi
        assert values[inside].min() - 1e-9 <= row.lo
        assert row.hi <= values[inside].max() + 1e-9


def test_chance_is_heads_of_the_same_layers():
    """All early heads have much of a metric: two of them are no more special than any two heads of their layers."""
    heads = table()
    heads["previous"] = np.where(heads["layer"] < 2, 0.9, 0.1) + np.random.default_rng(5).uniform(0, 0.05, len(heads))
    row = shared_traits(heads, chosen(2, 11)).set_index("metric").loc["previous"]
    assert row["z"] > 1
    assert row["p"] > 0.05
    assert row["chance_lo"] <= row["z"] <= row["chance_hi"]


def test_a_planted_trait_is_found_and_the_largest():
    heads = table()
    heads.loc[[3, 12, 21, 33], "previous"] = 3.0
    first = shared_traits(heads, chosen(3, 12, 21, 33)).iloc[0]
    assert first["metric"] == "previous"
    assert first["p"] <= 5 / (1 + DRAWS)  # one in 4,096 random sets is the planted one itself
    assert first["q"] < 0.05


def test_the_null_gives_uniform_p():
    random, found = np.random.default_rng(3), []
    for seed in range(60):
        inside = chosen(*random.choice(LAYERS * HEADS, 6, replace=False))
        found += list(shared_traits(table(seed), inside, draws=199, seed=seed)["p"])
    assert 0.02 <= np.mean(np.array(found) <= 0.05) <= 0.09
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)


def test_the_interval_covers_the_mean_that_heads_are_drawn_from():
    random, hits = np.random.default_rng(8), []
    heads = table()
    for seed in range(150):
        heads["previous"] = random.normal(0.5, 0.1, len(heads))
        row = shared_traits(heads, chosen(*range(0, 48, 3)), draws=199, seed=seed).set_index("metric").loc["previous"]
        hits.append(row["lo"] <= 0.5 <= row["hi"])
    assert 0.86 <= np.mean(hits) <= 0.99


def test_nothing_is_drawn_where_whole_layers_are_selected():
    found = shared_traits(table(), chosen(*range(HEADS)))
    assert found[["p", "q"]].isna().all().all()


def test_the_mean_of_one_head_has_no_interval():
    found = shared_traits(table(), chosen(4))
    assert found[["lo", "hi", "z_lo", "z_hi"]].isna().all().all()
    assert found["p"].notna().all()
    assert not len(shared_traits(table(), chosen()))


def test_metrics_that_tell_no_heads_apart_are_left_out():
    heads = table()
    heads["special"] = 0.5
    found = shared_traits(heads, chosen(1, 2))
    assert set(found["metric"]) == set(Standard.of(heads).columns)
    assert "special" not in set(found["metric"])
