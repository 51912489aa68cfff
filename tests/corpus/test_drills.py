"""Drills: heads written by hand are found by them, heads of random weights are not, and a corpus shows what was found."""

from __future__ import annotations

import functools
import json

import numpy as np
import pandas as pd
import pytest

import atlas
from atlas.cli import main
from atlas.corpus import drills, read_drills
from atlas.corpus.drill_texts import MAKERS, Reader
from atlas.corpus.drilling import TWO_TEXTS
from atlas.engine.model import Model
from atlas.engine.running.drilling import MASS, attended
from atlas.errors import BadTraceFile, CorpusError, UnknownName
from atlas.text.ordinals import SERIES, needle_text, shuffled_series
from atlas.tracing.corpus_heads import measured
from atlas.tracing.drills import DRILLS, FILE
from tests.corpus import planted
from tests.engine.families import loaded


@functools.cache
def by_hand():
    return atlas.load((planted.model(), planted.tokenizer()))


def has(found, drill):
    rows = found.found[found.found["drill"] == f"drill_{drill}"]
    return list(rows[["layer", "head"]].itertuples(index=False, name=None))


def reader(model):
    return Reader(model.tokenizer, model.encode, model.kinds, model.limit, model.hf.get_input_embeddings().weight.shape[0],
                  masked=model.task == "masked-lm")  # fmt: skip


def test_heads_written_by_hand_are_found_and_no_others():
    found = drills(by_hand(), n=16)
    assert has(found, "previous") == [planted.PREVIOUS]
    assert has(found, "duplicate") == [planted.DUPLICATE]
    assert has(found, "induction") == [planted.INDUCTION]
    assert has(found, "retrieval") == [planted.INDUCTION]
    assert has(found, "successor") == [planted.SUCCESSOR]
    assert found.reasons.empty
    assert "Induction (drill): 1 of 4 heads (L1 H1)." in found.sentence
    own = found.found.set_index("drill")
    assert own.loc["drill_successor", "score"] == 1
    assert own.loc["drill_successor", "null"] == 0
    assert own.loc["drill_retrieval", "score"] >= 0.75  # three of four words follow from the one before
    pd.testing.assert_frame_equal(found.table, drills(by_hand(), n=16).table)
    assert not found.table.equals(drills(by_hand(), n=16, seed=1).table)


@pytest.mark.parametrize("name", ["GPT-2", "BERT", "Llama", "T5"])
def test_heads_of_random_weights_have_nothing(name):
    found = drills(loaded(name), n=12)
    assert found.found.empty, found.sentence
    drilled = found.table[found.table["q"].notna()]
    assert len(drilled) > 0
    assert drilled["score"].between(0, 1).all()
    reasons = {(row.drill, row.kind): row.reason for row in found.reasons.itertuples()}
    if name == "T5":
        assert reasons["drill_induction", "cross"] == TWO_TEXTS
        assert set(found.table["kind"]) == {"encoder", "decoder"}
    else:
        kind = loaded(name).kinds[0]
        assert "does not know the words" in reasons["drill_retrieval", kind]


@pytest.mark.parametrize("name", ["GPT-2", "BERT", "Llama", "T5"])
def test_a_score_is_the_mean_of_the_weights_that_a_plain_trace_has(name):
    model, kind = loaded(name), loaded(name).kinds[0]
    made = MAKERS["drill_induction"](reader(model), 4, 0)
    found = attended(model, made.drills, MASS, lambda _: None)[kind]
    for row, drill in zip(found, made.drills, strict=True):
        ids = list(drill.source)
        weights = model.trace(ids, keep="weights", capture=()).attention(kind).to_numpy().reshape(-1, len(ids), len(ids))
        second = {token: at for at, token in enumerate(ids)}  # of a token said twice, its last place
        first = {token: at for at, token in reversed(list(enumerate(ids)))}
        twice = [token for token in ids if first[token] < second[token]]
        pairs = [(second[token], first[token] + 1) for token in dict.fromkeys(twice)][1:-1]
        expected = np.mean([weights[:, query, key] for query, key in pairs], axis=0)
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_a_text_is_run_once_whatever_drills_want_of_it(monkeypatch):
    run, told, traced = [], [], Model.traced
    monkeypatch.setattr(Model, "traced", lambda self, encoded, *more: run.extend(encoded) or traced(self, encoded, *more))
    drills(by_hand(), ["previous", "duplicate", "induction"], n=10, progress=lambda *at: told.append(at))
    assert len(run) == 3 * 10, "random tokens; said twice; and the second time in another order"
    assert told[-1] == (60, 60)


