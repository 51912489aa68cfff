"""Attributions of copies with randomised weights, against copies whose weights are set by hand, and planted methods."""

from __future__ import annotations

import copy
import zlib

import numpy as np
import pytest
import torch
import transformers as tr
from scipy.stats import spearmanr

import atlas
from atlas.attribution import METHODS, Target, attribute, random_weights, randomised
from atlas.attribution.statistics import chance_of_mean
from atlas.engine.loading.load import load
from atlas.engine.running import twin as twins
from atlas.engine.running.twin import Twin, check_twin, drawn, twin_bytes, without_twin
from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.scheduler import Cancelled
from atlas.tracing.explained import Attribution
from atlas.tracing.randomised import RANKED, SCORES, without_weights
from tests.attribution.own import TINY, hf_of, model, traced
from tests.engine.families import TARGET, TEXT, gptj, loaded, tokenizer
from tests.engine.test_borrowed import assert_same, state_of

NAMES = ["BERT", "GPT-2", "Llama", "T5", "classifier", "token labels"]

OUTPUT = {"BERT": "cls.", "GPT-2": ("transformer.ln_f.", "lm_head."), "Llama": ("model.norm.", "lm_head."),
          "T5": ("decoder.final_layer_norm.", "lm_head."), "classifier": ("bert.pooler.", "classifier."),
          "token labels": "classifier."}  # fmt: skip
"""What comes after the last layer, by the names of the families."""

LAYERS = {"BERT": "bert.encoder.layer", "GPT-2": "transformer.h", "Llama": "model.layers", "T5": "decoder.block",
          "classifier": "bert.encoder.layer", "token labels": "bert.encoder.layer"}  # fmt: skip


def target_of(name):
    return Target() if name == "classifier" else Target(-2)


def by_hand(name, parts, seed):
    """A copy of the model with the weights of these parts in random places, without the code that is tested."""
    hf = copy.deepcopy(hf_of(name))
    head = hf.get_output_embeddings()
    if head is not None:  # a table that is shared is drawn for the output alone
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    with torch.no_grad():
        for key, parameter in hf.named_parameters():
            if any(key.startswith(part) for part in parts):
                random = torch.Generator().manual_seed(zlib.crc32(f"{seed} {key}".encode()))
                true = dict(hf_of(name).named_parameters(remove_duplicate=False))[key]
                parameter.copy_(true.reshape(-1)[torch.randperm(true.numel(), generator=random)].reshape(true.shape))
    return load((hf, model(name).tokenizer))


def ranked(name, attribution, trace):
    """Scores of the tokens that may count: no special ones, none after the target of a model that looks back."""
    tokens = attribution.tokens
    keep = ~tokens["special"]
    if trace.kinds[-1] in ("decoder", "cross"):
        own = tokens["side"] == ("target" if "cross" in trace.kinds else "source")
        keep &= ~own | (tokens["position"] <= attribution.target.position)
    return tokens.loc[keep, "score"].to_numpy()


@pytest.mark.parametrize("name", NAMES)
def test_the_correlation_is_that_with_a_copy_whose_weights_are_set_by_hand(name):
    trace, methods = traced(name), ["saliency", "input_x_gradient", "rollout", "raw_attention"]
    found = randomised(trace, target_of(name), methods, seeds=2, seed=3)
    last = f"{LAYERS[name]}.{trace.n_layers(trace.kinds[-1]) - 1}."
    output = (OUTPUT[name],) if isinstance(OUTPUT[name], str) else OUTPUT[name]
    for step, parts in {1: output, 2: (*output, last), len(found.steps) - 1: ("",)}.items():
        for run in range(2):
            other = by_hand(name, parts, 3 + run)
            again = other.trace(TEXT, target=TARGET if "cross" in trace.kinds else None)
            for kept in found.found:
                true = attribute(model(name), trace, target_of(name), kept.name)
                place = -1 if name == "classifier" else true.target.position
                copied = attribute(other, again, Target(place, true.target.outcome_id), kept.name)
                one, two = ranked(name, true, trace), ranked(name, copied, trace)
                assert len(one) == len(found.places)
                assert kept.scores.rho[step, run] == pytest.approx(spearmanr(one, two).statistic, abs=1e-6)
                assert kept.sizes.rho[step, run] == pytest.approx(spearmanr(abs(one), abs(two)).statistic, abs=1e-6)
                assert found.probability[step, run] == pytest.approx(copied.target.probability, abs=1e-6)
    assert all(kept.scores.rho[0] == pytest.approx(1) for kept in found.found)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5", "Llama", "ALBERT", "BART"])
