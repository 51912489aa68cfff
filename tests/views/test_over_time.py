"""Drills and checkpoints on screen: every number is one of the corpora, and a tap selects a head."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pandas as pd
import pytest

import atlas
from atlas.corpus.drilling import drills as run_drills
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.corpora import Corpora, named
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.corpus_heads import drills
from atlas.views.drills import DrillsView
from atlas.views.finder import FinderView
from atlas.views.head_page import HeadPageView
from atlas.views.over_time import OverTimeView
from tests.engine.families import loaded
from tests.state.readers import never
from tests.tracing.corpora import METRICS, corpus, drilled, values

KINDS = (("decoder", 3, 4),)

HEADS = [HeadId("decoder", layer, head) for layer in range(3) for head in range(4)]


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def trace():
    return loaded("GPT-2").trace("the doctor said that she ran", keep="weights", capture=())


@functools.cache
def checkpoint(step, previous):
    numbers = values(40, heads=12, seed=step)
    numbers[:, 6, METRICS.index("previous")] = previous
    return corpus(numbers, kinds=KINDS, model=trace().provenance["model"], where=f"/runs/step{step}")


def room(*corpora, focus=HEADS[6]):
    made = Workspace(never, corpora=Corpora(opened=named(corpora)))
    made.pipeline.show(trace())
    made.selection.focus_on(focus)
    made.display.metric = "previous"
    return made


def series():
    return [checkpoint(step, amount) for step, amount in ((200, 0.9), (0, 0.15), (100, 0.8))]


def part(drawn, kind, at=0):
    return [each for each in drawn if type(each) is kind][at]


def test_lines_are_the_figures_of_the_checkpoints_in_the_order_of_steps():
    space = room(*series())
    view = OverTimeView(space)
    found = view.time.series()
    assert found.checkpoints == ("step0", "step100", "step200")
    ordered = [checkpoint(0, 0.15), checkpoint(100, 0.8), checkpoint(200, 0.9)]
    (strong,) = found.strong
    for name, end in (("values", ""), ("lo", "_lo"), ("hi", "_hi")):
        np.testing.assert_allclose(getattr(strong, name), [each.heads[f"previous{end}"][6] for each in ordered])
    assert len(found.thin) == 11
    for line in found.thin:
        head = [str(each) for each in HEADS].index(line.name)
        np.testing.assert_allclose(line.values, [each.heads["previous"][head] for each in ordered])
    assert view.time.line == "Previous token of 12 heads at 3 checkpoints, by the step in their names"
    assert view.time.said().startswith("Previous token: L1 H2 at step100.")
    drawn = view._drawn()
    points = part(drawn, hv.Points)
    np.testing.assert_allclose(points.dimension_values("y"), strong.values)
    figure = hv.render(drawn)
    assert list(figure.below[0].major_label_overrides.values()) == ["step0", "step100", "step200"]
    np.testing.assert_allclose(part(drawn, hv.Curve, 1).dimension_values("y"), 0.15)  # even attention
    table = view.export().table
    assert len(table) == 36
    assert set(table["metric"]) == {"previous"}


def test_layers_are_means_of_their_heads_and_those_of_selected_heads_are_strong():
    space = room(*series())
    view = OverTimeView(space)
    menu = view.tools()[-1]
    assert (menu.label, list(menu.options), menu.value) == ("A line is", ["every head", "layers"], "heads")
    menu.value = "layers"
    assert view.time.choices.followed == "layers"
    space.selection.select_heads([HEADS[1], HEADS[10]])
    found = view.time.series()
    assert [line.name for line in found.strong] == ["layer 0", "layer 2"]
    ordered = [checkpoint(0, 0.15), checkpoint(100, 0.8), checkpoint(200, 0.9)]
    np.testing.assert_allclose(found.strong[1].values, [each.heads["previous"][8:12].mean() for each in ordered])
    np.testing.assert_allclose(found.strong[1].hi, [each.heads["previous_hi"][8:12].mean() for each in ordered])
    assert view.time.nearest(1, 0.8) is None


def test_a_tap_near_a_line_selects_its_head_and_more_than_six_are_not_marked():
    space = room(*series(), focus=HEADS[0])
    view = OverTimeView(space)
    view._tapped(1.2, 0.79)
    assert space.selection.heads == {HEADS[6]}
    view._tapped(9, 0.5)
    assert space.selection.heads == {HEADS[6]}
    space.selection.select_heads(HEADS[:8])
    found = view.time.series()
    assert [line.name for line in found.strong] == [str(head) for head in HEADS[:6]]
    assert len(found.thin) == 6
    assert "the first 6 of 8 selected are marked" in view.time.line


def test_with_one_corpus_a_sentence_says_how_checkpoints_are_opened():
    view = OverTimeView(room(checkpoint(0, 0.2)))
    assert OverTimeView.offered(view.workspace) == ""
    assert view.time.series().checkpoints == ()
    assert view.time.problem.startswith("Only one corpus of a model of this shape is open here")
    assert "--revisions" in view.time.problem
    view._drawn()


def test_a_thousand_heads_at_many_checkpoints_are_thinned_by_how_much_they_change(monkeypatch):
    monkeypatch.setattr("atlas.state.over_time.THIN", 12)
    view = OverTimeView(room(*series(), focus=HEADS[0]))
    found = view.time.series()
    span = {str(head): np.ptp([each.heads["previous"][at] for each in series()]) for at, head in enumerate(HEADS) if at}
    expected = sorted(span, key=span.__getitem__)[-4:]
    assert {line.name for line in found.thin} == set(expected)
    assert "thin: the 4 that change most" in view.time.line


# -- drills ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def space():
    """A corpus whose heads were drilled."""
    held = corpus(values(40, heads=12), kinds=KINDS, model=trace().provenance["model"], where="/runs/drilled")
    return room(drilled(held), focus=HEADS[9])


def scores(space):
    (held,) = space.corpora.opened.values()
    return drills(held).table


def test_drills_are_drawn_beside_the_shuffled_ones_and_said(space):
    view = DrillsView(space)
    table = scores(space)
    plane = view.plane.plane()
    np.testing.assert_array_equal(plane.whole, table["score"].to_numpy().reshape(3, 4))
    np.testing.assert_array_equal(plane.chance, table["null"].to_numpy().reshape(3, 4))
    cell = view.plane.cell(2, 1)
    own = table.iloc[9]
    assert (cell["value"], cell["from"], cell["to"], cell["shuffled"]) == tuple(own[["score", "lo", "hi", "null"]])
    assert view.drills.line == "Induction (drill) of 12 heads: mean over 16 drills; 1 head with it"
    assert view.drills.said() == ("Induction (drill): 1 of 12 heads (L2 H1).\nNot Successor (drill), decoder: no list.")
    view.drills.choices.drill = "drill_successor"
    view.plane.plane()
    assert view.drills.problem == "Successor (drill) is not known of 12 heads: no list."
    assert len(view.drills.found().table) == 12


def test_the_head_page_and_the_finder_know_the_drills(space):
    words = HeadPageView(space).page.words().splitlines()
    own = scores(space).iloc[9]
    assert words[-1] == (
        f"Induction (drill): {own['score']:.3g} (95 % interval {own['lo']:.3g} to {own['hi']:.3g}, 16 drills), where it has "
        f"{own['null']:.3g} on the same drills shuffled; q {three(own['q'])}."
    )
    finder = FinderView(space)
    finder.finder.look_for("drill_induction > 0.5", "finder")
    assert space.selection.heads == {HEADS[9]}
    space.selection.focus_on(HEADS[0])
    assert HeadPageView(space).page.words().splitlines()[-1].startswith("Drilled, it has not: induction (drill) ")


def test_without_drills_a_sentence_says_how_they_are_made():
    view = DrillsView(room(checkpoint(0, 0.2)))
    view.plane.plane()
    assert view.drills.problem.startswith("The heads of this corpus were not drilled. Press Drill: ")
    assert "`atlas drills " in view.drills.problem
    assert view.drills.problem == view.drills.no_fault


@pytest.mark.parametrize("name", ["gpt-mini", "t5-mini"])
def test_a_press_drills_the_heads_as_the_command_line_does(name):
    model = atlas.load(name)
    kinds = tuple((each.kind, each.n_layers, each.n_heads) for each in model.size.kinds)
    count = sum(layers * heads for _, layers, heads in kinds)
    shown = model.trace("the doctor said that she ran")
    held = corpus(values(40, heads=count), kinds=kinds, model=name, where="/runs/plain")
    held.provenance["revision"] = shown.provenance["revision"]
    space = Workspace(never, tasks=TASKS, corpora=Corpora(opened={"plain": held}))
    space.pipeline.show(shown)
    view = DrillsView(space)
    view.body()
    assert view.start.visible
    assert not view.start.disabled
    view._press()
    assert view.drills.problem == ""
    assert not view.start.visible
    found, expected = view.drills.found(), run_drills(model)
    order = ["drill", "kind", "layer", "head"]
    pd.testing.assert_frame_equal(
        found.table.sort_values(order, ignore_index=True), expected.table.sort_values(order, ignore_index=True)
    )
    assert sorted(map(tuple, found.reasons.to_numpy())) == sorted(map(tuple, expected.reasons.to_numpy()))
    assert view.drills.said().startswith(expected.sentence)
    # The corpus that others may have opened too stays as it was; the one of this session has the drills, for all cards.
    assert drills(held) is None
    assert drills(space.corpora.opened["plain"]) is not None
    assert "drill_induction" in FinderView(space).finder.table()


def test_drills_are_not_run_for_a_model_that_is_not_that_of_the_corpus():
    model = atlas.load("gpt-mini")
    held = corpus(values(40, heads=48), kinds=(("decoder", 6, 8),), model="gpt-mini", where="/runs/plain")
    held.provenance["revision"] = "another"
    space = Workspace(never, tasks=TASKS, corpora=Corpora(opened={"plain": held}))
    space.pipeline.show(model.trace("the doctor ran"))
    view = DrillsView(space)
    view.body()
    view._press()
    assert view.drills.problem.startswith("The corpus is of other weights of gpt-mini")
    held.provenance["revision"] = space.trace.provenance["revision"]
    space.pipeline.show(model.trace("the doctor ran", ablate=[HeadId("decoder", 0, 0)]))
    view._press()
    assert view.drills.problem.startswith("Heads are switched off on screen")
