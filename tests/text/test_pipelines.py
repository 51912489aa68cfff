from __future__ import annotations

import threading

import pytest
import spacy

from atlas.errors import BrokenFiles, UnknownName
from atlas.text import pipelines
from atlas.text.pipelines import find_pipeline, rule_sentences


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch):
    """No pipeline of the developer's machine, none kept from another test."""
    monkeypatch.delenv("ATLAS_SPACY", raising=False)
    monkeypatch.setattr("spacy.util.is_package", lambda _: False)
    pipelines._loaded.cache_clear()
    yield
    pipelines._loaded.cache_clear()


@pytest.fixture
def folder(tmp_path):
    nlp = spacy.blank("en", meta={"name": "tiny"})
    nlp.add_pipe("sentencizer")
    nlp.to_disk(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_nothing_there_is_none(tmp_path):
    assert find_pipeline() is None
    assert find_pipeline(embedded=tmp_path / "absent") is None


def test_embedded_is_taken_last(folder, monkeypatch):
    found = find_pipeline(embedded=folder)
    assert (found.name, found.source) == ("en_tiny", "embedded")
    monkeypatch.setattr("spacy.util.is_package", lambda name: name in {"en_core_web_sm", "en_core_web_md", "de_core_news_sm"})
    asked = []
    monkeypatch.setattr("spacy.load", lambda where: asked.append(where) or spacy.blank("en"))
    assert find_pipeline(embedded=folder).name == "en_core_web_md"
    assert find_pipeline("de_core_news_sm", embedded=folder).name == "de_core_news_sm"
    assert asked == ["en_core_web_md", "de_core_news_sm"]


def test_another_language_is_not_taken_unasked(monkeypatch):
    monkeypatch.setattr("spacy.util.is_package", lambda name: name == "de_core_news_sm")
    assert find_pipeline() is None


def test_a_name_goes_before_the_variable_and_the_variable_before_the_rest(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLAS_SPACY", str(tmp_path / "absent"))
    assert find_pipeline(str(folder)).source == "folder"
    with pytest.raises(UnknownName, match=r"absent.*ATLAS_SPACY.*spacy download"):
        find_pipeline(embedded=folder)
    monkeypatch.setenv("ATLAS_SPACY", str(folder))
    assert find_pipeline().source == "folder"


def test_a_name_that_is_nowhere_is_said_to_be(tmp_path):
    with pytest.raises(UnknownName, match="no spaCy pipeline 'xx_nothing'"):
        find_pipeline("xx_nothing")
    with pytest.raises(UnknownName, match=r"config\.cfg"):
        find_pipeline(str(tmp_path))


@pytest.mark.parametrize("damage", ["config.cfg", "tokenizer", "vocab"])
def test_damaged_files_are_one_clear_error(folder, damage):
    hit = folder / damage
    if hit.is_dir():
        for file in hit.iterdir():
            file.write_bytes(b"\x80\x04garbage")
    else:
        hit.write_bytes(b"\x80\x04garbage")
    with pytest.raises(BrokenFiles, match="cannot load the pipeline"):
        find_pipeline(str(folder))


def test_an_embedded_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "model.pkl").write_bytes(b"x")
    with pytest.raises(BrokenFiles, match=r"config\.cfg or meta\.json is missing"):
        find_pipeline(embedded=tmp_path)


def test_a_pickle_in_the_place_of_data_runs_nothing(folder, tmp_path):
    import pickle

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    for file in [folder / "tokenizer", *(folder / "vocab").iterdir()]:
        file.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BrokenFiles):
        find_pipeline(str(folder))
    assert not (tmp_path / "sprung").exists()


def test_ten_threads_load_once_and_read_together(folder, monkeypatch):
    loads = []
    load = spacy.load
    monkeypatch.setattr("spacy.load", lambda where: loads.append(where) or load(where))
    found, counts = [], []

    def work(number):
        pipeline = find_pipeline(str(folder))
        found.append(pipeline)
        counts.append((number, len(pipeline.read("One word. " * number).sentence_starts)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len({id(pipeline) for pipeline in found}) == 1
    assert sorted(counts) == [(number, number) for number in range(1, 11)]


def test_the_vocabulary_does_not_grow_with_what_is_read(folder):
    pipeline = find_pipeline(str(folder))
    pipeline.read("warm up")
    before = len(list(pipeline.nlp.vocab)), len(pipeline.nlp.vocab.strings)
    for number in range(50):
        pipeline.read(f"neverseen{number} word")
    assert (len(list(pipeline.nlp.vocab)), len(pipeline.nlp.vocab.strings)) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith went home. He slept.", ["Dr. Smith went home. ", "He slept."]),
        ("Is it? Yes! Good", ["Is it? ", "Yes! ", "Good"]),
        ("A title\n\nA text. Its end.", ["A title\n\n", "A text. ", "Its end."]),
        ("你好。再见！好", ["你好。", "再见！", "好"]),
        ("これはペンです。はい。", ["これはペンです。", "はい。"]),
        ("नमस्ते दुनिया। आप कैसे हैं?", ["नमस्ते दुनिया। ", "आप कैसे हैं?"]),
        ("مرحبا؟ نعم.", ["مرحبا؟ ", "نعم."]),
        ("It costs 3.50 at example.com today.", ["It costs 3.50 at example.com today."]),
        ("one", ["one"]),
    ],
)
def test_sentences_by_rule(text, expected):
    starts = rule_sentences(text)
    assert [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)] == expected
