"""Agreement of heads with an attribution: scipy's numbers on the same vectors, chance, and what is compared."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import atlas
from atlas.attribution import Target, agreement, attribute
from atlas.attribution.agreement import mean_by_layer
from atlas.attribution.statistics import false_discovery, jaccard, kendall, rank_biased_overlap, spearman
from atlas.errors import UnknownName
from atlas.tracing.explained import Attribution, Resolved
from tests.attribution.own import model, traced
from tests.state.readers import DECODER, ENCODER, both, rows, single


def an_attribution(trace, seed=0, position=-1):
    """Random scores for the tokens of a trace."""
    random = np.random.default_rng(seed)
    parts = [
        pd.DataFrame(
            {"side": side, "token": table["token"], "special": table["special"], "score": random.normal(size=len(table))}
        )
        for side, table in trace.token_tables.items()
    ]
    return Attribution("random", Resolved(position, "source", "", 0), pd.concat(parts, ignore_index=True))


RANDOM = np.random.default_rng(7)
VECTORS = {
    "distinct": (RANDOM.random((6, 23)), RANDOM.random(23)),
    "ties": (RANDOM.integers(0, 4, (6, 23)).astype(float), RANDOM.integers(0, 5, 23).astype(float)),
    "short": (RANDOM.random((6, 3)), RANDOM.random(3)),
    "equal": (np.tile(np.arange(9.0), (2, 1)), np.arange(9.0)),
}


@pytest.mark.parametrize("name", VECTORS)
def test_correlations_are_scipys(name):
    table, vector = VECTORS[name]
    np.testing.assert_allclose(spearman(table, vector).rho, [stats.spearmanr(row, vector).statistic for row in table], atol=1e-12)
    np.testing.assert_allclose(kendall(table, vector), [stats.kendalltau(row, vector).statistic for row in table], atol=1e-12)


def test_kendall_in_pieces_is_kendall(monkeypatch):
    table, vector = VECTORS["ties"]
    expected = kendall(table, vector)
    monkeypatch.setattr("atlas.attribution.statistics.PAIRS_AT_ONCE", 60)
    np.testing.assert_allclose(kendall(table, vector), expected)


def test_the_permutation_p_is_scipys():
    table, vector = VECTORS["distinct"]

    def statistic(x):
        return stats.spearmanr(x, vector).statistic

    for row, p in zip(table[:3], spearman(table, vector, permutations=1999, seed=1).p[:3], strict=True):
        expected = stats.permutation_test((row,), statistic, permutation_type="pairings", n_resamples=1999, rng=3).pvalue
        assert p == pytest.approx(expected, abs=0.05)


def test_intervals_hold_the_correlation_and_shrink_with_n():
    found = [spearman(RANDOM.random((4, n)), RANDOM.random(n)) for n in (8, 80)]
    for each in found:
        assert ((each.lo < each.rho) & (each.rho < each.hi)).all()
    assert (found[1].hi - found[1].lo).mean() < 0.5 * (found[0].hi - found[0].lo).mean()
    rho, n = found[0].rho[0], 8
    half = 1.959964 * np.sqrt((1 + rho**2 / 2) / (n - 3))
    assert found[0].hi[0] == pytest.approx(np.tanh(np.arctanh(rho) + half), abs=1e-6)
    assert np.isnan(spearman(RANDOM.random((2, 3)), RANDOM.random(3)).lo).all()


def test_intervals_cover_the_true_correlation():
    random, covered = np.random.default_rng(0), 0
    for _ in range(400):
        x = random.normal(size=40)
        y = 0.5 * x + np.sqrt(0.75) * random.normal(size=40)
        found = spearman(x[None], y, permutations=1)
        covered += found.lo[0] <= 6 / np.pi * np.arcsin(0.25) <= found.hi[0]
    assert 0.92 <= covered / 400 <= 0.98


def test_p_values_are_uniform_where_nothing_agrees():
    random = np.random.default_rng(0)
    p = np.array([spearman(random.random((1, 30)), random.random(30), permutations=199, seed=i).p[0] for i in range(800)])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert abs((p <= 0.05).mean() - 0.05) < 0.025


def test_overlaps_by_hand():
    one, two = np.array([[5.0, 4, 3, 2, 1]]), np.array([5.0, 3, 4, 1, 2])
    assert jaccard(one, two, 1)[0] == 1
    assert jaccard(one, two, 2)[0] == pytest.approx(1 / 3)
    shared = [1, 1, 3, 3, 5]
    expected = 0.1 / 0.9 * sum(x / d * 0.9**d for d, x in enumerate(shared, 1)) + 0.9**5
    assert rank_biased_overlap(one, two)[0] == pytest.approx(expected)
    assert rank_biased_overlap(one, one[0])[0] == pytest.approx(1)


def test_false_discovery_is_scipys_over_the_known():
    p = np.array([0.01, np.nan, 0.2, 0.03])
    np.testing.assert_allclose(false_discovery(p)[[0, 2, 3]], stats.false_discovery_control(p[[0, 2, 3]]))
    assert np.isnan(false_discovery(p)[1])


@pytest.mark.parametrize("specials", [False, True])
def test_a_head_is_compared_by_the_attention_that_tokens_receive(specials):
    trace = single()
    found, scores = agreement(trace, an_attribution(trace), specials=specials), an_attribution(trace).scores
    kept = slice(None) if specials else ~trace.tokens()["special"].to_numpy(dtype=bool)
    assert list(found.columns) == ["kind", "layer", "head", "rho", "lo", "hi", "p", "q", "tau", "jaccard", "rbo", "n"]
    for row in found.itertuples():
        received = trace.attention(ENCODER, row.layer, row.head).to_numpy().mean(axis=0)[kept]
        assert row.rho == pytest.approx(stats.spearmanr(received, np.abs(scores[kept])).statistic)
        assert row.tau == pytest.approx(stats.kendalltau(received, np.abs(scores[kept])).statistic)
        assert row.n == len(received)
    np.testing.assert_allclose(found["q"], stats.false_discovery_control(found["p"]))
    assert agreement(trace, an_attribution(trace)).equals(agreement(trace, an_attribution(trace)))


def test_the_sign_is_kept_where_it_is_asked_for():
    trace = single()
    signed, plain = (agreement(trace, an_attribution(trace), signed=sign) for sign in (True, False))
    scores, kept = an_attribution(trace).scores, ~trace.tokens()["special"].to_numpy(dtype=bool)
    received = trace.attention(ENCODER, 1, 2).to_numpy().mean(axis=0)[kept]
    assert signed["rho"].iloc[-1] == pytest.approx(stats.spearmanr(received, scores[kept]).statistic)
    assert not np.allclose(signed["rho"], plain["rho"])


def test_a_causal_head_is_compared_on_what_can_have_made_the_prediction():
    trace = single(DECODER)
    found = agreement(trace, an_attribution(trace, position=5), specials=True)
    weights = trace.attention(DECODER, 1, 2).to_numpy()[:6, :6]
    received = np.array([weights[at:, at].mean() for at in range(6)])
    expected = stats.spearmanr(received, np.abs(an_attribution(trace).scores[:6])).statistic
    assert found["rho"].iloc[-1] == pytest.approx(expected)
    assert (found["n"] == 6).all()


def test_even_attention_agrees_with_nothing():
    n = 8
    trace = atlas.from_attention(np.full((1, 1, n, n), 1 / n, dtype=np.float32), [f"w{i}" for i in range(n)], kind="encoder")
    found = agreement(trace, an_attribution(trace))
    assert found[["rho", "p", "q", "tau", "jaccard", "rbo"]].isna().all(axis=None)


def test_every_kind_is_compared_with_the_tokens_of_its_keys():
    trace = both()
    found = agreement(trace, an_attribution(trace), specials=True)
    assert list(found["kind"].unique()) == ["encoder", "decoder", "cross"]
    scores = an_attribution(trace)
    received = trace.attention("cross", 2, 1).to_numpy().mean(axis=0)
    assert found["rho"].iloc[-1] == pytest.approx(stats.spearmanr(received, np.abs(scores.scores)).statistic)
    assert len(found) == len(trace.head_ids)


def test_the_mean_of_a_layer_is_that_of_its_heads_and_its_interval_a_bootstrap_of_them():
    found = agreement(both(), an_attribution(both()))
    layers = mean_by_layer(found)
    assert list(zip(layers["kind"], layers["layer"], strict=True)) == list(found.groupby(["kind", "layer"], sort=False).groups)
    for row in layers.itertuples():
        rho = found.loc[(found["kind"] == row.kind) & (found["layer"] == row.layer), "rho"].to_numpy()
        assert (row.n, row.mean) == (len(rho), pytest.approx(rho.mean()))
        expected = stats.bootstrap((rho,), np.mean, method="percentile", n_resamples=20_000, rng=0).confidence_interval
        assert (row.lo, row.hi) == pytest.approx((expected.low, expected.high), abs=0.03)


def test_a_layer_of_even_heads_has_no_mean():
    n = 8
    weights = np.stack([np.full((2, n, n), 1 / n), RANDOM.dirichlet(np.ones(n), (2, n))]).astype(np.float32)
    trace = atlas.from_attention(weights, [f"w{i}" for i in range(n)], kind="encoder")
    layers = mean_by_layer(agreement(trace, an_attribution(trace)))
    assert layers["n"].tolist() == [0, 2]
    assert layers[["mean", "lo", "hi"]].isna().all(axis=1).tolist() == [True, False]
    even = atlas.from_attention(weights[[0, 0]], [f"w{i}" for i in range(n)], kind="encoder")
    layers = mean_by_layer(agreement(even, an_attribution(even)))
    assert layers["n"].tolist() == [0, 0]
    assert layers[["mean", "lo", "hi"]].isna().all(axis=None)


def test_an_attribution_of_another_text_is_refused():
    with pytest.raises(UnknownName, match="not of one text"):
        agreement(single(), an_attribution(single(tokens=("a", "b", "c"))))


def test_a_model_and_its_attribution():
    trace = traced("GPT-2")
    found = agreement(trace, attribute(model("GPT-2"), trace, Target(-3)))
    assert len(found) == 12
    assert found["rho"].between(-1, 1).all()


def test_the_null_of_all_heads_is_quick():
    weights = rows((12, 12, 64, 64))
    trace = atlas.from_attention(weights, [f"w{i}" for i in range(64)], kind="encoder")
    scores = an_attribution(trace)
    agreement(trace, scores)
    received, vector = RANDOM.random((144, 64)), RANDOM.random(64)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        spearman(received, vector, permutations=999)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5
