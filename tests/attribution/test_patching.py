"""Attribution patching of heads and of edges against plain autograd, and where it is exact."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tr
from scipy.stats import pearsonr, spearmanr

import atlas
from atlas.attribution import Target, attribution_patching, edge_attribution_patching, head_effects
from atlas.engine.gradients import edges as engine_edges
from atlas.engine.gradients.subject import Subject
from atlas.engine.loading.load import load
from atlas.errors import BadIntervention, NotCaptured, TooLarge
from tests.attribution.own import model, plain, traced
from tests.engine.families import TARGET, TEXT, VOCABULARY, gptj, loaded, tokenizer

OTHER = "the nurse said that he was tired because the dog ran after the cat and the cat ran away from the dog"
SHORT = "a cat and a dog"
READ = ("query", "key", "value")
PROJECTIONS = {"BERT": "attention.output.dense", "GPT-2": "attn.c_proj", "Llama": "self_attn.o_proj", "T5": "Attention.o"}


def ids(name, text, side):
    return torch.tensor(traced(name, text).tokens(side)["id"].tolist())[None]


def place_of(name, module):
    """(kind, layer) of an output projection, by its name."""
    layer = int(next(part for part in module.split(".") if part.isdigit()))
    if name == "T5":
        return ("cross" if "EncDec" in module else module.split(".")[0]), layer
    return traced(name).kinds[0], layer


def run(name, given, target, **options):
    """The target's number and the inputs of all output projections, by transformers' own model."""
    hf, seen = plain(name), {}
    handles = [
        module.register_forward_pre_hook(lambda _, args, at=at: seen.__setitem__(place_of(name, at), args[0]))
        for at, module in hf.named_modules()
        if at.endswith(PROJECTIONS[name])
    ]
    names = ("inputs_embeds", "decoder_inputs_embeds")
    logits = hf(**dict(zip(names, given, strict=False)), **options).logits[0, target.position]
    for handle in handles:
        handle.remove()
    return logits[target.outcome_id], seen


def line(name, steps):
    """The token vectors of every step, by sides, the text's own last."""
    table = plain(name).get_input_embeddings()
    ends = [[table(ids(name, text, side)).detach() for side in traced(name).token_tables] for text in (OTHER, TEXT)]
    for step in range(1, steps + 1):
        yield [(away + (own - away) * step / steps).requires_grad_() for away, own in zip(*ends, strict=True)]


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5"])
@pytest.mark.parametrize("steps", [1, 3])
def test_estimates_of_heads_are_those_of_plain_autograd(name, steps):
    target = Subject(traced(name), Target(-3)).target
    with torch.no_grad():
        _, theirs = run(
            name, [plain(name).get_input_embeddings()(ids(name, OTHER, side)) for side in traced(name).token_tables], target
        )
    gradients = {}
    for given in line(name, steps):
        value, own = run(name, given, target)
        for place, found in zip(own, torch.autograd.grad(value, list(own.values()), allow_unused=True), strict=True):
            gradients[place] = gradients.get(place, 0) + (0 if found is None else found) / steps
    found = attribution_patching(model(name), traced(name), traced(name, OTHER), Target(-3), steps)
    expected = []
    for _, row in found.iterrows():
        place, heads = (row["kind"], row["layer"]), traced(name).n_heads(row["kind"])
        by_position = ((own[place] - theirs[place]) * gradients[place]).detach()
        expected.append(float(by_position[0].double().unflatten(-1, (heads, -1))[:, row["head"]].sum()))
    assert list(found.columns) == ["kind", "layer", "head", "effect", "log_probability", "kl", "patched"]
    np.testing.assert_allclose(found["effect"], expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())
    assert found["effect"].abs().max() > 1e-2
    assert found["kl"].isna().all()
    assert {name: found.attrs[name] for name in ("how", "steps", "n")} == {"how": "patch", "steps": steps, "n": 0}


# -- edges by hand ---------------------------------------------------------------------------------------------------------


