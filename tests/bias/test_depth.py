"""Probes by depth: what is planted is found, what is not is chance, and the numbers are those of plain scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

import atlas
from atlas.bias import decodability, detect
from atlas.bias.depth import Words, _probed, auc_of_each
from atlas.errors import BadData
from atlas.text.files import BadRow, TextRow, TextRows
from atlas.tracing.labelled import LEAST

WIDTH, N = 8, 240


def planted(strength, seed=0):
    """Words of 24 texts whose label is written into one direction, so strongly."""
    random = np.random.default_rng(seed)
    truth = random.random(N) < 0.4
    states = random.normal(size=(N, WIDTH)).astype(np.float32)
    states[:, 2] += strength * truth
    words = Words(states[None], truth[:, None], ("GEN",), np.repeat(np.arange(24), N // 24), random.integers(0, 60, N), ())
    return states, truth, words


def test_a_label_that_the_states_hold_is_read_and_words_alone_do_not_give_it():
    found = _probed(*planted(8.0), 0)
    assert found["auc"] > 0.99
    assert found["lo"] > 0.98
    assert 0.35 < found["control"] < 0.65


def test_a_label_that_they_do_not_hold_is_chance_within_its_interval():
    auc = [_probed(*planted(0.0, seed), seed) for seed in range(5)]
    assert np.mean([each["auc"] for each in auc]) == pytest.approx(0.5, abs=0.06)
    assert sum(each["lo"] <= 0.5 <= each["hi"] for each in auc) >= 3


def test_a_control_of_words_is_reached_where_states_are_words():
    """One state a spelling: a probe tells them apart, whatever the text, and the control says so."""
    _, truth, words = planted(0.0)
    spelling = np.random.default_rng(1).normal(size=(60, 200)).astype(np.float32)
    assert _probed(spelling[words.types], truth, words, 0)["control"] > 0.95


def test_every_text_is_judged_by_a_probe_that_has_not_seen_it():
    states, truth, words = planted(1.0)
    scores = np.zeros(N)
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(states, truth, words.text):
        assert not set(words.text[train]) & set(words.text[test])
        scale = StandardScaler().fit(states[train])
        probe = LogisticRegression(max_iter=200).fit(scale.transform(states[train]), truth[train])
        scores[test] = probe.decision_function(scale.transform(states[test]))
    found = _probed(states, truth, words, 0)
    assert found["auc"] == pytest.approx(roc_auc_score(truth, scores))
    assert found["lo"] < found["auc"] < found["hi"]


def test_the_auc_of_a_resample_is_that_of_scikit_learn_with_ties_and_repeats():
    random = np.random.default_rng(2)
    scores, truth = np.round(random.normal(size=60), 1), random.random(60) < 0.3
    times = random.integers(0, 4, size=(20, 60))
    times[7, truth] = 0
    found = auc_of_each(scores, truth, times)
    for at, row in enumerate(times):
        each = np.repeat(np.arange(60), row)
        assert np.isnan(found[at]) if at == 7 else found[at] == pytest.approx(roc_auc_score(truth[each], scores[each]))


PEOPLE = ("women", "men", "immigrants", "old people", "teachers", "children", "lawyers", "students")
TEXTS = [f"All {people} are {what}, said the man at the station." for people in PEOPLE for what in ("lazy", "bad drivers")] + [
    f"The {thing} was late, and it rained on the old {place}."
    for thing in ("train", "bus", "letter")
    for place in ("roof", "road")
]


def test_on_a_detector_flagged_words_are_counted_as_detect_counts_them_and_rare_labels_are_not_probed():
    detector = atlas.load("gus-mini")
    rows = TextRows(tuple(TextRow(at, text) for at, text in enumerate([*TEXTS, "word " * 600], 1)), (BadRow(99, "is empty"),))
    table = decodability(detector, rows)
    long, empty = table.attrs["left_out"]
    assert (long.row, empty) == (len(TEXTS) + 1, BadRow(99, "is empty"))
    words = [detect(detector, text).words for text in TEXTS]
    layers = detector.trace(TEXTS[0]).n_layers("encoder") + 1
    assert len(table) == 3 * layers
    for label, rows in table.groupby("label"):
        limit = detector.hf.config.thresholds
        assert rows["layer"].tolist() == list(range(layers))
        assert (rows["words"] == sum(map(len, words))).all()
        own = min(limit.get(f"B-{label}", 0.5), limit.get(f"I-{label}", 0.5), limit.get(label, 0.5))
        assert (rows["flagged"] <= sum((each[label] >= own).sum() for each in words)).all()
        enough = min(rows["flagged"].iloc[0], rows["words"].iloc[0] - rows["flagged"].iloc[0]) >= LEAST
        assert rows["auc"].notna().all() if enough else rows["auc"].isna().all()
    assert np.allclose(table["selectivity"], table["auc"] - table["control"], equal_nan=True)
    probed = table.dropna(subset="auc")
    assert not probed.empty
    assert probed.groupby("label")["auc"].max().min() > 0.7, "the detector's own last layers hold its labels"


def test_without_a_readable_text_it_says_so():
    with pytest.raises(BadData, match="No text could be read"):
        decodability("gus-mini", ["word " * 600], model="bert-mini")
