"""Medians and the change from layer to layer, against plain numpy and scipy."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

import atlas
from atlas.errors import TooLarge
from atlas.ids import HeadId
from atlas.metrics.depth import jensen_shannon
from atlas.tracing import metric_cards as module
from atlas.tracing.metric_cards import whole_metrics
from tests.engine.families import TARGET, TEXT, loaded

CASES = [
    ("BERT", "weights", "encoder"), ("GPT-2", "qk", "decoder"), ("Mistral", "weights", "decoder"), ("GPT-OSS", "qk", "decoder"),
    ("T5", "weights", "encoder"), ("T5", "qk", "decoder"), ("T5", "weights", "cross"), ("bert-mini", "weights", "encoder"),
]  # fmt: skip


@functools.cache
def traced(name, keep="weights"):
    model = atlas.load(name) if name == "bert-mini" else loaded(name)
    return model.trace(TEXT, keep=keep, capture=(), **({"target": TARGET} if "cross" in model.kinds else {}))


def informative(weights, rows):
    """Those of the rows that see two keys or more, in any head of a layer."""
    return [row for row in rows if (~np.isnan(weights[:, row])).any(0).sum() > 1]


def divergence(first, second, rows):
    """The mean over rows of scipy's distance, squared, between the means of heads."""
    found = [jensenshannon(np.nan_to_num(first[:, i]).mean(0), np.nan_to_num(second[:, i]).mean(0), base=2) ** 2 for i in rows]
    return float(np.mean(found))


@pytest.mark.parametrize("rows", [(), (2, 5, 6)])
@pytest.mark.parametrize(("name", "keep", "kind"), CASES)
def test_medians_and_the_change_between_layers_are_what_the_weights_say(name, keep, kind, rows):
    trace = traced(name, keep)
    weights = trace.attention(kind).to_numpy().astype(float)
    evenly = np.where(np.isnan(weights), np.nan, 1.0) / (~np.isnan(weights)).sum(-1, keepdims=True)
    found = whole_metrics(trace, kind, rows)
    over = list(rows or range(weights.shape[2]))
    for layer, of_layer in enumerate(weights):
        counted = informative(of_layer, over)
        expected = [np.nanmedian(head[counted]) for head in of_layer]
        np.testing.assert_allclose(found.median[layer], expected, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(found.median_uniform[layer], [np.nanmedian(head[counted]) for head in evenly[layer]])
    for step in range(len(weights) - 1):
        pair = weights[step], weights[step + 1]
        counted = sorted({*informative(pair[0], over), *informative(pair[1], over)})
        assert found.change[step] == pytest.approx(divergence(*pair, counted), abs=1e-6)
        assert found.change_uniform[step] == pytest.approx(divergence(evenly[step], evenly[step + 1], counted), abs=1e-9)
    assert len(found.change) == len(weights) - 1
    if not rows:
        np.testing.assert_allclose(found.median, trace.medians(kind), rtol=1e-6)


def test_the_divergence_is_one_bit_between_rows_that_share_no_key_and_unknown_where_a_row_gives_nothing():
    first = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 0]])
    second = np.array([[0, 0.2, 0.2], [0.25, 0.25, 0], [1, 0, 0]])  # rows may sum to less than 1, where a sink has the rest
    np.testing.assert_allclose(jensen_shannon(first, second), [1.0, 0.0, np.nan], atol=1e-12)
    np.testing.assert_array_equal(jensen_shannon(first, second), jensen_shannon(second, first))


def test_a_head_that_lost_an_edge_has_a_median_and_a_uniform_value_of_its_own():
    model = loaded("BERT")
    trace = model.trace(TEXT, keep="weights", capture=(), knock_out=[(HeadId("encoder", 0, 1), 3, 4)])
    weights = trace.attention().to_numpy()
    found = whole_metrics(trace, "encoder")
    assert np.isnan(weights[0, 1, 3, 4])
    np.testing.assert_allclose(found.median[0], [np.nanmedian(head) for head in weights[0]], rtol=1e-5)
    evenly = np.where(np.isnan(weights), np.nan, 1.0) / (~np.isnan(weights)).sum(-1, keepdims=True)
    expected = divergence(evenly[0].astype(float), evenly[1].astype(float), range(weights.shape[2]))
    assert expected > 0
    assert found.change_uniform[0] == pytest.approx(expected, abs=1e-9)


def test_too_many_weights_are_refused_and_fewer_rows_are_not(monkeypatch):
    trace = traced("BERT")
    every = trace.attention().size
    monkeypatch.setattr(module, "ALL_CELLS", every - 1)
    with pytest.raises(TooLarge, match="Select fewer tokens as 'from'"):
        whole_metrics(trace, "encoder")
    assert np.isfinite(whole_metrics(trace, "encoder", [1, 2]).median).all()
