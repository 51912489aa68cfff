"""The causal test without a page: a press starts it, its curve and sentence are those of the API, a tap selects heads."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import Tap

import atlas
from atlas.bias import causal_test
from atlas.ids import HeadId
from atlas.state.causal_test import NONE_SELECTED
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.causal import RULES
from atlas.views.causal_test import CausalTestView
from tests.engine.families import TARGET, TEXT, loaded
from tests.state.readers import never, single

SENTENCE = "Women are too emotional to lead, and immigrants are unbelievably lazy."


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def trace():
    return atlas.load("gus-mini").trace(SENTENCE)


def shown():
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace())
    view = CausalTestView(room)
    view.tested.choices.draws = 99
    view.__panel__()
    return room, view


def test_nothing_runs_before_the_press_and_then_the_curve_is_that_of_the_api():
    room, view = shown()
    assert view.tested.shown() is None
    assert not view.plot.visible
    assert view.button.name == "Test (up to 501 runs)"
    assert list(view.export().table["rule"]) == [rule.name for rule in RULES]
    view._press()
    found = causal_test(trace(), thresholds=0.5, draws=99)
    assert view.tested.shown().table.equals(found.table)
    assert view.sentence.object == found.verdict.sentence
    assert view.plot.visible
    assert view.button.disabled
    figure = hv.render(view._lines())
    Document().add_root(figure)
    drawn = [each.data_source.data for each in figure.renderers]
    falls = np.concatenate([data["y"] for data in drawn if "about" in data])
    np.testing.assert_allclose(np.sort(falls), np.sort([*found.table["fall"], *found.table["random"]]))
    bars = next(data for data in drawn if np.array_equal(data.get("x0", []), data.get("x1", [0])) and len(data.get("x0", [])))
    np.testing.assert_allclose([bars["y0"], bars["y1"]], [found.table["lo"], found.table["hi"]])
    view.tested.choices.dose = 16
    assert view.sentence.object == found.verdict_at(16).sentence != found.verdict.sentence
    figure.document.callbacks.trigger_event(Tap(figure, x=2.1, y=0.0))
    assert room.selection.heads == set(found.dose(4))
    assert room.selection.origin == "causal_test"
    view._tapped(2.0, 0.0)
    assert not room.selection.heads
    view._tapped(2.5, 0.0)
    assert not room.selection.heads
    table = view.export().table
    assert table["switched_off"][2] == " ".join(map(str, found.dose(4)))


def test_the_selected_heads_are_tested_together_and_a_threshold_asks_anew():
    room, view = shown()
    view.tested.choices.heads = "selected"
    assert view.problem == NONE_SELECTED
    assert view.button.disabled
    heads = [HeadId("encoder", 0, 1), HeadId("encoder", 1, 2), HeadId("encoder", 2, 0)]
    room.selection.select_heads(heads, origin="test")
    assert view.problem == ""
    view._press()
    found = causal_test(trace(), heads, thresholds=0.5, draws=99)
    assert view.sentence.object == found.verdict.sentence
    assert view.sentence.object.startswith("Without these 3 heads, the detector's decision")
    room.thresholds.stereotype = 0.9
    assert view.tested.shown() is None
    assert not view.button.disabled


def test_a_model_that_decides_nothing_is_not_offered_the_test():
    assert "no text" in CausalTestView.fits(single())
    assert "neither labels tokens" in CausalTestView.fits(loaded("T5").trace(TEXT, target=TARGET))
    assert CausalTestView.fits(trace()) == ""
