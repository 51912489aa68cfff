"""Predictions of masked texts and without heads, against the model's own logits."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch
import transformers as tr

import atlas
from atlas.engine.loading.load import load
from atlas.engine.running import predict
from atlas.engine.running.predict import predict_again, row_bytes
from atlas.errors import BadIntervention, NotCaptured, UnknownName
from atlas.ids import HeadId
from atlas.tracing.predictions import WHOLE_TEXT
from tests.engine.families import BY_NAME, TARGET, TEXT, VOCABULARY, gptj, loaded, tokenizer

TINY = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40,
        "max_position_embeddings": 64, "num_labels": 3}  # fmt: skip

MULTI = {"problem_type": "multi_label_classification"}

CLASSIFIERS = {
    "classifier": lambda: tr.BertForSequenceClassification(tr.BertConfig(**TINY)),
    "labels of one text": lambda: tr.BertForSequenceClassification(tr.BertConfig(**TINY | MULTI)),
    "token labels": lambda: tr.BertForTokenClassification(tr.BertConfig(**TINY)),
    "several token labels": lambda: tr.BertForTokenClassification(tr.BertConfig(**TINY | MULTI)),
}


@functools.cache
def model(name):
    if name == "gpt-mini":
        return atlas.load(name)
    if name not in CLASSIFIERS:
        return loaded(name)
    torch.manual_seed(1)
    made = CLASSIFIERS[name]().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)
    return load((made, tokenizer()))


@functools.cache
def traced(name):
    text = "The old baker gave Anna some bread, and Anna thanked" if name == "gpt-mini" else TEXT
    return model(name).trace(text, target=TARGET if "cross" in model(name).kinds else None)


def own_logits(name, **changed):
    """(position, outcome) logits of the model itself, without Atlas."""
    found = model(name)
    ids = {"input_ids": traced(name).tokens()["id"].tolist()}
    if "cross" in found.kinds:
        ids["decoder_input_ids"] = traced(name).tokens("target")["id"].tolist()
    inputs = {key: torch.tensor([values]) for key, values in (ids | changed).items()}
    with torch.no_grad():
        logits = found.hf(**inputs).logits[0]
    return logits.reshape(-1, logits.shape[-1])


def chances(name, logits):
    return logits.sigmoid() if getattr(model(name).hf.config, "problem_type", None) else logits.softmax(-1)


def by_id(found, values):
    """Outcome -> value of one distribution."""
    return dict(zip(found.ids.tolist(), values, strict=True))


HEADS = {
    "encoder": (HeadId("encoder", 0, 1), HeadId("encoder", 1, 2)),
    "decoder": (HeadId("decoder", 0, 1), HeadId("decoder", 2, 0)),
    "cross": (HeadId("encoder", 0, 1), HeadId("decoder", 1, 0), HeadId("cross", 2, 1)),
}

NAMES = ["BERT", "GPT-2", "Llama", "T5", "gpt-mini", *CLASSIFIERS]


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_are_the_softmax_over_the_models_own_logits(name):
    found, logits = predict_again(traced(name)), own_logits(name)
    assert len(found) == len(logits)
    expected = chances(name, logits)
    for row, each in enumerate(found):
        assert each.position == (WHOLE_TEXT if name in ("classifier", "labels of one text") else row)
        assert each.ids.tolist() == logits[row].topk(len(each.ids)).indices.tolist()
        np.testing.assert_allclose(each.probabilities(), expected[row][each.ids].numpy(), atol=1e-5)
        np.testing.assert_allclose(each.logits, logits[row][each.ids].numpy(), atol=1e-4)
        assert each.n_outcomes == logits.shape[-1]


@pytest.mark.parametrize("name", NAMES)
def test_without_heads_is_the_run_with_these_heads_ablated(name):
    trace, heads = traced(name), HEADS[model(name).kinds[-1]]
    found = predict_again(trace, heads=heads)
    target = {"target": TARGET} if "cross" in model(name).kinds else {}
    after = model(name).trace(trace.texts.text, ablate=heads, **target).kept_outcomes()
    before = trace.kept_outcomes()
    moved = 0.0
    for row, each in enumerate(found):
        known = [dict(zip(run.ids[row].tolist(), run.logits[row].tolist(), strict=True)) for run in (before, after)]
        assert set(each.ids.tolist()) == set().union(*known)
        for of_run, values in zip(known, (by_id(each, each.logits), by_id(each, each.changed_logits)), strict=True):
            for outcome, logit in of_run.items():
                assert values[outcome] == pytest.approx(logit, abs=1e-4)
        assert (np.diff(each.logits) <= 0).all()
        assert each.changed_log_sum_exp == pytest.approx(float(after.log_sum_exp[row]), abs=1e-4)
        moved = max(moved, float(np.abs(each.changed_probabilities() - each.probabilities()).max()))
    assert moved > 1e-3  # the heads do something


def test_predictions_with_heads_off_are_those_of_the_table():
    trace, heads = traced("GPT-2"), HEADS["decoder"]
    table = model("GPT-2").trace(TEXT, ablate=heads).predictions(5)
    for position, each in enumerate(predict_again(trace, heads=heads)):
        rows = table[table["position"] == position]
        values = by_id(each, each.changed_probabilities())
        assert sorted(values, key=values.get, reverse=True)[:5] == list(rows["id"])
        assert [values[outcome] for outcome in rows["id"]] == pytest.approx(list(rows["probability"]), abs=1e-5)


def test_a_run_that_was_changed_already_keeps_its_changes():
    first, second = HEADS["decoder"]
    trace = model("GPT-2").trace(TEXT, ablate=[str(first)])
    found = predict_again(trace, positions=[4], heads=[second])[0]
    both = model("GPT-2").trace(TEXT, ablate=[first, second]).kept_outcomes()
    np.testing.assert_allclose(found.logits[:10], trace.kept_outcomes().logits[4][:10], atol=1e-4)
    values = by_id(found, found.changed_logits)
    assert [values[i] for i in both.ids[4][:10].tolist()] == pytest.approx(both.logits[4][:10].tolist(), abs=1e-4)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_masked_one_by_one_each_token_is_predicted_without_being_seen(monkeypatch, size):
    trace = traced("BERT")
    monkeypatch.setattr(predict, "BATCH_BYTES", size * row_bytes(model("BERT"), trace.live.encoded))
    positions = [1, 4, 2, 7, 9]
    told = []
    found = predict_again(trace, masks=[(at,) for at in positions], report=lambda done, of: told.append((done, of)))
    assert [each.position for each in found] == positions
    assert told == [(done, 5) for done in range(0, 5, size)]
    for each in found:
        ids = traced("BERT").tokens()["id"].tolist()
        ids[each.position] = model("BERT").tokenizer.mask_token_id
        expected = own_logits("BERT", input_ids=ids)[each.position].softmax(-1)
        np.testing.assert_allclose(each.probabilities(), expected[each.ids].numpy(), atol=1e-5)


def test_masked_together_no_masked_token_is_seen():
    ids = traced("BERT").tokens()["id"].tolist()
    for at in (2, 5):
        ids[at] = model("BERT").tokenizer.mask_token_id
    logits = own_logits("BERT", input_ids=ids)
    found = predict_again(traced("BERT"), masks=[(5, 2)], heads=HEADS["encoder"])
    assert [each.position for each in found] == [2, 5]
    for each in found:
        np.testing.assert_allclose(each.probabilities(), logits[each.position].softmax(-1)[each.ids].numpy(), atol=1e-5)
    ready = {"input_ids": ids, "attention_mask": [1] * len(ids)}
    after = model("BERT").trace(ready, ablate=HEADS["encoder"]).kept_outcomes()
    for each in found:
        values = by_id(each, each.changed_logits)
        top = after.ids[each.position][:10].tolist()
        assert [values[i] for i in top] == pytest.approx(after.logits[each.position][:10].tolist(), abs=1e-4)


def test_each_step_of_the_softmax_leads_to_the_next():
    for name in ("GPT-2", "T5", "several token labels"):
        logits = own_logits(name)
        for each, at in itertools.product(predict_again(traced(name), positions=[3, 5]), (0, 2)):
            steps = each.steps(at)
            own = logits[each.position].double()
            assert steps.exponent == np.exp(steps.relative)
            if name == "several token labels":
                assert steps.relative == -steps.logit
                assert steps.total == 1 + steps.exponent
                assert steps.probability == 1 / steps.total
            else:
                assert steps.relative == steps.logit - steps.largest
                assert steps.probability == steps.exponent / steps.total
                assert steps.largest == pytest.approx(float(own.max()), abs=1e-5)
                assert steps.total == pytest.approx(float((own - own.max()).exp().sum()), rel=1e-5)
            assert steps.probability == pytest.approx(float(chances(name, own)[each.ids[at]]), abs=1e-5)


def test_the_trace_on_screen_stays_as_it_is():
    trace = traced("BERT")
    before = trace.attention().to_numpy().copy(), trace.predictions(5), set(trace._cache)
    predict_again(trace, masks=[(2,)], heads=HEADS["encoder"])
    np.testing.assert_array_equal(trace.attention().to_numpy(), before[0])
    assert trace.predictions(5).equals(before[1])
    assert set(trace._cache) == before[2]


def test_what_cannot_be_run_says_why():
    with pytest.raises(NotCaptured, match="has no mask token"):
        predict_again(load((BY_NAME["GPT-2"].model(), tokenizer(special=False, mask_token=None))).trace(TEXT), masks=[(1,)])
    with pytest.raises(UnknownName, match="no token 99 to mask"):
        predict_again(traced("BERT"), masks=[(99,)])
    with pytest.raises(BadIntervention, match="cannot be switched off"):
        predict_again(load((gptj(), tokenizer(special=False))).trace(TEXT), heads=[HeadId("decoder", 0, 0)])
    recording = atlas.from_attention(np.full((1, 1, 2, 2), 0.5, np.float32), ["a", "b"])
    with pytest.raises(NotCaptured, match="not here to run its text again"):
        predict_again(recording)


def test_a_part_of_a_character_is_named_by_its_bytes_and_a_letter_by_itself():
    gpt, bert = atlas.load("gpt-mini"), atlas.load("bert-mini")
    quote = gpt.tokenizer("’", add_special_tokens=False).input_ids
    named = "".join(map(str, gpt.outcome_names(np.array(quote))))
    assert bytes.fromhex(named.replace("<0x", "").replace(">", "")).decode() == "’"
    (letter,) = bert.tokenizer.convert_tokens_to_ids(["æ"])
    assert list(bert.outcome_names(np.array([letter]))) == ["æ"]
    names = gpt.outcome_names(np.arange(gpt.size.n_outcomes))
    assert len(set(names)) == len(names)
