"""Who writes a prediction: parts against arithmetic by hand, sums against the models' own logits, and a planted head."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
import transformers as tr

import atlas
from atlas.attribution import Target, direct_effect_tokens, direct_effects
from atlas.attribution.prediction_parts import taken_apart
from atlas.errors import NotCaptured, UnknownName
from atlas.ids import HeadId
from atlas.tracing.direct_effects import HEAD, without_direct_effects
from tests.engine.families import TARGET, TEXT, gptj, loaded, tokenizer
from tests.state.readers import single

NAMES = (
    "BERT", "RoBERTa", "DistilBERT", "ELECTRA", "ALBERT", "ModernBERT", "GPT-2", "GPT-NeoX", "Llama", "Qwen3", "Gemma2",
    "GPT-OSS", "T5", "BART", "Marian", "bert-mini", "gpt-mini", "t5-mini", "mood-mini", "gus-mini",
)  # fmt: skip

MASKED = ("masked-lm", "token-classification")


@functools.cache
def traced(name, **options):
    model = atlas.load(name) if name.endswith("-mini") else loaded(name)
    target = TARGET if "cross" in model.kinds and not name.endswith("-mini") else None
    return model.trace(TEXT, **({"target": target} if target else {}), **options)


def at(trace):
    """A position in the middle of a text whose every token is predicted; else the last."""
    return Target(5 if trace.provenance["task"] in MASKED else -1)


def model_logits(trace):
    """(position, outcome) or (outcome,) the model's own."""
    live = trace.live
    inputs = {"input_ids": torch.tensor(trace.tokens()["id"].to_numpy())[None]}
    if "target" in trace.token_tables:
        inputs["decoder_input_ids"] = torch.tensor(trace.tokens("target")["id"].to_numpy())[None]
    with torch.no_grad():
        return live.model.hf(**inputs).logits[0].double().numpy()


def writing(trace):
    kinds = ("decoder", "cross") if "cross" in trace.kinds else trace.kinds
    return [head for head in trace.head_ids if head.kind in kinds]


@pytest.mark.parametrize("name", NAMES)
def test_parts_add_up_to_the_logit_that_the_model_gives(name):
    trace = traced(name)
    logits = model_logits(trace)
    found = direct_effects(trace, at(trace))
    resolved = found.attrs["target"]
    row = logits if logits.ndim == 1 else logits[resolved.position]
    assert resolved.outcome_id == row.argmax()
    assert found["effect"].sum() == pytest.approx(row.max(), rel=1e-4, abs=1e-5)
    assert found.attrs["value"] == pytest.approx(row.max(), rel=1e-5)
    assert found.attrs["gap"] < 1e-5
    against = direct_effects(trace, at(trace), second=True)
    wanted = np.sort(row)[-1] - np.sort(row)[-2]
    assert against["effect"].sum() == pytest.approx(wanted, abs=1e-4 * against["effect"].abs().sum())
    assert [HeadId(*each) for each in found.loc[found["what"] == HEAD, ["kind", "layer", "head"]].to_numpy()] == sorted(
        writing(trace), key=lambda head: (head.layer, head.kind == "cross", head.head)
    )


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "Gemma2", "T5", "gpt-mini", "mood-mini"])
def test_the_tokens_of_a_head_add_up_to_its_part(name):
    trace = traced(name)
    parts = direct_effects(trace, at(trace), second=True).query("what == 'head'")
    tokens = direct_effect_tokens(trace, writing(trace), at(trace), second=True)
    sums = tokens.groupby(["kind", "layer", "head"])["effect"].sum()
    for kind, layer, head, effect in parts[["kind", "layer", "head", "effect"]].to_numpy():
        assert sums[kind, layer, head] == pytest.approx(effect, abs=1e-5 * max(1, abs(effect)))
    # In a causal model the first query sees one key, which is all of its part.
    if name in ("GPT-2", "Llama"):
        first = direct_effect_tokens(trace, [HeadId("decoder", 1, 1)], Target(0))
        assert np.flatnonzero(first["effect"]).tolist() == [0]


