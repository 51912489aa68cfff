"""One row of attention step by step: every number leads to the next, and the last is the weight shown."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

import atlas
from atlas.engine.running.interventions import Pattern
from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.tracing.steps import holds_projection, row_steps, without_steps, written
from tests.engine.families import TARGET, TEXT, gptj, loaded, tokenizer
from tests.state.readers import single

FAMILIES = {
    "BERT": (), "GPT-2": (), "Llama": ("grouped",), "Qwen3": ("grouped",), "T5": ("bias", "unscaled"),
    "Gemma2": ("grouped", "softcap"), "GPT-OSS": ("grouped", "sink"), "bert-mini": (), "t5-mini": ("bias", "unscaled"),
}  # fmt: skip
"""What the attention of each has besides q·k, scaling, mask and softmax."""


@functools.cache
def model(name):
    return atlas.load(name) if name.endswith("-mini") else loaded(name)


@functools.cache
def traced(name, keep="weights"):
    made = model(name)
    return made.trace(TEXT, keep=keep, capture=(), **({"target": TARGET} if "cross" in made.kinds else {}))


def places(trace):
    """Two heads of every kind, each with an early and the last query."""
    for kind in trace.kinds:
        attention = trace.attention_of(kind)
        for layer, head in ((0, 0), (len(attention.layers) - 1, attention.n_heads - 1)):
            for query in (2, attention.n_queries - 1):
                yield HeadId(kind, layer, head), query


@pytest.mark.parametrize("keep", ["weights", "qk"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_step_leads_to_the_next_and_the_last_is_the_weight_of_the_models_own_run(name, keep):
    trace, held = traced(name, keep), traced(name)
    has = FAMILIES[name]
    for head, query in places(trace):
        row = row_steps(trace, head, query)
        own = held.attention_of(head.kind).layers[head.layer].weights[head.head, query]
        seen, steps = row.visible, row.steps
        np.testing.assert_allclose(row.products.sum(-1), steps["dot"], rtol=1e-4, atol=1e-4 * np.abs(row.products).sum(-1).max())
        score = steps["dot"] * row.scaling
        np.testing.assert_allclose(steps["scaled"], score, rtol=1e-6)
        assert (row.scaling == 1) == ("unscaled" in has)
        if "softcap" in has:
            score = row.softcap * np.tanh(score / row.softcap)
            np.testing.assert_allclose(steps["capped"], score, rtol=1e-5, atol=1e-6)
            assert np.abs(steps["capped"] - steps["scaled"]).max() > 1e-2
        if "biased" in steps:
            score = score + row.bias
            np.testing.assert_allclose(steps["biased"], score, rtol=1e-5, atol=1e-5)
        assert ("capped" in steps, row.sink is not None) == ("softcap" in has, "sink" in has)
        np.testing.assert_allclose(steps["masked"][seen], score[seen], rtol=1e-5, atol=1e-5)
        powers = np.exp(score[seen].astype(float) - row.top)
        total = powers.sum() + (0 if row.sink is None else np.exp(row.sink - row.top))
        assert total == pytest.approx(row.total, rel=1e-4)
        np.testing.assert_allclose(row.powers[seen], powers, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(powers / total, own[seen], atol=1e-4)
        # T5 does not scale: at scores of a hundred, a rounding of float32 changes a weight by 1e-5.
        np.testing.assert_allclose(row.weights[seen], own[seen], atol=5e-5)
        assert row.weights[seen].sum() + row.sink_share == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose(row.mix, own[seen] @ row.v[seen], rtol=1e-3, atol=1e-4 * np.abs(row.v).max())
        if head.kind == "decoder":
            assert seen.max() == query
        assert len(row.group) == (2 if "grouped" in has else 1)
        assert head.head in row.group
    if "bias" in has:
        assert "biased" in row_steps(trace, HeadId("encoder", 0, 0), 2).steps


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5"])
def test_what_is_written_adds_up_with_that_of_the_other_heads_to_the_output_of_the_attention(name):
    trace = traced(name)
    kind = trace.kinds[0]
    query = 3
    out = trace.captured("output_projection")[kind, 1]
    parts, lengths = [], []
    for number in range(trace.n_heads(kind)):
        row = row_steps(trace, HeadId(kind, 1, number), query)
        found = written(trace, row)
        parts.append(row.mix @ out[number])
        lengths.append(found.mix)
        each = np.nan_to_num(row.weights)[:, None] * row.v @ out[number]
        np.testing.assert_allclose(found.by_key, np.linalg.norm(each, axis=-1), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(each.sum(0), parts[-1], rtol=1e-3, atol=1e-4 * np.abs(each).max())
    np.testing.assert_allclose(lengths, [np.linalg.norm(part) for part in parts], rtol=1e-5)
    bias = trace.captured("output_bias").get((kind, 1), 0.0) if name in ("BERT", "GPT-2") else 0.0
    whole = trace.vectors("attention_output", kind=kind, layer=1).to_numpy()[query]
    np.testing.assert_allclose(sum(parts) + bias, whole, rtol=1e-3, atol=1e-4 * np.abs(whole).max())
    assert holds_projection(trace)


def test_k_and_q_of_a_rotary_model_are_those_after_the_rotation():
    trace = traced("Llama")
    hf = model("Llama").hf
    ids = torch.tensor(trace.tokens()["id"].to_numpy(copy=True))[None]
    with torch.no_grad():
        state = hf.model.layers[0].input_layernorm(hf.model.embed_tokens(ids))
        raw = hf.model.layers[0].self_attn.q_proj(state)[0].reshape(ids.shape[1], 4, -1).numpy()
    first, later = (row_steps(trace, HeadId("decoder", 0, 1), at) for at in (0, 5))
    np.testing.assert_allclose(first.q, raw[0, 1], rtol=1e-4, atol=1e-4)  # position 0 is not turned
    assert np.abs(later.q - raw[5, 1]).max() > 0.1 * np.abs(raw[5, 1]).max()
    assert np.linalg.norm(later.q) == pytest.approx(np.linalg.norm(raw[5, 1]), rel=1e-4)


def test_what_was_changed_in_the_run_is_not_taken_apart_as_if_it_were_not():
    bert = loaded("BERT")
    n = len(traced("BERT").tokens())
    even = np.full((n, n), 1 / n, np.float32)
    head, other = HeadId("encoder", 1, 2), HeadId("encoder", 1, 0)
    patched = bert.trace(TEXT, capture=(), patch={head: Pattern(even)})
    with pytest.raises(NotCaptured, match="L1 H2 were replaced by a given pattern"):
        row_steps(patched, head, 3)
    assert not row_steps(patched, other, 3).replaced
    ablated = row_steps(bert.trace(TEXT, capture=(), ablate=[head]), head, 3)
    assert ablated.replaced
    assert not ablated.mix.any()
    cut = row_steps(bert.trace(TEXT, capture=(), knock_out=[(head, 3, 5)]), head, 3)
    assert 5 not in cut.visible
    assert cut.powers[5] == 0
    assert np.isneginf(cut.steps["masked"][5])


def test_weights_without_q_and_k_say_why_they_have_no_steps():
    outside = atlas.load((gptj(), tokenizer(special=False))).trace(TEXT, capture=())
    for trace in (single(), outside):
        assert "weights only" in without_steps(trace)
        with pytest.raises(NotCaptured, match="weights only"):
            row_steps(trace, trace.head_ids[0], 1)
    assert without_steps(traced("BERT")) == ""


def test_a_weight_too_small_for_the_run_still_has_an_exponent():
    trace = traced("t5-mini")
    for head, query in places(trace):
        row = row_steps(trace, head, query)
        masked = row.steps["masked"][row.visible].astype(float)
        np.testing.assert_allclose(np.log(row.powers[row.visible]), masked - row.top, rtol=1e-6, atol=1e-6)
