"""Heads, bias and performance without a page: one press, the numbers of the API, a shared file, selection both ways, weights."""

from __future__ import annotations

import functools
import json
from types import SimpleNamespace

import holoviews as hv
import numpy as np
import pytest
from bokeh.document import Document

from atlas.bias import composite, head_tradeoff, held_out
from atlas.errors import TextError
from atlas.plots.tradeoff import front_line
from atlas.state.benchmark import BenchmarkLens
from atlas.state.share import decode, encode
from atlas.state.tradeoff import RANKS, WEIGHTS_OFF
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.tradeoff import LOG_RATIO, PARTS, TRADEOFF
from atlas.views.benchmark import BenchmarkView
from atlas.views.single import copied_alone
from atlas.views.tradeoff import TITLES, TradeoffView
from tests.bias.prejudiced import IDLE, PREJUDICED, SENSIBLE, examples, prejudiced
from tests.engine.families import loaded
from tests.state.readers import single

FILE = json.dumps(examples(40, 20)).encode()


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def trace(text="Women are too emotional to lead", **options):
    return prejudiced().trace(text, **options)


@functools.cache
def found(by="score"):
    return head_tradeoff(prejudiced(), "stereoset", examples(40, 20), by=by)


TASK = functools.cache(TASKS[TRADEOFF])
"""Several tests press for the same run."""


def counting(asked):
    def task(*given):
        asked.append(given)
        return TASK(*given[:5])

    return task


def opened(asked=None, *, ran=True):
    room = Workspace(lambda job, _: trace(job.text), tasks=TASKS | {TRADEOFF: counting([] if asked is None else asked)})
    room.pipeline.show(trace())
    view = TradeoffView(room)
    view.__panel__()
    if ran:
        view.tradeoff.files.take("mine.json", FILE)
        view._run()
    return room, view


def test_nothing_runs_before_the_press_and_then_the_numbers_are_those_of_the_api():
    asked = []
    _, view = opened(asked, ran=False)
    assert view.start.disabled
    assert view.hint.visible
    assert "choose a file" in view.lens.line
    assert view.export().table["benchmark"].iloc[0] == "stereoset"
    view.tradeoff.files.take("mine.json", FILE)
    assert not view.start.disabled
    assert view.start.label.startswith("Run (1,500 passes, about ")
    assert not asked
    view._run()
    assert len(asked) == 1
    assert view.start.disabled
    assert view.results.visible
    assert not view.hint.visible
    assert view.tradeoff.shown().table.equals(found().table)
    whole = found().whole
    assert f"stereotype score {whole['score']:.3g} ({whole['score_lo']:.3g} to {whole['score_hi']:.3g})" in view.lens.line
    beyond = int((found().table["score_change_q"] <= 0.05).sum())
    assert f"Of 24 heads {beyond} change" in view.lens.line
    exported = view.export().table
    assert len(exported) == 24
    assert sorted(exported["bias_removed"]) == sorted(found().table["bias_removed"])


def drawn(view):
    figure = hv.render(view._scatter())
    Document().add_root(figure)
    return figure, [each.data_source for each in figure.renderers]


def test_the_scatter_has_every_head_the_front_chance_and_the_intervals_of_selected_heads():
    room, view = opened()
    room.selection.select_heads([PREJUDICED], origin="elsewhere")
    _, sources = drawn(view)
    points = next(source for source in sources if "label" in source.data)
    table = found().table
    np.testing.assert_allclose(points.data["at_x"], table["performance_change"])
    np.testing.assert_allclose(points.data["at_y"], table["bias_removed"])
    at = found().heads.index(PREJUDICED)
    assert points.selected.indices == [at]
    assert f"({table['bias_removed_lo'][at]:.3g} to {table['bias_removed_hi'][at]:.3g})" in points.data["about"][at]
    segments = [np.array([source.data[name] for name in ("x0", "y0", "x1", "y1")]) for source in sources if "y1" in source.data]
    row = table.select_dtypes("number").iloc[at].astype(float)
    own = next(each for each in segments if each.shape[1] == 2 and each[0, 0] == pytest.approx(row["performance_change_lo"]))
    np.testing.assert_allclose(own[:, 0], row[["performance_change_lo", "bias_removed", "performance_change_hi", "bias_removed"]])
    np.testing.assert_allclose(own[:, 1], row[["performance_change", "bias_removed_lo", "performance_change", "bias_removed_hi"]])
    chance = found().chance
    assert any(each.shape[1] == 1 and each[1, 0] == pytest.approx(chance.best) for each in segments)
    assert any(source.data.get("bottom", [None])[0] == chance.lo or chance.lo in source.data.get("y0", []) for source in sources)
    line = next(source.data for source in sources if set(source.data) == {"x", "y"} and len(source.data["x"]) > 1)
    on = table[table["front"]]
    assert set(on["bias_removed"]) <= set(np.round(line["y"], 9)) | set(line["y"])


def test_the_front_is_drawn_as_the_edge_of_what_is_beaten():
    x, y = front_line([1.0, -2.0, 0.0], [0.0, 4.0, 3.0])
    assert list(zip(x, y, strict=True)) == [(-2, 4), (-2, 3), (0, 3), (0, 0), (1, 0)]


