"""The causal test: it finds the head that alone carries a label and nothing in a random model; its numbers are plain runs'."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tr
from scipy import stats

import atlas
from atlas.attribution.head_sets import alternatives
from atlas.bias import attention_bias, causal_test, counterfactuals, detect
from atlas.bias import causal as module
from atlas.bias.alignment import equal_tokens
from atlas.bias.causal import dose_table
from atlas.engine.gradients.subject import model_of
from atlas.engine.running.other_texts import own_tokens
from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.ids import HeadId
from atlas.tracing.causal import RULES, CausalTest, doses_of, runs_of
from atlas.tracing.labelled import own_labels, words_of
from tests.attribution.planted import DECIDES, DECOY, planted
from tests.engine.families import TARGET, TEXT, loaded, tokenizer

SENTENCE = "Women are too emotional to lead, and immigrants are unbelievably lazy."


def detector(hf):
    """A token classifier with the layers of another model, whose labels are those of a detector of biased language."""
    config = copy.deepcopy(hf.config)
    config.problem_type = "multi_label_classification"
    config.id2label, config.label2id = {0: "O", 1: "B-STEREO", 2: "I-STEREO"}, {"O": 0, "B-STEREO": 1, "I-STEREO": 2}
    made = tr.BertForTokenClassification(config).eval()
    made.bert.load_state_dict({k: v for k, v in hf.bert.state_dict().items() if not k.startswith("pooler")})
    return made


@functools.cache
def carried():
    """Labels come from what the head that decides brings, at tokens that are strong themselves; by none of the two alone."""
    hf = detector(planted().hf)
    with torch.no_grad():
        hf.classifier.weight.zero_()
        hf.classifier.bias.fill_(-10.3)
        hf.classifier.weight[1, 0], hf.classifier.weight[1, -1] = 1.0, 2.0
    return atlas.load((hf, tokenizer()))


@functools.cache
def random_detector():
    """The same layers with weights by chance, so that no head stands out."""
    torch.manual_seed(5)
    hf = tr.BertForTokenClassification(detector(planted().hf).config).eval()
    with torch.no_grad():
        for weights in hf.parameters():
            weights.add_(0.08 * torch.randn_like(weights))
    return atlas.load((hf, tokenizer()))


def test_the_head_that_alone_carries_the_label_is_found_and_the_decoy_beside_it_is_not():
    trace = carried().trace(TEXT)
    on = detect(carried(), TEXT).words["STEREO"] >= 0.5
    assert 3 < on.sum() < len(on) - 3
    found = causal_test(trace)
    assert set(found.heads[:2]) == {DECIDES, DECOY}
    first = found.heads.index(DECIDES)
    assert (found.table["fall"][found.table["heads"] > first] > 0.4).all()
    alone = causal_test(trace, [DECIDES])
    assert alone.verdict.rules[0].name == "carry it"
    assert alone.table["p"].item() == pytest.approx(1 / 24)
    assert "this head carries part of it" in alone.verdict.sentence
    decoy = causal_test(trace, [DECOY])
    assert decoy.verdict.rules[0].name == "do not carry it"
    assert abs(decoy.table["fall"].item()) < 1e-3


def test_of_a_random_model_nothing_is_found_and_p_is_uniform():
    trace = random_detector().trace(TEXT)
    limit = float(detect(random_detector(), TEXT).words["STEREO"].median())
    assert causal_test(trace, thresholds=limit).verdict.rules[0].name == "do not carry it"
    random = np.random.default_rng(2)
    every = trace.head_ids
    p = []
    for seed in range(40):
        heads = [every[at] for at in random.choice(len(every), 3, replace=False)]
        p.append(causal_test(trace, heads, thresholds=limit, doses=(3,), draws=39, seed=seed).table["p"].item())
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) < 0.15


def test_p_is_uniform_where_heads_act_by_chance():
    every = tuple(HeadId("encoder", layer, head) for layer in range(4) for head in range(8))
    random = np.random.default_rng(0)
    p = []
    for seed in range(300):
        act = dict(zip(every, random.standard_t(3, len(every)), strict=True))
        sets = [tuple(sorted(every[at] for at in random.choice(len(every), 4, replace=False)))]
        beside = alternatives(sets[0], every, 99, seed)
        values = -np.array([0.0, *(sum(act[head] for head in each) for each in (*sets, *beside.sets))])
        p.append(dose_table(values, [1 + len(beside.sets)], [4], [beside.same_layers])["p"].item())
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_of_a_detector_the_decision_is_the_mean_probability_of_the_flagged_labels():
    model = atlas.load("gus-mini")
    trace = model.trace(SENTENCE)
    found = causal_test(trace, doses=(1, 3), draws=19, thresholds=0.5)
    words = detect(model, SENTENCE).words[["STEREO", "GEN", "UNFAIR"]].to_numpy()
    on = words >= 0.5
    assert on.any()
    assert found.whole == pytest.approx(words[on].mean(), abs=1e-5)
    ratio = attention_bias(trace, module._flagged_words(trace, 0.5).tokens, permutations=9)
    ratios = [ratio["ratio"][trace.head_ids.index(head)] for head in found.heads]
    assert ratios == sorted(ratios, reverse=True)
    for row in found.table.itertuples():
        without = words_of(own_labels(model.trace(SENTENCE, ablate=found.dose(row.heads))))
        order = [without.labels.index(name) for name in ("STEREO", "GEN", "UNFAIR")]
        assert row.left == pytest.approx(without.probability[:, order][on].mean(), abs=1e-5)
        assert row.fall == pytest.approx(found.whole - row.left)
    beside = alternatives(found.dose(3), trace.head_ids, 19)
    falls = []
    for heads in beside.sets:
        without = words_of(own_labels(model.trace(SENTENCE, ablate=heads)))
        falls.append(found.whole - without.probability[:, order][on].mean())
    row = found.table.iloc[1]
    assert row["random"] == pytest.approx(np.mean(falls), abs=1e-5)
    np.testing.assert_allclose(row[["lo", "hi"]].astype(float), np.quantile(falls, [0.025, 0.975]), atol=1e-5)
    assert row["p"] == pytest.approx((1 + (np.abs(falls) >= abs(row["fall"]) - 1e-6).sum()) / 20)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama"])
def test_of_a_language_model_it_is_how_much_likelier_the_words_in_both_texts_are_in_one_of_them(name):
    model = loaded(name)
    trace = model.trace(TEXT)
    heads = [trace.head_ids[at] for at in (1, 4)]
    found = causal_test(trace, heads, doses=(1, 2), draws=9, how="mean")
    (other, *_) = counterfactuals(TEXT)
    new = model.trace(other.text)
    pairs = equal_tokens(trace.tokens(), new.tokens(), other)

    def preference(ablate):
        logs = [
            own_tokens(live, live.encoded)
            for live in (model_of(model.trace(text, ablate=dict.fromkeys(ablate, "mean"))) for text in (TEXT, other.text))
        ]
        both = [logs[0][one] - logs[1][two] for one, two in pairs]
        return float(np.nansum(both))

    whole = preference(())
    assert found.whole == pytest.approx(abs(whole), abs=1e-3)
    assert found.whole > 0
    swap = other.swaps[0]
    first, second = (swap.old, swap.new) if whole > 0 else (swap.new, swap.old)
    assert f"“{first}” over “{second}”" in found.decision
    for row in found.table.itertuples():
        assert row.left == pytest.approx(np.sign(whole) * preference(found.dose(row.heads)), abs=1e-3)


def case(**numbers):
    row = {"heads": 4, "left": 0.5, "fall": 0.3, "random": 0.1, "lo": 0.0, "hi": 0.2, "p": 0.4, "q": 0.4, "sets": 199,
           "same_layers": True} | numbers  # fmt: skip
    table = pd.DataFrame([row | {"heads": 1, "p": 1.0}, row])
    every = tuple(HeadId("encoder", 0, head) for head in range(8))
    return CausalTest(table, every, row["left"] + row["fall"], "the decision", likelihood=False, chosen=False).verdict


def test_the_sentence_follows_from_the_numbers():
    assert case().sentence == (
        "Without the 4 heads that look most at flagged words, the decision falls by 0.3 (from 0.8 to 0.5), no more than without "
        "4 random heads of the same layers (mean fall 0.1, 95 % 0 to 0.2; p = 0.4 by the size of the change): "
        "nothing shows that these heads carry it."
    )
    fired = [
        case(p=0.01), case(p=0.01, fall=-0.3), case(p=0.1, sets=9), case(sets=0, p=np.nan), case(same_layers=False),
    ]  # fmt: skip
    assert [each.rules[0].name for each in fired] == [
        "carry it", "hold it back", "first of few", "nothing to compare", "do not carry it",
    ]  # fmt: skip
    assert fired[4].rules[1].name == "other layers"
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_what_cannot_be_tested_is_said(monkeypatch):
    with pytest.raises(NotCaptured, match="neither labels tokens"):
        causal_test(loaded("T5").trace(TEXT, target=TARGET))
    trace = atlas.load("gus-mini").trace(SENTENCE)
    with pytest.raises(NotCaptured, match="Lower a threshold"):
        causal_test(trace, thresholds=1.0)
    with pytest.raises(UnknownName, match="99 heads"):
        causal_test(trace, doses=(99,))
    with pytest.raises(NotCaptured, match="no identity term"):
        causal_test(loaded("GPT-2").trace("the cat ran away"), [(0, 1)])
    monkeypatch.setattr(module, "MOST_TOKENS_RUN", 100)
    with pytest.raises(TooLarge, match="Shorten the text"):
        causal_test(trace)
    assert doses_of(1200, chosen=False) == (1, 2, 4, 8, 16)
    assert doses_of(6, chosen=True) == (1, 2, 4, 6)
    assert runs_of(trace, (1, 2), 99) == 201
