"""Hidden states against scikit-learn and plain loops, on every kind of stream."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from sklearn.decomposition import PCA

import atlas
from atlas.errors import TooLarge
from atlas.metrics.geometry import mean_cosine, project
from atlas.tracing import hidden as module
from atlas.tracing.hidden import are_held, cloud, n_states, nearest, token_classes, without_hidden
from tests.engine.families import TARGET, TEXT, loaded
from tests.state.readers import single

CASES = [("BERT", "encoder"), ("GPT-2", "decoder"), ("Llama", "decoder"), ("T5", "encoder"), ("T5", "decoder"), ("T5", "cross"),
         ("bert-mini", "encoder")]  # fmt: skip


@functools.cache
def traced(name, capture=("stream",)):
    model = atlas.load(name) if name == "bert-mini" else loaded(name)
    return model.trace(TEXT, capture=capture, **({"target": TARGET} if "cross" in model.kinds else {}))


def states(trace, kind):
    """(layer, token, width), through the public name."""
    return trace.vectors("hidden", "decoder" if kind == "cross" else kind).to_numpy().astype(float)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def plain_pca(values):
    fitted = PCA(2, svd_solver="full").fit(values)
    positions = fitted.transform(values)
    return positions * np.sign(positions[np.abs(positions).argmax(0), [0, 1]]), fitted.explained_variance_ratio_


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_places_are_those_of_scikit_learn_for_one_layer_and_for_all(name, kind, unit):
    trace = traced(name)
    found = states(trace, kind)
    assert len(found) == n_states(trace, kind) == trace.n_layers(kind) + 1
    assert found.shape[1] == trace.attention_of(kind).n_queries
    used = found / np.linalg.norm(found, axis=-1, keepdims=True) if unit else found
    for layer in (0, len(found) - 1):
        here = cloud(trace, kind, layer, unit=unit)
        positions, explained = plain_pca(used[layer])
        assert here.explained == pytest.approx(explained, rel=1e-4)
        np.testing.assert_allclose(here.positions[0], positions, rtol=1e-3, atol=1e-3 * np.abs(positions).max())
    joint = cloud(trace, kind, None, unit=unit)
    positions, explained = plain_pca(used.reshape(-1, used.shape[-1]))
    assert joint.explained == pytest.approx(explained, rel=1e-4)
    np.testing.assert_allclose(joint.positions.reshape(-1, 2), positions, rtol=1e-3, atol=1e-3 * np.abs(positions).max())


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_mean_cosine_is_that_of_all_pairs(name, kind):
    trace = traced(name)
    found = cloud(trace, kind, 0)
    for layer, here in enumerate(states(trace, kind)):
        for values, mean in ((here, found.cosine[layer]), (here - here.mean(0), found.cosine_centred[layer])):
            assert mean == pytest.approx(np.mean([cosine(a, b) for a, b in itertools.combinations(values, 2)]), abs=1e-5)
    last = states(trace, kind)[-1]
    centred = last - last.mean(0)
    expected = sorted(((cosine(each, centred[2]), at) for at, each in enumerate(centred) if at != 2), reverse=True)[:3]
    assert nearest(trace, kind, len(found.cosine) - 1, 2, 3) == [(at, pytest.approx(value, abs=1e-5)) for value, at in expected]


def test_states_that_say_nothing_are_unknown_and_never_0():
    same = project(np.ones((5, 3)))
    assert np.isnan(same.explained).all()
    np.testing.assert_allclose(same.positions, 0)
    alone = project(np.arange(4.0)[None])
    assert alone.positions.shape == (1, 2)
    assert np.isnan(mean_cosine(np.arange(4.0)[None]))
    pair = project(np.array([[0.0, 0.0, 1.0], [0.0, 3.0, 1.0]]))
    np.testing.assert_allclose(np.sort(pair.positions[:, 0]), [-1.5, 1.5])
    assert pair.explained == pytest.approx((1.0, 0.0))
    broken = project(np.array([[0.0, 0.0], [3.0, 0.0], [np.inf, 1.0]]))
    assert np.isnan(broken.positions[2]).all()
    np.testing.assert_allclose(np.abs(broken.positions[:2, 0]), 1.5)
    even = np.concatenate([np.eye(3), -np.eye(3)])
    assert mean_cosine(even) == mean_cosine(even, centred=True) == pytest.approx(-1 / 5)  # six directions, evenly spread
    assert mean_cosine(even + np.array([100.0, 0, 0])) > 0.99
    assert mean_cosine(even + np.array([100.0, 0, 0]), centred=True) == pytest.approx(-1 / 5)


def test_states_that_were_not_kept_come_from_one_more_run_and_are_the_same():
    bare = traced("BERT", capture=())
    assert (without_hidden(bare), without_hidden(traced("BERT"))) == ("", "")
    np.testing.assert_allclose(cloud(bare, "encoder", 1).positions, cloud(traced("BERT"), "encoder", 1).positions, atol=1e-5)
    assert are_held(bare)
    assert "no hidden states" in without_hidden(single())


def test_many_layers_of_a_long_text_are_not_projected_together(monkeypatch):
    trace = traced("BERT")
    monkeypatch.setattr(module, "JOINT_NUMBERS", states(trace, "encoder").size - 1)
    with pytest.raises(TooLarge, match="Switch 'One PCA for all layers' off"):
        cloud(trace, "encoder", None)
    assert len(cloud(trace, "encoder", 0).positions) == 1


def test_tokens_are_of_the_class_that_their_part_of_speech_says():
    trace = atlas.load("bert-mini").trace("The doctor ran.", capture=())
    assert token_classes(trace, "source") == [
        "special tokens", "function words", "content words", "content words", "punctuation", "special tokens"
    ]  # fmt: skip
