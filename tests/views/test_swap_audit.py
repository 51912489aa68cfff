"""The view of counterfactuals over many texts without a page: numbers of the API, parts, and what it opens and selects."""

from __future__ import annotations

import asyncio
import functools
from types import SimpleNamespace

import holoviews as hv
import numpy as np
import pandas as pd
import pytest

import atlas
from atlas.bias import swap_audit, swap_audits
from atlas.errors import BadData, TextError
from atlas.plots.swap_audit import BINS, Change, mean_changes, spread_of_changes
from atlas.state.many_texts import FILE, MOST_LETTERS, PASTED
from atlas.state.readers_file import MOST_BYTES
from atlas.state.swap_audit import SwapAuditLens
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.many_texts import FEW_SENTENCES
from atlas.tracing.swap_audit import ATTENDED, DETECTED, MEASURES, PREDICTED, SWAP_AUDIT
from atlas.views.swap_audit import SwapAuditView
from tests.engine.families import loaded
from tests.state.readers import single
from tests.waiting import until

TEXTS = ("She is here.", "No one.", "The nurse told the man that he was late.", "A Muslim woman was here.")
PAIRS = 2 + 1 + 5
"""The last text has a gender and a religion with five counterparts."""

FIVE = "\n".join(TEXTS)

model = functools.cache(lambda name: atlas.load(name) if name.endswith("-mini") else loaded(name))


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def trace(name="GPT-2", text="the cat", **options):
    return model(name).trace(text, **options)


def opened(of=None):
    room = Workspace(lambda job, _: trace(text=job.text), tasks=TASKS)
    room.pipeline.show(of or trace())
    view = SwapAuditView(room)
    view.__panel__()
    return room, view


@functools.cache
def expected(name="GPT-2", **options):
    return swap_audit(model(name), TEXTS, thresholds=0.5, **options)


def test_nothing_runs_before_the_press_and_then_the_numbers_are_those_of_the_api():
    room, view = opened()
    assert not view.start.disabled, "texts come with Atlas"
    assert "occupations (texts that come with Atlas): not run yet" in view.lens.line
    view.swaps.choices.source = PASTED
    assert view.start.disabled
    assert view.pasted.visible
    assert view.lens.line == "paste texts, one a line"
    view.pasted.value = FIVE
    assert not view.start.disabled
    assert not view.results.visible
    view._run()
    assert view.results.visible
    assert (view.start.disabled, view.start.label) == (True, "Run"), "there is nothing left to go on with"
    found = expected()
    assert len(found.pairs) == PAIRS
    shown = view.export().table.sort_values("pair").drop(columns="pair").reset_index(drop=True)
    pd.testing.assert_frame_equal(shown, found.pairs)
    pd.testing.assert_frame_equal(view.swaps.audit().groups, found.groups)
    assert "row 2 has no word of an identity" in view.notes.object
    for measure in MEASURES:
        view.swaps.choices.measure = measure
        order = np.abs(view.table.value["Change"].to_numpy())
        assert (np.diff(order) <= 0).all(), "those that change most first"
        assert sorted(view.table.value["Change"]) == sorted(found.pairs[measure])
        groups = found.groups[found.groups["measure"] == measure]
        rows = view.swaps.rows()
        groups = groups[groups["category"] != "all"] if measure != ATTENDED else groups
        value = "ratio" if measure == ATTENDED else "change"
        np.testing.assert_array_equal([row.value for row in rows], groups[value])
        points = view._means().Points.I
        known = groups[value].dropna()
        assert points.dimension_values("value").tolist() == known.tolist()
        bars = view._spread().Rectangles.I
        assert bars.dimension_values("y1").sum() == pytest.approx(1.0)
    view.swaps.choices.measure = DETECTED
    room.thresholds.generalisation = 0.01
    assert view.table.value["Flagged"].sum() > found.pairs["flagged"].sum(), "a threshold flags anew without a run"


def test_of_texts_that_come_with_atlas_the_card_says_how_few_they_are():
    _, view = opened()
    view.swaps.workspace.tasks = {**TASKS, SWAP_AUDIT: lambda *_: expected()}
    view._run()
    assert FEW_SENTENCES in view.notes.object
    view.swaps.choices.source = PASTED
    view.pasted.value = FIVE
    view._run()
    assert view.notes.object
    assert FEW_SENTENCES not in view.notes.object


def test_a_click_opens_the_text_a_press_the_counterfactual_and_both_go_to_compare():
    room, view = opened()
    view.swaps.choices.source = PASTED
    view.swaps.paste(FIVE)
    view._run()
    assert not view.both.visible
    first = view.swaps.pairs().iloc[0]
    view._clicked(SimpleNamespace(row=0))
    assert room.trace.texts.text == first["text"]
    assert [row["state"] for row in view.bars.groups[0]["rows"]] == ["chosen", ""]
    view._pressed({"key": "new"})
    assert room.trace.texts.text == first["counterfactual"]
    assert [row["state"] for row in view.bars.groups[0]["rows"]] == ["", "chosen"]
    assert len(view.table.value) == PAIRS, "another text is no reason to run again"
    view._beside()
    assert room.trace.texts.text == first["text"]
    assert room.second.text == first["counterfactual"]
    assert room.second.used
    assert room.display.tab == "compare"


