"""Two groupings of the same heads: sklearn's index, the null within layers, p by chance."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, confusion_matrix

from atlas.metrics.groupings import SHUFFLES, adjusted_rand_of, agreement

LAYERS = np.repeat(np.arange(6), 8)


def drawn(seed, groups=4):
    return np.random.default_rng(seed).integers(groups, size=len(LAYERS)).astype(str).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_counts_and_index_are_those_of_sklearn(seed):
    one, other = drawn(seed), drawn(seed + 50, 3)
    found = agreement(one, other, LAYERS)
    first, second = [found.rows.index(name) for name in one], [found.columns.index(name) for name in other]
    np.testing.assert_array_equal(found.counts, confusion_matrix(first, second)[:4, :3])
    assert found.rand == pytest.approx(adjusted_rand_score(one, other))
    assert adjusted_rand_of(found.counts) == pytest.approx(found.rand)
    assert found.chance.sum() == pytest.approx(len(LAYERS))
    np.testing.assert_allclose(found.chance.sum(axis=1), found.counts.sum(axis=1))


def test_the_same_groups_under_other_names_agree_wholly_and_more_than_chance():
    one = drawn(1)
    found = agreement(one, [f"group {name}" for name in one], LAYERS)
    assert found.rand == 1
    assert found.p == 1 / (1 + SHUFFLES)
    assert found.rand_by_chance < 0.2


def test_groups_that_only_follow_the_layers_are_no_agreement_of_heads():
    follows = [str(layer // 2) for layer in LAYERS]
    found = agreement(follows, follows, LAYERS)
    assert found.rand == found.rand_by_chance == found.p == 1


def test_p_is_uniform_where_groups_have_nothing_to_do_with_each_other():
    found = np.array([agreement(drawn(seed), drawn(seed + 1000), LAYERS).p for seed in range(60)])
    assert 0.01 <= np.mean(found <= 0.2) <= 0.4
    assert 0.3 < found.mean() < 0.7


def test_one_group_has_no_index():
    found = agreement(["a"] * 4, list("abab"), [0, 0, 1, 1])
    assert np.isnan([found.rand, found.rand_by_chance, found.p]).all()
    np.testing.assert_array_equal(found.counts, [[2, 2]])
