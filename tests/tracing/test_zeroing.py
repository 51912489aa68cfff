"""Value zeroing, against runs of the models in which a hook sets the value vectors of one token to zero."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

import atlas
from atlas.engine.gradients import zeroing as engine
from atlas.errors import NotCaptured, TooLarge
from atlas.ids import HeadId
from atlas.tracing import zeroing
from atlas.tracing.influence import influence
from atlas.tracing.mixing import offered, steps, streams_of
from tests.engine.families import FAMILIES, TARGET, TEXT, loaded


@functools.cache
def traced(name):
    model = loaded(name)
    return model.trace(TEXT, **({"target": TARGET} if "cross" in model.kinds else {}))


def bert(hf):
    return [(layer, layer.attention.self.value) for layer in hf.bert.encoder.layer]


def gpt2(hf):
    return [(layer, layer.attn.c_attn) for layer in hf.transformer.h]  # queries, keys and values in one


def llama(hf):
    return [(layer, layer.self_attn.v_proj) for layer in hf.model.layers]


def t5_encoder(hf):
    return [(layer, layer.layer[0].SelfAttention.v) for layer in hf.encoder.block]


def t5_decoder(hf):
    return [(layer, layer.layer[0].SelfAttention.v) for layer in hf.decoder.block]


def t5_cross(hf):
    return [(layer, layer.layer[1].EncDecAttention.v) for layer in hf.decoder.block]


def by_hand(trace, places, n_keys):
    """layer -> (query, key) cosine distance; one run of the whole model for each layer and key, with a hook on the values."""
    model, encoded = trace.live.model, trace.live.encoded
    inputs = {name: torch.tensor(array)[None] for name, array in encoded.inputs.items()}
    if encoded.decoder_ids is not None:
        inputs["decoder_input_ids"] = torch.tensor(encoded.decoder_ids)[None]
    found = []
    for layer, values in places(model.hf):
        states = []
        keep = layer.register_forward_hook(
            lambda _, __, out, states=states: states.append((out[0] if isinstance(out, tuple) else out)[0].double().numpy())
        )
        for key in [None, *range(n_keys)]:

            def zero(_, __, out, key=key):
                if key is not None:
                    out = out.clone()
                    out[:, key, 0 if places is not gpt2 else 2 * out.shape[-1] // 3 :] = 0
                return out

            handle = values.register_forward_hook(zero)
            with torch.no_grad():
                model.hf(**inputs)
            handle.remove()
        keep.remove()
        plain, *changed = states
        length = np.linalg.norm(plain, axis=1)
        found.append(np.stack([1 - (each * plain).sum(1) / length / np.linalg.norm(each, axis=1) for each in changed], axis=1))
    return found


@pytest.mark.parametrize(("name", "kind", "places"), [
    ("BERT", "encoder", bert), ("GPT-2", "decoder", gpt2), ("Llama", "decoder", llama),
    ("T5", "encoder", t5_encoder), ("T5", "decoder", t5_decoder), ("T5", "cross", t5_cross),
])  # fmt: skip
def test_distances_are_those_of_runs_with_a_hook_on_the_values(name, kind, places, monkeypatch):
    monkeypatch.setattr(engine, "ZEROING_BYTES", 1 << 14)  # a few keys in a pass
    trace = traced(name)
    wanted = by_hand(trace, places, trace.attention_of(kind).n_keys)
    assert len(wanted) == trace.n_layers(kind)
    for layer, expected in enumerate(wanted):
        assert expected.max() > 1e-6
        np.testing.assert_allclose(zeroing.distances(trace, kind, layer), expected, rtol=1e-4, atol=1e-5 * expected.max())


@pytest.mark.parametrize("name", [family.name for family in FAMILIES])
def test_of_every_family_the_shares_of_a_token_sum_to_one_and_none_comes_from_the_future(name):
    trace = traced(name)
    stream = "decoder" if "decoder" in trace.kinds else "encoder"
    assert "value_zeroing" in offered(trace, stream)
    found = steps(trace, "value_zeroing", stream)
    assert len(found) == sum(trace.n_layers(each) for each in streams_of(trace, stream))
    for step in found:
        total = step.own.sum(axis=1) + (0 if step.cross is None else step.cross.sum(axis=1))
        np.testing.assert_allclose(total, 1, atol=1e-5)
        assert (step.own >= 0).all()
        assert not step.own[~step.seen].any()
        if step.kind == "decoder":
            assert not np.triu(step.own, 1).any()
    # What the masks hide is no rounding that was cut off: the runs themselves do not see it.
    kind = trace.kinds[0]
    if kind == "decoder":
        assert not any(np.triu(zeroing.distances(trace, kind, layer), 1).any() for layer in range(trace.n_layers(kind)))


def test_influence_is_the_product_of_the_shares_without_an_identity():
    trace = traced("BERT")
    product = np.eye(trace.attention_of().n_queries)
    for layer in range(trace.n_layers()):
        distances = zeroing.distances(trace, "encoder", layer)
        product = distances / distances.sum(axis=1, keepdims=True) @ product
    found = influence(trace, 4, "value_zeroing")
    np.testing.assert_allclose(found.tokens["influence"], product[4], atol=1e-5)
    assert found.tokens["influence"].sum() == pytest.approx(1, abs=1e-5)
    assert found.parts.empty
    weights = trace.attention(layer=int(found.edges["layer"][0])).to_numpy()[:, found.edges["to"][0], found.edges["from"][0]]
    assert found.edges["head"][0] == weights.argmax()


def test_the_source_and_the_target_of_a_decoder_share_one_sum():
    trace = traced("T5")
    own, cross = zeroing.distances(trace, "decoder", 0), zeroing.distances(trace, "cross", 0)
    step = next(each for each in steps(trace, "value_zeroing", "decoder") if each.kind == "decoder")
    total = (own.sum(axis=1) + cross.sum(axis=1))[:, None]
    np.testing.assert_allclose(step.own, own / total, atol=1e-6)
    np.testing.assert_allclose(step.cross, cross / total, atol=1e-6)
    assert influence(trace, -1, "value_zeroing", kind="decoder").tokens["influence"].sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("mode", ["zero", "mean"])
def test_a_switched_off_head_contributes_nothing(mode):
    model = loaded("GPT-2")
    plain = traced("GPT-2")
    off = model.trace(TEXT, ablate=dict.fromkeys([HeadId("decoder", 1, head) for head in range(4)], mode))
    assert not zeroing.distances(off, "decoder", 1).any()
    np.testing.assert_array_equal(steps(off, "value_zeroing", "decoder")[1].own, np.eye(plain.attention_of().n_queries))
    np.testing.assert_allclose(zeroing.distances(off, "decoder", 0), zeroing.distances(plain, "decoder", 0), rtol=1e-4, atol=1e-9)
    all_but_one = model.trace(TEXT, ablate=dict.fromkeys([HeadId("decoder", 1, head) for head in range(3)], mode))
    last, before = zeroing.distances(all_but_one, "decoder", 1), zeroing.distances(plain, "decoder", 1)
    assert last.any()
    assert not np.allclose(last, before)
    knocked = model.trace(TEXT, knock_out=[(HeadId("decoder", 0, head), 5, 3) for head in range(4)])
    assert zeroing.distances(knocked, "decoder", 0)[5, 3] == 0 < zeroing.distances(plain, "decoder", 0)[5, 3]


def test_what_cannot_be_had_is_not_offered_and_says_why(monkeypatch):
    recorded = atlas.from_attention(np.eye(3, dtype=np.float32)[None, None], ["a", "b", "c"])
    assert offered(recorded, "encoder") == ("rollout",)
    with pytest.raises(NotCaptured, match="model of this trace is not here"):
        influence(recorded, 0, "value_zeroing")
    monkeypatch.setattr(zeroing, "ZEROED_TOKENS", 3)
    with pytest.raises(TooLarge, match="3 are the most"):
        influence(loaded("GPT-2").trace("the cat ran and ran"), 0, "value_zeroing")
