from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import adjusted_rand_score, silhouette_samples, silhouette_score

from atlas.metrics import METRICS
from atlas.metrics.clusters import MIN_HEADS, RESAMPLES, STABLE, STRUCTURE, _jaccard, cluster_heads
from atlas.metrics.standard import CONSTANT, FEW, UNKNOWN, Standard
from atlas.metrics.traits import FALSE_DISCOVERIES, HIGH, LARGE, LOW, distinct, earned_name, traits
from tests.metrics.planted import SHARES, planted, structureless

WANTED = {"previous token", "special tokens", "broad"}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_clusters_are_found_and_named(seed):
    table, truth = planted(seed)
    found = cluster_heads(table)
    assert found.k == 3
    assert adjusted_rand_score(truth, found.labels) == 1
    assert set(found.names) == WANTED
    assert found.sizes == (40, 30, 20)
    # The largest group is the broad one, the smallest the previous-token one.
    assert found.names == ("broad", "special tokens", "previous token")
    assert (found.name_of_rows[truth == 0] == "previous token").all()
    assert (found.stability > 0.9).all()
    assert found.chance <= 0.05
    assert "3 clusters" in found.note
    assert "3 of 3 are stable" in found.note


@pytest.mark.parametrize("m", [2, 3, 16])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("correlated", [True, False])
def test_nothing_in_a_single_cloud_is_named(m, seed, correlated):
    found = cluster_heads(structureless(m=m, seed=seed, correlated=correlated))
    assert all(name.startswith("mixed") for name in found.names), (found.note, found.stability)


def test_a_cloud_halved_would_look_stable_and_significant():
    """Why a null is needed: a long cloud cut in two gives stable halves that differ significantly, and no groups."""
    table = structureless(m=2, seed=0)
    found = cluster_heads(table)
    assert found.scores[2] > STRUCTURE
    assert found.chance > 0.05
    assert found.k == 1
    assert found.names == ("mixed",)
    assert "single clouds of the same shape reach too" in found.note
    halves = (table[METRICS[0]] > table[METRICS[0]].median()).to_numpy().astype(np.int64)
    differences = traits(table, halves, METRICS[:2])
    assert (differences["q"] < FALSE_DISCOVERIES).any()


def test_noise_is_unstable():
    from atlas.metrics.clusters import _Search

    table = structureless(m=16, correlated=False)
    search = _Search(Standard.of(table).apply(table), np.random.default_rng(0), 0)
    divisions = search.divide(4, 10)[1]
    assert search.stability(divisions[4], 4).max() < STABLE


def test_silhouettes_are_sklearns():
    table, _ = planted(noise=0.1)
    found = cluster_heads(table)
    assert found.k > 1
    columns = list(found.columns)
    values = (table[columns] - table[columns].mean()) / table[columns].std(ddof=0)
    np.testing.assert_allclose(found.silhouettes, silhouette_samples(values, found.labels), atol=1e-6)
    assert found.silhouette == pytest.approx(silhouette_score(values, found.labels), abs=1e-6)
    assert found.silhouette == max(found.scores.values())


def test_the_order_of_the_rows_plays_no_part():
    table, _ = planted(noise=0.05)
    order = np.random.default_rng(5).permutation(len(table))
    one, other = cluster_heads(table), cluster_heads(table.iloc[order].reset_index(drop=True))
    assert one.k > 1
    np.testing.assert_array_equal(one.labels[order], other.labels)
    np.testing.assert_array_equal(one.silhouettes[order], other.silhouettes)
    np.testing.assert_array_equal(one.stability, other.stability)
    assert (one.names, one.scores, one.chance) == (other.names, other.scores, other.chance)
    pd.testing.assert_frame_equal(one.traits, other.traits)


def test_the_same_seed_gives_the_same_clusters():
    table, _ = planted(noise=0.15)
    one, other = cluster_heads(table, seed=3), cluster_heads(table, seed=3)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.stability, other.stability)
    assert one.seed == 3


def test_what_is_unknown_constant_or_said_twice_is_left_out_and_named():
    table, truth = planted()
    table["next"] = 0.3 + 1e-8 * np.arange(len(table))
    table["balance"] = table["first_key"]
    table.loc[0, "punctuation"] = np.nan
    table["induction"], table["induction_rows"] = np.linspace(0, 1, len(table)), 3
    found = cluster_heads(table)
    assert found.dropped["distance"] == UNKNOWN
    assert found.dropped["punctuation"] == UNKNOWN
    assert found.dropped["next"] == CONSTANT
    assert found.dropped["induction"] == FEW
    assert found.dropped["first_key"] == "says the same as balance"
    assert set(found.columns) | set(found.dropped) == set(METRICS)
    assert not set(found.columns) & set(found.dropped)
    assert adjusted_rand_score(truth, found.labels) == 1


@pytest.mark.parametrize("n", [0, 1, 4, MIN_HEADS - 1])
def test_too_few_heads_are_one_group_with_the_reason(n):
    table = planted()[0].head(n)
    found = cluster_heads(table)
    assert (found.k, found.names, found.sizes) == (1, ("mixed",), (n,))
    assert found.note.startswith("1 head is too few" if n == 1 else f"{n} heads are too few")
    assert np.isnan(found.silhouette)
    assert np.isnan(found.stability).all()
    assert found.traits.empty


