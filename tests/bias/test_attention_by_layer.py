"""Attention to flagged tokens by layer: plain sums over heads, 1 for even attention, uniform p, and a planted layer is found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import atlas
from atlas.attribution.statistics import false_discovery
from atlas.bias import attention_bias, attention_bias_by_layer
from atlas.bias import heads as module
from tests.engine.families import TARGET, TEXT, loaded
from tests.state.readers import DECODER, ENCODER, rows

TOKENS = [f"w{i}" for i in range(20)]

FLAGGED = [3, 4, 9]


def plain(weights, special, flagged, *, among):
    """The ratio of a layer, head by head and token by token."""
    mass = even = 0.0
    for head in weights:
        for i, row in enumerate(head):
            seen = [j for j in range(len(row)) if not special[j] and np.isfinite(row[j])]
            if special[i] or not seen or (among and i not in flagged):
                continue
            there = [j for j in seen if j in flagged]
            mass += sum(float(row[j]) for j in there)
            even += sum(float(row[j]) for j in seen) * len(there) / len(seen)
    return mass / even


@pytest.mark.parametrize("direction", ["received", "among"])
@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5"])
def test_the_ratio_of_a_layer_is_that_of_the_sums_over_its_heads(name, direction, monkeypatch):
    model = loaded(name)
    trace = model.trace(TEXT, target=TARGET) if "cross" in model.kinds else model.trace(TEXT)
    found = attention_bias_by_layer(trace, FLAGGED, direction, permutations=49)
    assert list(found.columns) == ["kind", "layer", "ratio", "lo", "hi", "p", "q", "n"]
    own = found[found["kind"] == trace.kinds[0]]
    special = trace.tokens()["special"].to_numpy()
    assert own["layer"].tolist() == list(range(trace.n_layers(trace.kinds[0])))
    for row in own.to_dict("records"):
        weights = trace.attention(row["kind"], row["layer"]).to_numpy()
        assert row["ratio"] == pytest.approx(plain(weights, special, set(FLAGGED), among=direction == "among"), rel=1e-5)
        assert row["lo"] <= row["ratio"] <= row["hi"]
    np.testing.assert_allclose(found["q"], false_discovery(found["p"]))
    monkeypatch.setattr(module, "CELLS_AT_ONCE", 1)
    one_by_one = attention_bias_by_layer(trace, FLAGGED, direction, permutations=49)
    np.testing.assert_allclose(one_by_one.drop(columns="kind"), found.drop(columns="kind"), atol=1e-6)


@pytest.mark.parametrize("kind", [ENCODER, DECODER])
def test_even_attention_has_1_and_a_layer_that_looks_there_is_found(kind):
    n = len(TOKENS)
    weights = np.tile(np.tri(n) if kind == DECODER else np.ones((n, n)), (4, 3, 1, 1))
    weights[2][..., FLAGGED] *= 20
    weights /= weights.sum(-1, keepdims=True)
    found = attention_bias_by_layer(atlas.from_attention(weights.astype(np.float32), TOKENS, kind=kind), FLAGGED)
    np.testing.assert_allclose(found["ratio"][[0, 1, 3]], 1, atol=1e-5)
    assert (found["p"][[0, 1, 3]] == 1).all()
    assert found["ratio"][2] > 3
    assert found["q"][2] < 0.05


@pytest.mark.parametrize("kind", [ENCODER, DECODER])
def test_p_is_uniform_for_random_labels(kind):
    weights = rows((2, 3, len(TOKENS), len(TOKENS)), causal=kind == DECODER)
    trace = atlas.from_attention(weights, TOKENS, kind=kind)
    random = np.random.default_rng(1)
    p = [
        attention_bias_by_layer(trace, random.choice(20, 4, replace=False).tolist(), permutations=99, seed=seed)["p"][0]
        for seed in range(150)
    ]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_of_a_layer_with_one_head_it_is_what_the_head_has():
    weights = rows((3, 1, len(TOKENS), len(TOKENS)))
    trace = atlas.from_attention(weights, TOKENS, kind=ENCODER)
    by_head = attention_bias(trace, FLAGGED, permutations=99).drop(columns=["kind", "head"])
    np.testing.assert_allclose(attention_bias_by_layer(trace, FLAGGED, permutations=99).drop(columns="kind"), by_head, atol=1e-6)
