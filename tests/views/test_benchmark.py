"""The benchmark view without a page: its numbers against the API, a run in parts, stop and go on, filters, and what it opens."""

from __future__ import annotations

import asyncio
import functools
import json
from types import SimpleNamespace

import holoviews as hv
import numpy as np
import pandas as pd
import pytest

from atlas.bias import benchmark
from atlas.errors import BadData, TextError
from atlas.plots.benchmark import BINS, score_points, spread
from atlas.state.benchmark import BenchmarkLens
from atlas.state.readers_file import MOST_BYTES
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.benchmarks import BENCHMARK
from atlas.views.benchmark import BenchmarkView
from tests.bias.test_benchmarks import STEREOSET, many
from tests.engine.families import loaded
from tests.state.readers import single
from tests.waiting import until

PAIRS = json.dumps(many(40)).encode()
model = functools.cache(loaded)


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def trace(name="GPT-2", text="the cat", **options):
    return model(name).trace(text, **options)


def opened(of=None, *, name="pairs", work=None):
    room = Workspace(work or (lambda job, _: trace(text=job.text)), tasks=TASKS)
    room.pipeline.show(of or trace())
    view = BenchmarkView(room)
    view.__panel__()
    view.benchmark.choices.benchmark = name
    return room, view


def test_scores_intervals_and_examples_are_those_of_the_api():
    _, view = opened()
    assert view.start.disabled
    assert "choose a file" in view.lens.line
    assert not view.results.visible
    assert view.export().table["benchmark"].iloc[0] == "stereoset"
    view.benchmark.take("mine.json", PAIRS)
    assert not view.start.disabled
    view._run()
    expected = benchmark(model("GPT-2"), "pairs", many(40))
    assert [row.name for row in view.benchmark.rows()] == list(expected.scores["bias_type"])
    for score, row in zip(view.scores(), expected.scores.itertuples(), strict=True):
        assert (score.value, score.lo, score.hi) == (row.score, row.lo, row.hi)
    assert view.results.visible
    assert (view.start.disabled, view.start.label) == (True, "Run"), "there is nothing left to go on with"
    assert view.table.value["Log ratio"].tolist() == expected.examples["difference"].tolist()
    (notes,) = (pane for pane in view.results.select() if "aa-benchmark-notes" in (pane.css_classes or ()))
    assert notes.object == " ".join(expected.notes)
    overall = expected.scores.iloc[-1]
    assert f"score {overall['score']:.1f} ({overall['lo']:.1f} to {overall['hi']:.1f})" in view.lens.line
    pd.testing.assert_frame_equal(view.export().table, expected.examples)


def test_a_category_shows_its_examples_and_targets():
    _, view = opened(name="stereoset")
    view.benchmark.take("dev.json", json.dumps(STEREOSET).encode())
    view._run()
    assert view.category.options == ["all", "gender", "race"]
    assert [row.name for row in view.benchmark.rows()] == ["gender", "race", "overall"]
    assert set(view.benchmark.rows()[0].values) == {"ss", "lms", "icat"}
    view.category.value = "gender"
    assert list(view.table.value["Id"]) == ["a", "b"]
    assert {row.name for row in view.benchmark.rows()} == {"doctor", "dog"}
    assert view.target.options == ["all", "doctor", "dog"]
    view.target.value = "dog"
    assert list(view.table.value["Id"]) == ["b"]
    view.category.value = "race"  # which has no target of that name
    assert list(view.table.value["Id"]) == ["c"]


def test_the_plots_are_as_high_as_their_rows_need():
    _, view = opened(name="pairs")
    pairs = [{**pair, "category": "one", "target": f"target {at}"} for at, pair in enumerate(many(40))]
    view.benchmark.take("mine.json", json.dumps(pairs).encode())
    view._run()
    few = [plot.height for plot in view._plots]
    view.category.value = "one"
    assert len(view.benchmark.rows()) == 40
    assert [plot.height for plot in view._plots] == [40 * 16 + 70] * 2 > few
    view.category.value = "all"
    assert [plot.height for plot in view._plots] == few


def test_what_a_link_chooses_before_there_are_results_is_shown_once_they_are_there():
    room, view = opened(name="stereoset")
    room.choices_of("benchmark").param.update(category="gender", target="dog")
    assert view.category.value == "all"
    view.benchmark.take("dev.json", json.dumps(STEREOSET).encode())
    view._run()
    assert (view.category.value, view.target.value) == ("gender", "dog")
    assert list(view.table.value["Id"]) == ["b"]


