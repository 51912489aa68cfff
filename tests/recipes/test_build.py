from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from assets.recipes import build, language_models, streams, vocabularies
from assets.recipes.shipping import ship
from assets.recipes.training import Outcome, Plan

PLAN = Plan(steps=6, learning_rate=1e-3)


class Learner:
    """Stands for a model: takes two steps a turn."""

    def __init__(self, name, happened, signalled_at=None):
        self.name, self.happened, self.signalled_at, self.step = name, happened, signalled_at, 0

    def __call__(self, _work, minutes, _device, plan, _log, **text):
        self.step = min(self.step + 2, plan.steps)
        self.happened.append((self.name, minutes, text))
        return Outcome(self.step, self.step >= plan.steps, len(self.happened) == self.signalled_at, ())


def turns(happened, **options):
    return {
        "one": build.Turn(Learner("one", happened, **options), PLAN, 10, 5.0, reads_text=True),
        "two": build.Turn(Learner("two", happened, **options), Plan(steps=2, learning_rate=1.0), 10, None),
    }


def test_models_take_turns_until_all_are_done(tmp_path):
    happened = []
    build.run(turns(happened), tmp_path, "cpu", None, ["a.txt"])
    assert [name for name, _, _ in happened] == ["one", "two", "one", "one"]
    assert happened[0][1] == 5.0  # a share of minutes while others wait
    assert happened[-1][1] is None  # all the time there is when nobody does
    assert [text for _, _, text in happened][:2] == [{"files": ["a.txt"]}, {}]


def test_a_signal_ends_all_turns_and_minutes_bound_them(tmp_path):
    happened = []
    build.run(turns(happened, signalled_at=2), tmp_path, "cpu", None)
    assert len(happened) == 2
    happened.clear()
    build.run(turns(happened), tmp_path, "cpu", 3.0)
    assert happened[0][1] == pytest.approx(3.0, abs=0.01)
    build.run(turns(happened := []), tmp_path, "cpu", 0.0)
    assert happened == []


def test_two_runs_on_one_folder_are_refused(tmp_path):
    with (
        build.alone(tmp_path / "gpt-mini"),
        pytest.raises(SystemExit, match="another run is training"),
        build.alone(tmp_path / "gpt-mini"),
    ):
        pass
    with build.alone(tmp_path / "gpt-mini"):
        pass


def test_the_command_line_names_models_and_text(tmp_path):
    options = build.parse(
        ["--only", "t5-mini", "--only", "gpt-mini", "--text", "a.txt", "b.txt", "--work", str(tmp_path), "--minutes", "3"]
    )
    assert options.only == ["t5-mini", "gpt-mini"]
    assert [str(file) for file in options.text] == ["a.txt", "b.txt"]
    with pytest.raises(SystemExit):
        build.parse(["--only", "bert-huge"])


def test_a_shipped_model_loads_as_any_other_and_says_the_same(tmp_path):
    tokenizer = vocabularies.word_piece(streams.story_texts(8, 200), 500)
    trained = language_models.bert_model(len(tokenizer)).eval()
    encoded = tokenizer("Anna hurt herself.", "She cried.", return_tensors="pt")
    with torch.no_grad():
        before = trained(**encoded).prediction_logits
        ship(language_models.without_next_sentence(trained), tokenizer, tmp_path)
        model = AutoModelForMaskedLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
        again = AutoTokenizer.from_pretrained(tmp_path)
        encoded_again = again("Anna hurt herself.", "She cried.", return_tensors="pt")
        after = model(**encoded_again).logits
    assert all(torch.equal(encoded[key], encoded_again[key]) for key in ("input_ids", "token_type_ids", "attention_mask"))
    assert (before - after).abs().max() < 1e-2
    assert (tmp_path / "model.safetensors").exists()
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_stories_told_differently_are_refused_on_resuming(tmp_path, monkeypatch):
    streams.check_stories_are_the_same(tmp_path)
    streams.check_stories_are_the_same(tmp_path)
    monkeypatch.setattr(streams, "story_texts", lambda *_: iter(["another story"]))
    with pytest.raises(streams.ChangedRecipeError, match="told differently"):
        streams.check_stories_are_the_same(tmp_path)
