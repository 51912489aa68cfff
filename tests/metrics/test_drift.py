"""Drift: the test is right where nothing differs, and finds what was planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from atlas.errors import UnknownName
from atlas.metrics.conditions import DEEPEST, matching
from atlas.metrics.drift import LEAST_TEXTS, corrected, welch
from atlas.metrics.moments import Moments
from atlas.metrics.standard import ROUNDING
from atlas.tracing.drift import drift
from tests.tracing.corpora import METRICS, corpus, values


def test_the_comparison_is_welchs_test_text_by_text():
    first, second = values(40, seed=1), values(55, seed=2) + 0.02
    found = welch(Moments.of(first), Moments.of(second))
    expected = stats.ttest_ind(second, first, equal_var=False)
    np.testing.assert_allclose(found.p, expected.pvalue, rtol=1e-9)
    np.testing.assert_allclose(found.difference, second.mean(0) - first.mean(0), atol=1e-12)
    interval = expected.confidence_interval(0.95)
    np.testing.assert_allclose([found.lo, found.hi], [interval.low, interval.high], rtol=1e-9)
    pooled = np.sqrt((39 * first.var(0, ddof=1) + 54 * second.var(0, ddof=1)) / 93)
    np.testing.assert_allclose(found.effect, found.difference / pooled, rtol=1e-9)
    np.testing.assert_allclose(corrected(found.p), stats.false_discovery_control(found.p, axis=None).reshape(found.p.shape))


def test_p_values_are_uniform_where_nothing_differs_also_of_skewed_shares():
    made = np.random.default_rng(5)
    first, second = made.beta(0.5, 4, (60, 4000)), made.beta(0.5, 4, (80, 4000))
    p = welch(Moments.of(first), Moments.of(second)).p
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert 0.03 < (p <= 0.05).mean() < 0.065


def test_halves_of_one_corpus_drift_no_more_often_than_the_level_says():
    made = np.random.default_rng(7)
    claims = []
    for _ in range(400):
        # What one text does to a head shows in many of its figures: they are far from independent.
        text = made.standard_normal((80, 1, 1))
        numbers = np.clip(0.3 + 0.05 * text + 0.05 * made.standard_normal((80, 24, 12)), 0, 1)
        p = welch(Moments.of(numbers[:40]), Moments.of(numbers[40:])).p
        claims.append(bool((corrected(p) <= 0.05).any()))
    low, high = stats.binomtest(sum(claims), len(claims)).proportion_ci(0.99)
    assert low <= 0.05
    assert high < 0.12


def test_what_is_within_rounding_or_of_few_texts_is_not_tested_as_a_difference():
    same = np.zeros((30, 2))
    near = welch(Moments.of(same), Moments.of(same + ROUNDING / 2))
    np.testing.assert_array_equal(near.p, [1, 1])
    np.testing.assert_array_equal(near.effect, [0, 0])
    far = welch(Moments.of(same), Moments.of(same + 0.5))
    np.testing.assert_array_equal(far.p, [0, 0])
    few = welch(Moments.of(same[: LEAST_TEXTS - 1]), Moments.of(same + 0.5))
    assert np.isnan(few.p).all()
    assert np.isnan(few.effect).all()
    unknown = welch(Moments.of(np.full((30, 2), np.nan)), Moments.of(same))
    assert np.isnan(unknown.p).all()


def test_one_altered_head_is_found_and_named():
    before, after = values(120, seed=3), values(120, seed=4)
    after[:, 4, METRICS.index("previous")] += 0.05
    found = drift(corpus(before), corpus(after))
    assert bool(found)
    (head,) = found.heads.itertuples()
    assert (head.kind, head.layer, head.head, head.metric, head.metrics) == ("decoder", 1, 1, "previous", 1)
    row = found.found.iloc[0]
    assert row["a"] == pytest.approx(before[:, 4, METRICS.index("previous")].mean())
    assert row["b"] == pytest.approx(after[:, 4, METRICS.index("previous")].mean())
    assert found.sentence.startswith("Drift in 1 of 6 heads (L1 H1): 1 of 84 figures differ")
    assert not drift(corpus(before), corpus(values(120, seed=8)))
    assert not drift(corpus(before), corpus(after), least=3)
    assert not drift(corpus(before), corpus(after), metrics=["induction"])
    with pytest.raises(UnknownName, match="There is no 'prevous' in both corpora; there are entropy_norm"):
        drift(corpus(before), corpus(after), metrics=["prevous"])
    with pytest.raises(UnknownName, match="other layers or heads"):
        drift(corpus(before), corpus(after[:, :4], kinds=(("decoder", 2, 2),)))


def test_groups_of_one_corpus_can_be_compared():
    numbers = np.concatenate([values(60, seed=1), values(60, seed=2) + 0.1])
    both = corpus(numbers, groups=["old"] * 60 + ["new"] * 60)
    found = drift(both, both, groups=("old", "new"))
    shares = found.table[found.table["metric"] != "distance"]
    assert shares["drift"].all()
    assert set(found.table["n_a"]) == {60}
    assert not drift(both, both)


TABLE = pd.DataFrame({
    "kind": "decoder", "layer": [0, 0, 1], "induction": [0.1, 0.5, np.nan], "distance": [30.0, 25.0, 4.0],
    "role": ["unnamed", "induction", "[CLS] or BOS"],
})  # fmt: skip


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("induction > 0.4 and distance > 20", [0, 1, 0]),
        ("induction<=.1 or distance < 5", [1, 0, 1]),
        ("induction > 40%", [0, 1, 0]),
        ("(layer = 1 or induction >= 0.5) and distance < 26", [0, 1, 1]),
        ("layer = 1 or induction >= 0.5 and distance < 2", [0, 0, 1]),
        ("Induction != 0.1", [0, 1, 0]),  # unknown is not unequal
        ("role = induction OR role == cls_or_bos", [0, 1, 1]),
        ("role != unnamed", [0, 1, 1]),
        ("distance > -1e1", [1, 1, 1]),
    ],
)
def test_conditions_are_met_by_the_rows_that_meet_them(written, expected):
    assert matching(TABLE, written).tolist() == list(map(bool, expected))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "no condition yet"),
        ("inducton > 1", "There is no 'inducton'. Is 'induction' meant\\? There are kind, layer, induction, distance, role"),
        ("induction", "one of >=, <=, !=, >, <, = is expected"),
        ("induction > high", "a number is expected, not 'high'"),
        ("role > 3", "= or != and a word"),
        ("role = inductive", "No head has the role 'inductive'; there are cls_or_bos, induction, unnamed"),
        ("induction > 1 distance > 2", "'and' or 'or' is expected"),
        ("(induction > 1", "'\\)' is expected"),
        ("induction > 1 and", "the name of a metric is expected, not 'the end'"),
        ("__import__('os').system('true')", "cannot be read"),
        ("__import__(induction) > 1", "There is no '__import__'"),
        ("induction > 1; distance", "'; distance' cannot be read"),
        ("(" * (DEEPEST + 1) + "induction > 1", "brackets"),
        ("induction > 1 or " * 60, "letters, more than"),
    ],
)
def test_what_is_no_condition_says_why_and_lists_what_there_is(written, message):
    with pytest.raises(UnknownName, match=message):
        matching(TABLE, written)
