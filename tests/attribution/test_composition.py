"""Shares of what a head reads, against one edge at a time and arithmetic by hand; writers cut from it, against plain hooks."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
import torch

import atlas
from atlas.attribution import composition, cut_writer, head_composition, why
from atlas.errors import NotCaptured, TooLarge, UnknownName
from tests.attribution.test_why import REPEATED, traced, writers_by_hand
from tests.engine.families import loaded


@functools.cache
def embedded():
    return atlas.load("gpt-mini").trace(REPEATED)


def shares(found, path):
    return found.table[found.table["path"] == path].set_index("writer")["share"]


def centred(values, seen):
    return np.where(seen, values - (values * seen).sum(1, keepdims=True) / seen.sum(1, keepdims=True), 0.0)


CASES = [("GPT-2", "decoder"), ("BERT", "encoder"), ("Llama", "decoder"), ("Qwen3", "decoder"), ("Gemma2", "decoder"),
         ("T5", "cross"), ("T5", "decoder")]  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_shares_of_each_path_sum_to_one(name, kind):
    trace = traced(name)
    found = composition(trace, trace.n_layers(kind) - 1, 1, kind)
    for path in "qkv":
        values = shares(found, path)
        assert values.sum() == pytest.approx(1.0, abs=2e-3)
        heads = values[values.index.str.contains(r"H\d")]
        assert found.chance[path] == pytest.approx(heads.abs().mean())
        assert list(values.abs()) == sorted(values.abs(), reverse=True)


def test_what_is_read_with_a_tiny_weight_is_taken_apart_as_well():
    trace = atlas.load("t5-mini").trace("12 345,67")
    weights = trace.attention(layer=2, head=3, kind="encoder").values[:, 4]
    assert 0 < np.nanmax(weights) < 1e-30, "its square is nothing in float32"
    found = shares(composition(trace, 2, 3, "encoder", keys=(4,)), "v")
    assert found.sum() == pytest.approx(1.0, abs=2e-3)
    assert found.abs().max() < 10


@pytest.mark.parametrize(("name", "kind"), [("GPT-2", "decoder"), ("BERT", "encoder"), ("Llama", "decoder"), ("T5", "cross")])
def test_queries_and_keys_are_shared_out_as_their_edges_are_taken_apart_one_by_one(name, kind):
    trace = traced(name)
    layer, head, query = trace.n_layers(kind) - 1, 1, 6
    keys = np.arange(query + 1 if kind == "decoder" else trace.attention_of(kind).n_keys)
    edges = [why(trace, layer, head, query, int(key), kind) for key in keys]
    # Without the position bias, which nobody wrote.
    score = np.array([edge.table["part"][edge.table["q_writer"] != "position bias"].sum() for edge in edges])
    for chosen in ((), (2, 4)):
        found = composition(trace, layer, head, kind, queries=(query,), keys=chosen)
        picked = np.isin(keys, chosen or keys)
        for path in "qk":
            tables = [getattr(edge, path).set_index("writer")["part"] for edge in edges]
            for writer, share in shares(found, path).items():
                part = np.array([table[writer] for table in tables])
                varying, whole = (part - part.mean())[picked], (score - score.mean())[picked]
                assert share == pytest.approx(float(varying @ whole) / float(whole @ whole), rel=2e-3, abs=1e-4)


@torch.no_grad()
def test_every_share_equals_the_one_by_hand_in_gpt2():
    trace, (layer, head) = traced("GPT-2"), (2, 1)
    block, n = trace.live.model.hf.transformer.h[layer], len(trace.tokens())
    weight, bias = block.attn.c_attn.weight.numpy().astype(float), block.attn.c_attn.bias.numpy()
    size = np.sqrt(trace.vectors("hidden", layer=layer).values.var(-1, keepdims=True) + block.ln_1.eps)
    written = writers_by_hand(trace.live.model.hf, trace, layer, np.arange(n))
    seen, weights = np.tri(n, dtype=bool), np.nan_to_num(trace.attention(layer=layer, head=head).values).astype(float)

    def vectors(start):
        columns = slice(start + head * 8, start + head * 8 + 8)
        parts = {
            name: ((each - each.mean(-1, keepdims=True)) / size * block.ln_1.weight.numpy()) @ weight[:, columns]
            for name, each in written.items()
        }
        parts["biases"] = parts["biases"] + block.ln_1.bias.numpy() @ weight[:, columns] + bias[columns]
        return parts

    q, k, v = (vectors(start) for start in (0, 32, 64))
    whole_q, whole_k, read = sum(q.values()), sum(k.values()), weights @ sum(v.values())
    scores = centred(whole_q @ whole_k.T, seen)
    wanted = {
        "q": {name: (centred(part @ whole_k.T, seen) * scores).sum() / (scores**2).sum() for name, part in q.items()},
        "k": {name: (centred(whole_q @ part.T, seen) * scores).sum() / (scores**2).sum() for name, part in k.items()},
        "v": {name: (weights @ part * read).sum() / (read**2).sum() for name, part in v.items()},
    }
    found = composition(trace, layer, head)
    for path, by_hand in wanted.items():
        assert dict(shares(found, path)) == pytest.approx(by_hand, rel=2e-3, abs=1e-4)


@torch.no_grad()
def test_what_values_are_made_of_equals_the_product_by_hand_where_heads_share_values():
    trace, (layer, head) = traced("Llama"), (2, 3)
    block = trace.live.model.hf.model.layers[layer]
    hidden = trace.vectors("hidden", layer=layer).values
    size = np.sqrt((hidden**2).mean(-1, keepdims=True) + block.input_layernorm.variance_epsilon)
    written = trace.vectors("head_output", layer=0, head=2).values / size * block.input_layernorm.weight.numpy()
    weights = np.nan_to_num(trace.attention(layer=layer, head=head).values)
    values = block.self_attn.v_proj.weight.numpy()[8:16]  # four heads of queries share two of values
    read = weights @ np.asarray(trace.attention_of().layers[layer].value[1])
    wanted = ((weights @ (written @ values.T)) * read).sum() / (read**2).sum()
    assert shares(composition(trace, layer, head), "v")["L0 H2"] == pytest.approx(wanted, rel=1e-3)


def test_the_induction_head_reads_the_previous_token_head_through_its_keys():
    trace = embedded()
    previous = f"L0 H{int(trace.heads.set_index(['layer', 'head']).loc[0, 'previous'].idxmax())}"
    found = composition(trace, 1, 4)
    through_keys = shares(found, "k")
    assert through_keys[through_keys.index.str.contains("H")].idxmax() == previous
    assert through_keys[previous] > 4 * found.chance["k"]
    assert abs(shares(found, "q")[previous]) < found.chance["q"]


def test_a_head_of_the_first_layer_reads_embeddings_alone():
    found = composition(embedded(), 0, 3)
    assert not found.table["writer"].str.contains("H").any()
    assert np.isnan(list(found.chance.values())).all()


def test_scores_that_do_not_vary_have_no_shares():
    found = composition(traced("GPT-2"), 1, 0, queries=(0,))
    assert shares(found, "k").isna().all()
    assert "do not vary" in " ".join(found.notes)
    assert shares(found, "v").sum() == pytest.approx(1.0, abs=1e-3)


def test_what_cannot_be_followed_is_refused(monkeypatch):
    with pytest.raises(NotCaptured, match="weights only"):
        composition(atlas.from_attention(np.full((1, 1, 3, 3), 1 / 3), ["a", "b", "c"]), 0, 0)
    with pytest.raises(UnknownName, match="no key 99"):
        composition(traced("GPT-2"), 1, 0, keys=(99,))
    monkeypatch.setattr(head_composition, "COMPOSITION_PRODUCTS", 10)
    with pytest.raises(TooLarge, match="shorter text"):
        composition(traced("GPT-2"), 1, 0)


# -- cutting a writer, with plain hooks on the model's own modules -------------------------------------------------------


def without_by_norm(norm, states, written):
    """What a norm gives without a part of its input: computed again, and at the size it had."""
    states, written = torch.as_tensor(states), torch.as_tensor(written)
    centres = isinstance(norm, torch.nn.LayerNorm)
    eps = norm.eps if centres else norm.variance_epsilon
    size = (states.var(-1, keepdim=True, correction=0) if centres else (states**2).mean(-1, keepdim=True)) + eps
    part = written - written.mean(-1, keepdim=True) if centres else written
    return norm.forward(states - written), norm.forward(states) - norm.weight * part / size.sqrt()


def states_by_hand(name, hf, trace, layer, writer):
    """The states that the projections of a layer read without what one head wrote: norms computed again, and held."""
    written = trace.vectors("head_output", "decoder" if name == "T5" else None, layer=writer[0], head=writer[1]).values
    if name != "BERT":
        norm = {
            "GPT-2": lambda: hf.transformer.h[layer].ln_1, "gpt-mini": lambda: hf.transformer.h[layer].ln_1,
            "Llama": lambda: hf.model.layers[layer].input_layernorm, "T5": lambda: hf.decoder.block[layer].layer[0].layer_norm,
        }[name]()  # fmt: skip
        return without_by_norm(norm, trace.vectors("hidden", "decoder" if name == "T5" else None, layer=layer).values, written)
    first = hf.bert.encoder.layer[0]
    before = trace.vectors("hidden", layer=0).values + trace.vectors("attention_output", layer=0).values
    anew, held = without_by_norm(first.attention.output.LayerNorm, before, written)
    feed_forward, middle = (torch.tensor(trace.vectors(each, layer=0).values) for each in ("ffn_out", "residual_mid"))
    late = first.output.LayerNorm
    held = without_by_norm(late, middle + feed_forward, middle - held)[1]
    return late.forward(anew + feed_forward), held


def weight_by_hand(name, hf, trace, edge, side, states):
    """The weight that the model computes when the query's or the keys' projection is given other states."""
    layer, head, query, key = edge

    def projection():
        if name in ("GPT-2", "gpt-mini"):
            return hf.transformer.h[layer].attn.c_attn
        if name == "Llama":
            return getattr(hf.model.layers[layer].self_attn, f"{side}_proj")
        if name == "T5":
            return getattr(hf.decoder.block[layer].layer[0].SelfAttention, side)
        return getattr(hf.bert.encoder.layer[layer].attention.self, {"q": "query", "k": "key"}[side])

    def hook(module, _, output):
        changed = module.forward(states[None])
        if name not in ("GPT-2", "gpt-mini"):
            return changed
        width = changed.shape[-1] // 3
        start = 0 if side == "q" else width
        return torch.cat([output[..., :start], changed[..., start : start + width], output[..., start + width :]], dim=-1)

    given = {"input_ids": torch.tensor([trace.tokens()["id"].tolist()])}
    if name == "T5":
        given["decoder_input_ids"] = torch.tensor([trace.tokens("target")["id"].tolist()])
    handle = projection().register_forward_hook(hook)
    try:
        out = hf(**given, output_attentions=True, use_cache=False) if name != "BERT" else hf(**given, output_attentions=True)
    finally:
        handle.remove()
    return float((out.decoder_attentions if name == "T5" else out.attentions)[layer][0, head, query, key])


@pytest.mark.parametrize("side", ["q", "k"])
@pytest.mark.parametrize(
    ("name", "edge", "writer"),
    [("BERT", (1, 2, 5, 9), (0, 3)), ("GPT-2", (2, 1, 12, 7), (0, 1)), ("Llama", (2, 1, 12, 7), (1, 3)),
     ("T5", (2, 1, 8, 3), (0, 1)), ("gpt-mini", (1, 4, 22, 9), (0, 6))],
)  # fmt: skip
@torch.no_grad()
def test_cutting_a_writer_does_what_plain_hooks_do(name, edge, writer, side):
    trace = embedded() if name == "gpt-mini" else traced(name)
    kind = "decoder" if name == "T5" else None
    hf = copy.deepcopy(trace.live.model.hf)
    hf.set_attn_implementation("eager")
    named = f"decoder L{writer[0]} H{writer[1]}" if name == "T5" else f"L{writer[0]} H{writer[1]}"
    cut = cut_writer(trace, *edge, named, side, kind)
    anew, held = (
        weight_by_hand(name, hf, trace, edge, side, states) for states in states_by_hand(name, hf, trace, edge[0], writer)
    )
    assert cut.held == pytest.approx(held, rel=2e-3, abs=1e-6)
    assert cut.anew == pytest.approx(anew, rel=2e-3, abs=1e-6)
    assert cut.predicted == pytest.approx(cut.held, rel=1e-3, abs=1e-6)
    assert cut.weight == pytest.approx(
        float(trace.attention(kind, layer=edge[0], head=edge[1]).values[edge[2], edge[3]]), abs=2e-5
    )


def test_cutting_the_previous_token_head_removes_most_of_the_induction_heads_weight():
    cut = cut_writer(embedded(), 1, 4, 22, 9, "L0 H6")
    assert cut.weight > 0.5
    assert cut.predicted < cut.weight / 5
    assert cut.anew < cut.weight / 4


@pytest.mark.parametrize(
    ("name", "kind", "writer"),
    [("Gemma2", "decoder", "L1 H1"), ("T5", "cross", "encoder L0 H1"), ("GPT-OSS", "decoder", "L0 feed-forward"),
     ("ELECTRA", "encoder", "embedding")],
)  # fmt: skip
def test_the_prediction_is_confirmed_with_caps_sinks_and_across_streams(name, kind, writer):
    trace = traced(name)
    layer = trace.n_layers(kind) - 1
    cut = cut_writer(trace, layer, 1, 6, 4, writer, "k", kind)
    assert cut.held == pytest.approx(cut.predicted, rel=2e-3, abs=1e-5)


def test_an_edge_knocked_out_stays_knocked_out_without_a_writer():
    trace = loaded("GPT-2").trace(REPEATED, knock_out=[("L2 H1", 12, 3)])
    cut = cut_writer(trace, 2, 1, 12, 7, "L0 H1")
    assert cut.held == pytest.approx(cut.predicted, rel=2e-3)


def test_only_a_writer_can_be_cut():
    with pytest.raises(UnknownName, match="wrote nothing by itself"):
        cut_writer(traced("GPT-2"), 2, 1, 12, 7, "biases")
    with pytest.raises(UnknownName, match="neither 'q'"):
        cut_writer(traced("GPT-2"), 2, 1, 12, 7, "L0 H1", "v")