def test_equal_heads_are_one_group():
    table = pd.concat([planted()[0].head(1)] * 20, ignore_index=True)
    found = cluster_heads(table)
    assert found.k == 1
    assert "No metric differs" in found.note


@pytest.mark.parametrize("rows", [[0, 80], [0, 30, 80]], ids=len)
def test_few_distinct_points_are_no_trouble(rows):
    table = pd.concat([planted(seed=1)[0].iloc[rows]] * 8, ignore_index=True)
    table["self"] += 1e-11 * np.arange(len(table))
    found = cluster_heads(table)
    # As many groups as points at most are looked for, and nothing warns.
    assert set(found.scores) == set(range(2, len(rows) + 1))
    assert found.k == len(rows)
    np.testing.assert_array_equal(found.labels[: len(rows)], found.labels[-len(rows) :])


def test_one_group_is_nothing_to_look_for():
    with pytest.raises(ValueError, match="k_max=1"):
        cluster_heads(planted()[0], k_max=1)


def test_one_odd_head_is_no_named_group():
    table, _ = planted(sizes={"previous": 40, "special": 40})
    table.loc[0, list(SHARES)] = 3.0
    found = cluster_heads(table)
    assert found.sizes == (79, 1)
    # It is always apart from the others, and one head is no evidence of a kind of head.
    assert found.names == ("mixed", "mixed 2")


def test_a_group_that_does_not_come_back_is_not_named(monkeypatch):
    table, _ = planted()
    monkeypatch.setattr("atlas.metrics.clusters.STABLE", 1.01)
    found = cluster_heads(table)
    assert found.k == 3
    assert found.names == ("mixed", "mixed 2", "mixed 3")
    assert "0 of 3 are stable" in found.note


def test_traits_are_scipys_tests_corrected():
    table, truth = planted(noise=0.2)
    found = traits(table, truth, SHARES)
    assert len(found) == 3 * len(SHARES)
    q = stats.false_discovery_control(found["p"], method="by")
    np.testing.assert_allclose(found["q"], q)
    row = found[(found["cluster"] == 0) & (found["metric"] == "previous")].iloc[0]
    inside, rest = table["previous"][truth == 0], table["previous"][truth != 0]
    assert row["p"] == pytest.approx(stats.mannwhitneyu(inside, rest, method="asymptotic").pvalue)
    assert row["mean"] == pytest.approx(inside.mean())
    assert row["rest"] == pytest.approx(rest.mean())
    assert row["uniform"] == pytest.approx(0.05)
    assert row["difference"] == pytest.approx((inside.mean() - rest.mean()) / table["previous"].std(ddof=0))
    for _, here in found.groupby("cluster"):
        assert here["difference"].abs().is_monotonic_decreasing


def about(**changes):
    row = {"metric": "previous", "mean": 0.6, "rest": 0.1, "uniform": 0.05, "difference": 2.0, "q": 0.001}
    return pd.DataFrame([row | changes])


def test_a_name_needs_a_large_real_difference_beyond_chance():
    assert earned_name(about()) == "previous token"
    assert earned_name(about(q=FALSE_DISCOVERIES + 0.01)) == "mixed"
    assert earned_name(about(difference=LARGE - 0.01)) == "mixed"
    # More than the others, and still less than evenly spread attention gives.
    assert earned_name(about(uniform=0.7)) == "mixed"
    assert earned_name(about(uniform=np.nan)) == "previous token"
    # Little of something rare is no trait; little of something common is.
    assert earned_name(about(difference=-2.0, mean=0.01, uniform=0.05)) == "mixed"
    assert earned_name(about(metric="special", difference=-2.0, mean=0.01)) == "off special tokens"
    assert earned_name(about(metric="entropy", difference=-2.0)) == "focused"


def test_the_strongest_difference_names_even_where_it_has_no_name():
    weaker = about(difference=1.5)
    assert earned_name(pd.concat([weaker, about(metric="next", difference=-3.0, mean=0.01)])) == "mixed"
    assert earned_name(pd.concat([weaker, about(metric="entropy_norm", difference=3.0, uniform=1.0)])) == "broad"


def test_every_metric_has_a_name_and_equal_names_are_numbered():
    assert set(HIGH) == set(METRICS)
    assert set(LOW) <= set(METRICS)
    assert distinct(["broad", "mixed", "broad", "mixed", "mixed"]) == ("broad", "mixed", "broad 2", "mixed 2", "mixed 3")


def test_jaccard_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    again = np.array([1, 1, 0, 0, -1, -1])
    # Cluster 0, drawn whole: {0, 1, 2} against {0, 1} is 2/3. Cluster 1, drawn in part: {3} against {2, 3}. Cluster 2: not drawn.
    np.testing.assert_allclose(_jaccard(labels, again, 3), [2 / 3, 1 / 2, np.nan])


def test_it_is_quick_enough_for_a_click():
    def seconds(table):
        start = time.process_time()
        cluster_heads(table)
        return time.process_time() - start

    seconds(planted(noise=0.1)[0])
    twelve = planted(noise=0.1, sizes={"previous": 40, "special": 50, "entropy_norm": 54})[0]
    # Measured 0.8 s and 1.5 s of processor time; the bars allow for a slower machine.
    assert seconds(twelve) < 3
    assert seconds(pd.concat([planted(seed, noise=0.1)[0] for seed in range(14)][:14], ignore_index=True).head(1200)) < 8
    assert RESAMPLES >= 100
