"""The view of hidden states without a page: numbers on screen, gestures, what is sent."""

from __future__ import annotations

import functools
import itertools

import holoviews as hv
import numpy as np
import pandas as pd
import panel as pn
import pytest
from bokeh.document import Document
from bokeh.events import Tap
from bokeh.models import GlyphRenderer, Plot

from atlas.ids import HeadId
from atlas.numbers import component
from atlas.plots.hidden import FRAME, GAP, LABELLED, LETTER, LINE, MOST_PATHS, marked_columns, names_apart, point_places
from atlas.state import hidden as state
from atlas.state.hidden import FOLLOWS
from atlas.tracing.hidden import cloud
from atlas.views.hidden import HiddenView
from tests.engine.families import TARGET, TEXT, loaded
from tests.state.readers import workspace

GESTURE_BYTES = 300_000


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(name="BERT"):
    model = loaded(name)
    return model.trace(TEXT, capture=("stream",), **({"target": TARGET} if "cross" in model.kinds else {}))


def view_of(trace):
    room = workspace(trace)
    return room, HiddenView(room)


def column(root, name):
    """Every column of a name on the figures, in the order of the glyphs."""
    glyphs = [model for model in root.references() if isinstance(model, GlyphRenderer)]
    return [each.data_source.data[name] for each in glyphs if name in each.data_source.data]


def test_layers_scales_and_selected_tokens_change_what_is_on_screen_without_drawing_it_anew():
    room, view = view_of(traced())
    root = pn.panel(view).get_root()
    choices = room.choices_of("hidden")
    drawn = view.redrawn
    for change in (
        lambda: view.slider.param.update(value=2),
        lambda: room.selection.select_tokens([3, 5]),
        lambda: setattr(choices, "joint", True),
        lambda: setattr(choices, "unit", True),
        lambda: room.selection.clear("tokens"),
    ):
        change()
        expected = cloud(traced(), "encoder", None if choices.joint else view.states.layer, unit=choices.unit)
        here = expected.positions[view.states.layer if choices.joint else 0]
        np.testing.assert_allclose(column(root, "at_x")[0], here[:, 0], rtol=1e-5)
        np.testing.assert_allclose(column(root, "at_y")[0], here[:, 1], rtol=1e-5)
        axes = {model.axis_label for model in root.references() if getattr(model, "axis_label", None)}
        assert component(1, expected.explained[0]) in axes
        assert list(column(root, "mark_x")[0]) == [view.states.layer]
        lines = sorted(len(lines) for lines in column(root, "xs"))
        n_tokens, chosen = len(here), len(view.states.selected())
        assert lines == ([0, chosen or n_tokens] if choices.joint else [0, 0])
        for xs, ys in zip(column(root, "xs"), column(root, "ys"), strict=True):
            for at, row in enumerate(sorted(view.states.selected()) or range(n_tokens)):
                if len(xs):
                    np.testing.assert_allclose(xs[at], expected.positions[:, row, 0], rtol=1e-5)
                    np.testing.assert_allclose(ys[at], expected.positions[:, row, 1], rtol=1e-5)
    assert (view.redrawn, view.problem) == (drawn, "")


def test_a_page_that_opens_before_its_text_is_drawn_when_the_trace_comes_and_hears_taps():
    room, view = view_of(None)
    view.dark = True
    document = Document()
    root = pn.panel(view).get_root(document)
    document.add_root(root)
    for trace, ticks in ((traced(), [0, 1, 2, 3]), (traced("T5"), [0, 1, 2])):
        room.pipeline.show(trace)
        assert view.problem == ""
        kind = trace.kinds[0]
        assert view.states.last == trace.n_layers(kind) == ticks[-1]
        expected = cloud(trace, kind, 0)
        np.testing.assert_allclose(column(root, "at_x")[0], expected.positions[0, :, 0], rtol=1e-5)
        axes = [model for model in root.references() if getattr(model, "axis_label", None)]
        assert [list(axis.ticker.ticks) for axis in axes if axis.axis_label.startswith("layer")] == [ticks]
        assert component(1, expected.explained[0]) in {axis.axis_label for axis in axes}
        figures = [model for model in root.references() if isinstance(model, Plot)]
        (alike,) = (each for each in figures if each.below[0].axis_label.startswith("layer"))
        document.callbacks.trigger_event(Tap(alike, sx=1, sy=1, x=1.2, y=0.2))
        assert (view.states.layer, view.slider.value, list(column(root, "mark_x")[0])) == (1, 1, [1])
        view.slider.value = 0


def test_the_layer_is_that_of_the_focused_head_until_another_is_chosen_and_again_when_it_is_chosen():
    room, view = view_of(traced())
    pn.panel(view).get_root()
    choices = room.choices_of("hidden")
    room.selection.focus_on(HeadId("encoder", 1, 0))
    assert (view.slider.value, view.slider.end, view.states.layer, choices.layer) == (1, view.states.last, 1, FOLLOWS)
    view._tapped(1.9, 0.2)  # in the plot of likeness
    room.selection.focus_on(HeadId("encoder", 0, 0))
    assert (view.slider.value, choices.layer) == (2, 2)
    view.slider.value = 0
    assert choices.layer == FOLLOWS
    room.selection.focus_on(HeadId("encoder", 1, 0))
    assert view.slider.value == 1
    view.slider.value = view.states.last
    assert "that leave the last layer" in view.lens.line


