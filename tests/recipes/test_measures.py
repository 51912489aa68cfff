from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from assets.recipes import evaluate, head_measures, minimal_pairs, streams, t5_dates, t5_measures, vocabularies
from assets.recipes.card import card
from assets.recipes.shipping import ship


@pytest.fixture(scope="module")
def tokenizer():
    return vocabularies.byte_pairs(streams.story_texts(8, 300), 600)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=300, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    ).eval()


def test_diagonal_reads_the_weight_at_the_offset():
    weights = np.zeros((1, 1, 2, 6, 6))
    weights[0, 0, 0, np.arange(1, 6), np.arange(5)] = 1.0  # head 0 looks at the token before
    weights[0, 0, 1, np.arange(4, 6), [1, 2]] = 0.5  # head 1 half at the one three before
    assert head_measures.diagonal(weights, -1).tolist() == [[1.0, 0.0]]
    assert head_measures.diagonal(weights, 1).tolist() == [[0.0, 0.0]]
    assert head_measures.diagonal(weights, -3, first_query=4).tolist() == [[0.0, 0.5]]


def test_an_untrained_model_has_the_induction_score_of_chance(model):
    found, chance = head_measures.induction(model, 1, 600)
    # keys available to the queries of the second round: 65 ... 127
    assert chance == pytest.approx(np.mean([1 / keys for keys in range(65, 128)]), rel=1e-6)
    assert found == pytest.approx(chance, rel=0.2)


def test_loss_and_top_five_of_a_uniform_model_are_those_of_chance(model, tokenizer):
    flat = GPT2LMHeadModel(model.config).eval()
    torch.nn.init.zeros_(flat.transformer.wte.weight)
    ids = np.random.default_rng(0).integers(0, len(tokenizer), (9, 40))
    loss, top = evaluate.causal_quality(flat, ids)
    assert loss == pytest.approx(np.log(len(tokenizer)), rel=1e-5)
    assert top < 0.1
    reference = model(input_ids=torch.from_numpy(ids), labels=torch.from_numpy(ids)).loss.item()
    assert evaluate.causal_quality(model, ids)[0] == pytest.approx(reference, rel=1e-5)


def test_an_untrained_model_prefers_neither_sentence_and_a_score_is_the_log_probability(model, tokenizer):
    shares = minimal_pairs.preferences(model, tokenizer, per_kind=20)
    assert set(shares) > {"agreement", "reflexives", "determiners", "negative polarity"}
    assert all(0.0 <= share <= 1.0 for share in shares.values())
    ids = torch.tensor([[0, *tokenizer("The king saw himself.")["input_ids"]]])
    loss = model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
    assert minimal_pairs.causal_score(model, tokenizer, "The king saw himself.") == pytest.approx(-loss, rel=1e-5)


def test_pointing_counts_the_argmax_at_the_word_that_says_the_digit(t5_tokenizer):
    tokenizer = t5_tokenizer
    model = t5_dates.build_model(len(tokenizer)).eval()
    items = t5_dates.examples(12, 40)
    found = t5_measures.pointing(model, tokenizer, items)
    assert found.shape == (4, 5)
    # by hand, digit by digit, for one head
    batch = t5_dates.encode(tokenizer, items)
    offsets = tokenizer([item.source for item in items], padding=True, return_offsets_mapping=True)["offset_mapping"]
    with torch.no_grad():
        cross = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"], output_attentions=True
        ).cross_attentions[1][:, 2]
    hits = []
    for index, item in enumerate(items):
        for position, span in enumerate(item.said_by):
            if span is not None:
                start, end = offsets[index][int(cross[index, position].argmax())]
                hits.append(start < span[1] and end > span[0])
    assert found[1, 2] == pytest.approx(sum(hits) / len(hits))


def test_the_guided_loss_is_lower_where_the_last_layer_points_right(t5_tokenizer):
    tokenizer = t5_tokenizer
    model = t5_dates.build_model(len(tokenizer))
    model.set_attn_implementation("eager")
    batch = t5_dates.encode(tokenizer, t5_dates.examples(2, 8))
    with torch.no_grad():
        plain = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]).loss
        guided = t5_dates.guided_loss(model, batch)
        everywhere = t5_dates.guided_loss(model, batch | {"said_by": torch.ones_like(batch["said_by"])})
    assert guided > plain
    assert everywhere == pytest.approx(plain.item(), abs=1e-4)


