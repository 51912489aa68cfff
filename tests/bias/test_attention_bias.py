"""Attention to flagged tokens: plain numpy's numbers, 1 for uniform heads, and p-values that are uniform for random labels."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import atlas
from atlas.attribution.statistics import false_discovery
from atlas.bias import attention_bias
from atlas.bias.heads import elsewhere
from atlas.errors import UnknownName
from tests.engine.families import TARGET, TEXT, loaded
from tests.state.readers import DECODER, ENCODER, rows

TOKENS = ["[CLS]", *(f"w{i}" for i in range(22)), "[SEP]"]


def recorded(weights, kind):
    return atlas.from_attention(weights.astype(np.float32), TOKENS if kind == ENCODER else TOKENS[1:-1], kind=kind)


def even(n, kind):
    weights = np.tri(n) if kind == DECODER else np.ones((n, n))
    return np.tile(weights / weights.sum(1, keepdims=True), (2, 3, 1, 1))


def plain(weights, special_rows, special_columns, flagged, *, among=False):
    """The ratio of one head, token by token."""
    mass = uniform = 0.0
    for i in range(weights.shape[0]):
        if special_rows[i] or (among and i not in flagged):
            continue
        seen = [j for j in range(weights.shape[1]) if not special_columns[j] and np.isfinite(weights[i, j])]
        if not seen:
            continue
        there = [j for j in seen if j in flagged]
        mass += sum(float(weights[i, j]) for j in there)
        uniform += sum(float(weights[i, j]) for j in seen) * len(there) / len(seen)
    return mass / uniform if uniform else np.nan


@pytest.mark.parametrize("direction", ["received", "among"])
@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "Mistral", "T5"])
def test_the_ratio_is_what_its_tokens_give(name, direction):
    model = loaded(name)
    trace = model.trace(TEXT, target=TARGET, keep="weights", capture=()) if "cross" in model.kinds else model.trace(TEXT)
    flagged = [2, 3, 9]
    found = attention_bias(trace, flagged, direction, permutations=49)
    kinds = {"received": {"encoder", "decoder", "cross"}, "among": {"encoder", "decoder"}}[direction] & set(trace.kinds)
    if "cross" in trace.kinds:
        kinds.discard("decoder")  # its keys are tokens of the target
    assert set(found["kind"]) == kinds
    for row in found.to_dict("records"):
        weights = trace.attention(row["kind"], row["layer"], row["head"]).to_numpy()
        special = [trace.tokens(trace.side(row["kind"], axis))["special"].to_numpy() for axis in ("query", "key")]
        expected = plain(weights, *special, set(flagged), among=direction == "among")
        assert row["ratio"] == pytest.approx(expected, rel=1e-5)
        assert row["lo"] <= row["ratio"] * (1 + 1e-9)
        assert row["hi"] >= row["ratio"] * (1 - 1e-9)
    np.testing.assert_allclose(found["q"], false_discovery(found["p"]))
    assert (found["n"] == 3).all()


@pytest.mark.parametrize("direction", ["received", "among"])
@pytest.mark.parametrize("kind", [ENCODER, DECODER])
def test_a_uniform_head_has_ratio_1_wherever_the_flagged_tokens_stand(kind, direction):
    n = len(TOKENS) if kind == ENCODER else len(TOKENS) - 2
    trace = recorded(even(n, kind), kind)
    for flagged in ([1], [2], [n - 2], [1, 2, 3], [5, 11, n - 2]):
        found = attention_bias(trace, flagged, direction, permutations=99)
        for column in ("ratio", "lo", "hi", "p", "q"):
            np.testing.assert_allclose(found[column].dropna(), 1, atol=1e-5, err_msg=column)
        assert found["ratio"].notna().all()


def test_attention_to_special_tokens_does_not_make_words_seem_neglected():
    weights = even(len(TOKENS), ENCODER)
    weights[..., 0] += 4.0
    found = attention_bias(recorded(weights / weights.sum(-1, keepdims=True), ENCODER), [3, 4])
    np.testing.assert_allclose(found["ratio"], 1, atol=1e-5)
    a, b = (attention_bias(recorded(even(len(TOKENS), ENCODER), ENCODER), flagged) for flagged in ([0, 3, 4, 23], [3, 4]))
    assert a.equals(b)
    assert (a["n"] == 2).all()


@pytest.mark.parametrize("direction", ["received", "among"])
@pytest.mark.parametrize("kind", [ENCODER, DECODER])
def test_p_values_of_random_labels_are_uniform(kind, direction):
    n = len(TOKENS) if kind == ENCODER else len(TOKENS) - 2
    # Heads with a sink and a decay by distance: what a null that ignored the position would take for bias.
    weights = rows((1, 3, n, n), seed=3, causal=kind == DECODER)
    weights[0, 1, :, 0 if kind == DECODER else 2] += 2
    weights[0, 2] *= np.exp(-np.abs(np.subtract.outer(np.arange(n), np.arange(n))) / 3)
    trace = recorded(weights / weights.sum(-1, keepdims=True), kind)
    random, ordinary = np.random.default_rng(5), range(1, n - 1) if kind == ENCODER else range(n)
    p = np.array(
        [
            attention_bias(trace, random.choice(list(ordinary), 4, replace=False), direction, permutations=199, seed=seed)["p"]
            for seed in range(300)
        ]
    )
    for head in range(3):
        assert stats.kstest(p[:, head], "uniform").pvalue > 0.001
        assert abs((p[:, head] <= 0.05).mean() - 0.05) < 0.04


@given(st.lists(st.booleans(), min_size=1, max_size=12).map(np.array), st.integers(0, 9))
def test_the_null_has_stretches_of_the_same_lengths(marks, seed):
    def lengths(row):
        return sorted(len(stretch) for stretch in "".join("x" if at else " " for at in row).split())

    drawn = elsewhere(marks, 20, np.random.default_rng(seed))
    assert drawn.shape == (20, len(marks))
    assert set(np.unique(drawn)) <= {0, 1}
    assert all(lengths(row) == lengths(marks) for row in drawn)


def test_every_arrangement_of_the_stretches_is_as_likely():
    drawn = elsewhere(np.array([1, 1, 0, 0, 1, 0]), 6000, np.random.default_rng(0))
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    # Four gaps around three free tokens, of which two have a stretch, in either order.
    assert len(counts) == 12
    assert stats.chisquare(counts).pvalue > 0.001


def test_p_is_uniform_for_stretches_where_neighbours_get_alike_attention():
    """Held against single tokens, a stretch of three stood out in one of seven heads of such texts instead of one of twenty."""
    random, n = np.random.default_rng(11), len(TOKENS)
    p = []
    for seed in range(120):
        smooth = np.zeros((6, n))
        for at in range(n):
            smooth[:, at] = 0.7 * smooth[:, at - 1] * (at > 0) + random.normal(size=6)
        weights = np.repeat(np.exp(smooth)[None, :, None, :], n, axis=2)
        trace = recorded(weights / weights.sum(-1, keepdims=True), ENCODER)
        start = int(random.integers(1, n - 3))
        p += list(attention_bias(trace, range(start, start + 3), permutations=199, seed=seed)["p"])
    assert stats.binomtest(int((np.array(p) <= 0.05).sum()), len(p), 0.05, alternative="greater").pvalue > 0.001


@pytest.mark.parametrize("kind", [ENCODER, DECODER])
def test_a_head_that_looks_at_the_flagged_tokens_is_found_and_the_others_are_not(kind):
    n = len(TOKENS) if kind == ENCODER else len(TOKENS) - 2
    weights = even(n, kind)
    flagged = [4, 9, 13, 17]
    weights[1, 2][:, flagged] *= 5
    found = attention_bias(recorded(weights / weights.sum(-1, keepdims=True), kind), flagged)
    beyond = found[found["q"] <= 0.05]
    assert beyond[["layer", "head"]].to_numpy().tolist() == [[1, 2]]
    assert beyond["lo"].item() > 1.5


def test_nothing_flagged_is_not_known_and_what_is_no_token_is_refused():
    trace = recorded(even(len(TOKENS), ENCODER), ENCODER)
    for flagged in ([], [0]):
        found = attention_bias(trace, flagged)
        assert found[["ratio", "lo", "hi", "p", "q"]].isna().all().all()
        assert len(found) == 6
    with pytest.raises(UnknownName, match="no token 99"):
        attention_bias(trace, [99])
    with pytest.raises(UnknownName, match="Direction"):
        attention_bias(trace, [1], "sideways")


def test_the_same_seed_gives_the_same_numbers_and_512_tokens_take_no_loop_over_permutations():
    weights = rows((4, 12, 512, 512), causal=True)
    trace = atlas.from_attention(weights, [f"w{i}" for i in range(512)], kind=DECODER)
    start = time.perf_counter()
    first = attention_bias(trace, range(100, 120))
    # 48 heads, 999 permutations and as many resamples: half a second of products; one by one they would take minutes.
    assert time.perf_counter() - start < 20
    assert first.equals(attention_bias(trace, range(100, 120)))
    assert not first["p"].equals(attention_bias(trace, range(100, 120), seed=1)["p"])
