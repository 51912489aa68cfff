"""Influence through all layers, against the vectors that tokens write, computed one by one from the models' own weights."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch

import atlas
from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.ids import HeadId
from atlas.metrics import influence as formulas
from atlas.metrics.influence import contribution_shares
from atlas.tracing import mixing
from atlas.tracing.influence import graph, head_of_edge, influence
from atlas.tracing.mixing import attention_block, steps
from atlas.tracing.windows import rollout
from tests.engine.families import FAMILIES, TARGET, TEXT, gptj, loaded, tokenizer


@functools.cache
def traced(name, **options):
    model = loaded(name)
    return model.trace(TEXT, **({"target": TARGET} if "cross" in model.kinds else {}), **options)


@functools.cache
def embedded(name, text):
    return atlas.load(name).trace(text)


def shares_of(parts, output):
    """ALTI's shares from the vectors themselves: (query, part, d) -> (query, part)."""
    close = np.maximum(np.abs(output).sum(-1)[:, None] - np.abs(output[:, None] - parts).sum(-1), 0)
    return close / close.sum(axis=1, keepdims=True)


def vectors_of(weights, states, value, out):
    """(query, key, d) what each key writes into each query: all heads; `value` and `out` are the model's own maps."""
    n_heads, width = weights.shape[0], out.weight.shape[1 if isinstance(out, torch.nn.Linear) else 0] // weights.shape[0]
    values = value(torch.tensor(states)).reshape(len(states), -1, width).numpy()
    matrix = (out.weight.T if isinstance(out, torch.nn.Linear) else out.weight).detach().numpy().reshape(n_heads, width, -1)
    group = n_heads // values.shape[1]
    return sum(
        np.nan_to_num(weights[head])[:, :, None] * (values[:, head // group] @ matrix[head])[None] for head in range(n_heads)
    )


def with_residual(parts, rest):
    """The same with the residual stream in the part of each token itself."""
    parts = parts.copy()
    parts[np.arange(len(parts)), np.arange(len(parts))] += rest
    return parts


def by_hand_bert(hf, trace, layer, x):
    block = hf.bert.encoder.layer[layer].attention
    norm, out = block.output.LayerNorm, block.output.dense
    weights = trace.attention("encoder", layer=layer).to_numpy()
    parts = with_residual(vectors_of(weights, x, block.self.value, out), x + out.bias.detach().numpy())
    total = parts.sum(axis=1)
    linear = norm.weight.detach().numpy() * (parts - parts.mean(axis=-1, keepdims=True))
    linear /= np.sqrt(total.var(axis=-1) + norm.eps)[:, None, None]
    parts = with_residual(linear, norm.bias.detach().numpy())
    np.testing.assert_allclose(parts.sum(axis=1), norm(torch.tensor(total)).numpy(), atol=1e-4)
    return shares_of(parts, parts.sum(axis=1))


def by_hand_gpt2(hf, trace, layer, x):
    block = hf.transformer.h[layer]
    weights = trace.attention("decoder", layer=layer).to_numpy()

    def value(states):
        return block.attn.c_attn(states).chunk(3, dim=-1)[2]

    normed = block.ln_1(torch.tensor(x)).numpy()
    parts = with_residual(vectors_of(weights, normed, value, block.attn.c_proj), x + block.attn.c_proj.bias.detach().numpy())
    return shares_of(parts, parts.sum(axis=1))


def by_hand_llama(hf, trace, layer, x):
    block = hf.model.layers[layer]
    normed = block.input_layernorm(torch.tensor(x)).numpy()
    weights = trace.attention("decoder", layer=layer).to_numpy()
    parts = with_residual(vectors_of(weights, normed, block.self_attn.v_proj, block.self_attn.o_proj), x)
    return shares_of(parts, parts.sum(axis=1))


def by_hand_t5(hf, trace, kind, layer, x):
    block = (hf.encoder if kind == "encoder" else hf.decoder).block[layer].layer[0]
    normed = block.layer_norm(torch.tensor(x)).numpy()
    weights = trace.attention(kind, layer=layer).to_numpy()
    parts = with_residual(vectors_of(weights, normed, block.SelfAttention.v, block.SelfAttention.o), x)
    return shares_of(parts, parts.sum(axis=1)), parts.sum(axis=1)


BY_HAND = {"BERT": by_hand_bert, "GPT-2": by_hand_gpt2, "Llama": by_hand_llama}


@pytest.mark.parametrize("name", BY_HAND)
def test_influence_is_the_product_of_alti_shares_of_all_layers(name):
    trace = traced(name)
    hf, kind = trace.live.model.hf, trace.kinds[0]
    whole = None
    with torch.no_grad():
        for layer in range(trace.n_layers(kind)):
            shares = BY_HAND[name](hf, trace, layer, trace.vectors("hidden", kind, layer=layer).to_numpy())
            np.testing.assert_allclose(steps(trace, "contribution", kind)[layer].own, shares, atol=2e-5)
            whole = shares if whole is None else shares @ whole
    for token in (0, 3, len(whole) - 1):
        tokens = influence(trace, token).tokens
        reach = tokens["influence"].notna().to_numpy()
        assert reach.tolist() == [kind == "encoder" or at <= token for at in range(len(whole))]
        np.testing.assert_allclose(tokens["influence"][reach], whole[token][reach], atol=2e-5)
        assert whole[token][~reach].sum() == 0


def test_the_decoder_of_an_encoder_decoder_is_followed_through_cross_attention():
    trace = traced("T5")
    hf = trace.live.model.hf
    with torch.no_grad():
        source = None
        for layer in range(2):
            one, _ = by_hand_t5(hf, trace, "encoder", layer, trace.vectors("hidden", "encoder", layer=layer).to_numpy())
            source = one if source is None else one @ source
        memory = hf.encoder.final_layer_norm(torch.tensor(trace.vectors("hidden", "encoder", layer=2).to_numpy())).numpy()
        target, read = np.eye(trace.attention_of("decoder").n_queries), 0
        for layer in range(3):
            own, middle = by_hand_t5(hf, trace, "decoder", layer, trace.vectors("hidden", "decoder", layer=layer).to_numpy())
            block = hf.decoder.block[layer].layer[1].EncDecAttention
            parts = vectors_of(trace.attention("cross", layer=layer).to_numpy(), memory, block.v, block.o)
            parts = np.concatenate([parts, middle[:, None]], axis=1)
            shares = shares_of(parts, parts.sum(axis=1))
            through = shares[:, -1:] * own
            target, read = through @ target, through @ read + shares[:, :-1] @ source if layer else shares[:, :-1] @ source
    for token in (0, 5, -1):
        for kind in ("decoder", "cross"):
            tokens = influence(trace, token, kind=kind).tokens
            mine = tokens["side"] == "target"
            np.testing.assert_allclose(tokens["influence"][~mine], read[token], atol=3e-5)
            np.testing.assert_allclose(tokens["influence"][mine].fillna(0), target[token], atol=3e-5)


@pytest.mark.parametrize("name", [family.name for family in FAMILIES])
def test_the_shares_of_every_family_are_those_of_whole_vectors(name):
    """Every kind of every family: what tokens write adds up to the stream, and blocks of keys give what all keys give."""
    trace = traced(name)
    for kind in trace.kinds:
        stream = "decoder" if kind == "cross" else kind
        for layer in range(trace.n_layers(kind)):
            block = attention_block(trace, kind, layer)
            group = len(block.weights) // len(block.values)
            parts = sum(
                block.weights[head][:, :, None] * (block.values[head // group] @ block.projection[head])[None]
                for head in range(len(block.weights))
            )
            rest = block.output - parts.sum(axis=1)
            own = kind != "cross"
            parts = with_residual(parts, rest) if own else np.concatenate([parts, rest[:, None]], axis=1)
            found, residual = contribution_shares(block.weights, block.values, block.projection, block.output, own=own)
            expected = shares_of(parts, block.output)
            np.testing.assert_allclose(found, expected if own else expected[:, :-1], atol=2e-5)
            np.testing.assert_allclose(found.sum(axis=1) + residual, 1, atol=1e-5)
            entering = trace.captured("hidden" if own else "residual_mid")[stream, layer]
            if name not in ("BERT", "RoBERTa", "DistilBERT", "ELECTRA", "ALBERT", "BART", "Marian"):
                # Pre-norm: without what tokens write and the bias, the stream is what it was.
                bias = trace.captured("output_bias").get((kind, layer), 0) if "output_bias" in trace.held_arrays() else 0
                np.testing.assert_allclose(rest - bias, entering, atol=2e-3 * np.abs(entering).max())
    assert sum(influence(trace, -1, kind=trace.kinds[-1]).tokens["influence"].dropna()) == pytest.approx(1, abs=1e-5)


def test_blocks_of_keys_and_rows_change_nothing(monkeypatch):
    block = attention_block(traced("Llama"), "decoder", 1)
    whole, _ = contribution_shares(*block_arrays(block), own=True)
    monkeypatch.setattr(formulas, "BLOCK_BYTES", 1)
    monkeypatch.setattr(formulas, "rows_at_once", lambda _: 3)
    np.testing.assert_allclose(contribution_shares(*block_arrays(block), own=True)[0], whole, atol=1e-6)


def block_arrays(block):
    return block.weights, block.values, block.projection, block.output


def along_paths(found, column):
    """Node -> sum over all paths from the root of the products of a column of the edges, path by path."""
    below = {}
    for row in found.edges.itertuples():
        to, fro, layer = row.to, row[3], row.layer
        upper = ("decoder" if row.kind == "cross" else row.kind, layer + 1, to)
        lower = ("encoder", top_of_encoder(found), fro) if row.kind == "cross" else (row.kind, layer, fro)
        below.setdefault(upper, []).append((lower, getattr(row, column)))
    sums = {}

    def walk(node, product):
        sums[node] = sums.get(node, 0.0) + product
        for lower, share in below.get(node, ()):
            walk(lower, product * share)

    walk(tuple(found.root), 1.0)
    return sums


def top_of_encoder(found):
    return int(found.nodes.loc[found.nodes["kind"] == "encoder", "layer"].max())


@pytest.mark.parametrize("method", ["contribution", "rollout"])
@pytest.mark.parametrize(("name", "token"), [("GPT-2", 4), ("BERT", 2), ("T5", 3)])
def test_products_along_paths_are_the_shares_of_the_nodes(name, token, method):
    found = influence(traced(name), token, method, kind="decoder" if name == "T5" else None, mass=0.7, most=12)
    assert 0 < len(found.edges) <= 12 * 5
    shares = along_paths(found, "share")
    nodes = {(row.kind, row.layer, row.token): row.share for row in found.nodes.itertuples()}
    assert set(shares) == set(nodes)
    for node, share in nodes.items():
        assert shares[node] == pytest.approx(share, abs=1e-5)
    lowest = {(row.kind, 0, row.token) for row in found.nodes.itertuples() if row.layer == 0}
    assert sum(share for node, share in shares.items() if node in lowest) == pytest.approx(1, abs=1e-5)
    # Before rescaling, the same paths carry exactly what is said to be shown.
    assert sum(share for node, share in along_paths(found, "contribution").items() if node in lowest) == pytest.approx(
        found.kept, abs=1e-5
    )
    of_each = found.edges.groupby([found.edges["kind"] == "encoder", "layer", "to"])["share"].sum()
    np.testing.assert_allclose(of_each, 1, atol=1e-5)


def test_all_paths_carry_all_influence_and_fewer_paths_what_was_asked_for():
    trace = traced("BERT")
    whole = influence(trace, 5, mass=1)
    assert whole.kept == pytest.approx(1, abs=1e-4)
    lowest = whole.nodes[whole.nodes["layer"] == 0].set_index("token")
    np.testing.assert_allclose(lowest["share"], whole.tokens["influence"][lowest.index], atol=1e-5)
    np.testing.assert_allclose(lowest["influence"], lowest["share"], atol=1e-5)
    sizes = []
    for mass in (0.3, 0.8, 0.95):
        found = influence(trace, 5, mass=mass)
        assert found.kept >= mass
        assert "weaker edges are left out" in found.notes[0]
        sizes.append(len(found.edges))
    assert sizes == sorted(set(sizes))
    assert sizes[-1] < len(whole.edges)
    few = influence(trace, 5, mass=0.9, most=4)
    assert few.edges.groupby("layer").size().max() <= 4
    assert few.kept < 0.9
    assert few.left_out > 0


def test_a_causal_model_never_shows_the_future():
    for method, name in itertools.product(("contribution", "rollout"), ("GPT-2", "Mistral", "GPT-OSS")):
        found = influence(traced(name), 6, method, mass=1)
        assert (found.edges["from"] <= found.edges["to"]).all()
        assert found.tokens["influence"].notna().tolist() == found.tokens["influence_uniform"].notna().tolist()
        assert found.tokens["influence"][7:].isna().all()
        assert found.tokens["influence"][:7].notna().any()


def test_an_edge_names_the_head_that_makes_most_of_it():
    trace = traced("Llama")
    found = graph(trace, -1, "contribution", "decoder", 0.9)
    table = influence(trace, -1, mass=0.9).edges
    for edge in range(0, len(table), 7):
        row = table.iloc[edge]
        block = attention_block(trace, "decoder", int(row["layer"]))
        to, fro = int(row["to"]), int(row["from"])
        apart = [
            np.abs(
                block.output[to] - block.weights[head, to, fro] * (block.values[head // 2, fro] @ block.projection[head])
            ).sum()
            for head in range(4)
        ]
        assert head_of_edge(trace, found, edge) == ("decoder", row["layer"], int(np.argmin(apart)))
        assert row["head"] == np.argmin(apart)
    by_weight = influence(trace, -1, "rollout", mass=0.9).edges.iloc[0]
    weights = trace.attention(layer=int(by_weight["layer"])).to_numpy()[:, int(by_weight["to"]), int(by_weight["from"])]
    assert by_weight["head"] == weights.argmax()
    crossing = influence(traced("T5"), -1, kind="decoder").edges
    assert set(crossing["kind"]) == {"encoder", "decoder", "cross"}


def test_switched_off_heads_contribute_nothing():
    model = loaded("GPT-2")
    off = [HeadId("decoder", 1, head) for head in range(4)]
    trace = model.trace(TEXT, ablate=dict.fromkeys(off, "mean"))
    for method in ("contribution", "rollout"):
        found = influence(trace, -1, method, mass=1)
        assert (found.edges.loc[found.edges["layer"] == 1, "from"] == found.edges.loc[found.edges["layer"] == 1, "to"]).all()
        assert (found.edges.loc[found.edges["layer"] == 1, "head"] == -1).all()
        assert (found.edges.loc[found.edges["layer"] == 2, "from"] != found.edges.loc[found.edges["layer"] == 2, "to"]).any()
    one = model.trace(TEXT, ablate=[HeadId("decoder", 0, 2)])
    assert 2 not in set(influence(one, -1, mass=1).edges.query("layer == 0")["head"])
    cut = model.trace(TEXT, knock_out=[(HeadId("decoder", layer, head), 5, 3) for layer in range(3) for head in range(4)])
    assert not ((influence(cut, 5, mass=1).edges[["to", "from"]] == [5, 3]).all(axis=1)).any()


def test_rollout_is_the_product_of_halved_attention_and_residual():
    trace = traced("BERT")
    product = np.eye(trace.attention_of().n_queries)
    for layer in range(3):
        product = (0.5 * trace.attention(layer=layer).to_numpy().mean(axis=0) + 0.5 * np.eye(len(product))) @ product
    np.testing.assert_allclose(influence(trace, 4, "rollout").tokens["influence"], product[4], atol=1e-5)
    np.testing.assert_allclose(product, rollout(trace, "encoder", 2), atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_uniform_attention_has_the_influence_of_chance(causal):
    seen = np.tri(6, dtype=bool) if causal else np.ones((6, 6), dtype=bool)
    rows = np.where(seen, 1 / seen.sum(axis=1, keepdims=True), 0)
    weights = np.broadcast_to(rows, (3, 2, 6, 6)).astype(np.float32).copy()
    trace = atlas.from_attention(weights, list("abcdef"), kind="decoder" if causal else "encoder", mask=seen)
    tokens = influence(trace, 3, "rollout").tokens
    np.testing.assert_allclose(tokens["influence"], tokens["influence_uniform"], atol=1e-6)
    mixed = np.linalg.matrix_power((rows + np.eye(6)) / 2, 3)[3]
    np.testing.assert_allclose(tokens["influence"].fillna(0), mixed, atol=1e-6)


def test_chance_spreads_each_tokens_share_of_others_evenly():
    trace = traced("GPT-2")
    product = None
    for step in steps(trace, "contribution", "decoder"):
        even = np.zeros_like(step.own)
        for at in range(len(even)):
            even[at, :at] = (1 - step.own[at, at]) / max(at, 1)
            even[at, at] = step.own[at, at] if at else 1
        product = even if product is None else even @ product
    np.testing.assert_allclose(influence(trace, 9).tokens["influence_uniform"].fillna(0), product[9], atol=1e-5)


def test_what_cannot_be_had_says_why(monkeypatch):
    recorded = atlas.from_attention(np.eye(3, dtype=np.float32)[None, None], ["a", "b", "c"])
    with pytest.raises(NotCaptured, match="weights only"):
        influence(recorded, 0)
    np.testing.assert_array_equal(influence(recorded, 1, "rollout").tokens["influence"], [0, 1, 0])
    outside = atlas.load((gptj(), tokenizer(special=False))).trace(TEXT)
    with pytest.raises(NotCaptured, match="rollout"):
        influence(outside, 0)
    assert mixing.offered(outside, "decoder") == ("rollout",)
    with pytest.raises(NotCaptured, match="attention interface"):
        influence(outside, 0, "value_zeroing")
    trace = loaded("GPT-2").trace("the cat ran")
    for wrong, told in (((3,), "no token 3"), ((0, "guess"), "'guess'"), ((0, "rollout", None, 1.5), "mass=")):
        with pytest.raises(UnknownName, match=told):
            influence(trace, *wrong)
    with pytest.raises(UnknownName, match="kind="):
        influence(traced("T5"), 0)
    monkeypatch.setattr(mixing, "CONTRIBUTION_PRODUCTS", 10)
    with pytest.raises(TooLarge, match="Use a shorter text"):
        influence(trace, 0)


def test_a_saved_trace_with_what_it_needs_gives_the_same(tmp_path):
    trace = loaded("BERT").trace(TEXT, capture=("stream", "head_outputs"))
    again = atlas.open(trace.save(tmp_path / "trace.nc"))
    np.testing.assert_allclose(influence(again, 3).tokens["influence"], influence(trace, 3).tokens["influence"], atol=1e-6)
    assert mixing.offered(again, "encoder") == ("contribution", "rollout")
    with pytest.raises(NotCaptured, match="is not here"):
        influence(again, 3, "value_zeroing")


def test_half_precision_gives_nearly_the_same():
    single, half = (loaded(name, dtype).trace(TEXT) for name, dtype in (("BERT", torch.float32), ("BERT", torch.bfloat16)))
    a, b = (influence(trace, 4).tokens["influence"] for trace in (single, half))
    assert np.corrcoef(a, b)[0, 1] > 0.9


@pytest.mark.parametrize("name", ["gpt-mini", "bert-mini"])
def test_an_embedded_model(name):
    trace = embedded(name, "The old dog saw the cat because she was hungry.")
    found = influence(trace, -1, mass=0.8)
    assert found.kept >= 0.8
    assert found.tokens["influence"].sum() == pytest.approx(1, abs=1e-5)
    assert found.nodes["share"].max() <= 1
