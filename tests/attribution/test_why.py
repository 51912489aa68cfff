"""The score of one edge as a sum over pairs of writers, against the models' own weights and against arithmetic by hand."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

import atlas
from atlas.attribution import score_parts, why
from atlas.attribution.score_parts import key_parts, remaining_weight
from atlas.engine.running.edge_map import edge_map
from atlas.errors import NotCaptured, UnknownName
from tests.engine.families import TARGET, TEXT, gptj, loaded, tokenizer

REPEATED = "the cat ran after the dog and the nurse said hello to the cat ran after the dog and the nurse"


@functools.cache
def traced(name, **options):
    model = loaded(name)
    return model.trace(TEXT, **({"target": TARGET} if "cross" in model.kinds else {}), **options)


@functools.cache
def embedded(name, text=REPEATED):
    return atlas.load(name).trace(text)


def strongest(trace, kind, layer, head):
    """The last query and the key it looks at most, not counting the first token."""
    row = np.nan_to_num(trace.attention(kind, layer=layer, head=head).values[-1])
    row[0] = 0
    return len(trace.attention(kind, layer=layer, head=head)) - 1, int(row.argmax())


def score_of(trace, kind, layer, head, query, key):
    """The scaled score with a position bias, as the trace's own queries and keys give it, before a soft cap."""
    attention = trace.attention_of(kind)
    steps = attention.score_steps(layer, head, np.array([query]), np.array([key]))
    score = float(steps["dot"][0, 0]) * attention.layers[layer].scaling
    return score + float((steps["biased"] - steps["scaled"])[0, 0] if "biased" in steps else 0)


FAMILIES = {
    "BERT": ["encoder"], "DistilBERT": ["encoder"], "ModernBERT": ["encoder"], "ELECTRA": ["encoder"], "GPT-2": ["decoder"],
    "GPT-NeoX": ["decoder"], "Llama": ["decoder"], "Qwen3": ["decoder"], "Gemma2": ["decoder"], "GPT-OSS": ["decoder"],
    "T5": ["encoder", "decoder", "cross"], "BART": ["encoder", "decoder", "cross"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kinds in FAMILIES.items() for kind in kinds])
def test_parts_add_up_to_the_score_of_the_model(name, kind):
    trace = traced(name)
    for layer in range(trace.n_layers(kind)):
        for head in (0, trace.n_heads(kind) - 1):
            query, key = strongest(trace, kind, layer, head)
            found, wanted = why(trace, layer, head, query, key, kind), score_of(trace, kind, layer, head, query, key)
            assert found.score == pytest.approx(wanted, rel=1e-6)
            assert found.table["part"].sum() == pytest.approx(wanted, rel=1e-4, abs=1e-5)
            for side, table in (("q", found.q), ("k", found.k)):
                sums = found.table.groupby(f"{side}_writer")["part"].sum()
                assert dict(zip(table["writer"], table["part"], strict=True)) == pytest.approx(dict(sums), rel=1e-6, abs=1e-9)
            weights = trace.attention(kind, layer=layer, head=head).values
            assert found.weight == pytest.approx(float(weights[query, key]), abs=2e-5)


@pytest.mark.parametrize(("name", "kind"), [("gpt-mini", "decoder"), ("bert-mini", "encoder"), ("t5-mini", "cross")])
def test_parts_add_up_in_embedded_models(name, kind):
    trace = embedded(name)
    layer = trace.n_layers(kind) - 1
    query, key = strongest(trace, kind, layer, 1)
    found, wanted = why(trace, layer, 1, query, key, kind), score_of(trace, kind, layer, 1, query, key)
    assert found.table["part"].sum() == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    assert not found.approximate
    assert not found.notes


def writers_by_hand(hf, trace, layer, rows):
    """GPT-2: writer -> (row, width), from its own modules."""
    ids = torch.tensor(trace.tokens()["id"].to_numpy())
    base = hf.transformer
    found = {"token embedding": base.wte(ids), "position embedding": base.wpe(torch.arange(len(ids))), "biases": 0}
    for below in range(layer):
        block = base.h[below]
        attention, weights = trace.attention_of(), np.nan_to_num(trace.attention(layer=below).values)
        matrix = block.attn.c_proj.weight.reshape(attention.n_heads, -1, block.attn.c_proj.weight.shape[1])
        for head in range(attention.n_heads):
            z = torch.tensor(weights[head]) @ torch.tensor(np.asarray(attention.layers[below].value[head]))
            found[f"L{below} H{head}"] = z @ matrix[head]
        found["biases"] = found["biases"] + block.attn.c_proj.bias
        middle = torch.tensor(trace.vectors("residual_mid", layer=below).values)
        found[f"L{below} feed-forward"] = block.mlp(block.ln_2(middle))
    return {name: torch.as_tensor(vectors).expand(len(ids), -1)[rows].detach().numpy() for name, vectors in found.items()}


