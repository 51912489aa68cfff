"""The card of heads without a page: what another kind of attention changes on the plot that is there."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import panel as pn
import pytest
from bokeh.models import GlyphRenderer, Scatter

from atlas.attribution import Target, head_effects
from atlas.ids import HeadId
from atlas.numbers import component
from atlas.plots.heads import MEANINGLESS
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.groups import components, heads_of
from atlas.views.heads import HeadsView
from atlas.views.table import CHANCE, VALUE, TableView
from tests.attribution.own import model, traced
from tests.state.readers import CROSS, DECODER, ENCODER, both, never, single, workspace


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def on_screen(root):
    """The columns of the points."""
    (points,) = (each for each in root.select({"type": GlyphRenderer}) if isinstance(each.glyph, Scatter))
    return points.data_source.data


def axis_names(root):
    return {model.axis_label for model in root.references() if getattr(model, "axis_label", None)}


def test_the_heads_of_another_kind_or_text_take_over_the_places_the_words_and_the_axes():
    """Decoder and cross have as many heads, so only columns are sent."""
    room = workspace(both())
    view = HeadsView(room)
    root = pn.panel(view).get_root()

    def check():
        trace, kind = room.trace, room.kind
        found, points, shown = components(trace, kind), view.heads.points(), on_screen(root)
        places = found.project(heads_of(trace, kind))
        np.testing.assert_allclose(np.column_stack([shown["at_x"], shown["at_y"]]), places)
        assert {len(values) for values in shown.values()} == {len(places)}
        assert axis_names(root) == {component(at + 1, found.explained[at]) for at in (0, 1)}
        assert [about.split(": ")[-1] for about in shown["about"]] == list(points["category"])
        heads = [HeadId(kind, layer, head) for layer, head in zip(points["layer"], points["head"], strict=True)]
        assert [width > 1 for width in shown["line_width"]] == [head == room.selection.focus for head in heads]

    room.selection.show_kind(DECODER)
    drawn = view.redrawn
    for kind in (CROSS, DECODER):
        room.selection.show_kind(kind)
        check()
    assert view.redrawn == drawn
    for kind in (ENCODER, CROSS):  # with other numbers of heads
        room.selection.show_kind(kind)
        check()
    room.pipeline.show(both(seed=1))
    check()


def test_the_map_by_t_sne_says_of_every_kind_that_its_axes_mean_nothing():
    room = workspace(both())
    view = HeadsView(room)
    root = pn.panel(view).get_root()
    room.display.layout = "tsne"
    for kind in (DECODER, CROSS, ENCODER):
        room.selection.show_kind(kind)
        assert axis_names(root) == {MEANINGLESS}


@pytest.mark.parametrize(("name", "kind"), [("GPT-2", DECODER), ("T5", "cross")])
def test_heads_are_placed_coloured_and_ranked_by_how_much_the_prediction_hangs_on_them(name, kind):
    trace = traced(name)
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace)
    room.selection.show_kind(kind)
    view, ranking = HeadsView(room), TableView(room)
    room.display.param.update(
        layout="metrics", x="entropy_norm", y="importance", colour="importance_removal", metric="importance"
    )
    places = np.array([head.kind == kind for head in trace.head_ids])
    gradient = head_effects(model(name), trace, how="gradient")["effect"].abs().to_numpy()[places]
    removal = head_effects(model(name), trace)["effect"].abs().to_numpy()[places]
    points = view.heads.points()
    np.testing.assert_allclose(points["y"], gradient, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(points["value"], removal, rtol=1e-2, atol=1e-3 * removal.max())
    shown = ranking.shown()
    assert shown["Head"].iloc[0] == str([head for head in trace.head_ids if head.kind == kind][int(gradient.argmax())])
    assert shown[VALUE].iloc[0] == pytest.approx(gradient.max(), rel=1e-3)
    assert shown[CHANCE].isna().all()
    assert view.heads.unknown("importance") == ""
    assert "; importance for " in view.lens.line
    # Another prediction has other heads.
    room.target.param.update(position=7, outcome="she", against="he")
    other = head_effects(model(name), trace, Target(7, "she", "he"), how="gradient")["effect"].abs().to_numpy()[places]
    np.testing.assert_allclose(view.heads.points()["y"], other, rtol=1e-3, atol=1e-5)
    assert view.problem == ""


def test_a_recording_says_why_it_has_no_importances_and_keeps_its_other_numbers():
    room = workspace(single())
    view = HeadsView(room)
    room.display.param.update(layout="metrics", x="entropy_norm", y="importance")
    assert np.isfinite(view.heads.points()["x"]).all()
    assert np.isnan(view.heads.points()["y"]).all()
    assert "model" in view.heads.unknown("importance")
    assert view.problem == ""
