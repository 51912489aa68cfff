from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from assets.recipes import build, fine_tuning, gus_baselines, gus_data, gus_mini
from assets.recipes.gus_data import LABELS, Sentence

B_STEREO, I_STEREO, B_GEN = (LABELS.index(name) for name in ("B-STEREO", "I-STEREO", "B-GEN"))
GROUPS, TRAITS, OTHERS = ("women", "bakers", "kings"), ("lazy", "cruel", "stupid"), ("small", "old", "here")


def sentence(words, **labels):
    found = np.zeros((len(words), len(LABELS)), np.float32)
    for place in range(len(words)):
        names = labels.get(f"w{place}", ["O"])
        found[place, [LABELS.index(name) for name in names]] = 1
    return Sentence(tuple(words), found)


def made_up(count, seed=0):
    """A group is GEN; a trait after it STEREO: learnable from the words alone."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        last = draw.choice([*TRAITS, *OTHERS])
        labels = {"w1": ["B-GEN"]} | ({"w3": ["B-STEREO"]} if last in TRAITS else {})
        found.append(sentence(["All", str(draw.choice(GROUPS)), "are", str(last), "."], **labels))
    return found


@pytest.fixture
def data(tmp_path):
    for part, count in (("train", 160), ("dev", 40)):
        rows = [
            {
                "tokens": each.words,
                "labels": [[LABELS[place] for place in np.flatnonzero(row)] for row in each.labels],
            }
            for each in made_up(count, seed=count)
        ]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return tmp_path


def test_sentences_are_read_with_all_labels_of_a_word(tmp_path):
    row = {"tokens": ["Some", "bakers"], "labels": [["O"], ["B-GEN", "I-STEREO"]]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    (found,) = gus_data.sentences("train", tmp_path)
    assert found.words == ("Some", "bakers")
    assert [LABELS[place] for place in np.flatnonzero(found.labels[1])] == ["I-STEREO", "B-GEN"]
    with pytest.raises(FileNotFoundError, match="cannot be run without"):
        gus_data.sentences("dev", tmp_path)


def test_no_sentence_is_both_learnt_from_and_tuned_on():
    found = made_up(41)
    learn, tune = gus_data.parted(found)
    assert len(tune) == 6
    assert sorted(map(id, [*learn, *tune])) == sorted(map(id, found))


def test_f1_by_hand_and_zero_where_there_is_nothing():
    told = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
    truth = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0]], bool)
    assert gus_data.f1(told, truth).tolist() == [0.5, 0.0, 0.0]


def test_a_threshold_is_in_the_middle_of_the_best_ones():
    scores = np.array([[0.2], [0.3], [0.7], [0.9]])
    truth = np.array([[False], [False], [True], [True]])
    assert gus_data.tuned(scores, truth)[0] == pytest.approx(0.5, abs=0.03)


def test_later_pieces_of_a_word_that_begins_a_span_are_inside_it(classifier_encoder):
    tokenizer = fine_tuning.tokenizer_of(classifier_encoder)
    assert len(tokenizer.tokenize("counterrevolutionaries")) > 1
    batch = gus_mini.encode(tokenizer, [sentence(["counterrevolutionaries", "sleep"], w0=["B-GEN"])])
    pieces = len(tokenizer.tokenize("counterrevolutionaries"))
    labels = batch["labels"][0].numpy()
    assert (labels[0] == gus_mini.IGNORE).all()  # [CLS]
    assert labels[1, B_GEN] == 1
    assert (labels[2 : 1 + pieces, LABELS.index("I-GEN")] == 1).all()
    assert (labels[2 : 1 + pieces, B_GEN] == 0).all()
    assert batch["first"][0, 1 : 1 + pieces].tolist() == [True, *[False] * (pieces - 1)]


def test_the_loss_is_of_every_label_alone_and_not_of_padding(classifier_encoder):
    tokenizer = fine_tuning.tokenizer_of(classifier_encoder)
    model = fine_tuning.classifier(gus_mini.BertForTokenClassification, classifier_encoder, LABELS, 1).eval()
    torch.nn.init.zeros_(model.classifier.weight)
    torch.nn.init.constant_(model.classifier.bias, -100.0)  # says no to everything
    one = gus_mini.encode(tokenizer, [sentence(["all", "sleep"], w0=["B-GEN", "B-STEREO"], w1=["O"])])
    pieces = int((one["labels"][..., 0] != gus_mini.IGNORE).sum())
    wrong = int((one["labels"] == 1).sum())
    assert gus_mini.several_at_once(model, one).item() == pytest.approx(100.0 * wrong / (pieces * len(LABELS)), rel=1e-4)


def test_some_scored_pieces_are_hidden_and_never_a_frame(classifier_encoder):
    tokenizer = fine_tuning.tokenizer_of(classifier_encoder)
    batch = gus_mini.encode(tokenizer, made_up(60))
    hidden = gus_mini.partly_hidden(batch, tokenizer.mask_token_id, 1, 5)
    changed = hidden["input_ids"] != batch["input_ids"]
    scored = batch["labels"][..., 0] != gus_mini.IGNORE
    assert not bool((changed & ~scored).any())
    assert 0.08 < changed[scored].float().mean() < 0.25
    assert (hidden["input_ids"][changed] == tokenizer.mask_token_id).all()
    again = gus_mini.partly_hidden(batch, tokenizer.mask_token_id, 1, 5)
    assert torch.equal(again["input_ids"], hidden["input_ids"])


def test_scores_are_by_word_whatever_the_batch(classifier_encoder, monkeypatch):
    tokenizer = fine_tuning.tokenizer_of(classifier_encoder)
    model = fine_tuning.classifier(gus_mini.BertForTokenClassification, classifier_encoder, LABELS, 1).eval()
    found = [*made_up(5), sentence(["counterrevolutionaries", "sleep", "here", "and", "there", "all", "day"])]
    together = gus_mini.scores(model, tokenizer, found)
    monkeypatch.setattr(gus_mini, "AT_ONCE", 1)
    assert together.shape == (sum(len(each.words) for each in found), len(LABELS))
    assert np.abs(together - gus_mini.scores(model, tokenizer, found)).max() < 1e-5


def test_baselines_know_what_words_tell_and_always_o_tells_nothing():
    learn, tune, test = made_up(120, 1), made_up(40, 2), made_up(40, 3)
    found = gus_baselines.baselines(learn, tune, test)
    assert found["always O"]["macro without O"] == 0
    share = gus_data.stacked(test)[:, 0].mean()
    assert found["always O"]["O"] == pytest.approx(2 * share / (1 + share), abs=1e-3)
    assert found["word list"]["B-GEN"] == 1.0
    assert found["bag of words, logistic regression"]["B-STEREO"] == 1.0


def test_the_recipe_trains_tunes_ships_and_measures(tmp_path, data, classifier_encoder, monkeypatch):
    monkeypatch.setattr(gus_mini.fine_tuning, "finished_encoder", lambda _: classifier_encoder)
    plan = replace(gus_mini.PLAN, steps=60, warmup_steps=5, learning_rate=3e-3)
    outcome = gus_mini.train_stretch(tmp_path, None, "cpu", plan, print, data)
    assert outcome.finished
    folder = tmp_path / "final" / "gus-mini"
    model = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32)
    found = gus_mini.measures(model, AutoTokenizer.from_pretrained(folder), data)
    assert found["F1 on dev"]["gus-mini"]["B-GEN"] > 0.9
    assert set(found["F1 on dev"]) == {"gus-mini", "always O", "word list", "bag of words, logistic regression"}
    assert set(model.config.thresholds) == set(LABELS)


def test_its_turn_comes_after_the_encoder(tmp_path):
    happened = []

    def learner(name):
        def train(_work, _minutes, _device, plan, _log):
            happened.append(name)
            return build.Outcome(plan.steps, finished=happened.count(name) == 2, stopped_by_signal=False, losses=())

        return train

    plan = build.Plan(steps=4, learning_rate=1.0)
    turns = {
        "above": build.Turn(learner("above"), plan, 1, None, after="below"),
        "below": build.Turn(learner("below"), plan, 1, 1.0),
    }
    build.run(turns, tmp_path, "cpu", None)
    assert happened == ["below", "below", "above", "above"]


def test_without_an_encoder_the_error_says_what_to_build(tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tuning, "EMBEDDED", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"bert-mini.*build it first"):
        fine_tuning.finished_encoder(tmp_path)


def test_every_item_comes_once_an_epoch_in_another_order_beside_items_of_its_length():
    rule = fine_tuning.by_epochs(list(range(12)), 4, 3, lambda items: {"items": torch.tensor(items)}, lambda item: item // 4)
    batches = [rule(step)["items"].tolist() for step in range(18)]
    assert all(len({item // 4 for item in batch}) == 1 for batch in batches)
    assert len({tuple(batch[0] // 4 for batch in batches[at : at + 3]) for at in range(0, 18, 3)}) > 1, "not shortest first"
    first, second = (torch.cat([rule(epoch * 3 + step)["items"] for step in range(3)]).tolist() for epoch in range(2))
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
    assert rule(4)["items"].tolist() == second[4:8]
