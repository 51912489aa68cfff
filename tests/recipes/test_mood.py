from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from assets.recipes import fine_tuning, mood_mini, mood_texts, rounding
from assets.recipes.mood_texts import HELD_OUT, LABELS, OPPOSITE
from assets.recipes.shipping import ship

SAID = (mood_texts.FELT, mood_texts.SAID_OF_THINGS, mood_texts.SAID_OF_PEOPLE, mood_texts.DONE, mood_texts.HAPPENED)
MOOD_OF = {word: mood for table in SAID for mood, words in table.items() for word in words}


@pytest.fixture(scope="module")
def told():
    return mood_texts.texts(5, 2_000)


def test_texts_depend_on_the_seed_alone(told):
    assert mood_texts.texts(5, 50) == told[:50]
    assert mood_texts.texts(6, 50) != told[:50]


def test_moods_and_ways_to_say_them_are_even(told):
    counts = Counter(mood.label for mood in told)
    assert all(0.29 < counts[label] / len(told) < 0.38 for label in LABELS)
    kinds = Counter(mood.kind for mood in told if mood.label != "neutral")
    assert set(kinds) == {"stated", "denied", "turned"}
    assert min(kinds.values()) > 0.15 * sum(kinds.values())


def test_no_word_has_two_moods_and_every_list_holds_words_on_both_sides_of_the_line():
    words = [word for table in SAID for found in table.values() for word in found]
    assert len(set(words)) == len(words)
    for table in SAID:
        for found in table.values():
            assert 0 < sum(word in HELD_OUT for word in found) < len(found) / 2


def test_the_words_that_decide_are_in_the_text_and_have_the_mood(told):
    for mood in told:
        assert all(word in mood.text.lower() for word in mood.said_by)
        if mood.label == "neutral":
            assert mood.said_by == ()
        else:
            word = mood.said_by[-1]
            assert MOOD_OF[word] == (OPPOSITE[mood.label] if mood.kind == "denied" else mood.label)


def test_neutral_texts_have_no_word_with_a_mood_and_training_texts_none_that_is_held_out(told):
    for mood in told:
        inside = {word for word in MOOD_OF if f" {word} " in f" {mood.text.lower().replace('.', ' ').replace(',', ' ')} "}
        assert not inside & HELD_OUT
        assert bool(inside) == (mood.label != "neutral"), mood


def test_held_out_texts_have_only_words_that_are_held_out():
    for mood in mood_texts.texts(1, 300, held_out=True):
        assert mood.label == "neutral" or mood.said_by[-1] in HELD_OUT


def test_the_recipe_trains_ships_and_measures(tmp_path, classifier_encoder, monkeypatch):
    monkeypatch.setattr(fine_tuning, "finished_encoder", lambda _: classifier_encoder)
    plan = replace(mood_mini.PLAN, steps=40, warmup_steps=5, learning_rate=3e-3)
    outcome = mood_mini.train_stretch(tmp_path, None, "cpu", plan)
    assert outcome.finished
    assert outcome.losses[-1][1] < 1.1
    folder = tmp_path / "final" / "mood-mini"
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    assert [model.config.id2label[place] for place in range(3)] == list(LABELS)
    found = mood_mini.measures(model, AutoTokenizer.from_pretrained(folder), 60)
    for title in ("accuracy, words of training", "accuracy, words never trained on"):
        assert set(found[title]) == {"all", "plain", "stated", "denied", "turned"}
        assert 0 <= found[title]["all"] <= 1


def test_an_answer_does_not_depend_on_the_batch_it_is_in(classifier_encoder, monkeypatch):
    tokenizer = fine_tuning.tokenizer_of(classifier_encoder)
    model = fine_tuning.classifier(mood_mini.BertForSequenceClassification, classifier_encoder, LABELS, 2).eval()
    found = mood_texts.texts(9, 30)
    together = mood_mini.answers(model, tokenizer, found)
    monkeypatch.setattr(mood_mini, "AT_ONCE", 1)
    assert mood_mini.answers(model, tokenizer, found) == together


def test_rounding_is_measured_against_both_sets_of_weights(tmp_path, classifier_encoder, monkeypatch):
    monkeypatch.setattr(rounding, "LONGEST", 48)  # this encoder has 64 positions
    tokenizer = fine_tuning.tokenizer_of(classifier_encoder)
    model = fine_tuning.classifier(mood_mini.BertForSequenceClassification, classifier_encoder, LABELS, 2)
    with torch.no_grad():
        model.classifier.bias += 1e-4  # what half precision cannot hold beside 1
        model.classifier.bias += 1.0
    model.save_pretrained(tmp_path / "checkpoint")
    ship(model, tokenizer, tmp_path / "shipped")
    found = rounding.largest_differences(type(model), tmp_path / "shipped", tmp_path / "checkpoint", tokenizer)
    assert found["to the weights trained with"] == 0.0
    assert 5e-5 < found["to the optimiser's float32 copies"] < 1e-2
