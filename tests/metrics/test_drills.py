"""Scores of heads on drills: the numbers are those of the plain test, and chance is named as rarely as it says."""

from __future__ import annotations

import numpy as np
from scipy import stats

from atlas.metrics.drills import head_scores


def test_the_numbers_are_those_of_a_paired_test_by_drill():
    draw = np.random.default_rng(0)
    scores, shuffled = draw.uniform(0, 1, (20, 5)), draw.uniform(0, 0.6, (20, 5))
    found = head_scores(scores, shuffled)
    expected = stats.ttest_rel(scores, shuffled, alternative="greater")
    np.testing.assert_allclose(found.p, expected.pvalue)
    np.testing.assert_allclose(found.q, stats.false_discovery_control(expected.pvalue))
    for head in range(5):
        lo, hi = stats.t.interval(0.95, 19, scores[:, head].mean(), stats.sem(scores[:, head]))
        np.testing.assert_allclose((found.lo[head], found.hi[head]), (lo, hi))
    np.testing.assert_allclose(found.excess, (scores.mean(0) - shuffled.mean(0)) / (1 - shuffled.mean(0)))
    assert not found.has.any()


def test_a_head_that_always_does_it_has_it_and_one_that_does_the_same_when_shuffled_has_not():
    always, never = np.ones((12, 1)), np.zeros((12, 1))
    found = head_scores(np.hstack([always, always, never]), np.hstack([never, always, never]))
    assert found.has.tolist() == [True, False, False]
    assert found.q.tolist() == [0, 1, 1]
    few = head_scores(always[:9], never[:9])  # under ten drills nothing is tested
    assert np.isnan(few.q).all()
    assert not few.has.any()


def test_retrieval_is_called_so_from_a_tenth_on():
    draw = np.random.default_rng(1)
    scores = (draw.uniform(size=(64, 3)) < [0.3, 0.08, 0.02]).astype(float)
    assert head_scores(scores, np.zeros_like(scores), published=True).has.tolist() == [True, False, False]
    assert not head_scores(scores, np.zeros_like(scores)).has.any()


def test_heads_that_do_the_same_on_shuffled_drills_are_rarely_taken_for_more():
    draw, named = np.random.default_rng(2), 0
    for _ in range(200):
        both = draw.beta(0.5, 3, (2, 32, 48))
        named += bool((head_scores(*both).q <= 0.05).any())
    assert named <= 200 * 0.05 + 3 * np.sqrt(200 * 0.05 * 0.95)