@torch.no_grad()
def test_every_pair_equals_the_product_by_hand_in_gpt2():
    trace, (layer, head, query, key) = traced("GPT-2"), (2, 1, 12, 7)
    hf = trace.live.model.hf
    block, width = hf.transformer.h[layer], 8
    weight, bias = block.attn.c_attn.weight.numpy(), block.attn.c_attn.bias.numpy()
    hidden = trace.vectors("hidden", layer=layer).values

    def side(row, start):
        """Writer -> its part of q or k: standardised by this row's size, scaled, projected."""
        columns = slice(start + head * width, start + (head + 1) * width)
        size = np.sqrt(hidden[row].var() + block.ln_1.eps)
        parts = {}
        for name, vectors in writers_by_hand(hf, trace, layer, [row]).items():
            parts[name] = ((vectors[0] - vectors[0].mean()) / size * block.ln_1.weight.numpy()) @ weight[:, columns]
        parts["biases"] = parts["biases"] + block.ln_1.bias.numpy() @ weight[:, columns] + bias[columns]
        return parts

    q, k = side(query, 0), side(key, 32)
    found = why(trace, layer, head, query, key)
    wanted = {(a, b): float(q[a] @ k[b] / np.sqrt(width)) for a in q for b in k}
    got = {(a, b): part for a, b, part in found.table.itertuples(index=False)}
    assert got == pytest.approx(wanted, rel=1e-3, abs=1e-4)


@torch.no_grad()
def test_writers_pass_the_norms_after_each_block_at_their_size_in_bert():
    trace, (layer, head, query, key) = traced("BERT"), (1, 2, 5, 9)
    hf, width = trace.live.model.hf, 8
    first, attention = hf.bert.encoder.layer[0], hf.bert.encoder.layer[layer].attention.self
    weights, value = np.nan_to_num(trace.attention(layer=0, head=3).values), trace.attention_of().layers[0].value[3]
    written = (weights @ value)[key] @ first.attention.output.dense.weight.numpy().T[3 * width :][:width]
    before = trace.vectors("hidden", layer=0).values + trace.vectors("attention_output", layer=0).values
    middle = trace.vectors("residual_mid", layer=0).values + trace.vectors("ffn_out", layer=0).values
    for stream, norm in ((before, first.attention.output.LayerNorm), (middle, first.output.LayerNorm)):
        written = (written - written.mean()) / np.sqrt(stream[key].var() + norm.eps) * norm.weight.numpy()
    rows = slice(head * width, (head + 1) * width)
    q = np.asarray(trace.attention_of().layers[layer].query[head][query])
    wanted = float(q @ (attention.key.weight.numpy()[rows] @ written)) / np.sqrt(width)
    found = why(trace, layer, head, query, key)
    assert dict(zip(found.k["writer"], found.k["part"], strict=True))["L0 H3"] == pytest.approx(wanted, rel=1e-3, abs=1e-5)


def test_the_weight_without_a_writer_is_the_softmax_without_its_part_of_every_key():
    trace, (layer, head, query, key) = traced("GPT-2"), (2, 1, 12, 7)
    found = why(trace, layer, head, query, key).k.set_index("writer")
    scores = trace.attention_of().scores(layer, head, np.array([query]))["scaled"][0, : query + 1].astype(np.float64)
    for writer in ("L0 H1", "L1 feed-forward", "token embedding", "biases"):
        parts = []
        for each in range(query + 1):
            margin = why(trace, layer, head, query, each).k.set_index("writer")["part"]
            parts.append(margin[writer])
        left = np.exp(scores - parts - (scores - parts).max())
        assert found.loc[writer, "weight_without"] == pytest.approx(left[key] / left.sum(), rel=1e-3)


@pytest.mark.parametrize(("name", "kind"), [("Llama", "decoder"), ("T5", "cross"), ("BERT", "encoder"), ("Qwen3", "decoder")])
def test_the_parts_of_a_whole_row_add_up_to_its_scores(name, kind):
    trace = traced(name)
    layer, head = trace.n_layers(kind) - 1, 1
    query, key = strongest(trace, kind, layer, head)
    keys = np.arange(query + 1 if kind == "decoder" else trace.attention_of(kind).n_keys)
    parts = key_parts(trace, kind, layer, edge_map(trace, kind, layer, head, query, key), keys)
    scores = trace.attention_of(kind).score_steps(layer, head, np.array([query]), keys)["dot"][0]
    assert np.sum(list(parts.values()), axis=0) == pytest.approx(
        scores * trace.attention_of(kind).layers[layer].scaling, rel=1e-4, abs=1e-4
    )


