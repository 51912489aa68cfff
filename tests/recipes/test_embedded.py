"""The models in assets/models as they are shipped: what their cards promise, checked on the files, without a network."""

from __future__ import annotations

import json
import socket

import numpy as np
import pytest
import spacy
import torch
import transformers
from transformers import AutoTokenizer

import atlas
from assets.recipes import gus_data, mood_mini, mood_texts, t5_dates, t5_measures
from atlas.engine.loading.catalog import lookup
from atlas.text import pipelines
from atlas.text.annotate import find_pipeline
from tests.places import REPO

MODELS = REPO / "assets" / "models"
MEGABYTES = {"bert-mini": 16, "gpt-mini": 16, "t5-mini": 6, "gus-mini": 16, "mood-mini": 16, "en_atlas": 12}
ALL_TOGETHER = 85
CLASSES = {
    "bert-mini": "BertForMaskedLM",
    "gpt-mini": "GPT2LMHeadModel",
    "t5-mini": "T5ForConditionalGeneration",
    "gus-mini": "BertForTokenClassification",
    "mood-mini": "BertForSequenceClassification",
}
# Neither code nor pickles: en_atlas's `model`, `tokenizer`, `moves` and so on are msgpack, read by spaCy without unpickling.
UNSAFE = (".bin", ".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".py", ".so", ".npy", ".npz", ".h5", ".joblib")
PICKLE = b"\x80"  # the first byte of any pickle since protocol 2; msgpack has it for an empty map only
PERIOD = 48


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whoever opens a connection fails the test."""

    def refused(*_, **__):
        message = "an embedded model needs no network"
        raise AssertionError(message)

    monkeypatch.setattr(socket.socket, "connect", refused)


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch):
    monkeypatch.delenv("ATLAS_SPACY", raising=False)
    monkeypatch.setattr("spacy.util.is_package", lambda _: False)
    pipelines._loaded.cache_clear()
    yield
    pipelines._loaded.cache_clear()


def loaded(name):
    """The model as any user of transformers loads it, and its tokenizer."""
    kind = getattr(transformers, CLASSES[name])
    return kind.from_pretrained(MODELS / name, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(MODELS / name)


def size(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_all_are_there_and_nothing_else():
    assert {folder.name for folder in MODELS.iterdir() if folder.is_dir()} == set(MEGABYTES)


def test_together_they_are_small():
    assert size(MODELS) < ALL_TOGETHER * 1e6


@pytest.mark.parametrize("name", MEGABYTES)
def test_the_files_are_small_and_cannot_run_code(name):
    folder = MODELS / name
    assert size(folder) <= MEGABYTES[name] * 1e6
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert not [file for file in files if file.suffix in UNSAFE]
    assert not [file for file in files if file.stat().st_size > 1 and file.read_bytes()[:1] == PICKLE]


@pytest.mark.parametrize("name", MEGABYTES)
def test_the_card_says_licence_data_recipe_results_and_limits(name):
    card = (MODELS / name / "MODEL_CARD.md").read_text(encoding="utf-8")
    head = card.split("---")[1]
    assert "license: " in head
    assert "good_for: " in head
    for part in ("**Data.**", f"python -m assets.recipes.build --only {name}", "## Results", "## Limits", "| measure | value |"):
        assert part in card, part
    assert "{" not in card  # a figure that was not filled in
    if name in {"bert-mini", "gpt-mini", "gus-mini"}:
        assert "## Limits and bias" in card
    if name == "gus-mini":
        assert "could not be established" in card


@pytest.mark.parametrize("name", CLASSES)
def test_transformers_and_atlas_load_it_in_float32_and_agree(name):
    config = json.loads((MODELS / name / "config.json").read_text())
    assert config["architectures"] == [CLASSES[name]]
    assert config["dtype"] == "float16"
    model, tokenizer = loaded(name)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    entry = lookup(name)
    assert entry.embedded
    assert entry.licence == "mit"
    assert entry.parameters < 8e6
    trace = atlas.load(name).trace("the king saw the fifth of May, nineteen ten")
    encoded = tokenizer("the king saw the fifth of May, nineteen ten", return_tensors="pt")
    assert list(trace.tokens("source")["id"]) == encoded["input_ids"][0].tolist()
    if name != "t5-mini":
        model.set_attn_implementation("eager")
        with torch.no_grad():
            theirs = torch.stack(model(**encoded, output_attentions=True).attentions)[:, 0].numpy()
        ours = np.nan_to_num(trace.attention().values)
        assert np.abs(ours - theirs).max() < 1e-5


def test_t5_writes_the_digits_and_its_cross_attention_points_at_the_words_that_say_them():
    model, tokenizer = loaded("t5-mini")
    items = t5_dates.examples(t5_dates.HELD_OUT_SEED + 7, 60)
    written = t5_measures.written(model, tokenizer, items)
    assert sum(text == item.target for text, item in zip(written, items, strict=True)) >= 58
    table = t5_measures.pointing(model, tokenizer, items)
    assert table[:-1, :-1].max() >= 0.9  # the best head


def test_atlas_shows_the_pointing_of_t5():
    text = "the third of March, nineteen ninety-eight"
    trace = atlas.load("t5-mini").trace(text)
    source, target = trace.tokens("source"), trace.tokens("target")
    last = trace.n_layers("cross") - 1
    weights = trace.attention("cross", layer=last).mean("head").values
    written = [token.strip("▁") for token in target["token"]]
    assert "".join(token for token in written if token.isdigit() or token == "-").endswith("1998-03-03")
    month = written.index("-") + 2  # the second digit of 03, the month
    assert written[month] == "3"
    # the row that predicts a digit is the one before its own
    assert source["token"].str.strip("▁")[int(weights[month - 1].argmax())] == "March"


def test_gpt_has_previous_token_and_induction_heads_in_atlas_own_table():
    model = atlas.load("gpt-mini")
    _, tokenizer = loaded("gpt-mini")
    draw = np.random.default_rng(11)
    once = draw.integers(1, len(tokenizer), PERIOD)
    ids = torch.from_numpy(np.concatenate([once, once])[None])
    heads = model.trace({"input_ids": ids, "attention_mask": torch.ones_like(ids)}).heads
    best = heads.loc[heads["induction"].idxmax()]
    assert best["induction"] >= 0.4
    assert best["induction"] >= 20 * best["induction_uniform"]
    prose = model.trace("Once upon a time there was a baker named Anna. She lived in a cottage near the old bridge.").heads
    assert prose["previous"].max() >= 0.5
    assert prose["first_key"].max() >= 0.5  # a sink


def test_bert_has_heads_for_the_previous_and_the_next_token():
    heads = atlas.load("bert-mini").trace("The baker saw the cat in the garden. She gave it some milk.").heads
    assert heads["previous"].max() >= 0.4
    assert heads["next"].max() >= 0.4


@pytest.mark.parametrize(
    ("text", "resting"),
    [
        ("The baker saw the cat in the garden.", 15),
        ("The baker saw the cat in the garden. She gave it some milk and it was glad. Then the old man came home.", 5),
    ],
)
def test_bert_has_heads_that_rest_on_the_separator(text, resting):
    trace = atlas.load("bert-mini").trace(text)
    last = trace.attention()[:, :, :-1, -1].mean("query").values
    assert trace.tokens("source")["token"].iloc[-1] == "[SEP]"
    assert (last >= 0.4).sum() >= resting
    assert last.max() >= 0.6
    assert trace.heads["special"].max() >= 0.6


def test_gus_keeps_its_thresholds_and_marks_several_labels_at_once():
    model, tokenizer = loaded("gus-mini")
    config = model.config
    assert config.problem_type == "multi_label_classification"
    assert tuple(config.id2label[place] for place in range(7)) == gus_data.LABELS
    assert set(config.thresholds) == set(gus_data.LABELS)
    assert all(0 < threshold < 1 for threshold in config.thresholds.values())
    with torch.no_grad():
        told = model(**tokenizer("All women are bad drivers.", return_tensors="pt")).logits[0].sigmoid()
    thresholds = torch.tensor([config.thresholds[label] for label in gus_data.LABELS])
    marked = told >= thresholds
    assert bool(marked[1:4, gus_data.LABELS.index("B-GEN")].any() or marked[1:4, gus_data.LABELS.index("I-GEN")].any())


def test_mood_tells_fresh_texts():
    model, tokenizer = loaded("mood-mini")
    found = mood_texts.texts(mood_mini.HELD_OUT_SEED + 3, 100)
    right = sum(mood.label == told for mood, told in zip(found, mood_mini.answers(model, tokenizer, found), strict=True))
    assert right >= 90
    assert [model.config.id2label[place] for place in range(3)] == list(mood_texts.LABELS)


def test_en_atlas_serves_where_no_pipeline_is_installed():
    found = find_pipeline(embedded=MODELS / "en_atlas")
    assert (found.name, found.source) == ("en_atlas", "embedded")
    trace = atlas.load("t5-mini").trace("George Smith lives in Paris. She loves the old bridge.")
    parse = trace.reading("source").parse
    assert parse.attrs["pipeline"] == "en_atlas"
    by_word = parse.set_index("text")
    assert by_word.loc["Smith", ["pos", "entity"]].tolist() == ["PROPN", "PER"]
    assert by_word.loc["She", ["pos", "dep"]].tolist() == ["PRON", "nsubj"]
    assert by_word.loc["Paris", "entity"] == "LOC"
    assert by_word.loc["lives", "dep"] == "root"
    assert by_word.loc["bridge", "dep"] == "obj"
    assert parse["sentence"].nunique() == 2


def test_en_atlas_says_its_licence_and_nothing_of_where_it_was_made():
    nlp = spacy.load(MODELS / "en_atlas")
    assert nlp.meta["license"] == "CC BY-SA 4.0"
    texts = [(MODELS / "en_atlas" / name).read_text() for name in ("config.cfg", "meta.json")]
    assert not [text for text in texts if "/root" in text or "/work" in text or "/home" in text]


@pytest.mark.parametrize("name", ["bert-mini", "gpt-mini", "gus-mini", "mood-mini"])
def test_vocabularies_are_the_models_own(name):
    model, tokenizer = loaded(name)
    assert len(tokenizer) == model.config.vocab_size == 8000