def hooked(hf, names, inputs):
    """What some modules put out in one pass."""
    kept = {}

    def keep(name):
        def hook(_, args, output):
            kept[name] = (args[0].double(), (output if isinstance(output, torch.Tensor) else output[0]).double())

        return hook

    handles = [hf.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with torch.no_grad():
        hf(**inputs)
    for handle in handles:
        handle.remove()
    return kept


@pytest.mark.parametrize("name", ["GPT-2", "gpt-mini"])
def test_parts_equal_scale_times_write_times_unembedding_in_gpt2(name):
    trace = traced(name)
    hf, position = trace.live.model.hf, len(trace.tokens()) - 1
    layers = range(len(hf.transformer.h))
    names = ["transformer.wte", "transformer.ln_f", *(f"transformer.h.{at}.mlp" for at in layers)]
    names += [f"transformer.h.{at}.attn.c_proj" for at in layers]
    kept = hooked(hf, names, {"input_ids": torch.tensor(trace.tokens()["id"].to_numpy())[None]})
    found = direct_effects(trace, Target(position, outcome=40)).set_index("writer")["effect"]
    state = kept["transformer.ln_f"][0][0, position]
    row, scale = hf.lm_head.weight[40].detach().double(), hf.transformer.ln_f.weight.detach().double()
    size = ((state - state.mean()).square().mean() + hf.transformer.ln_f.eps).sqrt()

    def part(written):
        return float(((written - written.mean()) / size * scale) @ row)

    assert found["token embedding"] == pytest.approx(part(kept["transformer.wte"][1][0, position]), rel=1e-4, abs=1e-6)
    for layer in layers:
        written = kept[f"transformer.h.{layer}.mlp"][1][0, position]
        assert found[f"L{layer} feed-forward"] == pytest.approx(part(written), rel=1e-4, abs=1e-5)
        reads = kept[f"transformer.h.{layer}.attn.c_proj"][0][0, position]
        weight = hf.transformer.h[layer].attn.c_proj.weight.detach().double()
        heads = trace.n_heads()
        for head in range(heads):
            rows = slice(head * len(reads) // heads, (head + 1) * len(reads) // heads)
            assert found[f"L{layer} H{head}"] == pytest.approx(part(reads[rows] @ weight[rows]), rel=1e-3, abs=1e-5)


def test_parts_equal_the_same_by_hand_in_llama():
    trace = traced("Llama")
    hf, position = trace.live.model.hf, 9
    names = [
        "model.norm",
        *(f"model.layers.{at}.mlp" for at in range(3)),
        *(f"model.layers.{at}.self_attn.o_proj" for at in range(3)),
    ]
    kept = hooked(hf, names, {"input_ids": torch.tensor(trace.tokens()["id"].to_numpy())[None]})
    found = direct_effects(trace, Target(position, outcome=40), against=41).set_index("writer")["effect"]
    state = kept["model.norm"][0][0, position]
    size = (state.square().mean() + hf.model.norm.variance_epsilon).sqrt()
    reader = (hf.lm_head.weight[40] - hf.lm_head.weight[41]).detach().double() * hf.model.norm.weight.detach().double() / size
    for layer in range(3):
        written = kept[f"model.layers.{layer}.mlp"][1][0, position]
        assert found[f"L{layer} feed-forward"] == pytest.approx(float(written @ reader), rel=1e-4, abs=1e-6)
        reads = kept[f"model.layers.{layer}.self_attn.o_proj"][0][0, position].reshape(4, 8)
        weight = hf.model.layers[layer].self_attn.o_proj.weight.detach().double().reshape(32, 4, 8)
        for head in range(4):
            wanted = float((weight[:, head] @ reads[head]) @ reader)
            assert found[f"L{layer} H{head}"] == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_parts_equal_the_same_by_hand_in_t5():
    trace = traced("T5")
    hf, position = trace.live.model.hf, 4
    names = ["decoder.final_layer_norm"]
    names += [
        f"decoder.block.{at}.layer.{sub}"
        for at in range(3)
        for sub in ("0.SelfAttention.o", "1.EncDecAttention.o", "2.DenseReluDense")
    ]
    ids = {side: torch.tensor(trace.tokens(side)["id"].to_numpy())[None] for side in ("source", "target")}
    kept = hooked(hf, names, {"input_ids": ids["source"], "decoder_input_ids": ids["target"]})
    found = direct_effects(trace, Target(position, outcome=40)).set_index("writer")["effect"]
    norm = hf.decoder.final_layer_norm
    state = kept["decoder.final_layer_norm"][0][0, position]
    size = (state.square().mean() + norm.variance_epsilon).sqrt()
    reader = hf.lm_head.weight[40].detach().double() * norm.weight.detach().double() / size * hf.model_dim**-0.5
    for layer in range(3):
        written = kept[f"decoder.block.{layer}.layer.2.DenseReluDense"][1][0, position]
        assert found[f"decoder L{layer} feed-forward"] == pytest.approx(float(written @ reader), rel=1e-4, abs=1e-6)
        for kind, sub in (("decoder", "0.SelfAttention.o"), ("cross", "1.EncDecAttention.o")):
            reads = kept[f"decoder.block.{layer}.layer.{sub}"][0][0, position].reshape(4, 8)
            weight = hf.get_submodule(f"decoder.block.{layer}.layer.{sub}").weight.detach().double().reshape(32, 4, 8)
            for head in range(4):
                wanted = float((weight[:, head] @ reads[head]) @ reader)
                assert found[f"{kind} L{layer} H{head}"] == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_behind_the_stream_of_bert_norm_and_activation_are_held():
    trace = traced("BERT")
    hf, position = trace.live.model.hf, 5
    last, head = "bert.encoder.layer.2.output", "cls.predictions.transform"
    names = [f"{last}.dense", f"{last}.LayerNorm", f"{head}.dense", f"{head}.transform_act_fn", f"{head}.LayerNorm"]
    kept = hooked(hf, names, {"input_ids": torch.tensor(trace.tokens()["id"].to_numpy())[None]})

    def norm(name, written):
        module, state = hf.get_submodule(name), kept[name][0][0, position]
        size = ((state - state.mean()).square().mean() + module.eps).sqrt()
        return module.weight.detach().double() * (written - written.mean()) / size

    before, after = (each[0, position] for each in kept[f"{head}.transform_act_fn"])
    written = norm(f"{last}.LayerNorm", kept[f"{last}.dense"][1][0, position])
    carried = norm(f"{head}.LayerNorm", (hf.get_submodule(f"{head}.dense").weight.detach().double() @ written) * after / before)
    wanted = float(carried @ hf.cls.predictions.decoder.weight[40].detach().double())
    found = direct_effects(trace, Target(position, outcome=40))
    assert found.set_index("writer")["effect"]["L2 feed-forward"] == pytest.approx(wanted, rel=1e-4)
    assert "held at the factor" in found.attrs["notes"][0]
    assert "GELUActivation" in found.attrs["notes"][0]


def test_a_pooler_is_held_too():
    trace = traced("mood-mini")
    hf = trace.live.model.hf
    last = "bert.encoder.layer.5.output"
    kept = hooked(
        hf,
        [f"{last}.dense", f"{last}.LayerNorm", "bert.pooler.dense"],
        {"input_ids": torch.tensor(trace.tokens()["id"].to_numpy())[None]},
    )
    state, module = kept[f"{last}.LayerNorm"][0][0, 0], hf.get_submodule(f"{last}.LayerNorm")
    written = kept[f"{last}.dense"][1][0, 0]
    size = ((state - state.mean()).square().mean() + module.eps).sqrt()
    written = module.weight.detach().double() * (written - written.mean()) / size
    pooled = kept["bert.pooler.dense"][1].reshape(-1)
    factor = torch.tanh(pooled) / pooled
    carried = (hf.bert.pooler.dense.weight.detach().double() @ written) * factor
    found = direct_effects(trace, Target(outcome=1))
    wanted = float(carried @ hf.classifier.weight[1].detach().double())
    assert found.set_index("writer")["effect"]["L5 feed-forward"] == pytest.approx(wanted, rel=1e-4)
    assert found["q"].isna().all()  # three labels are no chance level


def untied(seed=0, **changes):
    torch.manual_seed(seed)
    config = tr.GPT2Config(
        vocab_size=96, n_embd=32, n_layer=3, n_head=4, n_positions=64, tie_word_embeddings=False, **changes
    )  # fmt: skip
    hf = tr.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in hf.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    return hf


def test_a_larger_unembedding_makes_all_parts_larger_and_a_larger_stream_none():
    hf = untied()
    target = Target(-1, outcome=40)

    def parts():
        return direct_effects(atlas.load((hf, tokenizer(special=False))).trace(TEXT), target).set_index("writer")["effect"]

    before = parts()
    with torch.no_grad():
        hf.lm_head.weight.mul_(3)
    np.testing.assert_allclose(parts(), 3 * before, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        hf.lm_head.weight.div_(3)
        hf.transformer.wte.weight.mul_(7)
        hf.transformer.wpe.weight.mul_(7)
        for block in hf.transformer.h:
            for projection in (block.attn.c_proj, block.mlp.c_proj):
                projection.weight.mul_(7)
                projection.bias.mul_(7)
    np.testing.assert_allclose(parts(), before, rtol=1e-3, atol=1e-4)


def test_a_head_that_writes_the_unembedding_of_the_outcome_is_found_and_others_are_not():
    hf = untied(3)
    planted, outcome = (1, 2), 50
    with torch.no_grad():
        block = hf.transformer.h[planted[0]].attn
        row = hf.lm_head.weight[outcome]
        values = slice(64 + 8 * planted[1], 64 + 8 * planted[1] + 8)
        block.c_attn.weight[:, values] = 0
        block.c_attn.bias[values] = 1  # what it reads is the same wherever it looks
        block.c_proj.weight[8 * planted[1] : 8 * planted[1] + 8] = row / row.norm()
    trace = atlas.load((hf, tokenizer(special=False))).trace(TEXT)
    found = direct_effects(trace, Target(-1, outcome=outcome)).query("what == 'head'").set_index("writer")
    assert found["effect"].idxmax() == "L1 H2"
    assert found.index[found["q"] <= 0.05].tolist() == ["L1 H2"]
    assert found["effect"]["L1 H2"] > 2 * found["hi"]["L1 H2"]
    tokens = direct_effect_tokens(trace, [HeadId("decoder", 1, 2)], Target(-1, outcome=outcome))
    np.testing.assert_allclose(
        tokens["effect"] / tokens["effect"].sum(), trace.attention(layer=1, head=2).values[-1], rtol=1e-4, atol=1e-6
    )


def test_in_models_that_have_learnt_nothing_heads_are_beyond_chance_as_rarely_as_q_says():
    drawn = np.random.default_rng(0)
    found = []
    for seed in range(8):
        trace = atlas.load((untied(seed), tokenizer(special=False))).trace(TEXT)
        for outcome in drawn.choice(96, 3, replace=False):
            table = direct_effects(trace, Target(-1, outcome=int(outcome)), seed=seed).query("what == 'head'")
            found.append((table["q"] <= 0.05).any())
    assert np.mean(found) <= 0.2  # 0.05 of them are expected


def test_chance_is_what_random_outcomes_get():
    trace = traced("gpt-mini")
    table = direct_effects(trace, Target(-1, outcome=300), seed=4)
    n_outcomes = len(model_logits(trace)[-1])
    others = np.setdiff1d(np.arange(n_outcomes), [300])
    chosen = np.random.default_rng(4).permutation(others)[:200]
    some = [direct_effects(trace, Target(-1, outcome=int(one))).set_index("writer")["effect"]["L2 H6"] for one in chosen[:40]]
    found = taken_apart(trace, Target(-1, outcome=300), seed=4)
    assert found.outcomes == 200
    row = table.set_index("writer").loc["L2 H6"]
    assert row["lo"] < np.median(some) < row["hi"]
    assert row["chance"] == pytest.approx(np.mean(some), abs=3 * np.std(some) / np.sqrt(40))
    again = direct_effects(trace, Target(-1, outcome=300), seed=4)
    assert table.equals(again)


def test_in_gpt_mini_a_head_reads_she_from_her():
    text = "The old doctor said that she was tired because the cat ran after her. The old doctor said that"
    trace = atlas.load("gpt-mini").trace(text)
    found = direct_effects(trace, second=True)
    target = found.attrs["target"]
    assert (target.outcome.strip(), target.against.strip()) == ("she", "the")
    assert found.attrs["value"] == pytest.approx(2.3, abs=0.05)
    head = found.set_index("writer").loc["L2 H6"]
    assert head["effect"] == pytest.approx(1.1, abs=0.05)
    assert head["effect"] > head["hi"]
    assert head["q"] < 0.05
    assert head["effect"] == found.loc[found["what"] == HEAD, "effect"].max()
    tokens = direct_effect_tokens(trace, ["L2 H6"], second=True)
    most = tokens.loc[tokens["effect"].idxmax()]
    assert (most["token"].strip("Ġ▁ "), most["position"]) == ("her", 13)
    assert most["effect"] > 0.95 * tokens["effect"].abs().max()


def test_a_head_that_is_switched_off_writes_nothing_and_the_rest_still_adds_up():
    head = HeadId("decoder", 1, 2)
    trace = loaded("GPT-2").trace(TEXT, ablate=[head])
    found = direct_effects(trace)
    assert found.attrs["gap"] < 1e-5
    assert found.set_index("writer")["effect"]["L1 H2"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(NotCaptured, match="replaced"):
        direct_effect_tokens(trace, [head])


def test_what_cannot_be_taken_apart_says_why():
    assert "no predictions" in without_direct_effects(single())
    with pytest.raises(NotCaptured, match="Nobody can say who wrote"):
        direct_effects(single())
    plain = atlas.load((gptj(), tokenizer(special=False))).trace(TEXT)
    reason = without_direct_effects(plain)
    assert reason or direct_effects(plain).attrs["gap"] < 1e-4
    with pytest.raises(UnknownName, match="by itself"):
        direct_effect_tokens(traced("T5"), [HeadId("encoder", 0, 0)], at(traced("T5")))
