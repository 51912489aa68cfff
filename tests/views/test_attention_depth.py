"""Attention to flagged words by depth without a page: the line is that of the API, and a tap selects a layer."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import Tap

import atlas
from atlas.bias import attention_bias_by_layer
from atlas.ids import HeadId
from atlas.state.attention_bias import AMONG_CROSS, OTHER_SIDE
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.views.attention_depth import AttentionDepthView
from tests.state.readers import never, single
from tests.views.test_bias import TEXT, flagged_tokens


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def trace(name):
    return atlas.load(name).trace(TEXT)


def shown(name):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace(name))
    view = AttentionDepthView(room)
    view.__panel__()
    return room, view


@pytest.mark.parametrize("name", ["gpt-mini", "bert-mini"])
@pytest.mark.parametrize("direction", ["received", "among"])
def test_the_line_is_that_of_the_api_with_its_intervals_beside_1(name, direction):
    _, view = shown(name)
    view.depth.choices.direction = direction
    found = attention_bias_by_layer(trace(name), flagged_tokens(trace(name)), direction)
    assert view.export().table.equals(found)
    figure = hv.render(view._lines())
    drawn = [each.data_source.data for each in figure.renderers]
    points = next(data for data in drawn if "about" in data)
    np.testing.assert_allclose(points["y"], np.log2(found["ratio"]))
    segments = [data for data in drawn if "x0" in data and len(data["x0"])]
    np.testing.assert_allclose([segments[0]["y0"], segments[0]["y1"]], np.log2([found["lo"], found["hi"]]))
    np.testing.assert_allclose([segments[1]["y0"], segments[1]["y1"]], 0)
    beyond = found.loc[found["q"] <= 0.05, "layer"]
    assert (", ".join(f"layer {layer}" for layer in beyond) or "none") in view.lens.line
    assert view.problem == ""


def test_a_tap_selects_the_heads_of_a_layer_and_thresholds_ask_anew():
    room, view = shown("gpt-mini")
    figure = hv.render(view._lines())
    Document().add_root(figure)
    figure.document.callbacks.trigger_event(Tap(figure, x=2.2, y=5.0))
    n = trace("gpt-mini").n_heads("decoder")
    assert room.selection.heads == {HeadId("decoder", 2, head) for head in range(n)}
    view._tapped(2.0, 0.0)
    assert not room.selection.heads
    view._tapped(99.0, 0.0)
    assert not room.selection.heads
    room.thresholds.param.update(stereotype=1.0, generalisation=1.0, unfairness=1.0)
    assert view.depth.layers() is None
    assert "No word of this text is flagged" in view.problem


def test_heads_that_look_at_the_target_are_said_to():
    room, view = shown("t5-mini")
    room.selection.show_kind("decoder")
    assert view.depth.layers() is None
    assert view.problem == OTHER_SIDE
    room.selection.show_kind("cross")
    assert view.depth.layers() is not None
    view.depth.choices.direction = "among"
    assert view.depth.layers() is None
    assert view.problem == AMONG_CROSS
    assert AttentionDepthView.fits(single())
