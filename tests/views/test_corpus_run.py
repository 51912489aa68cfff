"""Measuring a corpus from the page: figures of a plain run, texts bounded, bad rows listed, nothing outlives the session."""

from __future__ import annotations

from pathlib import Path

import holoviews as hv
import pytest

import atlas
from atlas.corpus import Columns, Settings, in_app
from atlas.state import corpus_run, session_folder
from atlas.state.corpora import Corpora, choices_of
from atlas.state.corpus_run import Ceiling
from atlas.state.drift import CHOOSE_GROUP
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.text.sample import sample_texts
from atlas.tracing.corpus_run import MEASURE
from atlas.views.corpus_heads import CorpusTableView
from atlas.views.corpus_run import CorpusRunView
from atlas.views.drift import DriftView
from atlas.views.head_page import HeadPageView
from tests.corpus.test_run import WORDS
from tests.engine.families import loaded
from tests.state.readers import never


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


TEXTS = [" ".join(WORDS[at : at + 6]) for at in range(12)] * 3
"""36 texts: shards of 16."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Temporary folders are made here."""
    monkeypatch.setattr(session_folder.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def room(*, for_others=False):
    made = Workspace(never, tasks=TASKS, corpora=Corpora(for_others=for_others))
    made.pipeline.show(loaded("GPT-2").trace("the doctor said that she ran", keep="weights", capture=()))
    return made


def on(**options):
    view = CorpusRunView(room(**options))
    view.body()
    return view, view.measuring


def as_file(texts=TEXTS):
    return "\n".join(texts).encode()


def test_a_file_is_measured_in_parts_and_all_views_of_corpora_show_it(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_run, "PART_SECONDS", 0.0)  # a shard a part
    view, lens = on()
    assert (view.start.label, view.start.disabled) == ("Measure", False)  # the sample is there
    lens.take("words.txt", as_file())
    assert lens.line == "36 texts of words.txt: not run yet"
    assert lens.workspace.corpora.opened == {}
    view._run()
    assert lens.problem == ""
    (name,) = lens.workspace.corpora.opened
    assert name == "words"
    assert choices_of(lens.workspace).corpus == name
    assert "36 texts with" in view.result.object
    assert view.start.disabled
    (parts,) = lens._parts.values()
    assert parts > 3  # 3 shards, then examples
    found = lens.workspace.corpora.opened[name]
    expected = atlas.corpus.run(loaded("GPT-2"), TEXTS, tmp_path / "plain", workers=0, settings=Settings(shard_size=16))
    assert found.heads.equals(expected.heads)
    assert found.exemplars.equals(expected.exemplars)
    page = HeadPageView(lens.workspace)
    assert page.page.words()
    assert page.lens.line == "L0 H0 over 36 texts of words"


def labelled(labels, texts=TEXTS):
    return "\n".join(["text,label", *(f'"{text}","{label}"' for text, label in zip(texts, labels, strict=True))]).encode()


def test_a_column_divides_the_texts_into_groups_that_all_cards_show(tmp_path):
    view, lens = on()
    labels = ["calm"] * 20 + ["loud"] * 15
    lens.take("words.csv", labelled([*labels, ""]))
    lens.choices.group = "label"
    assert lens.line == "35 texts in 2 groups of words.csv, 1 row that cannot be used: not run yet"
    assert lens.bad() == "1 row cannot be used:\nrow 36 has no 'label'"
    assert lens.table()["group"].tolist()[:35] == labels
    view._run()
    assert lens.problem == ""
    given = [{"text": text, "group": label} for text, label in zip(TEXTS, labels, strict=False)]
    expected = atlas.corpus.run(
        loaded("GPT-2"), given, tmp_path / "plain", workers=0, columns=Columns(group="group"), settings=Settings(shard_size=16)
    )
    assert list(lens.workspace.corpora.of(lens.workspace.trace)) == ["words", "words: calm", "words: loud"]
    drift = DriftView(lens.workspace)
    assert drift.offered(lens.workspace) == ""
    assert not drift.plane.plane().rows
    assert drift.lens.problem == drift.lens.no_fault == CHOOSE_GROUP
    for label in ("calm", "loud"):
        choices_of(lens.workspace).corpus = f"words: {label}"
        page = CorpusTableView(lens.workspace)
        assert page.lens.table()["previous"].tolist() == expected.heads_of(label)["previous"].tolist()
        assert f"means over {labels.count(label)} texts of words: {label}" in page.lens.line
    page = HeadPageView(lens.workspace)
    assert (page.corpus.options, page.corpus.value) == (["words"], "words")  # it has what is kept of all texts
    assert drift.corpus.options == ["words", "words: calm", "words: loud"]
    assert drift.corpus.value == "words: loud"
    assert drift.other.options == ["words: calm"]
    assert drift.plane.plane().rows
    assert drift.lens.problem == ""


def test_a_column_that_divides_nothing_is_an_error_that_says_what_to_do(monkeypatch):
    _, lens = on()
    lens.take("words.csv", labelled(range(36)))
    lens.choices.group = "label"
    lens.shown()
    assert lens.problem == (
        "'label' has 36 values; texts are divided into up to 24 groups here. Name a column with fewer, or use "
        "`atlas corpus --group`."
    )
    lens.choices.group = "mood"
    lens.shown()
    assert lens.problem == "words.csv has no column 'mood' to divide the texts by; it has 'text', 'label'."
    lens.take("words.txt", as_file())
    lens.shown()
    assert lens.problem == "words.txt has no column 'mood' to divide the texts by; it has none."
    lens.take("words.csv", labelled(range(36)))
    lens.choices.group = " "
    lens.shown()
    assert lens.problem == ""
    assert lens.line.startswith("36 texts of words.csv")


def test_a_run_that_was_stopped_goes_on_from_there(monkeypatch):
    monkeypatch.setattr(corpus_run, "PART_SECONDS", 0.0)
    _, lens = on()
    lens.take("words.txt", as_file([*TEXTS, *sample_texts(20)]))
    measured, real = [], in_app.part_of_run

    def stopping(trace, given, out, seconds, report):
        """The reader presses Cancel in the second part."""
        if len(measured) == 1:
            lens._wanted.clear()
        measured.append(len(list(Path(out).glob("shards/measure-*"))))
        return real(trace, given, out, seconds, report)

    lens.workspace.tasks = {**TASKS, MEASURE: stopping}
    lens.run()
    assert lens.workspace.corpora.opened == {}
    assert lens.is_begun
    assert lens.line.endswith("stopped")
    lens.run()
    assert measured[:3] == [0, 1, 2]
    assert len(lens.workspace.corpora.opened) == 1


def test_rows_that_cannot_be_used_are_listed_and_others_get_less(monkeypatch):
    monkeypatch.setattr(corpus_run, "FOR_OTHERS", Ceiling(4, 60, "because of the others"))
    view, lens = on(for_others=True)
    assert "Up to 4 texts with 60 letters in all are measured here, because of the others." in view.limits.object
    lens.take("rows.csv", b'text\n"a cat ran"\n""\n"the dog"\n"and the cat"\n' + b'"\xff"\n' + b'"a dog"\n"she said"\n')
    assert lens.chosen().texts == ("a cat ran", "the dog", "and the cat", "a dog")
    assert lens.line == "4 of 5 texts of rows.csv, 2 rows that cannot be used: not run yet"
    assert view.bad.object == "2 rows cannot be used:\nrow 2 is empty\nrow 5 is not UTF-8"
    table = view.export().table
    assert list(table["problem"]) == ["", "", "", "", "is empty", "is not UTF-8"]
    lens.take("long.txt", as_file(["the cat " * 5, "the dog " * 5]))
    assert lens.chosen() == (("the cat " * 5,), 1, ())
    view.upload.param.update(filename="texts.exe", value=b"MZ")
    assert "not from 'texts.exe'" in view.faults.note


def test_the_folder_goes_with_the_session_and_old_runs_before(folder, monkeypatch):
    monkeypatch.setattr(corpus_run.CorpusRunLens, "kept_runs", 2)
    _, lens = on()
    for at in range(3):
        lens.take(f"{at}.txt", as_file(TEXTS[at : at + 4]))
        lens.run()
    assert list(lens.workspace.corpora.opened) == ["1", "2"]
    (own,) = folder.glob("atlas-session-*")
    assert len(list(own.iterdir())) == 2
    with session_folder.SessionFolder().used() as other:
        session_folder.remove_all()  # as a server does that ends at once
        assert not other.exists()
    lens.take("3.txt", as_file(TEXTS[3:7]))
    lens.run()
    assert own.exists()
    with lens._folder.used():
        lens.workspace.leave()
        assert own.exists()  # work that is under way would make it anew
    assert not own.exists()
    with pytest.raises(atlas.errors.NotCaptured), lens._folder.used():
        pass


def test_the_sample_is_plain_and_always_the_same():
    made = sample_texts(300)
    assert len(set(made)) == 300
    assert made[:5] == sample_texts(5)
    assert all(text[-1] in '."' and "{" not in text for text in made)
    assert in_app.read("", None, "text", "", 7) == (made[:7], (), ())
