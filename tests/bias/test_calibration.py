"""The calibration that comes with gus-mini: recomputed from the held-out sentences, read as it stands, and unknown for others."""

from __future__ import annotations

import functools
import hashlib
import json

import numpy as np
import pytest

import atlas
from assets.recipes import gus_calibration
from atlas.bias.detection import labels_of_trace
from atlas.engine.loading.calibration import FILE, calibration_of, calibration_of_embedded
from atlas.engine.running.token_labels import token_labels
from atlas.errors import BrokenFiles
from atlas.resources import asset
from atlas.tracing.calibration import HIGH, LOW, MEDIUM, STEPS, calibration_from, tier_of
from atlas.tracing.labelled import flagged, limits, words_of
from tests.engine.families import loaded

TEXT = "Women are too emotional to lead, and immigrants are unbelievably lazy."


def stored():
    return json.loads(asset("models", "gus-mini", FILE).read_text(encoding="utf-8"))


@functools.cache
def detector():
    return atlas.load("gus-mini")


def test_the_table_is_of_the_weights_beside_it_and_of_the_held_out_sentences(shared_data):
    folder = asset("models", "gus-mini")
    assert stored()["weights"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    again = json.loads(json.dumps(gus_calibration.measured(folder, shared_data("gus"))))
    found = stored()
    assert {name: value for name, value in again.items() if name != "labels"} == {
        name: value for name, value in found.items() if name != "labels"
    }
    for label, table in again["labels"].items():
        kept = found["labels"][label]
        assert (table["words"], table["positives"]) == (kept["words"], kept["positives"])
        for name in ("flagged", "hits"):  # a word may cross a hundredth on another machine
            assert np.abs(np.subtract(table[name], kept[name])).max() <= 2
        for row, old in zip(table["bins"], kept["bins"], strict=True):
            assert abs(row["n"] - old["n"]) <= 2
            assert [row[name] for name in ("mean", "share")] == pytest.approx([old[name] for name in ("mean", "share")], abs=0.01)


def test_the_app_reads_held_out_sentences_as_the_table_counts_them(shared_data):
    """Through `token_labels` on the plain text, not through the recipe: a sixth of the sentences, word by word."""
    rows = [json.loads(line) for line in shared_data("gus", "dev.jsonl").read_text(encoding="utf-8").splitlines()][::6]
    probability, truth = [], []
    for row in rows:
        words = words_of(token_labels(detector(), row["text"]))
        label, at = words.labels.index("GEN"), 0
        for token, names in zip(row["tokens"], row["labels"], strict=True):
            start = row["text"].index(token, at)
            at = start + len(token)
            same = words.table.index[words.table["start"] == start]
            if len(same):
                probability.append(words.probability[same[0], label])
                truth.append(any(name.endswith("-GEN") for name in names))
    probability, truth = np.array(probability), np.array(truth)
    known = calibration_of(detector()).labels["GEN"]
    assert len(truth) == pytest.approx(known.words / 6, rel=0.1)
    on = probability >= 0.5
    errors = known.errors(0.5)
    assert errors.precision.lo - 0.05 < truth[on].mean() < errors.precision.hi + 0.05
    assert errors.recall.lo - 0.05 < on[truth].mean() < errors.recall.hi + 0.05
    sure = probability >= 0.9
    assert truth[sure].mean() == pytest.approx(known.share[-1], abs=0.08)


def test_tables_by_hand():
    probability = np.array([0.05, 0.29, 0.29, 0.95, 1.0, 0.951])
    truth = np.array([False, False, True, True, True, False])
    found = gus_calibration.of_label(probability, truth, np.array([0, 0, 1, 1, 2, 2]))
    assert (found["flagged"][0], found["flagged"][29], found["flagged"][30], found["flagged"][95]) == (6, 5, 3, 3)
    assert (found["hits"][0], found["hits"][29], found["hits"][30], found["hits"][100]) == (3, 3, 2, 1)
    last, empty = found["bins"][9], found["bins"][5]
    assert (last["n"], last["share"], last["mean"]) == (3, 0.6667, 0.967)
    assert (empty["n"], empty["share"], empty["share_lo"]) == (0, None, None)
    known = calibration_from({"detector": "d", "data": "", "texts": 3, "labels": {"GEN": found}}).labels["GEN"]
    errors = known.errors(0.3)
    assert (errors.flagged, errors.hits, errors.false_alarms) == (3, 2, pytest.approx(1 / 3))
    assert (errors.precision.value, errors.recall.value) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert np.isnan(known.believed()[5])


def test_what_is_believed_rises_with_the_probability_and_makes_tiers():
    known = calibration_of(detector())
    for label in known.labels.values():
        believed = label.believed()
        assert (np.diff(believed) >= 0).all()
        assert np.average(believed, weights=label.n) == pytest.approx(label.positives / label.words, abs=1e-3)
        assert label.n.sum() == label.words == label.flagged[0]
        assert (np.diff(label.flagged) <= 0).all()
        assert len(label.flagged) == STEPS + 1
    generalisation = known.labels["GEN"]
    np.testing.assert_array_equal(
        generalisation.shares_of(np.array([0.0, 0.1, 0.99, 1.0])), generalisation.believed()[[0, 1, 9, 9]]
    )
    assert [tier_of(share) for share in (0.9, 0.75, 0.6, 0.49, np.nan)] == [HIGH, HIGH, MEDIUM, LOW, ""]
    # By what was right, and not by the probability: of unfair language not even 0.95 is believed.
    assert tier_of(generalisation.shares_of(np.array([0.95]))[0]) == HIGH
    assert tier_of(known.labels["UNFAIR"].shares_of(np.array([0.95]))[0]) == MEDIUM


def test_error_rates_are_those_of_the_threshold_that_flags():
    words = words_of(token_labels(detector(), TEXT))
    known = calibration_of(detector()).labels["GEN"]
    for threshold in (0.0, 0.5, 1.0):
        assert known.errors(threshold).flagged == known.flagged[round(threshold * STEPS)]
    assert known.errors(0.0).recall.value == 1.0
    assert np.isnan(known.errors(1.0).precision.value)
    assert flagged(words, limits(words.labels, 0.5, {})).any()


def test_only_whole_unchanged_models_from_a_folder_have_one(tmp_path):
    trace = detector().trace(TEXT)
    assert labels_of_trace(trace).calibration.detector == "gus-mini"
    assert labels_of_trace(atlas.load("bert-mini").trace(TEXT)).calibration.detector == "gus-mini", "gus-mini reads the text"
    assert labels_of_trace(detector().trace(TEXT, ablate=["L0 H0"])).calibration is None
    saved = tmp_path / "run.nc"
    trace.save(saved)
    assert labels_of_trace(atlas.open(saved)).calibration.texts == 386
    assert calibration_of_embedded("bert-mini") is None
    assert calibration_of(loaded("BERT")) is None
    borrowed = atlas.load((detector().hf, detector().tokenizer))
    assert calibration_of(borrowed) is None, "a model in memory may have been trained on"
    borrowed.release()


def test_a_broken_table_is_named(tmp_path, monkeypatch):
    (tmp_path / FILE).write_text('{"labels": {}}')
    model = detector()
    monkeypatch.setattr(model.hf.config, "_name_or_path", str(tmp_path))
    with pytest.raises(BrokenFiles, match=r"calibration\.json cannot be read"):
        calibration_of(model)