def test_a_tap_or_a_lasso_selects_by_the_rule_of_the_strip_and_in_cross_attention_the_decoders_tokens():
    room, view = view_of(traced())
    room.display.axis = "from"
    view._picked([2, 4])
    assert (room.selection.queries, room.selection.keys, room.selection.origin) == ({2, 4}, frozenset(), "hidden")
    view._picked([])
    assert room.selection.queries == frozenset()
    room, view = view_of(traced("T5"))
    room.selection.show_kind("cross")
    room.display.axis = "both"
    view._picked([1])
    assert (room.selection.queries, room.selection.keys) == ({1}, frozenset())
    assert len(view.states.points()) == len(traced("T5").tokens("target"))
    assert view.states.points()["selected"].tolist().index(True) == 1
    room.selection.show_kind("encoder")
    assert len(view.states.points()) == len(traced("T5").tokens("source"))


def test_words_say_how_alike_the_states_are_and_what_is_nearest():
    room, view = view_of(traced())
    found = cloud(traced(), "encoder", 0)
    said = view.states.words()
    assert f"with a mean cosine of {found.cosine[0]:.2f}".replace("-", "−") in said
    assert f"and of {found.cosine_centred[0]:.2f} once".replace("-", "−") in said
    n = found.positions.shape[1]
    assert f"({-1 / (n - 1):.2f} for {n} states with nothing in common)".replace("-", "−") in said
    assert f"{found.cosine.max():.2f}." in said
    room.selection.select_tokens([2])
    assert " Nearest to doctor, by the cosine without the mean: " in view.states.words()


def tokens(count, chosen=()):
    places = np.random.default_rng(0).normal(size=(count, 2))
    return pd.DataFrame({
        "label": [f"token{at}" for at in range(count)], "x": places[:, 0], "y": places[:, 1], "category": "other tokens",
        "selected": [at in chosen for at in range(count)],
    })  # fmt: skip


def test_no_name_covers_another_and_of_many_tokens_the_selected_are_named():
    points = tokens(LABELLED, chosen=(7,))
    ranges = (-3.0, 3.0), (-3.0, 3.0)
    found = names_apart(points, *ranges)
    assert found["name"].iloc[0] == "token7"
    assert len(found) > 20
    x, y = found["name_x"] * FRAME[0] / 6, found["name_y"] * FRAME[1] / 6
    for a, b in itertools.combinations(range(len(found)), 2):
        wide = LETTER * (len(found["name"][a]) + len(found["name"][b])) / 2
        assert abs(x[a] - x[b]) >= wide - 1e-6 or abs(y[a] - y[b]) >= LINE - 1e-6
    half = LETTER * found["name"].str.len() / 2
    assert ((x.abs() + half) <= FRAME[0] / 2).all()  # none is cut at an edge
    own = points.set_index("label").loc[found["name"]]
    away = np.hypot(x - own["x"].to_numpy() * FRAME[0] / 6, y - own["y"].to_numpy() * FRAME[1] / 6)
    assert away.max() <= GAP + LETTER * 7 / 2 + LINE
    assert names_apart(tokens(LABELLED + 1), *ranges).empty
    assert names_apart(tokens(LABELLED + 1, chosen=(3, 9)), *ranges)["name"].tolist() == ["token3", "token9"]


def test_a_long_text_through_many_layers_is_a_gesture():
    points, places = tokens(2048, chosen=range(2048)), np.random.default_rng(0).normal(size=(25, 2048, 2))
    columns = [*marked_columns(points, places).values(), point_places(points, ("component 1 (7 % of the variance)",) * 2)]
    assert len(columns[2]["xs"]) == MOST_PATHS
    size = sum(
        sum(len(str(value)) + 3 for value in values) if isinstance(values, list) and isinstance(values[0] if values else "", str)
        else sum(np.asarray(value).nbytes for value in values)
        for each in columns for values in each.values()
    )  # fmt: skip
    assert size < GESTURE_BYTES


def test_what_takes_long_is_asked_for_and_is_the_same(monkeypatch):
    quick = view_of(traced())[1].states.points()
    monkeypatch.setattr(state, "QUICK_WORK", 0)
    asked, real = [], state.HiddenLens.ask
    monkeypatch.setattr(state.HiddenLens, "ask", lambda *given, **more: asked.append(given[1]) or real(*given, **more))
    room, view = view_of(loaded("BERT").trace(TEXT, capture=()))
    pd.testing.assert_frame_equal(view.states.points(), quick, atol=1e-4)
    assert asked == ["states", "encoder 0 False"]
    room.choices_of("hidden").joint = True
    table = view.export().table
    assert sorted(set(table["layer"])) == list(range(view.states.last + 1))
