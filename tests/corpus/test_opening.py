"""How a corpus gets into the app: its folder is named by whoever starts it, and a reader's link holds a name."""

from __future__ import annotations

import pytest

import atlas
from atlas.app import AttentionAtlas
from atlas.cli.serve import opened_corpora
from atlas.engine.running.service import Service
from atlas.errors import AtlasError
from atlas.state.link import State
from atlas.state.share import decode, encode
from tests.corpus.test_planted_drift import model, texts
from tests.tracing.corpora import METRICS, TEXTS, corpus, values

KINDS = (("decoder", 6, 8),)


def test_folders_named_at_the_start_are_offered_by_name_in_every_session(tmp_path):
    for name in ("one", "two"):
        atlas.corpus.run(atlas.load(model()), texts(12, 1), tmp_path / name / "heads", workers=0)
    found = opened_corpora([str(tmp_path / "one" / "heads"), str(tmp_path / "two" / "heads/")])
    assert list(found) == ["heads", "heads (2)"]
    assert found["heads"].heads.equals(atlas.open(tmp_path / "one" / "heads").heads)
    service = Service()
    service.corpora.update(found)
    assert AttentionAtlas(service).workspace.corpora.opened == found
    with pytest.raises(AtlasError):
        opened_corpora([str(tmp_path / "none")])


def test_a_corpus_opens_its_model_on_one_of_its_own_texts(monkeypatch):
    runs = []
    monkeypatch.setattr("atlas.state.pipeline.Pipeline.run", lambda pipeline: runs.append(pipeline.job().model[0]))
    held = corpus(values(20, 48), kinds=KINDS, model="gpt-mini", where="/somewhere/stories")
    app = atlas.explore(held)
    assert app.workspace.display.tab == "corpus"
    assert app.workspace.corpora.opened == {"stories": held}
    given = app.workspace.pipeline
    assert (given.choice.name_or_path, given.input.text in TEXTS) == ("gpt-mini", True)
    assert runs == ["gpt-mini"]
    other = atlas.explore(held, "A text of my own.", corpora=[held])
    assert list(other.workspace.corpora.opened) == ["stories", "stories (2)"]
    assert other.workspace.pipeline.input.text == "A text of my own."


def test_a_link_holds_the_name_of_a_corpus_the_conditions_and_the_metric():
    choices = {"corpus": {"corpus": "stories", "conditions": f"{METRICS[0]} > 0.4", "exemplars": "previous"}}
    state, said = decode(encode(State(model="gpt-mini", text="x", display={"tab": "corpus"}, choices=choices)).token)
    assert said == []
    assert state.choices == choices
    assert state.display["tab"] == "corpus"
