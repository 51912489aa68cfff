"""How far attention moved, which heads are alike, and how alike layers are: against the formulas, written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from atlas.metrics.between import matched, similarity_between
from atlas.metrics.cka import cka

RNG = np.random.default_rng(0)


def patterns(heads, rows, keys, seed):
    return np.random.default_rng(seed).dirichlet(np.full(keys, 0.3), size=(heads, rows))


def test_similarity_is_one_minus_the_distance_and_mass_without_partner_is_nowhere_in_the_other():
    one, other = patterns(3, 4, 6, 0), patterns(5, 4, 6, 1)
    found = similarity_between(one, other)
    for first, second in np.ndindex(3, 5):
        rows = []
        for row in range(4):
            a, b = one[first, row], other[second, row]
            # What is without partner is another key on either side.
            a, b = np.append(a, 0.0), np.insert(b, 5, 0.0)
            rows.append(jensenshannon(a, b, base=2) ** 2)
        assert found[first, second] == pytest.approx(1 - np.sqrt(np.mean(rows)), abs=1e-9)


def test_heads_are_paired_so_that_all_pairs_together_are_most_alike():
    # Greedy pairing would take 0.9 first and leave 0.1 for the other.
    assert matched(np.array([[0.9, 0.8], [0.8, 0.1]])).tolist() == [1, 0]


def test_where_the_other_side_has_fewer_heads_some_have_no_partner():
    assert matched(np.array([[0.2], [0.7], [0.3]])).tolist() == [-1, 0, -1]
    assert matched(np.array([[0.2, 0.4, 0.3]])).tolist() == [1]


def test_cka_is_the_formula_and_ignores_rotation_size_and_width():
    x, y = RNG.normal(size=(12, 5)), RNG.normal(size=(12, 7))
    rotation, _ = np.linalg.qr(RNG.normal(size=(5, 5)))
    found = cka([x], [x @ rotation * 3 + 2, y, np.hstack([x, np.zeros((12, 2))])])
    a, b = x - x.mean(0), y - y.mean(0)
    by_hand = np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    np.testing.assert_allclose(found.values, [[1, by_hand, 1]])


def test_the_level_of_chance_is_that_of_shuffled_words_and_p_counts_them():
    x = RNG.normal(size=(20, 6))
    found = cka([x], [x, RNG.normal(size=(20, 6))], permutations=199)
    assert found.p[0, 0] == pytest.approx(1 / 200)
    assert found.p[0, 1] > 0.05
    assert 0.05 < found.chance[0, 0] < 0.6  # twenty words are few: CKA is far from 0 by chance
    assert found.values[0, 1] == pytest.approx(found.chance[0, 1], abs=0.2)


def test_words_that_all_have_one_state_have_no_cka():
    x = RNG.normal(size=(6, 3))
    found = cka([x, np.full((6, 3), 0.1)], [x])
    assert found.values[0, 0] == pytest.approx(1)
    assert np.isnan([found.values[1, 0], found.chance[1, 0], found.p[1, 0]]).all()
