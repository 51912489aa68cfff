"""Pruning without a page: curves against the function of the API, and what a tap selects."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import Tap

import atlas
from atlas.attribution import Target, prune
from atlas.ids import HeadId
from atlas.plots.colours import theme
from atlas.state import pruning as state
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.pruning import POINTS, runs_of
from atlas.views.pruning import PruningView
from tests.engine.families import TARGET, TEXT, gptj, loaded, tokenizer
from tests.state.readers import never, single


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(name):
    model = atlas.load(name) if name.endswith("-mini") else loaded(name)
    return model.trace(TEXT, target=TARGET if "cross" in model.kinds else None)


def shown(name, kind=""):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(traced(name))
    if kind:
        room.selection.show_kind(kind)
    view = PruningView(room)
    view.__panel__()
    return room, view


def usual(name):
    return Target(len(traced(name).tokens()) - 2 if name == "BERT" else -1)  # before [SEP]


@pytest.mark.parametrize(("name", "kind"), [("BERT", "encoder"), ("Llama", "decoder"), ("t5-mini", "cross")])
def test_curves_are_those_of_the_api(name, kind):
    _, view = shown(name, kind)
    heads = [head for head in traced(name).head_ids if head.kind == kind]
    found = prune(traced(name), usual(name), heads=heads)
    for show in ("probability", "value", "kl"):
        view.pruning.choices.show = show
        curves = {curve.order: curve for curve in view.pruning.curves()}
        assert list(curves) == ["gradient", "ablation", "random"]
        for order, curve in curves.items():
            own = found.table[found.table["order"] == order].groupby("removed")[show]
            np.testing.assert_allclose(curve.values, own.mean(), atol=1e-4)
            np.testing.assert_allclose([curve.low, curve.high], [own.min(), own.max()], atol=1e-4)
    assert view.problem == ""
    probability = found.table[found.table["order"] == "gradient"].set_index("removed")["probability"]
    low = probability.index[probability < 0.9 * probability[0]]
    needed = len(heads) - (probability.index[probability.index < low[0]].max() if len(low) else len(heads))
    assert f"{needed} by gradient" in view.lens.line
    table = view.export().table
    row = table[(table["order"] == "ablation") & (table["kept"] == 3)].iloc[0]
    assert row["heads"] == " ".join(map(str, found.kept("ablation", len(heads) - 3)))


def test_by_a_switch_heads_also_go_by_integrated_gradients():
    _, view = shown("GPT-2")
    view.pruning.choices.integrated = True
    found = prune(traced("GPT-2"), usual("GPT-2"), integrated=True)
    curves = {curve.order: curve for curve in view.pruning.curves()}
    assert list(curves) == ["gradient", "ablation", "integrated_gradients", "random"]
    own = found.table[found.table["order"] == "integrated_gradients"]["probability"]
    np.testing.assert_allclose(curves["integrated_gradients"].values, own, atol=1e-4)
    assert " by integrated gradients" in view.lens.line
    assert runs_of(144, integrated_layers=12) == 144 + 5 + 9 * POINTS + 24 * 12
    assert view.problem == ""


def test_a_tap_on_a_curve_selects_the_heads_that_are_left_there():
    room, view = shown("GPT-2")
    figure = hv.render(view._lines())
    Document().add_root(figure)
    curve = view.pruning.curves()[0]
    figure.document.callbacks.trigger_event(Tap(figure, x=float(curve.removed[8]), y=float(curve.values[8])))
    found = prune(traced("GPT-2"), usual("GPT-2"))
    assert room.selection.heads == set(found.kept("gradient", 8)) != set()
    assert (len(room.selection.heads), room.selection.origin) == (4, "pruning")
    view._tapped(float(curve.removed[8]), float(curve.values[8]))
    assert not room.selection.heads
    before = view.lens.revision
    view._tapped(6.0, 99.0)
    assert not room.selection.heads
    room.selection.pick(HeadId("decoder", 1, 2))
    assert view.lens.revision == before


def test_a_page_that_is_dark_is_dark_while_heads_are_being_removed():
    room = Workspace(never, tasks={"pruning": never})
    view = PruningView(room)
    view.dark = True
    assert view.pruning.curves() == ()
    assert hv.render(view._lines()).background_fill_color == theme(dark=True).paper


def test_what_cannot_be_pruned_is_said(monkeypatch):
    assert PruningView.fits(single())
    assert runs_of(1200) == 1200 + 5 + 8 * POINTS
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(atlas.load((gptj(), tokenizer(special=False))).trace(TEXT))
    view = PruningView(room)
    view.__panel__()
    assert view.pruning.curves() == ()
    assert "attention interface" in view.problem
    monkeypatch.setattr(state, "MOST_TOKENS_RUN", 100)
    view = shown("BERT")[1]
    assert view.pruning.curves() == ()
    assert "Shorten the text" in view.problem