def test_every_weight_that_runs_is_in_one_part_and_keeps_its_numbers(name):
    own = loaded(name)
    trace = own.trace(TEXT, target=TARGET if "cross" in own.kinds else None)
    twin = Twin(own, trace.live.encoded)
    names = [name for part in twin.parts for name in part.weights]
    true = dict(own.hf.named_parameters(remove_duplicate=False))
    assert len(names) == len(set(names))
    # Only second names of the same weights are left, and a pooler that no output of this class reads.
    drawn_too = {id(true[each]) for each in names}
    assert all("pooler" in left or id(true[left]) in drawn_too for left in set(true) - set(names))
    assert (twin.parts[0].name, twin.parts[-1].name) == ("head", "embeddings")
    for part in twin.parts:
        twin.draw(part, 0)
    made = dict(twin.model.hf.named_parameters(remove_duplicate=False))
    for each in names:
        assert torch.equal(made[each].flatten().sort().values, true[each].flatten().sort().values), each
        assert true[each].unique().numel() < 4 or not torch.equal(made[each], true[each]), each
    twin.restore(twin.parts)
    assert all(torch.equal(made[each], true[each]) for each in names)
    streams = [part.name for part in twin.parts if part.name not in ("head", "embeddings")]
    layers = {kind: own.size.kinds[own.kinds.index(kind)].n_layers for kind in own.kinds if kind != "cross"}
    ways = {"encoder": "encoder ", "decoder": "decoder "} if len(layers) > 1 else dict.fromkeys(layers, "")
    expected = [f"{ways[kind]}L{at}" for kind in reversed(layers) for at in reversed(range(layers[kind]))]
    assert streams == (["all layers"] if name == "ALBERT" else expected)


@pytest.mark.parametrize("name", ["BERT", "T5"])
def test_the_model_itself_is_never_changed(name):
    own = loaded(name)
    trace = own.trace(TEXT, target=TARGET if "cross" in own.kinds else None)
    before, version = state_of(own.hf), own.weights_version()
    hooks = [len(module._forward_hooks) for module in own.hf.modules()]
    seen = []

    def progress(message, share):
        # In the midst of the work too.
        seen.append((message, share))
        assert own.weights_version() == version
        assert_same(before, state_of(own.hf))

    randomised(trace, Target(-2), ["saliency"], seeds=1, progress=progress)
    assert_same(before, state_of(own.hf))
    assert own.weights_version() == version
    assert [len(module._forward_hooks) for module in own.hf.modules()] == hooks
    assert any(message.startswith("Draw 1 of 1, head") for message, _ in seen)
    assert all(0 <= share <= 1 for _, share in seen)