def test_the_heads_that_react_are_selected(monkeypatch):
    room, view = opened()
    view.swaps.choices.source = PASTED
    view.swaps.paste(FIVE)
    view._run()
    found = view.swaps.audit()
    assert view.heads.disabled == (not (found.heads["q"] <= 0.05).any())
    q = np.ones(len(found.heads))
    q[[1, 2]] = 0.01
    found.heads["q"] = q
    view._draw()
    assert view.heads.label == "Select the 2 heads that react"
    view._select()
    rows = found.heads.iloc[[1, 2]]
    assert {(head.layer, head.head) for head in room.selection.heads} == set(zip(rows["layer"], rows["head"], strict=True))


@pytest.mark.parametrize("name", ["T5", "gus-mini"])
def test_every_kind_of_model_has_its_numbers(name):
    _, view = opened(trace(name, "the man was here"))
    view.swaps.take("mine.txt", b"The man was late.")
    assert view.swaps.choices.source == FILE
    view._run()
    assert not view.lens.problem
    found = swap_audit(model(name), ["The man was late."], thresholds=0.5)
    if name == "gus-mini":
        assert view.table.value["Change"].isna().all(), "a detector predicts labels alone"
    shown = view.swaps.pairs().sort_values("pair")
    for measure in (PREDICTED, DETECTED, ATTENDED):
        np.testing.assert_allclose(shown[measure], found.pairs[measure], rtol=1e-5)


def test_a_run_is_made_in_parts_can_be_stopped_and_goes_on_with_the_same_numbers(monkeypatch):
    monkeypatch.setattr("atlas.state.swap_audit.PART_SECONDS", 0.0)
    asked = []

    def counting(*given):
        found = TASKS[SWAP_AUDIT](*given)
        asked.append(len(found.pairs))
        return found

    async def journey():
        room = Workspace(lambda job, _: trace(text=job.text), tasks={SWAP_AUDIT: counting})
        room.pipeline.show(trace())
        lens = room.lens(SwapAuditLens)
        lens.choices.source = PASTED
        lens.param.watch(lambda _: lens.shown(), "revision")
        lens.paste(FIVE)
        lens.run()
        await until(lambda: len(asked) >= 3)
        lens.cancel()
        assert not lens.busy
        stopped = len(lens.found().pairs)
        assert 0 < stopped < PAIRS
        await asyncio.sleep(0.1)
        assert len(lens.found().pairs) == stopped
        lens.run()
        room.pipeline.show(trace(text="the dog"))
        await until(lambda: lens.found().complete)
        return lens.found()

    found = asyncio.run(asyncio.wait_for(journey(), 60))
    assert len(asked) >= PAIRS
    pd.testing.assert_frame_equal(found.groups, expected().groups, rtol=1e-5, atol=1e-6)


def test_what_is_too_much_or_cannot_be_read_says_so(monkeypatch):
    _, view = opened()
    with pytest.raises(TextError, match=r"not from 'a\.pdf'"):
        view.swaps.take("a.pdf", b"x")
    with pytest.raises(BadData, match="more than the 16,000,000"):
        view.swaps.take("a.txt", b"x" * (MOST_BYTES + 1))
    with pytest.raises(TextError, match="more than the 200,000"):
        view.swaps.paste("x" * (MOST_LETTERS + 1))
    view.swaps.take("a.txt", b"She.\n" * 501)
    view._run()
    assert "501 texts, more than the 500" in view.lens.problem
    for name, most, said in (("MOST_PAIRS", 4, "8 counterfactuals, more than the 4"), ("MOST_TOKENS", 100, "runs 100 at most")):
        with monkeypatch.context() as patched:
            patched.setattr(swap_audits, name, most)
            view.swaps.take("a.txt", FIVE.encode())
            view._run()
            assert said in view.lens.problem
        view.swaps.take("b.txt", b"Nothing.")
    view._run()
    assert view.lens.problem == "None of 1 rows could be used; the first one, row 1, has no word of an identity."
    view.swaps.choices.own = "->"
    view._run()
    assert "says no swap" in view.lens.problem
    assert SwapAuditView.fits(single())


def test_the_plots_have_every_pair_and_every_swap():
    overlay = spread_of_changes([-9.0, 0.0, 0.1], [0.0, 1.0], label="", signed=True)
    bars, line = overlay.Rectangles.I, overlay.Curve.I
    assert len(bars) == BINS
    assert bars.dimension_values("y1").sum() == pytest.approx(1.0)
    assert line.dimension_values(1).sum() / 2 == pytest.approx(1.0)
    rows = [Change("a", 0.2, 0.1, 0.3, True, ""), Change("b", np.nan, np.nan, np.nan, False, "")]
    for dark in (False, True):
        drawn = mean_changes(rows, label="", reference=0.0, dark=dark)
        assert drawn.Points.I.dimension_values("value").tolist() == [0.2]
        for plot in (drawn, overlay, mean_changes((), label="", reference=1.0, dark=dark)):
            hv.renderer("bokeh").get_plot(plot)