def test_the_heads_of_gpt_mini_are_those_of_its_card():
    found = drills("gpt-mini", ["previous", "induction", "retrieval"], n=10, device="cpu")
    assert (0, 6) in has(found, "previous")
    assert len(has(found, "previous")) == 2  # above 0.4, by the card
    assert len(has(found, "induction")) == 7
    assert (1, 6) in has(found, "induction")
    assert (1, 6) in has(found, "retrieval")
    assert set(has(found, "retrieval")) <= set(has(found, "induction"))
    assert set(found.table["drill"]) == {"drill_previous", "drill_induction", "drill_retrieval"}


def test_a_fact_stands_once_before_its_question_and_its_twin_has_the_same_tokens():
    model = by_hand()
    made = MAKERS["drill_retrieval"](reader(model), 8, 3)
    for drill, twin in zip(made.drills, made.twins, strict=True):
        (wanted,) = drill.wanted.values()
        said = [drill.source[at + 1] for at in wanted.queries]
        places = [int(np.flatnonzero(row)[0]) for row in wanted.keys]
        assert [drill.source[at] for at in places] == said
        assert np.diff(places).tolist() == [1, 1, 1]
        assert sorted(drill.source) == sorted(twin.source)
        (shuffled,) = twin.wanted.values()
        assert [twin.source[int(np.flatnonzero(row)[0])] for row in shuffled.keys] == said
    draw = np.random.default_rng(0)
    for _ in range(20):
        needle = needle_text(draw, 4)
        fact, answer = needle.text[slice(*needle.needle)], needle.text[slice(*needle.answer)]
        assert fact == answer
        assert needle.text[: needle.question].count(fact) == 1
        follows = shuffled_series(SERIES["days"], draw)
        assert sorted(follows.values()) == sorted(SERIES["days"])
        assert not set(zip(SERIES["days"], SERIES["days"][1:], strict=False)) & set(follows.items())


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(UnknownName, match="previous, duplicate"):
        drills(by_hand(), ["inductoin"])
    with pytest.raises(CorpusError, match="from 10 drills"):
        drills(by_hand(), n=9)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A corpus of the model by hand with its drills."""
    out = tmp_path_factory.mktemp("drilled") / "heads"
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(planted.WORDS[2:], 12)) for _ in range(12)]
    atlas.corpus.run(by_hand(), texts, out, workers=0)
    return out, drills(by_hand(), n=10, out=out)


def test_drills_are_kept_beside_a_corpus_of_the_model_and_of_no_other(store, tmp_path):
    out, made = store
    corpus = atlas.open(out)
    held = read_drills(corpus)
    pd.testing.assert_frame_equal(held.table, made.table, check_dtype=False)
    assert held.provenance["seed"] == 0
    table = measured(corpus)
    found = table[table["drill_induction"] > 0.5]
    assert list(found[["layer", "head"]].itertuples(index=False, name=None)) == [planted.INDUCTION]
    assert (table["drill_induction_n"] == 10).all()
    with pytest.raises(CorpusError, match="was to be drilled"):
        drills(loaded("GPT-2"), ["previous"], n=10, out=out)


@pytest.mark.parametrize("change", [
    lambda held: held["table"].pop("q"),
    lambda held: held["table"]["layer"].append(1),
    lambda held: held["table"]["score"].__setitem__(0, "much"),
    lambda held: held["table"]["layer"].__setitem__(0, 77),
    lambda held: held["table"]["has"].__setitem__(0, 1),
    lambda held: held["reasons"].append("because"),
    lambda held: held.update(version=99),
])  # fmt: skip
def test_a_damaged_file_of_drills_is_refused(store, change):
    path = store[0] / FILE
    whole = path.read_bytes()
    held = json.loads(whole)
    change(held)
    try:
        path.write_text(json.dumps(held))
        with pytest.raises(BadTraceFile, match="drills"):
            atlas.open(store[0])
    finally:
        path.write_bytes(whole)


def test_the_command_writes_every_score_and_says_what_was_found(tmp_path, capsys):
    file = tmp_path / "scores.csv"
    assert main(["drills", "gpt-mini", "--only", "previous", "-n", "10", "-q", "-o", str(file)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Previous token (drill): 2 of 48 heads (L0 H")
    table = pd.read_csv(file)
    assert len(table) == 48
    assert set(table["drill"]) <= set(DRILLS)