def test_seeds_give_the_same_again_and_parts_alone_are_those_of_the_cascade():
    one, again, other = (randomised(traced("BERT"), methods=["saliency"], seeds=2, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.found[0].scores.rho, again.found[0].scores.rho)
    assert not np.allclose(one.found[0].scores.rho, other.found[0].scores.rho)
    # The second draw of one is the first of the next seed.
    np.testing.assert_allclose(one.found[0].scores.rho[:, 1], other.found[0].scores.rho[:, 0], atol=1e-6)
    alone = randomised(traced("BERT"), methods=["saliency"], order="alone", seeds=2)
    assert alone.steps == (*one.steps, "all")
    for step in (1, -1):  # the head alone, and everything
        np.testing.assert_allclose(alone.found[0].scores.rho[step], one.found[0].scores.rho[step], atol=1e-6)
    twin = Twin(model("BERT"), traced("BERT").live.encoded)
    weights = dict(twin.model.hf.named_parameters(remove_duplicate=False))
    first = twin.parts[1].weights[0]
    twin.draw(twin.parts[1], 5)
    assert torch.equal(weights[first], drawn(dict(model("BERT").hf.named_parameters())[first], 5, first))


def planted(monkeypatch, scores):
    """Give a method scores of its own; the rest of an attribution stays."""
    made = random_weights.attribute_trace

    def attributed(trace, target, method, report=None, **options):
        found = made(trace, target, method, report, **options)
        tokens = found.tokens.assign(score=scores(trace, found.tokens))
        return Attribution(found.method, found.target, tokens, provenance=found.provenance)

    monkeypatch.setattr(random_weights, "attribute_trace", attributed)
    monkeypatch.setattr("atlas.attribution.compare.attribute_trace", attributed)


def test_a_method_that_ignores_the_model_stays_and_is_beyond_chance(monkeypatch):
    planted(monkeypatch, lambda _, tokens: np.arange(len(tokens), dtype=float))
    trace = model("BERT").trace("the cat ran after the dog and the nurse said hello")
    ranks = randomised(trace, methods=["saliency"]).found[0].scores
    np.testing.assert_allclose(ranks.rho, 1)
    assert (ranks.mean[1:] > ranks.high[1:]).all()
    assert (ranks.p[1:] == 1 / 1000).all()
    assert (ranks.high[1:] < 0.8).all()


def test_scores_of_nothing_but_chance_stay_within_chance(monkeypatch):
    random, outside = np.random.default_rng(5), []
    planted(monkeypatch, lambda _, tokens: random.normal(size=len(tokens)))
    for number in range(12):
        trace = model("BERT").trace("the cat ran after the dog and the nurse said hello"[: -1 - number])
        ranks = randomised(trace, methods=["saliency"], seeds=3).found[0].scores
        outside += list((ranks.mean[1:] > ranks.high[1:]) | (ranks.mean[1:] < ranks.low[1:]))
        assert (ranks.low[1:] < 0).all()
        assert (ranks.high[1:] > 0).all()
    assert np.mean(outside) < 0.15, outside


def test_scores_without_an_order_have_no_correlation(monkeypatch):
    planted(monkeypatch, lambda trace, tokens: np.where(trace.live.model is model("BERT"), np.arange(len(tokens)), 1.0))
    found = randomised(traced("BERT"), methods=["saliency"], seeds=2)
    ranks = found.found[0].scores
    assert np.isnan(ranks.mean[1:]).all()
    assert np.isnan(ranks.p[1:]).all()
    assert found.table["rho"].isna().sum() == 2 * (len(found.steps) - 1)


def test_draws_that_are_alike_are_no_more_witnesses_than_one():
    rows = np.tile(np.random.default_rng(0).normal(size=(1, 10)), (5, 1))
    many, one = (chance_of_mean(each, np.arange(10)) for each in (rows, rows[:1]))
    np.testing.assert_allclose(many, one)
    own = np.random.default_rng(0).permuted(np.tile(np.arange(10.0), (999, 1)), axis=1)
    values = [spearmanr(rows[0], each).statistic for each in own]
    np.testing.assert_allclose(one[:2], np.percentile(values, [2.5, 97.5]), atol=1e-9)
    independent = chance_of_mean(np.random.default_rng(1).normal(size=(5, 10)), np.arange(10))
    assert independent[1] < one[1]
    assert np.isnan(chance_of_mean(np.ones((2, 4)), np.arange(4))).all()


def test_the_table_has_the_numbers_of_every_method():
    found = randomised(traced("T5"), Target(-2), ["saliency", "occlusion"], seeds=3)
    table = found.table
    assert set(table["ranked"]) == set(RANKED)
    assert len(table) == 2 * 2 * len(found.steps)
    own = table[(table["method"] == "occlusion") & (table["ranked"] == SCORES)]
    kept = found.found[1].scores
    np.testing.assert_allclose(own["rho"], kept.rho.mean(axis=1))
    np.testing.assert_allclose(own["lowest"], kept.rho.min(axis=1))
    np.testing.assert_allclose(own["highest"], kept.rho.max(axis=1))
    np.testing.assert_allclose(own["probability"], found.probability.mean(axis=1))
    # All that runs, the shared table once for both ends.
    assert own["weights"].iloc[-1] >= sum(parameter.numel() for parameter in model("T5").hf.parameters())
    assert {side for side, _ in found.places} == {"source", "target"}


def test_no_more_is_run_than_is_said():
    for order in ("cascade", "alone"):
        found = randomised(traced("BERT"), methods=["saliency", "rollout", "occlusion"], order=order)
        assert found.passes <= random_weights.estimate(traced("BERT"), ["saliency", "rollout", "occlusion"], order)


def test_it_ends_where_nobody_waits():
    told = []

    def progress(message, share):
        told.append(message)
        if message.startswith("Draw 1"):
            raise Cancelled

    with pytest.raises(Cancelled):
        randomised(traced("GPT-2"), Target(-2), ["saliency"], progress=progress)
    assert sum(message.startswith("Draw") for message in told) == 1


def test_the_copy_is_gone_afterwards_also_after_an_error(monkeypatch):
    made, real = [], Twin.trace

    def trace(self, *given):
        made.append(next(self.model.hf.parameters()))
        if len(made) > 2:
            raise TooLarge
        return real(self, *given)

    monkeypatch.setattr(Twin, "trace", trace)
    with pytest.raises(TooLarge):
        randomised(traced("BERT"), methods=["saliency"])
    assert made[0].numel() == 0
    assert next(model("BERT").hf.parameters()).numel() > 0


def test_a_model_that_gives_a_number_has_correlations_and_no_probabilities():
    torch.manual_seed(0)
    made = load((tr.BertForSequenceClassification(tr.BertConfig(**TINY | {"num_labels": 1})).eval(), tokenizer()))
    found = randomised(made.trace(TEXT), methods=["saliency"], seeds=2)
    assert np.isfinite(found.found[0].scores.mean).all()
    assert np.isnan(found.probability).all()


def test_what_cannot_be_is_refused_with_a_reason(monkeypatch):
    trace = traced("BERT")
    with pytest.raises(UnknownName, match="'cascade' or 'alone'"):
        randomised(trace, order="backwards")
    with pytest.raises(NotCaptured, match="a correlation needs 4"):
        randomised(model("BERT").trace("the cat"), methods=["saliency"])
    monkeypatch.setattr(random_weights, "MOST_RUN", 10)
    with pytest.raises(TooLarge, match="10 tokens are the most"):
        randomised(trace, methods=["saliency"])
    size = twin_bytes(model("BERT"))
    assert size > sum(parameter.numel() * 4 for parameter in model("BERT").hf.parameters())
    monkeypatch.setattr(twins, "TWIN_BYTES", size - 1)
    with pytest.raises(TooLarge, match="others may be using the model"):
        check_twin(model("BERT"))
    with pytest.raises(NotCaptured):
        randomised(trace.__class__(trace.attentions, trace.token_tables, trace.provenance), methods=["saliency"])


def test_a_model_outside_the_interface_is_drawn_by_its_own_layers_or_says_why_not():
    family = load((gptj(), tokenizer(special=False)))
    trace = family.trace(TEXT)
    reason = without_twin(family)
    assert without_weights(trace) == reason
    if reason:
        with pytest.raises(NotCaptured, match="layers"):
            randomised(trace, Target(-2), ["saliency"])
    else:
        found = randomised(trace, Target(-2), ["saliency", "value_norms"], seeds=1)
        assert found.steps[1:] == ("head", *(f"L{layer}" for layer in reversed(range(trace.n_layers()))), "embeddings")
        assert found.found[1].reason


@pytest.mark.parametrize("name", ["bert-mini", "gpt-mini", "t5-mini", "mood-mini", "gus-mini"])
def test_embedded_models_have_it_and_rollout_of_gpt_mini_stays(name):
    made = atlas.load(name)
    trace = made.trace("The old doctor said that she was tired because the cat ran after her")
    found = randomised(trace, methods=["saliency", "rollout"], seeds=3)
    assert without_weights(trace) == ""
    assert len(found.steps) == 3 + sum(made_kind.n_layers for made_kind in made.size.kinds if made_kind.kind != "cross")
    assert all(np.isfinite(kept.scores.mean).all() for kept in found.found)
    if name == "gpt-mini":
        # Rollout of a causal model hangs on who can see whom, more than on any weight.
        rollout = found.found[1].scores
        assert rollout.mean[-1] > rollout.high[-1]
        assert rollout.mean[-1] > 0.7


def test_every_method_can_be_tested():
    trace = traced("GPT-2", "the cat ran after the dog")
    found = randomised(trace, Target(-1), list(METHODS), seeds=1)
    assert [kept.name for kept in found.found] == list(METHODS)
    assert [kept.name for kept in found.found if kept.reason] == []
