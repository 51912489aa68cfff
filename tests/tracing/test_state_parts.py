"""The parts of every state of the residual stream: they add up to it, and they are what the modules themselves write."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from atlas.attribution import influence, state_parts
from atlas.engine.loading.load import load
from atlas.errors import UnknownName
from atlas.tracing.state_parts import RESIDUAL, block_shares, input_parts, layer_parts
from tests.engine.families import BY_NAME, FAMILIES, TARGET, TEXT, loaded

FLOAT = 5e-7
"""Largest error, of the largest number of a level: four roundings of single precision."""


@functools.cache
def traced(name):
    model = loaded(name)
    return model.trace(TEXT, **({"target": TARGET} if "cross" in model.kinds else {}))


def streams(trace):
    return [kind for kind in trace.kinds if kind != "cross"]


@pytest.mark.parametrize("name", [family.name for family in FAMILIES])
def test_the_parts_of_every_state_add_up_to_it(name):
    trace = traced(name)
    for stream in streams(trace):
        for layer in range(-1, trace.n_layers(stream)):
            parts = input_parts(trace, stream) if layer < 0 else layer_parts(trace, stream, layer)
            hidden = trace.vectors("hidden", stream, layer=layer + 1).to_numpy()
            np.testing.assert_array_equal(parts.whole, hidden)
            total = sum(parts.vectors.values())
            assert np.abs(total - hidden).max() <= FLOAT * np.abs(hidden).max(), (stream, layer)
            if layer >= 0:
                blocks = 2 if stream == "decoder" and "cross" in trace.kinds else 1
                heads = [part for part in parts.vectors if " H" in part]
                assert len(heads) == blocks * trace.n_heads(stream)
                assert {RESIDUAL, "feed-forward"} <= set(parts.vectors)


def by_hand_gpt2(hf, trace):
    """(level, part) -> vectors, from the modules of the model."""
    states = [torch.tensor(trace.vectors("hidden", layer=layer).to_numpy()) for layer in range(trace.n_layers() + 1)]
    ids = torch.tensor(trace.tokens()["id"].tolist())
    found = {
        (0, "token embedding"): hf.transformer.wte(ids),
        (0, "position embedding"): hf.transformer.wpe.weight[: len(ids)],
    }
    for layer, block in enumerate(hf.transformer.h):
        values = block.attn.c_attn(block.ln_1(states[layer])).chunk(3, dim=-1)[2].unflatten(-1, (trace.n_heads(), -1))
        weights = torch.tensor(np.nan_to_num(trace.attention(layer=layer).to_numpy()))
        out = block.attn.c_proj.weight.unflatten(0, (trace.n_heads(), -1))
        heads = [weights[head] @ values[:, head] @ out[head] for head in range(trace.n_heads())]
        middle = states[layer] + sum(heads) + block.attn.c_proj.bias
        found[layer + 1, RESIDUAL] = states[layer]
        found |= {(layer + 1, f"L{layer} H{head}"): each for head, each in enumerate(heads)}
        found[layer + 1, "feed-forward"] = block.mlp(block.ln_2(middle))
        found[layer + 1, "biases"] = block.attn.c_proj.bias.expand_as(middle)
    return found


def by_hand_bert(hf, trace):
    """The same with each norm after an addition as a linear map."""
    states = [torch.tensor(trace.vectors("hidden", layer=layer).to_numpy()) for layer in range(trace.n_layers() + 1)]
    ids = torch.tensor(trace.tokens()["id"].tolist())
    table = hf.bert.embeddings

    def through(norm, parts):
        total = sum(parts.values())
        size = (total.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
        carried = {part: norm.weight * (each - each.mean(-1, keepdim=True)) / size for part, each in parts.items()}
        return carried | {"biases": carried.get("biases", 0) + norm.bias.expand_as(total)}

    added = {
        "token embedding": table.word_embeddings(ids), "position embedding": table.position_embeddings.weight[: len(ids)],
        "segment embedding": table.token_type_embeddings.weight[0].expand(len(ids), -1),
    }  # fmt: skip
    found = {(0, part): each for part, each in through(table.LayerNorm, added).items()}
    for layer, block in enumerate(hf.bert.encoder.layer):
        values = block.attention.self.value(states[layer]).unflatten(-1, (trace.n_heads(), -1))
        weights = torch.tensor(trace.attention(layer=layer).to_numpy())
        out = block.attention.output.dense.weight.T.unflatten(0, (trace.n_heads(), -1))
        parts = {RESIDUAL: states[layer], "biases": block.attention.output.dense.bias.expand_as(states[layer])}
        parts |= {f"L{layer} H{head}": weights[head] @ values[:, head] @ out[head] for head in range(trace.n_heads())}
        middle = through(block.attention.output.LayerNorm, parts)
        written = block.output.dense(block.intermediate(sum(middle.values())))
        found |= {
            (layer + 1, part): each for part, each in through(block.output.LayerNorm, middle | {"feed-forward": written}).items()
        }
    return found


@pytest.mark.parametrize(("name", "by_hand"), [("GPT-2", by_hand_gpt2), ("BERT", by_hand_bert)])
def test_every_part_is_what_its_module_writes(name, by_hand):
    family = BY_NAME[name]
    hf = family.model()
    with torch.no_grad():
        for parameter in hf.parameters():
            if parameter.ndim == 1:  # new models have no biases, and norms that scale nothing
                parameter.add_(torch.randn_like(parameter) * 0.3)
    trace = load((hf, family.tokenizer())).trace(TEXT)
    (kind,) = trace.kinds
    with torch.no_grad():
        expected = by_hand(hf, trace)
    for level in range(trace.n_layers(kind) + 1):
        parts = (layer_parts(trace, kind, level - 1) if level else input_parts(trace, kind)).vectors
        assert {part for at, part in expected if at == level} == set(parts)
        for part, vectors in parts.items():
            np.testing.assert_allclose(vectors, expected[level, part].detach().numpy(), atol=2e-4, err_msg=f"{level} {part}")


@pytest.mark.parametrize("name", ["GPT-2", "BERT", "Llama", "T5", "GPT-NeoX"])
def test_shares_of_parts_are_shares_of_the_whole(name):
    trace = traced(name)
    shares = block_shares(trace, tuple(streams(trace)))
    for stream in streams(trace):
        np.testing.assert_allclose(sum(shares.inputs[stream].values()), 1)
        for layer in range(trace.n_layers(stream)):
            parts = layer_parts(trace, stream, layer)
            block, whole = parts.vectors["feed-forward"], parts.whole
            length = np.abs(whole).sum(-1)
            near, rest = (np.maximum(length - np.abs(whole - part).sum(-1), 0) for part in (block, whole - block))
            np.testing.assert_allclose(shares.feed_forward[stream, layer], near / (near + rest), atol=1e-5)
            assert shares.feed_forward[stream, layer].max() > 0
        for level in (0, 1, -1):
            table = state_parts(trace, 3, level, stream)
            assert table["share"].sum() == pytest.approx(1, abs=1e-5)
            every = layer_parts(trace, stream, level % (trace.n_layers(stream) + 1) - 1) if level else input_parts(trace, stream)
            assert table["part"].tolist() == list(every.vectors)
            np.testing.assert_allclose(table["length"], [np.linalg.norm(each[3]) for each in every.vectors.values()], rtol=1e-4)
    found = influence(trace, 3, kind=streams(trace)[-1])
    nodes = found.nodes.set_index(["kind", "layer", "token"])["share"]
    for row in found.parts.itertuples():
        assert row.flow == pytest.approx(row.share * nodes[row.kind, row.layer, row.token], abs=1e-6)
    below = found.parts[(found.parts["layer"] == 0)].groupby(["kind", "token"])["share"].sum()
    np.testing.assert_allclose(below, 1, atol=1e-6)
    assert influence(trace, 3, "rollout", kind=streams(trace)[-1]).parts.empty
    with pytest.raises(UnknownName, match="no level 9"):
        state_parts(trace, 0, 9, streams(trace)[0])