def test_points_and_rows_select_heads_and_selected_heads_are_tested_on_other_examples():
    room, view = opened()
    assert view.test.disabled
    at = [found().heads.index(head) for head in (PREJUDICED, IDLE)]
    view._picked(at)
    assert room.selection.heads == {PREJUDICED, IDLE}
    assert room.selection.origin == "tradeoff"
    row = list(view.table.value["Head"]).index(str(SENSIBLE))
    view._clicked(SimpleNamespace(row=row))
    assert room.selection.heads == {SENSIBLE}
    room.selection.select_heads([PREJUDICED], origin="elsewhere")
    assert view.test.label == "Switch 1 selected head off on held-out examples"
    assert not view.sentence.visible
    view._test()
    expected = held_out(prejudiced(), "stereoset", examples(40, 20), [PREJUDICED])
    assert view.sentence.object == expected.sentence
    assert view.sentence.visible
    assert view.test.disabled
    room.selection.select_heads([IDLE], origin="elsewhere")
    assert not view.test.disabled
    assert view.sentence.object == expected.sentence
    view._picked([])
    assert not room.selection.heads


def test_weights_rank_anew_without_a_run_and_the_words_say_them():
    asked = []
    room, view = opened(asked)
    choices = room.choices_of("tradeoff")
    assert "0.33 · attention × bias + 0.33 · performance + 0.33 · fairness" in view.tradeoff.composite_words()
    parts = view.tradeoff.ranking()[list(RANKS.values())]
    assert parts.notna().all().all()
    choices.param.update(attention=0.0, performance=0.25, fairness=0.75)
    assert view.tradeoff.composite_words().startswith("Composite = 0.25 · performance + 0.75 · fairness;")
    expected = composite(found().table, None, {"performance": 0.25, "fairness": 0.75})["composite"]
    assert view.table.value["Composite"].tolist() == sorted(expected, reverse=True)
    assert list(view.table.value.columns) == list(TITLES.values())
    choices.param.update(performance=0.0, fairness=0.0)
    assert view.tradeoff.composite_words() == WEIGHTS_OFF
    assert view.table.value["Composite"].isna().all()
    assert len(asked) == 1
    link, _ = decode(encode(room).token)
    assert link.choices["tradeoff"] == dict.fromkeys(PARTS, 0.0)


def test_where_no_word_is_flagged_that_part_is_left_out_and_said():
    room, view = opened()
    room.thresholds.param.update(stereotype=1.0, generalisation=1.0, unfairness=1.0)
    assert "Attention × bias is left out: no word of the text on screen is flagged." in view.tradeoff.composite_words()
    assert view.tradeoff.ranking()["composite"].notna().all()


def test_log_likelihoods_are_there_without_another_run():
    asked = []
    room, view = opened(asked)
    room.choices_of("tradeoff").by = LOG_RATIO
    assert view.tradeoff.shown().table.equals(found(LOG_RATIO).table)
    assert "mean log-ratio of stereotype to anti-stereotype" in view.lens.line
    assert len(asked) == 1
    assert view.problem == ""


def test_results_outlive_the_text_and_hang_on_switched_off_heads():
    room, view = opened()
    room.pipeline.show(trace("the cat ran"))
    assert view.tradeoff.shown().table.equals(found().table)
    room.pipeline.show(trace("the cat ran", ablate=(SENSIBLE,)))
    assert view.tradeoff.shown() is None
    assert "not run yet" in view.lens.line
    assert not view.start.disabled
    assert view.tradeoff.at([0]) == []


def test_a_copy_of_its_own_shows_the_same_and_runs_nothing():
    asked = []
    room, view = opened(asked)
    room.selection.select_heads([PREJUDICED], origin="elsewhere")
    view._test()
    copy = copied_alone(view)
    assert copy.tradeoff.shown().table.equals(found().table)
    assert copy.sentence.object == view.sentence.object
    assert copy.table.value.equals(view.table.value)
    assert copy.start.label == view.start.label
    assert len(asked) == 1
    benchmarks = BenchmarkView(room)
    benchmarks.__panel__()
    benchmarks.benchmark.run()
    assert copied_alone(benchmarks).benchmark.found().scores.equals(benchmarks.benchmark.found().scores)


def test_the_file_and_the_benchmark_are_those_of_the_benchmark_card():
    room, view = opened(ran=False)
    files = room.lens(BenchmarkLens)
    files.take("mine.json", FILE)
    assert not view.start.disabled
    files.choices.benchmark = "pairs"
    assert "has no text 'more'" in view.problem
    files.choices.benchmark = "stereoset"
    assert view.problem == ""
    with pytest.raises(TextError, match=r"not from 'virus\.exe'"):
        view.tradeoff.files.take("virus.exe", b"MZ")
    view.upload.param.update(filename="virus.exe", value=b"MZ")
    assert "not from 'virus.exe'" in view.faults.note


def test_a_model_without_likelihoods_or_a_recording_cannot_have_the_view():
    assert "masked and of causal" in TradeoffView.fits(loaded("T5").trace("the cat"))
    assert "not here" in TradeoffView.fits(single())
    assert TradeoffView.fits(trace()) == ""


def test_empty_plots_are_drawn_light_and_dark():
    _, view = opened(ran=False)
    for dark in (False, True):
        view.dark = dark
        hv.renderer("bokeh").get_plot(view._scatter())
    # By its first type Panel chooses how a column is written for good: the names of heads were numbers, NaN.
    assert view.table.value["Head"].dtype == object