def test_a_soft_cap_and_a_sink_are_part_of_the_weight_that_remains():
    scores = np.array([1.0, 3.0, -2.0])
    powers = np.exp(np.tanh(scores / 2) * 2 + 0.5)
    assert remaining_weight(scores, 0.5, 1, 2.0, 0.7) == pytest.approx(powers[1] / (powers.sum() + np.exp(0.7)))


def test_the_previous_token_head_explains_the_induction_head():
    """A text repeats its words; the head that looks behind the first time reads, in its keys, who stood before."""
    trace = embedded("gpt-mini")
    tokens = trace.tokens()["token"].tolist()
    heads = trace.heads.set_index(["layer", "head"])
    query = len(tokens) - 1
    key = max(at for at in range(1, query) if tokens[at - 1] == tokens[query])
    layer, head = 1, 4
    assert heads.loc[(layer, head), "induction"] > 0.4
    row = trace.attention(layer=layer, head=head).values[query]
    assert row[key] == np.nanmax(row)
    previous = f"L0 H{int(heads.loc[0, 'previous'].idxmax())}"
    found = why(trace, layer, head, query, key)
    written = found.k.set_index("writer")
    assert written["part"][written.index.str.contains("H")].idxmax() == previous
    assert found.table["k_writer"].iloc[0] == previous
    # Feed-forward blocks give as much to every key; without the head that says who stood before, the weight is gone.
    assert written["weight_without"].idxmin() == previous
    assert written["weight_without"][previous] < found.weight / 5


def test_what_is_held_or_cannot_be_told_apart_is_said():
    qwen, gemma = traced("Qwen3"), traced("Gemma2")
    assert "held" in why(qwen, 1, 0, 6, 3).approximate
    assert "caps scores softly" in why(gemma, 1, 0, 6, 3).approximate
    assert "embeddings are one writer" in why(traced("ELECTRA"), 1, 0, 6, 3).notes[0]
    t5 = why(traced("T5"), 1, 0, 3, 5, "encoder")
    row = t5.table[t5.table["q_writer"] == "position bias"]
    assert row["k_writer"].tolist() == ["position bias"]
    bias = traced("T5").attention_of("encoder").layers[1].bias
    assert row["part"].tolist() == pytest.approx([bias.block(*[traced("T5").attention_of("encoder").n_queries] * 2, 0)[3, 5]])


def test_a_run_that_was_changed_is_taken_apart_as_it_ran():
    trace = traced("GPT-2", ablate=("L0 H1",))
    found = why(trace, 2, 0, 9, 4)
    assert found.table["part"].sum() == pytest.approx(score_of(trace, "decoder", 2, 0, 9, 4), rel=1e-4, abs=1e-5)
    assert found.k.set_index("writer")["part"]["L0 H1"] == 0
    assert found.score != pytest.approx(why(traced("GPT-2"), 2, 0, 9, 4).score, rel=1e-3)


def test_a_trace_without_queries_keys_or_model_gives_the_reason(tmp_path):
    outside = atlas.load((gptj(), tokenizer(special=False))).trace(TEXT)
    with pytest.raises(NotCaptured, match="weights only"):
        why(outside, 0, 0, 3, 1)
    saved = atlas.open(traced("GPT-2").save(tmp_path / "kept.nc"))
    with pytest.raises(NotCaptured, match="model is not here"):
        why(saved, 0, 0, 3, 1)
    recorded = atlas.from_attention(np.full((1, 1, 3, 3), 1 / 3), ["a", "b", "c"])
    with pytest.raises(NotCaptured, match="weights only"):
        why(recorded, 0, 0, 2, 1)


@pytest.mark.parametrize(
    ("edge", "said"),
    [((3, 0, 5, 1), "no layer 3"), ((0, 4, 5, 1), "no head 4"), ((0, 0, 99, 1), "no query 99"), ((0, 0, 2, 3), "may not look")],
)
def test_an_edge_that_is_not_there_is_refused(edge, said):
    with pytest.raises(UnknownName, match=said):
        why(traced("GPT-2"), *edge)


def test_weights_without_writers_are_left_out_where_they_take_too_long(monkeypatch):
    monkeypatch.setattr(score_parts, "ROW_PRODUCTS", 10)
    found = why(traced("GPT-2"), 2, 1, 12, 7)
    assert found.k["weight_without"].isna().all()
    assert found.weight > 0
