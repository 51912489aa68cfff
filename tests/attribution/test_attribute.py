"""Attributions against plain torch autograd, captum's own, and the formulas of the papers written out."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
import transformers as tr
from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, LayerIntegratedGradients, Saliency

import atlas
from atlas.attribution import METHODS, Target, attribute, influence
from atlas.engine.loading.load import load
from atlas.errors import NotCaptured, UnknownName
from atlas.numbers import three
from tests.attribution.own import CLASSIFIERS, NAMES, eager, hf_of, model, plain, traced, value, vectors
from tests.engine.families import BY_NAME, FAMILIES, TARGET, TEXT, VOCABULARY, gptj, loaded, tokenizer

PAD = 0


def of(name, method, target=None, **options):
    return attribute(model(name), traced(name), target or Target(-3), method, **options)


def own_gradients(name, target):
    given = vectors(name)
    return given, torch.autograd.grad(value(name, given, target).sum(), given, materialize_grads=True)


def joined(parts):
    return np.concatenate([part.detach().numpy().reshape(-1) for part in parts])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", [Target(-3), Target(-3, 1, 0), Target(-3, 1, of="probability")], ids=str)
def test_gradients_are_those_of_plain_autograd(name, target):
    found = of(name, "saliency", target)
    given, gradients = own_gradients(name, found.target)
    assert found.target.value == pytest.approx(float(value(name, given, found.target).detach()), abs=1e-4)
    np.testing.assert_allclose(found.tokens["score"], joined(g[0].norm(dim=-1) for g in gradients), rtol=2e-3, atol=1e-4)
    products = joined((x[0] * g[0]).sum(-1) for x, g in zip(given, gradients, strict=True))
    np.testing.assert_allclose(of(name, "input_x_gradient", target).tokens["score"], products, rtol=2e-3, atol=1e-4)
    assert np.abs(products).max() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_integrated_gradients_are_captums(name):
    found = of(name, "integrated_gradients", baseline="pad", keep_specials=False, steps=24, most_steps=24)
    expected = IntegratedGradients(lambda *given: value(name, given, found.target)).attribute(
        tuple(vectors(name)), tuple(vectors(name, PAD)), n_steps=24
    )
    np.testing.assert_allclose(found.tokens["score"], joined(e[0].sum(-1) for e in expected), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_occlusion_are_captums(name):
    found = of(name, "saliency")
    given = tuple(vectors(name))

    def explained(*parts):
        return value(name, parts, found.target)

    gradients = Saliency(explained).attribute(given, abs=False)
    np.testing.assert_allclose(found.tokens["score"], joined(g[0].norm(dim=-1) for g in gradients), rtol=2e-3, atol=1e-4)
    products = InputXGradient(explained).attribute(given)
    expected = joined(p[0].sum(-1) for p in products)
    np.testing.assert_allclose(of(name, "input_x_gradient").tokens["score"], expected, rtol=2e-3, atol=1e-4)
    # captum takes out one feature at a time: here the vector of a token.
    sizes = np.cumsum([0, *(part.shape[1] for part in given)])
    places = tuple(
        torch.arange(start, end)[None, :, None].expand_as(part) for start, end, part in zip(sizes, sizes[1:], given, strict=False)
    )
    mask = model(name).tokenizer.mask_token_id
    with torch.no_grad():
        without = FeatureAblation(explained).attribute(given, baselines=tuple(vectors(name, mask)), feature_mask=places)
    special = np.concatenate([table["special"].to_numpy() for table in traced(name).token_tables.values()])
    expected = np.where(special, 0, joined(each[0, :, 0] for each in without))
    np.testing.assert_allclose(of(name, "occlusion", replace="mask").tokens["score"], expected, rtol=2e-3, atol=3e-4)


@pytest.mark.parametrize("name", ["BERT", "GPT-2"])
def test_integrated_gradients_are_captums_layer_integrated_gradients_on_the_table_of_tokens(name):
    found = of(name, "integrated_gradients", baseline="pad", keep_specials=False, steps=24, most_steps=24)
    hf, ids = plain(name), torch.tensor(traced(name).tokens()["id"].tolist())[None]
    captum = LayerIntegratedGradients(
        lambda tokens: hf(input_ids=tokens).logits[:, found.target.position, found.target.outcome_id], hf.get_input_embeddings()
    )
    expected = captum.attribute(ids, torch.full_like(ids, PAD), n_steps=24)
    np.testing.assert_allclose(found.scores, expected[0].sum(-1).detach().numpy(), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", [*NAMES, "BART", "RoBERTa", "Gemma2"])
def test_integrated_gradients_add_up_or_say_that_they_do_not(name):
    found = of(name, "integrated_gradients") if name in NAMES else attribute(loaded(name), TEXT, Target(-3))
    facts = found.provenance
    explained = facts["value"] - facts["baseline_value"]
    assert found.delta == pytest.approx(abs(found.tokens["score"].sum() - explained) / abs(explained), abs=1e-6)
    assert found.delta < 0.05
    assert f"{three(100 * found.delta)} %" in found.notes[0]
    special = found.tokens["special"].to_numpy()
    assert (found.tokens["score"].to_numpy()[special] == 0).all()  # the baseline keeps them


def test_a_gap_that_does_not_close_is_shown():
    found = of("T5", "integrated_gradients", steps=1, most_steps=2)
    assert found.delta > 0.05
    assert "did not close" in found.notes[0]
    assert found.provenance["steps"] in (1, 2)


def linear():
    """A causal model that is linear in its token vectors: no norms, even attention, no feed-forward."""
    torch.manual_seed(0)
    hf = tr.LlamaForCausalLM(
        tr.LlamaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40,
                       max_position_embeddings=64, bos_token_id=2, eos_token_id=3)
    ).eval()  # fmt: skip
    with torch.no_grad():
        for layer in hf.model.layers:
            layer.self_attn.q_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
            layer.input_layernorm = layer.post_attention_layernorm = torch.nn.Identity()
            layer.self_attn.v_proj.weight.mul_(30)
            layer.self_attn.o_proj.weight.mul_(30)
        hf.model.norm = torch.nn.Identity()
    return hf


def test_on_a_linear_model_one_step_is_exact_and_equals_occlusion():
    made = load((linear(), tokenizer(special=False)))
    exact = attribute(made, TEXT, Target(-2, "cat"), baseline="mask", steps=1, most_steps=1)
    assert exact.delta < 1e-4
    hidden = attribute(made, TEXT, Target(-2, "cat"), "occlusion", replace="mask")
    np.testing.assert_allclose(exact.scores, hidden.scores, atol=1e-5)
    zero = attribute(made, TEXT, Target(-2, "cat"), baseline="zero", steps=1, most_steps=1)
    products = attribute(made, TEXT, Target(-2, "cat"), "input_x_gradient")
    np.testing.assert_allclose(zero.scores, products.scores, atol=1e-5)
    assert np.abs(exact.scores[:-2]).max() > 1e-3
    assert exact.scores[-1] == 0  # a later token


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5", "token labels"])
@pytest.mark.parametrize("batch", [1, 5, 1000])
def test_occlusion_is_one_run_for_each_masked_token(name, batch, monkeypatch):
    monkeypatch.setattr("atlas.engine.gradients.subject.row_bytes", lambda *_: (512 << 20) // batch)
    found = of(name, "occlusion", replace="mask")
    target, expected = found.target, []
    mask = model(name).tokenizer.mask_token_id
    sides = {side: traced(name).tokens(side) for side in traced(name).token_tables}
    for side, table in sides.items():
        for at in range(len(table)):
            ids = {key: torch.tensor([tokens["id"].tolist()]) for key, tokens in sides.items()}
            ids[side][0, at] = ids[side][0, at] if table["special"][at] else mask
            names = {"source": "input_ids", "target": "decoder_input_ids"}
            with torch.no_grad():
                logits = plain(name)(**{names[key]: values for key, values in ids.items()}).logits[0, target.position]
            expected.append(target.value - float(logits[target.outcome_id]))
    np.testing.assert_allclose(found.tokens["score"], expected, atol=2e-4)
    assert np.abs(expected).max() > 1e-2


def read_row(name, target):
    return 0 if name == "classifier" else target.position


@pytest.mark.parametrize("name", NAMES)
def test_attention_times_gradient(name):
    found = of(name, "attention_x_gradient")
    expected = dict.fromkeys(traced(name).token_tables, 0.0)
    for kind, layers in eager(name, found.target).items():
        side = "target" if kind == "decoder" and "target" in expected else "source"
        expected[side] = expected[side] + sum((w * g).sum(axis=(0, 1)) for w, g in layers)
    np.testing.assert_allclose(found.tokens["score"], np.concatenate(list(expected.values())), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_rollout_is_the_papers(name):
    """Chefer, Gur & Wolf 2021, equations 5 to 11, one update after another."""
    found = of(name, "gradient_rollout")
    row = read_row(name, found.target)
    steps = {kind: [np.maximum(w * g, 0).mean(0) for w, g in layers] for kind, layers in eager(name, found.target).items()}

    def scaled(r):
        rest = r - np.eye(len(r))
        sums = rest.sum(-1, keepdims=True)
        return rest / np.where(sums == 0, 1, sums) + np.eye(len(r))

    if len(steps) == 1:
        relevance = np.eye(len(found.scores))
        for step in next(iter(steps.values())):
            relevance = relevance + step @ relevance
        expected = (relevance - np.eye(len(relevance)))[row]
    else:
        n, m = len(found.scores), len(found.side("target"))
        encoder, decoder, across = np.eye(n), np.eye(m), np.zeros((m, n))
        for step in steps["encoder"]:
            encoder = encoder + step @ encoder
        for own, cross in zip(steps["decoder"], steps["cross"], strict=True):
            across, decoder = across + own @ across, decoder + own @ decoder
            across = across + scaled(decoder).T @ cross @ scaled(encoder)
        expected = np.concatenate([across[row], (decoder - np.eye(m))[row]])
    np.testing.assert_allclose(found.tokens["score"], expected, rtol=2e-3, atol=2e-4)
    assert expected.max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_attention_methods_are_read_at_the_position_of_the_target(name):
    raw, rolled = of(name, "raw_attention"), of(name, "rollout")
    row, weights = read_row(name, raw.target), eager(name, raw.target)
    means = {kind: [w.mean(0) for w, _ in layers] for kind, layers in weights.items()}
    own = means[traced(name).kinds[0]] if len(means) == 1 else means["decoder"]
    expected = [own[-1][row]] if len(means) == 1 else [means["cross"][-1][row], own[-1][row]]
    np.testing.assert_allclose(raw.tokens["score"], np.concatenate(expected), atol=1e-4)

    def mixed(layers):
        product = np.eye(len(layers[0]))
        for w in layers:
            product = (w + np.eye(len(w))) / 2 @ product
        return product

    if len(means) == 1:
        np.testing.assert_allclose(rolled.tokens["score"], mixed(own)[row], atol=1e-4)
        return
    # One stream of both sides: the source is mixed already and stays, the target attends to itself, then to the source.
    n, m = len(raw.scores), len(raw.side("target"))
    product = np.block([[mixed(means["encoder"]), np.zeros((n, m))], [np.zeros((m, n)), np.eye(m)]])
    for w, c in zip(own, means["cross"], strict=True):
        for within, across in ((w, 0 * c), (0 * w, c)):
            step = np.block([[np.eye(n), np.zeros((n, m))], [across / 2, within / 2 + np.eye(m) / 2]])
            product = step @ product
    np.testing.assert_allclose(rolled.tokens["score"], product[n + row], atol=1e-4)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5"])
def test_value_norms_weigh_the_last_layer_by_what_it_moves(name):
    found, trace = of(name, "value_norms"), traced(name)
    parts = []
    for kind in ("cross", "decoder") if "cross" in trace.kinds else trace.kinds:
        layer = trace.n_layers(kind) - 1
        out = trace.captured("output_projection")[kind, layer]
        norms = np.linalg.norm(trace.vectors("value", kind, layer).to_numpy() @ out, axis=-1)
        weights = np.nan_to_num(trace.attention(kind, layer).to_numpy())[:, found.target.position]
        parts.append((weights * norms).mean(axis=0))
    np.testing.assert_allclose(found.tokens["score"], np.concatenate(parts), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("method", "shares"), [("contribution_rollout", "contribution"), ("value_zeroing", "value_zeroing")])
@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5"])
def test_a_product_of_shares_is_the_influence_on_the_position_of_the_target(name, method, shares):
    found, trace = of(name, method), traced(name)
    kind = trace.kinds[0] if len(trace.kinds) == 1 else "decoder"
    expected = influence(trace, found.target.position, shares, kind=kind).tokens
    assert list(found.tokens["side"]) == list(expected["side"])
    np.testing.assert_allclose(found.tokens["score"], expected["influence"].fillna(0), atol=1e-6)
    assert found.tokens["score"].sum() == pytest.approx(1, abs=1e-5)


ATTENTION_METHODS = [
    "raw_attention", "value_norms", "rollout", "contribution_rollout", "value_zeroing", "attention_flow", "gradient_rollout",
    "attention_x_gradient",
]  # fmt: skip


@pytest.mark.parametrize("method", ATTENTION_METHODS)
def test_an_ablated_head_contributes_nothing(method):
    made = model("GPT-2")
    every = [("decoder", 2, head) for head in range(4)]
    found = attribute(made, made.trace(TEXT, ablate=every[1:]), Target(-3), method)
    less = attribute(made, made.trace(TEXT, ablate=every), Target(-3), method)
    kept = of("GPT-2", method)
    assert not np.allclose(found.scores, kept.scores, atol=1e-4)
    if method in ("raw_attention", "value_norms"):
        assert (less.scores == 0).all()
        assert found.scores.sum() > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_causal_model_gives_nothing_to_later_tokens(method):
    found = of("Llama", method, Target(5))
    assert (found.scores[6:] == 0).all()
    assert np.abs(found.scores[:6]).sum() > 0


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_works_for_every_family_or_says_why_not(family, method):
    made = loaded(family.name)
    assert METHODS[method].reason(made) == ""
    found = attribute(made, TEXT, Target(-2), method, decoder=TARGET if "cross" in made.kinds else None)
    assert np.isfinite(found.tokens["score"]).all()
    assert list(found.tokens["side"].unique()) == (["source", "target"] if "cross" in made.kinds else ["source"])


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_works_for_labels_of_texts_and_of_tokens(name, method):
    assert METHODS[method].reason(model(name)) == ""
    scores = of(name, method, Target(2)).scores
    assert np.isfinite(scores).all()
    assert np.abs(scores).sum() > 0


def test_what_a_model_cannot_have_is_said_with_the_reason():
    made = load((gptj(), tokenizer(special=False)))
    can = [method for method in METHODS if not METHODS[method].reason(made)]
    assert can == [
        "saliency", "input_x_gradient", "integrated_gradients", "raw_attention", "rollout", "attention_flow", "occlusion",
    ]  # fmt: skip
    for method in METHODS:
        if method in can:
            assert np.abs(attribute(made, TEXT, method=method).scores).sum() > 0
        else:
            with pytest.raises(NotCaptured, match="attention interface"):
                attribute(made, TEXT, method=method)


@pytest.mark.parametrize(
    ("name", "methods", "said"),
    [
        ("output_projection", ["contribution_rollout", "value_norms"], "output projection of .* was not found"),
        ("hidden", ["contribution_rollout"], "'hidden'"),
    ],
)
def test_a_model_without_a_part_has_all_methods_but_those_that_need_it(name, methods, said, monkeypatch):
    made, own = loaded("GPT-2"), type(loaded("GPT-2")).group_of
    monkeypatch.setattr(type(made), "group_of", lambda self, asked: None if asked == name else own(self, asked))
    assert sorted(method for method in METHODS if METHODS[method].reason(made)) == methods
    for method in methods:
        with pytest.raises(NotCaptured, match=said):
            attribute(made, TEXT, method=method)


def test_a_model_without_outcomes_has_no_method():
    base = load((BY_NAME["GPT-2"].model().transformer, tokenizer(special=False)))
    for method in METHODS:
        with pytest.raises(NotCaptured, match="no output that can be read"):
            attribute(base, TEXT, method=method)


def test_targets_are_resolved_by_name_id_and_position():
    found = of("BERT", "saliency", Target(3, "she", "he")).target
    words = model("BERT").tokenizer.convert_tokens_to_ids(["she", "he"])
    assert [found.outcome_id, found.against_id, found.position] == [*words, 3]
    assert found.words == "logit of 'she' minus that of 'he' at 'said' (3)"
    likeliest = of("GPT-2", "saliency", Target(-1)).target
    assert likeliest.position == len(traced("GPT-2").tokens()) - 1
    best = traced("GPT-2").predictions(1).iloc[-1]
    assert (likeliest.outcome_id, likeliest.value) == (best["id"], pytest.approx(best["logit"], abs=1e-4))
    assert likeliest.probability == pytest.approx(best["probability"], abs=1e-4)
    assert "after" in likeliest.words
    masked = attribute(model("BERT"), "the doctor said [MASK] was tired", method="saliency").target
    assert masked.position == 4
    assert of("classifier", "saliency").target.words == "logit of 'LABEL_0' for the whole text".replace(
        "LABEL_0", of("classifier", "saliency").target.outcome
    )
    assert of("T5", "saliency").target.side == "target"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (Target(99), "no position 99"),
        (Target(-2, "no such token"), "single token"),
        (Target(-2, 10_000), "no outcome"),
        (Target(-2, "she", "she"), "itself"),
    ],
)
def test_a_target_that_does_not_exist_is_refused(target, said):
    with pytest.raises(UnknownName, match=said):
        of("GPT-2", "saliency", target)


def test_options_and_methods_that_do_not_exist_are_refused():
    with pytest.raises(UnknownName, match="there are saliency"):
        of("GPT-2", "magic")
    with pytest.raises(UnknownName, match="it has baseline, steps"):
        of("GPT-2", "integrated_gradients", stepps=3)
    with pytest.raises(UnknownName, match="mask, pad, zero, mean"):
        of("GPT-2", "occlusion", replace="delete")
    with pytest.raises(UnknownName, match="logit, probability"):
        Target(of="loss")


def test_the_model_is_left_as_it_was_and_threads_do_not_see_each_other():
    hf = BY_NAME["GPT-2"].model().train()
    made = load((hf, tokenizer(special=False)))
    frozen = [parameter.requires_grad for parameter in hf.parameters()]
    hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in hf.modules()]
    random = torch.get_rng_state()
    expected = made.trace(TEXT).attention().to_numpy()
    seen, stop = [], threading.Event()

    def trace_on():
        while not stop.is_set():
            seen.append(made.trace(TEXT).attention().to_numpy())

    thread = threading.Thread(target=trace_on)
    thread.start()
    for method in METHODS:
        attribute(made, TEXT, Target(-3), method)
    stop.set()
    thread.join()
    assert seen
    for weights in seen:
        np.testing.assert_array_equal(weights, expected)
    assert hf.training
    assert all(parameter.grad is None for parameter in hf.parameters())
    assert [parameter.requires_grad for parameter in hf.parameters()] == frozen
    assert [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in hf.modules()] == hooks
    assert torch.equal(torch.get_rng_state(), random)


def test_a_caller_without_gradients_gets_the_same():
    expected = of("BERT", "input_x_gradient").scores
    with torch.no_grad():
        np.testing.assert_array_equal(of("BERT", "input_x_gradient").scores, expected)
    with torch.inference_mode():
        np.testing.assert_array_equal(of("BERT", "input_x_gradient").scores, expected)


def test_an_embedded_classifier_is_moved_by_the_words_that_a_reader_would_name():
    made = atlas.load("mood-mini")
    for method in ("integrated_gradients", "occlusion"):
        found = attribute(made, "The film was wonderful.", method=method)
        assert found.target.words == "logit of 'positive' for the whole text"
        assert found.tokens.loc[found.tokens["score"].idxmax(), "token"] == "wonderful"


def test_progress_is_reported_and_costs_are_named():
    told = []
    attribute(model("GPT-2"), TEXT, Target(-3), "occlusion", progress=lambda done, all_: told.append((done, all_)))
    assert told[-1][1] == len(traced("GPT-2").tokens())
    for method in METHODS.values():
        assert method.passes(20) > 0
        assert all([method.title, method.formula, method.reading, method.reference, method.cost])


def test_hf_copies_are_equal():
    assert torch.equal(next(hf_of("BERT").parameters()), next(model("BERT").hf.parameters()))
