"""The weights are the model's own: for every family, kept or recomputed, and no feature of its attention may be missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from atlas.engine.loading.load import load
from atlas.engine.loading.probe import outputs_by_kind
from atlas.engine.running.attention import scores_of, softmax
from atlas.engine.running.context import AttentionSite, Call, Terms, Watcher, running
from tests.engine.families import FAMILIES, TARGET, TEXT, Family, gptj

EXACT = 1e-5
BITES = 1e-3


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name, scope="module")
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(scope="module")
def model(family: Family) -> Any:
    return load((family.model(), family.tokenizer()))


def arguments(model: Any) -> dict[str, Any]:
    return {"target": TARGET} if "cross" in model.kinds else {}


def eager_weights(model: Any, trace: Any) -> dict[str, np.ndarray]:
    """What the model itself computes with its own eager attention on the traced tokens."""
    inputs = {"input_ids": torch.as_tensor(trace.tokens()["id"].to_numpy(copy=True))[None]}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if "cross" in model.kinds:
        inputs["decoder_input_ids"] = torch.as_tensor(trace.tokens("target")["id"].to_numpy(copy=True))[None]
    before = model.hf.config._attn_implementation
    model.hf.set_attn_implementation("eager")
    with torch.no_grad():
        outputs = model.hf(**inputs, output_attentions=True)
    model.hf.set_attn_implementation(before)
    return {kind: torch.cat(layers).numpy() for kind, layers in outputs_by_kind(outputs, model.kinds).items()}


def test_kinds_and_shapes(model: Any, family: Family) -> None:
    assert model.kinds == family.kinds
    assert model.interface, model.notes
    for kind, (layers, heads) in (family.shapes or {family.kinds[0]: (3, 4)}).items():
        trace = model.trace(TEXT, **arguments(model))
        assert (trace.n_layers(kind), trace.n_heads(kind)) == (layers, heads)


@pytest.mark.parametrize("keep", ["weights", "qk"])
def test_weights_equal_eager(model: Any, keep: str) -> None:
    trace = model.trace(TEXT, keep=keep, **arguments(model))
    for kind, own in eager_weights(model, trace).items():
        ours = trace.attention(kind).to_numpy()
        assert ours.shape == own.shape
        masked = np.isnan(ours)
        assert np.abs(np.where(masked, 0, ours) - own).max() <= EXACT
        assert not own[masked].any(), "a cell that is NaN here has weight in the model"
        # Without this the test would pass on flat attention, where any formula gives about 1/n.
        assert own.max() > 3 / own.shape[-1]


def test_any_block_from_queries_and_keys(model: Any) -> None:
    trace = model.trace(TEXT, keep="qk", **arguments(model))
    for kind, own in eager_weights(model, trace).items():
        queries, keys = [own.shape[2] - 1, 2], [0, 3, 1]
        block = trace.attention(kind, layer=own.shape[0] - 1, head=1, queries=queries, keys=keys).to_numpy()
        assert np.abs(np.nan_to_num(block) - own[-1, 1][queries][:, keys]).max() <= EXACT


def test_step_by_step_numbers_are_the_heads_own(model: Any) -> None:
    """softmax(mask(softcap(q k^T scaling) + bias)) by hand from `vectors`, one head at a time, equals that head's weights."""
    trace = model.trace(TEXT, **arguments(model))
    for kind in trace.kinds:
        for layer in range(trace.n_layers(kind)):
            here = trace.attention_of(kind).layers[layer]
            for head in range(trace.n_heads(kind)):
                query = trace.vectors("query", kind, layer, head).to_numpy()
                key = trace.vectors("key", kind, layer, head).to_numpy()
                scores = query @ key.T * here.scaling
                if here.softcap:
                    scores = np.tanh(scores / here.softcap) * here.softcap
                if here.bias is not None:
                    scores = scores + here.bias.block(*scores.shape, head)
                weights = trace.attention(kind, layer, head).to_numpy()
                scores = np.where(np.isnan(weights), -np.inf, scores)
                sink = np.exp(here.sinks[head]) if here.sinks is not None else 0.0
                powers = np.exp(scores.astype(np.float64))
                by_hand = powers / (powers.sum(-1, keepdims=True) + sink)
                assert np.abs(by_hand - np.nan_to_num(weights)).max() <= EXACT
                steps = trace.scores(kind, layer=layer, head=head)
                assert np.allclose(steps["dot"], query @ key.T, atol=1e-4)
                assert np.array_equal(np.isnan(steps["masked"]), np.isnan(weights))


