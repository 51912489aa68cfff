"""The calibration view without a page: its numbers against the table, the thresholds, and what it says where nothing is known."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest

import atlas
from atlas.bias.detection import labels_of_trace
from atlas.engine.loading.calibration import calibration_of_embedded
from atlas.numbers import three
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.labelled import flagged, limits, words_of
from atlas.views.calibration import CalibrationView
from atlas.views.detection import DetectionView
from tests.state.readers import never

TEXT = "Women are too emotional to lead, and immigrants are unbelievably lazy."


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def trace(**change):
    return atlas.load("gus-mini").trace(TEXT, **change)


def shown(of=None, view_type=CalibrationView):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(of or trace())
    view = view_type(room)
    view.__panel__()
    return room, view


def test_diagrams_and_rates_are_those_of_the_table_at_the_threshold_of_the_slider():
    room, view = shown()
    known = calibration_of_embedded("gus-mini")
    words = words_of(labels_of_trace(trace()))
    assert [each["name"].split(":")[0] for each in view.numbers.groups] == ["Stereotype", "Generalisation", "Unfair"]
    for threshold in (0.5, 0.2):
        room.thresholds.generalisation = threshold
        group = next(each for each in view.numbers.groups if each["name"].startswith("Generalisation"))
        rows, errors = {row["label"]: row for row in group["rows"]}, known.labels["GEN"].errors(threshold)
        assert rows["right when flagged"]["number"] == three(errors.precision.value)
        edges = f"{errors.precision.lo:.2f} to {errors.precision.hi:.2f}"
        assert rows["right when flagged"]["note"] == f"{edges} of {errors.flagged:,}"
        assert rows["found when labelled"]["number"] == three(errors.recall.value)
        assert rows["false alarms"]["number"] == three((errors.flagged - errors.hits) / (5844 - known.labels["GEN"].positives))
        on = flagged(words, limits(words.labels, {"GEN": threshold}, {}))[:, words.labels.index("GEN")]
        shares = known.labels["GEN"].shares_of(words.probability[on, words.labels.index("GEN")])
        counts = [int(rows[f"{tier} confidence"]["number"]) for tier in ("high", "medium", "low")]
        assert counts == [(shares >= 0.75).sum(), ((shares < 0.75) & (shares >= 0.5)).sum(), (shares < 0.5).sum()]
        assert sum(counts) == on.sum()
        assert f"{on.sum()} of {len(on)} words" in group["name"]
        figure = hv.render(view._reliability("GEN"))
        drawn = [each.data_source.data for each in figure.renderers]
        points = next(data for data in drawn if "about" in data)
        label = known.labels["GEN"]
        np.testing.assert_allclose(points["x"], label.mean)
        np.testing.assert_allclose(points["y"], label.share)
        assert "4,743 words" in points["about"][0]
        bars = next(data for data in drawn if len(data.get("x0", ())) == len(label.n))
        np.testing.assert_allclose([bars["y0"], bars["y1"]], [label.share_lo, label.share_hi])
        upright = next(data for data in drawn if len(data.get("x0", ())) == 1 and data["x0"][0] == data["x1"][0])
        assert upright["x0"][0] == threshold
    assert "gus-mini on 5,844 words of 386 GUS sentences" in view.lens.line
    table = view.export().table
    assert len(table) == 30
    assert table[table["label"] == "GEN"]["threshold"].unique().tolist() == [0.2]


def test_without_a_table_it_says_that_nothing_is_known_and_still_counts_flagged_words():
    _, view = shown(trace(ablate=("L0 H0",)))
    assert view.note.visible
    assert "No calibration is known for gus-mini" in view.note.object
    assert "runs with changes" in view.note.object
    assert not view.plots.visible
    assert [group["rows"] for group in view.numbers.groups] == [[], [], []]
    assert view.export().picture is None
    assert list(view.export().table.columns) == ["detector", "label", "flagged_in_text"]


def test_biased_words_are_counted_by_confidence():
    room, view = shown(view_type=DetectionView)
    room.thresholds.generalisation = 0.1
    group = next(each for each in view.chips.groups if each["name"].startswith("Generalisation"))
    words = words_of(labels_of_trace(trace()))
    known = calibration_of_embedded("gus-mini").labels["GEN"]
    column = words.labels.index("GEN")
    shares = known.shares_of(words.probability[words.probability[:, column] >= 0.1, column])
    expected = ", ".join(
        f"{n} {tier}"
        for n, tier in zip(
            (sum(shares >= 0.75), sum((shares < 0.75) & (shares >= 0.5)), sum(shares < 0.5)),
            ("high", "medium", "low"),
            strict=True,
        )
        if n
    )
    assert group["name"] == f"Generalisation ({len(shares)} words; confidence: {expected})"
