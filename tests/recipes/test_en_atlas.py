from __future__ import annotations

import json
import lzma
from dataclasses import replace

import pytest
import spacy

from assets.recipes import card, en_atlas
from assets.recipes.en_atlas import Sentence
from atlas.text.pipelines import find_pipeline

PEOPLE, TOWNS = ("Anna", "Ben", "Clara", "Otto"), ("Paris", "Oslo", "Lima")


def row(number, who, where, ner=True):
    return {
        "sent_id": f"page-{number // 4}-{number:04d}",
        "text": f"{who} doesn't live in {where}.",
        "tokens": [who, "does", "n't", "live", "in", where, "."],
        "upos": ["PROPN", "AUX", "PART", "VERB", "ADP", "PROPN", "PUNCT"],
        "head": [4, 4, 4, 0, 6, 4, 4],
        "deprel": ["nsubj", "aux", "advmod", "root", "case", "obl:unmarked", "punct"],
        "space_after": [True] * 7,  # the treebank's mark is as wrong as this
        "ner": ["B-PER", "O", "O", "O", "O", "B-LOC", "O"] if ner else None,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("treebank")
    rows = [row(number, PEOPLE[number % 4], TOWNS[number % 3], ner=number != 5) for number in range(240)]
    for part, found in (("train", rows), ("dev", rows[:24])):
        with lzma.open(folder / f"{part}.jsonl.xz", "wt") as file:
            file.write("\n".join(map(json.dumps, found)) + "\n")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    work = tmp_path_factory.mktemp("work")
    plan = replace(en_atlas.PLAN, steps=45, warmup_steps=5, learning_rate=5e-3)
    outcome = en_atlas.train_pipeline(work, None, "cpu", plan, print, data)
    assert outcome.finished
    return work, plan


def test_spaces_are_those_of_the_text():
    assert en_atlas.spaces_of("I don't, so", ["I", "do", "n't", ",", "so"]) == [True, False, False, True, True]
    with pytest.raises(ValueError, match=r"'you' is not in the text"):
        en_atlas.spaces_of("I do", ["I", "you"])


def test_a_sentence_is_read_with_heads_from_zero_and_the_names_of_atlas(data):
    first = next(en_atlas.sentences(data / "train.jsonl.xz"))
    assert first.document == "page-0"
    assert first.head == [3, 3, 3, 3, 5, 3, 3]
    assert first.dep[3] == "ROOT"
    assert first.dep[5] == "obl:npmod"


def test_sentences_become_one_text_with_spans_and_gaps():
    one = Sentence("d", ["Al", "Bo", "ran", "."], [True, True, False, False], ["PROPN"] * 4, [1, 2, 2, 2], ["x"] * 4,
                   ["B-PER", "I-PER", "O", "O"])  # fmt: skip
    other = Sentence("d", ["Go", "!"], [False, False], ["VERB", "PUNCT"], [0, 0], ["ROOT", "punct"], None)
    doc = en_atlas.document(spacy.blank("en").vocab, [one, other])
    assert doc.text == "Al Bo ran. Go! "
    assert [(span.text, span.label_) for span in doc.ents] == [("Al Bo", "PER")]
    assert [token.head.i for token in doc] == [1, 2, 2, 2, 4, 4]
    assert [sentence.text for sentence in doc.sents] == ["Al Bo ran.", "Go!"]
    assert [token.ent_iob_ for token in doc] == ["B", "I", "O", "O", "", ""]  # nobody said what the last two are


def test_what_weights_are_chosen_by_is_not_learnt_from(tmp_path, data):
    train, choose = en_atlas.prepare(tmp_path, data)
    vocab = spacy.blank("en").vocab
    counts = [
        sum(len(list(doc.sents)) for doc in spacy.tokens.DocBin().from_disk(place).get_docs(vocab)) for place in (train, choose)
    ]
    assert sum(counts) == 240
    assert counts[1] == 4 * 3  # pages 0, 25 and 50 of 60


def test_it_learns_and_atlas_finds_it(trained, data, monkeypatch):
    work, _ = trained
    monkeypatch.delenv("ATLAS_SPACY", raising=False)
    monkeypatch.setattr("spacy.util.is_package", lambda _: False)
    found = find_pipeline(embedded=work / "final" / "en_atlas")
    assert (found.name, found.source) == ("en_atlas", "embedded")
    reading = found.read("Anna doesn't live in Oslo. Ben doesn't live in Paris.")
    assert reading.pos[:4] == ["PROPN", "AUX", "PART", "VERB"]
    assert reading.entity[0] == "PER"
    assert len(reading.sentence_starts) == 2
    measured = en_atlas.measures(found.nlp, data)
    assert measured["sentences"] == 24
    assert measured["the treebank's sentences and words"]["UPOS"] > 95
    assert measured["raw texts of up to eight sentences"]["LAS"] > 80


def test_nothing_of_the_machine_is_shipped_and_the_card_counts_its_numbers(trained):
    work, _ = trained
    folder = work / "final" / "en_atlas"
    assert str(work) not in (folder / "config.cfg").read_text() + (folder / "meta.json").read_text()
    measured = {"on raw text": {"LAS": 80.0}}
    text = card.card("en_atlas", folder, work / "en_atlas", measured, en_atlas.WORDS_PER_STEP)
    assert f"{card.last_step(work / 'en_atlas' / 'checkpoints')} steps" in text
    assert f"{card.parameters(folder):,} parameters" in text
    assert card.parameters(folder) * 4 == pytest.approx(card.megabytes(folder) * 1e6, rel=0.1)  # float32, and little else


def test_a_finished_run_is_not_begun_again(trained, data):
    work, plan = trained
    before = (work / "final" / "en_atlas" / "meta.json").stat().st_mtime_ns
    assert en_atlas.train_pipeline(work, None, "cpu", plan, print, data).finished
    assert (work / "final" / "en_atlas" / "meta.json").stat().st_mtime_ns == before
