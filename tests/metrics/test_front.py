"""The Pareto front against its definition, pair by pair."""

from __future__ import annotations

import numpy as np

from atlas.metrics.front import on_front


def by_pairs(x, y):
    def beats(one, other):
        return x[one] >= x[other] and y[one] >= y[other] and (x[one] > x[other] or y[one] > y[other])

    known = [at for at in range(len(x)) if np.isfinite(x[at]) and np.isfinite(y[at])]
    return [at in known and not any(beats(other, at) for other in known) for at in range(len(x))]


def test_the_front_is_what_no_other_point_beats_also_with_ties_and_unknown_values():
    random = np.random.default_rng(0)
    for count in (1, 2, 5, 40):
        for _ in range(40):
            x, y = random.integers(0, 6, size=(2, count)).astype(float)
            x[random.random(count) < 0.1] = np.nan
            assert on_front(x, y).tolist() == by_pairs(x, y)


def test_many_sets_of_points_at_once_are_as_one_by_one():
    x, y = np.random.default_rng(1).normal(size=(2, 3, 4, 7))
    found = on_front(x, y)
    for at in np.ndindex(3, 4):
        assert found[at].tolist() == by_pairs(x[at], y[at])


def test_equal_points_are_on_it_together():
    assert on_front([1, 1, 0], [2, 2, 2]).tolist() == [True, True, False]