def test_a_click_opens_the_first_sentence_and_a_press_another_and_the_results_stay():
    room, view = opened(name="stereoset")
    view.benchmark.take("dev.json", json.dumps(STEREOSET).encode())
    view._run()
    line = view.lens.line
    view._clicked(SimpleNamespace(row=1))
    assert room.pipeline.input.text == room.trace.texts.text == "she ran after the dog"
    assert [row["label"] for row in view.bars.groups[0]["rows"]] == [
        "she ran after the dog", "uns ran after the dog", "cat ran after the dog"
    ]  # fmt: skip
    assert [row["state"] for row in view.bars.groups[0]["rows"]] == ["chosen", "", ""]
    view._pressed({"key": "unrelated"})
    assert room.trace.texts.text == "cat ran after the dog"
    assert view.lens.line == line
    assert len(view.table.value) == 3


def test_another_model_and_switched_off_heads_have_results_of_their_own():
    room, view = opened()
    view.benchmark.take("mine.json", PAIRS)
    view._run()
    whole = view.table.value
    room.pipeline.show(trace(ablate=("0.1",)))
    assert "not run yet" in view.lens.line
    assert not len(view.table.value)
    view._run()
    assert "1 head switched off" in view.lens.line
    expected = benchmark(model("GPT-2"), "pairs", many(40), ablate=["0.1"])
    assert view.table.value["Log ratio"].tolist() == expected.examples["difference"].tolist()
    room.pipeline.show(trace())
    assert view.table.value.equals(whole)


def test_a_run_is_made_in_parts_can_be_stopped_and_goes_on_with_the_same_numbers(monkeypatch):
    monkeypatch.setattr("atlas.bias.benchmarks.EXAMPLES_AT_ONCE", 4)
    monkeypatch.setattr("atlas.state.benchmark.PART_SECONDS", 0.0)
    asked = []

    def counting(*given):
        found = TASKS[BENCHMARK](*given)
        asked.append(len(found.examples))
        return found

    async def journey():
        room = Workspace(lambda job, _: trace(text=job.text), tasks={BENCHMARK: counting})
        room.pipeline.show(trace())
        lens = room.lens(BenchmarkLens)
        lens.choices.benchmark = "pairs"
        lens.param.watch(lambda _: lens.shown(), "revision")
        lens.take("mine.json", PAIRS)
        lens.run()
        await until(lambda: len(asked) >= 3)
        lens.cancel()
        assert not lens.busy
        assert lens.can_run
        stopped = len(lens.found().examples)
        assert 0 < stopped < 40
        await asyncio.sleep(0.2)
        assert len(lens.found().examples) == stopped
        lens.run()
        # A new text meanwhile drops the part under way, and the run goes on with the new trace.
        room.pipeline.show(trace(text="the dog"))
        await until(lambda: lens.found().complete)
        return lens.found()

    found = asyncio.run(asyncio.wait_for(journey(), 60))
    monkeypatch.undo()
    assert len(asked) >= 10
    expected = benchmark(model("GPT-2"), "pairs", many(40))
    pd.testing.assert_frame_equal(found.examples, expected.examples, rtol=1e-5)


def test_files_that_are_too_large_or_of_another_kind_are_refused_and_broken_ones_say_what_is_wrong():
    _, view = opened()
    with pytest.raises(TextError, match=r"from \.json, \.jsonl, \.csv files, not from 'virus\.exe'\. .* reads "):
        view.benchmark.take("virus.exe", b"MZ")
    with pytest.raises(BadData, match="more than the 16,000,000"):
        view.benchmark.take("large.json", bytes(MOST_BYTES + 1))
    view.upload.param.update(filename="virus.exe", value=b"MZ")
    assert "not from 'virus.exe'" in view.faults.note
    view.benchmark.take("broken.json", b"[1")
    view._run()
    assert "is no JSON" in view.lens.problem
    view.benchmark.take("mine.json", PAIRS)
    view._run()
    assert view.lens.problem == ""
    assert len(view.table.value) == 40


def test_a_model_without_likelihoods_or_a_recording_cannot_have_the_view():
    assert "masked and of causal" in BenchmarkView.fits(loaded("T5").trace("the cat"))
    assert "not here" in BenchmarkView.fits(single())
    assert BenchmarkView.fits(trace("BERT")) == ""


def test_the_plots_have_the_numbers_and_every_example_is_in_the_distribution():
    _, view = opened()
    view.benchmark.take("mine.json", PAIRS)
    view._run()
    points = view._scores().Points.I
    assert points.dimension_values("value").tolist() == [score.value for score in view.scores()]
    bars = view._spread().Rectangles.I
    assert bars.dimension_values("y1").sum() == 40
    values = np.array([-50.0, -1, 0, 1, np.nan, 0.2])
    bars = spread(values, label="").Rectangles.I
    assert (len(bars), bars.dimension_values("y1").sum()) == (BINS, 5)
    for dark in (False, True):
        for plot in (score_points((), (), (), (), dark=dark), spread((), label="", dark=dark)):
            hv.renderer("bokeh").get_plot(plot)
