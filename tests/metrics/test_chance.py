"""Probabilities and bounds against plain enumeration, and NAME_p against plain loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from atlas.metrics import causal_mask, metrics_of
from atlas.metrics.chance import HEADS_AT_ONCE, label_bound, pooled, row_bound, stretches
from atlas.metrics.shared_keys import CLASSES, MIN_ROWS
from tests.metrics.cases import CASES, Case
from tests.metrics.test_heads import table_of


@pytest.mark.parametrize(("n", "even"), [(5, 0.1), (20, 0.3), (60, 0.05)])
def test_the_row_bound_is_never_below_the_binomial_tail(n, even):
    hits = np.arange(n + 1)
    bound = row_bound(hits / n, even, n)
    assert (bound >= stats.binom.sf(hits - 1, n, even) * (1 - 1e-9)).all()
    assert bound[-1] == pytest.approx(even**n)
    assert (bound[hits <= n * even] == 1).all()
    assert (np.diff(bound) <= 0).all()


def test_what_is_unknown_has_no_row_bound():
    assert np.isnan(row_bound([np.nan, 0.5], [0.1, np.nan], 10)).all()


def enumerated(surplus, members):
    """The permutation test itself."""
    wanted = surplus[members].sum() - 1e-12
    return np.mean([surplus[list(drawn)].sum() >= wanted for drawn in combinations(range(len(surplus)), members.sum())])


@pytest.mark.parametrize("cells", [2048, 0], ids=["without replacement", "with replacement"])
@pytest.mark.parametrize(("n", "m"), [(9, 4), (14, 3), (12, 9), (10, 1)])
def test_the_label_bound_is_never_below_the_permutation_test(n, m, cells, monkeypatch):
    monkeypatch.setattr("atlas.metrics.chance.EXACT_CELLS", cells)
    rng = np.random.default_rng(n)
    members = rng.permutation(n) < m
    surplus = rng.exponential(size=(40, n)) ** 2
    surplus[:10][:, members] += rng.exponential(4, size=(10, 1))
    bound = label_bound(surplus, members)
    exact = np.array([enumerated(row, members) for row in surplus])
    assert (bound >= exact * (1 - 1e-9)).all()
    assert (bound <= 1).all()
    # One favourite among the members is weak evidence, whatever it gets.
    surplus[:] = 0
    surplus[:, np.flatnonzero(members)[0]] = 100
    assert (label_bound(surplus, members) >= m / n - 1e-9).all()


def test_members_that_get_everything_have_the_smallest_probability_there_is():
    members = np.arange(12) < 4
    surplus = np.where(members, 5.0, -1.0)[None] + 0.1 * np.sin(np.arange(12.0))
    assert label_bound(surplus, members)[0] == pytest.approx(enumerated(surplus[0], members), rel=1e-3)
    assert label_bound(surplus, np.ones(12, dtype=bool)).tolist() == [1.0]
    assert label_bound(np.zeros((1, 12)), members)[0] == pytest.approx(1)


def test_the_label_bound_of_a_head_hangs_on_no_other_head():
    rng = np.random.default_rng(3)
    surplus, members = rng.exponential(size=(2 * HEADS_AT_ONCE + 5, 20)), np.arange(20) % 3 == 0
    bound = label_bound(surplus, members)
    for at in (0, HEADS_AT_ONCE - 1, HEADS_AT_ONCE, len(surplus) - 1):
        assert label_bound(surplus[at : at + 1], members)[0] == pytest.approx(bound[at], rel=1e-9)


def test_pooled_counts_itself_and_the_controls_of_all_heads():
    controls = np.array([0.1, 0.5, 0.3, 0.9])
    np.testing.assert_allclose(pooled(np.array([0.5, 0.95, np.nan]), controls), [3 / 5, 1 / 5, np.nan])
    assert np.isnan(pooled(np.array([0.5]), np.empty(0))).all()


def test_stretches_are_free_consecutive_and_evenly_spread():
    free = np.array([True, True, False, True, True, True])
    assert stretches(2, free).tolist() == [0, 3, 4]
    assert stretches(4, free).tolist() == stretches(7, free).tolist() == stretches(0, free).tolist() == []
    many = stretches(1, np.ones(1000, dtype=bool))
    assert len(many) == 64
    assert (many[0], many[-1]) == (0, 999)


def excess_by_loops(case, head, keys):
    """(excess of a head on some keys, rows that may see one of them)."""
    rows = [i for i in range(case.n_queries) if len(case.keys(i)) > 1 and any(case.sees(i, k) for k in keys)]
    if not rows:
        return np.nan, 0
    value = np.mean([sum(case.weights[head, i, k] for k in keys) for i in rows])
    even = np.mean([sum(case.sees(i, k) for k in keys) / len(case.keys(i)) for i in rows])
    return (value - even) / (1 - even), len(rows)


@pytest.mark.parametrize("name", CASES)
def test_the_chance_of_a_resting_place_is_its_rank_among_other_places(name):
    case = Case(name, seed=21, heads=4)
    table = table_of(case)
    special = case.key_tokens["special"].to_numpy(bool)
    others = [k for k in range(1, case.n_keys) if not special[k]]
    controls = [excess_by_loops(case, head, [k]) for head in range(case.heads) for k in others]
    controls = [value for value, rows in controls if rows >= MIN_ROWS]
    for head in range(case.heads):
        own = excess_by_loops(case, head, [0])[0]
        # In a narrow window no other key is seen by enough rows, so there is nothing to compare with.
        expected = (1 + sum(value >= own - 1e-9 for value in controls)) / (1 + len(controls)) if controls else np.nan
        assert bool(controls) == (name != "window")
        assert table["first_key_p"][head] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("cross")])
def test_the_chance_of_long_range_mass_is_against_the_heads_own_favourites(name):
    case = Case(name, seed=22, heads=3)
    table = table_of(case)
    informative = [i for i in range(case.n_queries) if len(case.keys(i)) > 1]
    far = lambda i, k: case.sees(i, k) and abs(i - k) >= 5
    counted = [i for i in informative if any(far(i, k) for k in range(case.n_keys))]
    for head in range(case.heads):
        if not counted:
            assert np.isnan(table["long_range_p"][head])
            continue
        spread = 0.0
        for k in range(case.n_keys):
            seen = [i for i in informative if case.sees(i, k)]
            if seen:
                spread += sum(case.weights[head, i, k] for i in seen) * sum(far(i, k) for i in seen) / len(seen)
        value, even = table["long_range"][head], spread / len(counted)
        assert table["long_range_p"][head] == pytest.approx(row_bound(value, even, len(counted)).item(), rel=1e-4)


@pytest.mark.parametrize("name", ["bidirectional", "causal", "cross"])
def test_the_chance_of_a_class_is_that_of_labels_drawn_anew(name):
    case = Case(name, seed=23, heads=3)
    table = table_of(case)
    special = case.key_tokens["special"].to_numpy(bool)
    informative = [i for i in range(case.n_queries) if len(case.keys(i)) > 1]
    pool = [k for k in range(case.n_keys) if not special[k] and any(case.sees(i, k) for i in informative)]
    members = np.array([case.key_tokens["pos"].iloc[k] in {"NOUN", "VERB", "ADJ", "ADV", "PROPN", "NUM"} for k in pool])
    for head in range(case.heads):
        surplus = np.array(
            [sum(case.weights[head, i, k] - 1 / len(case.keys(i)) for i in informative if case.sees(i, k)) for k in pool]
        )
        found = table["content_words_p"][head]
        assert found == pytest.approx(label_bound(surplus[None], members)[0], rel=1e-5)
        assert found >= enumerated(surplus, members) * (1 - 1e-9)


def test_a_class_of_one_token_is_not_tested():
    text = ["a", "b", "c", "d", "e", "f", "g", "."]
    weights = np.where(causal_mask(8), 1.0, np.nan)
    weights[-1, -1] = 50
    weights /= np.nansum(weights, axis=1, keepdims=True)
    table = metrics_of(weights[None, None], pd.DataFrame({"token": text, "special": False}))
    assert table["punctuation_rows"][0] == 1
    assert table["punctuation"][0] > 0.8
    assert table[[f"{name}_p" for name in CLASSES]].isna().all(axis=None)