def test_a_card_has_the_figures_of_the_finished_model(tmp_path, t5_tokenizer):
    model = t5_dates.build_model(len(t5_tokenizer))
    ship(model, t5_tokenizer, tmp_path / "final")
    run = tmp_path / "t5-mini" / "checkpoints"
    for step, seconds in ((3, 1800.0), (7, 3600.0)):
        (run / f"checkpoint-{step}").mkdir(parents=True)
        (run / f"checkpoint-{step}" / "whole").touch()
        (run / f"checkpoint-{step}" / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
        with (run / "times.jsonl").open("a") as file:
            file.write(f'{{"step": {step}, "seconds": {seconds}}}\n')
    measured = {"name": "t5-mini", "measured": "final", "exact_match": 0.5, "deep": {"er": {"est": 1}}, "mistakes": ["one"]}
    text = card("t5-mini", tmp_path / "final", run.parent, measured, 128)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert f"{count:,} parameters" in text
    assert "7 steps of 128 examples" in text
    assert "1.5 hours" in text
    assert "| exact_match | 0.5 |" in text
    assert "| deep · er · est | 1 |" in text
    assert "mistakes" not in text


def test_what_is_measured_is_the_embedded_model_before_the_final_one_before_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "EMBEDDED", tmp_path / "embedded")
    with pytest.raises(SystemExit, match="build it first"):
        evaluate.found_model("gpt-mini", tmp_path, None)
    expected = []
    for folder, mark in (
        (tmp_path / "gpt-mini" / "checkpoints" / "checkpoint-5", "whole"),
        (tmp_path / "final" / "gpt-mini", "model.safetensors"),
        (tmp_path / "embedded" / "gpt-mini", "model.safetensors"),
    ):
        folder.mkdir(parents=True)
        (folder / mark).touch()
        expected.append(folder)
        assert evaluate.found_model("gpt-mini", tmp_path, None)[0] == folder
    assert evaluate.found_model("gpt-mini", tmp_path, expected[0])[0] == expected[0]


def test_the_command_measures_a_model_and_writes_json_and_table(tmp_path, t5_tokenizer, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "EMBEDDED", tmp_path / "none")
    monkeypatch.setattr(t5_measures, "FRESH", 4)
    model = t5_dates.build_model(len(t5_tokenizer))
    ship(model, t5_tokenizer, tmp_path / "final" / "t5-mini")
    (tmp_path / "t5-mini" / "checkpoints").mkdir(parents=True)
    evaluate.main(["--only", "t5-mini", "--work", str(tmp_path)])
    found = json.loads((tmp_path / "measures" / "t5-mini.json").read_text())
    assert (found["measured"], found["examples"]) == ("final", 4)
    assert 0 <= found["exact_match"] <= 1
    assert "exact_match" in (tmp_path / "measures" / "t5-mini.md").read_text()
    assert "exact_match" in (tmp_path / "final" / "t5-mini" / "MODEL_CARD.md").read_text()
    assert "exact_match" in capsys.readouterr().out


def test_the_command_measures_a_language_model_without_the_corpora(tmp_path, tokenizer, model, monkeypatch):
    monkeypatch.setattr(evaluate, "EMBEDDED", tmp_path / "none")
    monkeypatch.setattr(streams, "HELD_OUT_STORIES", 20)
    monkeypatch.setattr(evaluate.corpus, "known_files", list)
    ship(copy.deepcopy(model), tokenizer, tmp_path / "mine")
    evaluate.main(["--only", "gpt-mini", "--model", str(tmp_path / "mine"), "--work", str(tmp_path), "--pairs", "2"])
    found = json.loads((tmp_path / "measures" / "gpt-mini.json").read_text())
    assert set(found["held_out"]) == {"stories"}
    assert found["held_out"]["stories"]["loss"] == pytest.approx(np.log(len(tokenizer)), rel=0.1)
    assert {"induction", "previous token"} <= set(found["heads"])