def reads_of(name, layer, states):
    """q, k and v of every head, (head, position, width) each, from states (input, head, position, width)."""
    block = layers(name)[layer]
    heads = traced(name).n_heads()
    if name == "GPT-2":
        width = states.shape[-1] // heads
        mapped = torch.addmm(block.attn.c_attn.bias, block.ln_1(states).flatten(0, 2), block.attn.c_attn.weight)
        mapped = mapped.reshape(*states.shape[:3], 3, heads, width)
        return [torch.stack([mapped[i, h, :, i, h] for h in range(heads)]) for i in range(3)]
    attention, normed = block.self_attn, block.input_layernorm(states)
    width, found = attention.head_dim, []
    cos, sin = (each[0] for each in plain(name).model.rotary_emb(states[0, :1], torch.arange(states.shape[2])[None]))
    for i, linear in enumerate((attention.q_proj, attention.k_proj, attention.v_proj)):
        mapped = linear(normed[i]).unflatten(-1, (-1, width))
        groups = heads // mapped.shape[2]
        read = torch.stack([mapped[h, :, h // groups] for h in range(heads)])
        if i < 2:
            turned = torch.cat([-read[..., width // 2 :], read[..., : width // 2]], -1)
            read = read * cos + turned * sin
        found.append(read)
    return found


def layers(name):
    hf = plain(name)
    return hf.transformer.h if name == "GPT-2" else hf.model.layers


def weights_of(name, layer):
    """(head, width, stream) of the output projection."""
    block = layers(name)[layer]
    inward = block.attn.c_proj.weight if name == "GPT-2" else block.self_attn.o_proj.weight.T
    return inward.unflatten(0, (traced(name).n_heads(), -1))


def layer_by_hand(name, layer, state, states):
    """The state after a layer whose heads read `states`, and the outputs of its heads."""
    block = layers(name)[layer]
    q, k, v = reads_of(name, layer, states)
    seen = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).tril()
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~seen, -torch.inf)
    z = scores.softmax(-1) @ v
    written = torch.einsum("hqw,hwd->qd", z, weights_of(name, layer))
    middle = state + (written + block.attn.c_proj.bias if name == "GPT-2" else written)
    norm = block.ln_2 if name == "GPT-2" else block.post_attention_layernorm
    return middle + block.mlp(norm(middle)), z


def same(name, state):
    return state.expand(3, traced(name).n_heads(), *state.shape)


def up_to(name, vectors, layer):
    """The state that enters a layer, and the outputs of all heads before it."""
    state = vectors[0] + (plain(name).transformer.wpe.weight[: vectors.shape[1]] if name == "GPT-2" else 0)
    outputs = []
    for below in range(layer):
        state, z = layer_by_hand(name, below, state, same(name, state))
        outputs.append(z)
    return state, outputs


def from_layer(name, layer, state, states, target):
    """The target's number where the heads of one layer read `states`."""
    for at in range(layer, len(layers(name))):
        state, _ = layer_by_hand(name, at, state, states if at == layer else same(name, state))
    hf = plain(name)
    final = hf.transformer.ln_f if name == "GPT-2" else hf.model.norm
    return hf.lm_head(final(state[target.position]))[target.outcome_id]


def changes_by_hand(name, layer):
    """(writer, position, width): what everyone before a layer writes in the other text minus what it writes in this one."""
    vectors = [plain(name).get_input_embeddings()(ids(name, text, "source")) for text in (OTHER, TEXT)]
    states = [[up_to(name, each, at)[0] for at in range(layer + 1)] for each in vectors]
    outputs = [up_to(name, each, layer)[1] for each in vectors]
    parts = [(states[0][0] - states[1][0])[None]]
    for at, (a, b) in enumerate(zip(*outputs, strict=True)):
        written = [torch.einsum("hqw,hwd->hqd", each, weights_of(name, at)) for each in (a, b)]
        block, fed = layers(name)[at], []
        norm, bias = (block.ln_2, block.attn.c_proj.bias) if name == "GPT-2" else (block.post_attention_layernorm, 0)
        for state, heads in zip(states, written, strict=True):
            fed.append(block.mlp(norm(state[at] + heads.sum(0) + bias)))
        parts += [written[0] - written[1], (fed[0] - fed[1])[None]]
    found = torch.cat(parts)
    difference = (states[0][layer] - states[1][layer]).detach()
    torch.testing.assert_close(found.sum(0).detach(), difference, rtol=1e-4, atol=1e-5 * float(difference.abs().max()))
    return found


def place_among_writers(row, heads):
    """Of writers in their order: embeddings, then of each layer its heads and its feed-forward block."""
    return (
        0 if row["writer"] == "embedding" else 1 + row["layer"] * (heads + 1) + (heads if pd.isna(row["head"]) else row["head"])
    )


@functools.cache
def edges_of(name, steps):
    return edge_attribution_patching(model(name), traced(name), traced(name, OTHER), Target(-3), steps, check=40)


@pytest.mark.parametrize("name", ["GPT-2", "Llama"])
@pytest.mark.parametrize("steps", [1, 2])
def test_estimates_of_edges_are_those_of_plain_autograd(name, steps):
    target, found = Subject(traced(name), Target(-3)).target, edges_of(name, steps)
    heads = traced(name).n_heads()
    assert len(found) == 3 * heads * sum(1 + layer * (heads + 1) for layer in range(3))
    for layer in (0, 1, 2):
        changes = changes_by_hand(name, layer).detach()
        expected = torch.zeros(3, heads, len(changes))
        for (vectors,) in line(name, steps):
            state = up_to(name, vectors, layer)[0].detach()
            states = same(name, state).clone().requires_grad_()
            value = from_layer(name, layer, state, states, target)
            (gradient,) = torch.autograd.grad(value, states)
            expected -= torch.einsum("ihqd,sqd->ihs", gradient, changes) / steps
        own = found[found["to_layer"] == layer]
        order = 3 * heads * len(changes)
        assert len(own) == order
        into = own["input"].map(READ.index).to_numpy(dtype=int)
        writer = own.apply(place_among_writers, axis=1, heads=heads).to_numpy(dtype=int)
        assert len(set(writer)) == len(changes)
        by_row = expected.detach().numpy()[into, own["to_head"], writer]
        np.testing.assert_allclose(own["effect"], by_row, rtol=2e-3, atol=2e-3 * float(expected.abs().max()))
    value = from_layer(name, 2, state, same(name, state), target)
    assert float(value.detach()) == pytest.approx(target.value, rel=1e-3)  # the model by hand is the model


@pytest.mark.parametrize("name", ["GPT-2", "Llama"])
def test_checked_edges_are_patched_paths(name):
    target, found = Subject(traced(name), Target(-3)).target, edges_of(name, 1)
    known, heads = found[found["patched"].notna()], traced(name).n_heads()
    assert len(known) == found.attrs["n"] == 40
    assert set(known["input"]) == set(READ)
    assert set(known["writer"]) == {"embedding", "head", "feed-forward"}
    vectors = plain(name).get_input_embeddings()(ids(name, TEXT, "source")).detach()
    with torch.no_grad():
        for layer, own in known.groupby("to_layer"):
            state, changes = up_to(name, vectors, layer)[0], changes_by_hand(name, layer)
            before = from_layer(name, layer, state, same(name, state), target)
            for _, row in own.iterrows():
                states = same(name, state).clone()
                states[READ.index(row["input"]), row["to_head"]] += changes[place_among_writers(row, heads)]
                after = from_layer(name, layer, state, states, target)
                assert row["patched"] == pytest.approx(float(before - after), abs=2e-3 * max(1.0, abs(target.value)))
    assert found.attrs["pearson"] == pytest.approx(pearsonr(known["effect"], known["patched"]).statistic)
    assert found.attrs["spearman"] == pytest.approx(spearmanr(known["effect"], known["patched"]).statistic)


# -- where it is exact -----------------------------------------------------------------------------------------------------


@functools.cache
def linear():
    """A model without norms and feed-forward blocks whose heads attend evenly: its logits are linear in every head's output."""
    torch.manual_seed(3)
    hf = tr.GPT2LMHeadModel(
        tr.GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=64, bos_token_id=2, eos_token_id=3)
    ).eval()
    with torch.no_grad():
        for parameter in hf.parameters():
            parameter.mul_(20 if parameter.ndim > 1 else 1)
        hf.transformer.ln_f = torch.nn.Identity()
        for block in hf.transformer.h:
            block.ln_1 = block.ln_2 = torch.nn.Identity()
            block.attn.c_attn.weight[:, :64] = 0
            block.mlp.c_proj.weight.zero_()
    return load((hf, tokenizer(special=False)))


@pytest.mark.parametrize(("how", "other", "steps"), [("patch", OTHER, 1), ("patch", OTHER, 4), ("resample", SHORT, 1)])
def test_the_estimate_is_exact_where_the_model_is_linear(how, other, steps):
    found = attribution_patching(linear(), TEXT, other, Target(-2), steps, how=how, check=12)
    expected = head_effects(linear(), TEXT, Target(-2), how, other=other)["effect"]
    np.testing.assert_allclose(found["effect"], expected, rtol=1e-3, atol=1e-4 * expected.abs().max())
    np.testing.assert_allclose(found["patched"], expected, rtol=1e-3, atol=1e-4 * expected.abs().max())
    assert expected.abs().max() > 0.1
    assert [found.attrs[name] for name in ("n", "pearson", "spearman")] == [12, pytest.approx(1), pytest.approx(1)]


@pytest.mark.parametrize("steps", [1, 3])
def test_estimates_of_edges_are_exact_where_the_model_is_linear(steps):
    found = edge_attribution_patching(linear(), TEXT, OTHER, Target(-2), steps, check=10**6)
    largest = found["effect"].abs().max()
    assert largest > 0.01
    np.testing.assert_allclose(found["effect"], found["patched"], atol=1e-3 * largest)
    assert (found.loc[found["input"] != "value", "effect"].abs() < 1e-5 * largest).all()  # they attend evenly whatever they read


def test_a_sample_of_heads_is_patched_and_says_how_good_the_estimate_is():
    made = atlas.load("gpt-mini")
    text, other = "Tom said that he was tired. Tom said", "Tom said that she was tired. Tom said"
    trace, there = made.trace(text), made.trace(other)
    assert len(trace.tokens()) == len(there.tokens())
    found = attribution_patching(made, trace, there, check=9, seed=2)
    expected = head_effects(made, trace, how="patch", other=there)
    known = found["patched"].notna()
    assert known.sum() == found.attrs["n"] == 9
    np.testing.assert_allclose(found.loc[known, "patched"], expected.loc[known, "effect"], atol=1e-3)
    estimated, measured = found["effect"][known], expected["effect"][known]
    assert found.attrs["pearson"] == pytest.approx(pearsonr(estimated, measured).statistic, abs=1e-2)
    assert found.attrs["spearman"] == pytest.approx(spearmanr(estimated, measured).statistic, abs=0.05)


def test_what_cannot_be_estimated_is_said(monkeypatch):
    made, trace = model("GPT-2"), traced("GPT-2")
    for function in (attribution_patching, edge_attribution_patching):
        with pytest.raises(BadIntervention, match="as many tokens"):
            function(made, trace, SHORT)
        with pytest.raises(BadIntervention, match="one step or more"):
            function(made, trace, OTHER, steps=0)
        with pytest.raises(NotCaptured, match="attention interface"):
            function(load((gptj(), tokenizer(special=False))), TEXT, OTHER)
        with pytest.raises(BadIntervention, match="another model"):
            function(made, trace, traced("Llama", OTHER))
    with pytest.raises(BadIntervention, match="takes one step"):
        attribution_patching(made, trace, SHORT, steps=2, how="resample")
    with pytest.raises(BadIntervention, match="not 'zero'"):
        attribution_patching(made, trace, OTHER, how="zero")
    for name, reason in {"BERT": "does not write straight", "Gemma2": "RMSNorm changes", "T5": "two streams"}.items():
        own = loaded(name)
        other = own.trace(OTHER, target=TARGET if name == "T5" else None)
        with pytest.raises(NotCaptured, match=reason):
            edge_attribution_patching(own, own.trace(TEXT, target=TARGET if name == "T5" else None), other)
    monkeypatch.setattr(engine_edges, "MOST_EDGES", 215)
    with pytest.raises(TooLarge, match="216 edges"):
        edge_attribution_patching(made, trace, OTHER)
    monkeypatch.undo()
    monkeypatch.setattr(engine_edges, "DIFFERENCE_BYTES", 1000)
    with pytest.raises(TooLarge, match="Shorten the text"):
        edge_attribution_patching(made, trace, OTHER)
