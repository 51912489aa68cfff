"""The view of the probes without a page: a file, a press, and the numbers of the Python call."""

from __future__ import annotations

import functools
import json

import holoviews as hv
import numpy as np
import pandas as pd
import pytest

import atlas
from atlas.bias import decodability, depth
from atlas.errors import BadData, TextError
from atlas.state import probes
from atlas.state.probes import CHANGED, MOST_TEXTS
from atlas.state.readers_file import MOST_BYTES
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.text.files import TextRow, TextRows, texts_in
from atlas.views.probes import ProbesView
from tests.bias.test_depth import TEXTS
from tests.engine.families import loaded
from tests.state.readers import never, single

FILE = "\n".join([*TEXTS, " ", "word " * 600]).encode()


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


detector = functools.cache(lambda: atlas.load("gus-mini"))


@functools.cache
def trace(name, text="Women are lazy."):
    return (detector() if name == "gus-mini" else loaded(name)).trace(text)


def shown(of):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(of)
    view = ProbesView(room)
    view.__panel__()
    return room, view


def test_nothing_runs_before_the_press_and_then_the_numbers_are_those_of_the_python_call():
    room, view = shown(trace("gus-mini"))
    assert view.start.disabled
    assert view.hint.visible
    view.probes.take("mine.txt", FILE)
    assert not view.start.disabled
    assert view.probes.shown() is None
    assert view.lens.line == "mine.txt: not run yet"
    assert view.export().table["flagged_needed"].tolist() == [30] * 3
    view._run()
    expected = decodability("gus-mini", texts_in("mine.txt", FILE), thresholds=0.5)
    pd.testing.assert_frame_equal(view.probes.shown(), expected)
    pd.testing.assert_frame_equal(view.export().table, expected)
    assert view.start.disabled
    assert not view.hint.visible
    known = expected.dropna(subset="auc")["label"].unique()
    few = sorted({*expected["label"]} - {*known})
    assert known.size
    assert few
    for label, column in view._columns.items():
        assert column.visible == (label in known)
    assert view.notes.visible
    assert "Too few words for a probe" in view.notes.object
    assert "1 row left out" in view.notes.object
    rows = expected[expected["label"] == known[0]]
    figure = hv.render(view._lines(known[0]))
    drawn = [each.data_source.data for each in figure.renderers]
    points = next(data for data in drawn if "about" in data)
    np.testing.assert_allclose(points["y"], np.concatenate([rows["control"], rows["auc"]]))
    bars = next(data for data in drawn if len(data.get("x0", ())) == len(rows) and np.array_equal(data["x0"], data["x1"]))
    np.testing.assert_allclose([bars["y0"], bars["y1"]], [rows["lo"], rows["hi"]])
    chance = next(data for data in drawn if len(data.get("x0", ())) == 1)
    assert chance["y0"][0] == chance["y1"][0] == 0.5
    view._tapped(2.1, 0.4)
    assert {(head.layer, head.kind) for head in room.selection.heads} == {(2, "encoder")}
    view._tapped(float(rows["layer"].max()), 0.4)
    assert {head.layer for head in room.selection.heads} == {2}, "no head reads what leaves the last layer"
    room.pipeline.show(trace("gus-mini", "Another text."))
    pd.testing.assert_frame_equal(view.probes.shown(), expected)
    room.thresholds.generalisation = 0.3
    assert view.probes.shown() is None, "other labels are other probes, which are pressed for"
    assert not view.start.disabled


@pytest.mark.parametrize("name", ["Llama", "T5"])
def test_any_kind_of_model_is_probed_for_what_gus_mini_flags(name):
    _, view = shown(trace(name))
    texts = TEXTS[:16]
    view.probes.choices.column = "post"
    view.probes.take("mine.jsonl", "\n".join(json.dumps({"post": text}) for text in texts).encode())
    view._run()
    expected = decodability("gus-mini", texts, model=loaded(name), thresholds=0.5)
    assert not view.probes.problem
    pd.testing.assert_frame_equal(view.probes.shown(), expected)


def test_what_cannot_be_run_says_why(monkeypatch):
    _, view = shown(trace("gus-mini"))
    with pytest.raises(TextError, match=r"not from 'a\.pdf'"):
        view.probes.take("a.pdf", b"x")
    with pytest.raises(BadData, match="more than the 16,000,000 a page takes"):
        view.probes.take("a.txt", b"x" * (MOST_BYTES + 1))
    view.probes.take("a.csv", b"id,post\n1,One.\n")
    view._run()
    assert "has no column 'text'" in view.lens.problem
    view.probes.take("a.txt", b"word\n" * (MOST_TEXTS + 1))
    view._run()
    assert "501 texts, more than the 500" in view.lens.problem
    monkeypatch.setattr(probes, "MOST_TEXTS", 2)
    view.probes.take("a.txt", b"One word.\nTwo words.")
    view._run()
    assert not view.lens.problem
    assert "words are too few for a probe" in view.lens.line
    assert not view.results.visible
    _, changed = shown(loaded("BERT").trace("the cat", ablate=["L0 H0"]))
    changed.probes.shown()
    assert changed.lens.problem == CHANGED
    assert ProbesView.fits(single())


def test_of_many_words_as_many_as_are_probed_are_held(monkeypatch):
    monkeypatch.setattr(depth, "MOST_WORDS", 20)
    monkeypatch.setattr(depth, "SPARE_WORDS", 10)
    rows = TextRows(tuple(TextRow(at, text) for at, text in enumerate(TEXTS, 1)), ())
    model = loaded("BERT")
    found = depth.gathered(depth.detector_for(model, {}).labels, model, rows, {"GEN": 0.5})
    assert found.states.shape[1] == len(found.marked) == len(found.text) == len(found.types) == 20
    assert (np.diff(found.text) >= 0).all()
    assert len(set(found.text.tolist())) > 8, "drawn from all texts"
    monkeypatch.setattr(depth, "MOST_WORDS", 10_000)
    every = depth.gathered(depth.detector_for(model, {}).labels, model, rows, {"GEN": 0.5})
    for at in range(20):  # a state that is held is that of a word of its text
        same = every.states[:, every.text == found.text[at]] - found.states[:, [at]]
        assert np.abs(same).max(axis=(0, 2)).min() < 1e-6