class Listener(Watcher):
    """Keeps the terms of every layer."""

    keep_graph = True

    def __init__(self) -> None:
        self.terms: list[Terms] = []

    def saw_terms(self, site: AttentionSite, terms: Terms) -> None:  # noqa: ARG002
        self.terms.append(terms)


def without(terms: Terms, feature: str) -> Terms:
    """The same attention with one feature ignored, as a reader that does not know it would."""
    if feature == "softcap":
        return replace(terms, softcap=None)
    if feature == "sinks":
        return replace(terms, sinks=None)
    if feature == "bias":
        return replace(terms, bias=None)
    if feature == "window":
        causal = terms.visible is None or not bool(terms.visible[..., 0, -1].any())
        return replace(terms, visible=None, causal=causal and terms.causal is not None and terms.query.shape[2] > 1)
    if feature == "grouped keys":
        # Heads 0 and 2 share keys 0: the wrong but tempting reading of groups.
        order = torch.arange(terms.query.shape[1]) % terms.key.shape[1]
        return replace(terms, key=terms.key[:, order])
    raise AssertionError(feature)


def test_every_feature_bites(model: Any, family: Family) -> None:
    if not family.features:
        # Families without extras are held by the tests above.
        assert family.name in {"BERT", "RoBERTa", "DistilBERT", "ELECTRA", "ALBERT", "GPT-2", "GPT-NeoX", "BART", "Marian"}
        return
    trace = model.trace(TEXT, **arguments(model))
    watcher = Listener()
    inputs = {"input_ids": torch.as_tensor(trace.tokens()["id"].to_numpy(copy=True))[None]}
    if "cross" in model.kinds:
        inputs["decoder_input_ids"] = torch.as_tensor(trace.tokens("target")["id"].to_numpy(copy=True))[None]
    with torch.no_grad(), model.held(), running(Call(sites=model.sites, watcher=watcher)):
        model.forward(inputs)
    for feature in family.features:
        worst = 0.0
        for terms in watcher.terms:
            full = slice(0, terms.query.shape[1])
            changed = without(terms, feature)
            worst = max(worst, float((softmax(scores_of(terms, full), terms, full)
                                      - softmax(scores_of(changed, full), changed, full)).detach().abs().max()))  # fmt: skip
        assert worst > BITES, f"{feature} does not bite: the tests above prove nothing about it"


def test_rows_of_a_sink_model_sum_to_less_than_one() -> None:
    family = next(f for f in FAMILIES if "sinks" in f.features)
    trace = load((family.model(), family.tokenizer())).trace(TEXT)
    sums = np.nansum(trace.attention().to_numpy(), axis=-1)
    assert (sums < 1).all()
    assert sums.min() < 0.9


def test_outside_the_interface() -> None:
    """GPT-J computes its attention by itself: traced through what it returns, and the trace says what it lacks."""
    family = next(f for f in FAMILIES if f.name == "GPT-2")
    model = load((gptj(), family.tokenizer()))
    assert not model.interface
    trace = model.trace(TEXT)
    own = eager_weights(model, trace)["decoder"]
    ours = trace.attention().to_numpy()
    assert np.abs(np.nan_to_num(ours) - own).max() <= EXACT
    assert np.isnan(ours[..., 0, 1]).all()
    assert "interventions" in trace.provenance["lacks"]
    assert any("attention interface" in note for note in trace.provenance["notes"])
