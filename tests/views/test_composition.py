"""The card of composition and the arrows of the Map: their numbers against the API, what a click and the switch do."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import Quad

import atlas
from atlas.attribution import composition
from atlas.ids import HeadId
from atlas.plots.arrows import COLUMNS, MapArrow, arrow_columns, path_colours
from atlas.plots.frame import number
from atlas.plots.row_words import WORDS
from atlas.state.composition import ARROWS
from atlas.state.why import WRITERS
from atlas.tasks import TASKS
from atlas.views.composition import CompositionView
from atlas.views.map import MapView
from tests.engine.families import TARGET, TEXT, loaded
from tests.state.readers import single, workspace

HEAD = HeadId("decoder", 1, 4)


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(name):
    model = atlas.load(name) if name.endswith("-mini") else loaded(name)
    return model.trace(TEXT, **({"target": TARGET} if "cross" in model.kinds else {}))


def room_of(name, head):
    room = workspace(traced(name))
    room.tasks = TASKS
    room.selection.focus_on(head)
    return room


def drawn_on(view):
    """The columns of the arrows' glyph, as they are on the figure."""
    figure = hv.render(view.plot())
    renderer = next(each for each in figure.renderers if type(each.glyph).__name__ == "MultiLine")
    return renderer.data_source.data


@pytest.mark.parametrize(("name", "head"), [("gpt-mini", HEAD), ("BERT", HeadId("encoder", 2, 1)), ("T5", HeadId("cross", 1, 2))])
def test_the_lists_are_the_shares_of_the_api_and_say_chance(name, head):
    view = CompositionView(room_of(name, head))
    found = composition(traced(name), head.layer, head.head, head.kind)
    for path in "qkv":
        table = found.table[found.table["path"] == path]
        rows = view.composition.shown().rows[path]
        assert [row.part for row in rows[:WRITERS]] == pytest.approx(table["share"].head(WRITERS).tolist())
        assert sum(row.part for row in rows) == pytest.approx(1.0, abs=2e-3)
        assert f"±{number(found.chance[path])}" in view.heading(path)
        columns = view.drawer(path)().get(0).dframe()
        assert (columns["x0"] + columns["x1"]).tolist() == pytest.approx([row.part for row in rows])
    exported = view.export().table
    assert exported["share"].tolist() == pytest.approx(found.table["share"].tolist())
    assert exported["chance"].notna().sum() == exported["writer"].str.contains(r"H\d").sum()
    assert not view.problem


def test_another_head_moves_the_bars_that_are_there():
    room = room_of("gpt-mini", HEAD)
    view = CompositionView(room)
    plots = {path: hv.renderer("bokeh").get_plot(column[1].object) for path, column in view.listed().items()}
    for plot in plots.values():
        Document().add_root(plot.state)
    for head in (HeadId("decoder", 1, 2), HeadId("decoder", 0, 1), HeadId("decoder", 1, 3)):
        room.selection.focus_on(head)
        lists = view.composition.shown().rows
        largest = max(abs(row.part) for rows in lists.values() for row in rows)
        for path, plot in plots.items():
            figure, rows = plot.state, lists[path]
            (bars,) = (each for each in figure.renderers if isinstance(each.glyph, Quad))
            data = bars.data_source.data
            assert bars.glyph.fill_color == "colour"
            assert {name: len(values) for name, values in data.items()} == dict.fromkeys(data, len(rows))
            assert list(data["name"]) == [row.name for row in rows]
            assert data["left"] + data["right"] == pytest.approx([row.part for row in rows])
            assert len(set(data["colour"])) == len({row.part < 0 for row in rows})
            assert figure.x_range.end == pytest.approx(1.04 * largest)
            (words,) = (axis for axis in figure.right if axis.name == WORDS)
            assert list(words.major_label_overrides.values()) == [bar.words for bar in view.bars(path)]
    assert view.redrawn == 0
    for plot in plots.values():
        plot.cleanup()


def test_selected_tokens_restrict_what_is_shared_out():
    room = room_of("gpt-mini", HEAD)
    view = CompositionView(room)
    whole = view.composition.shown().rows["k"]
    room.selection.select_pairs({9}, {3, 5})
    found = composition(traced("gpt-mini"), 1, 4, queries=(9,), keys=(3, 5))
    rows = view.composition.shown().rows["k"]
    wanted = found.table[found.table["path"] == "k"]["share"]
    assert [row.part for row in rows[:WRITERS]] == pytest.approx(wanted.head(WRITERS).tolist())
    assert [row.part for row in rows] != pytest.approx([row.part for row in whole])
    assert "from:" in view.lens.line


def test_a_click_on_a_head_focuses_it_and_on_another_writer_does_nothing():
    room = room_of("gpt-mini", HEAD)
    view = CompositionView(room)
    rows = view.composition.shown().rows["k"]
    view.tap("k", float(next(at for at, row in enumerate(rows) if row.head is None)))
    assert room.selection.focus == HEAD
    place = next(at for at, row in enumerate(rows) if row.head is not None)
    view.tap("k", place + 0.3)
    assert room.selection.focus == rows[place].head


def test_the_map_has_no_arrows_and_asks_for_nothing_until_the_switch_is_on():
    room = room_of("gpt-mini", HeadId("decoder", 3, 2))  # no other test asks for this head, so nothing is kept
    asked = []
    room.tasks = {**TASKS, "composition": lambda *given: asked.append(given) or TASKS["composition"](*given)}
    view = MapView(room)
    assert drawn_on(view)["xs"] == []
    assert not asked
    room.choices_of("composition").arrows = True
    assert len(asked) == 1
    assert len(drawn_on(view)["xs"]) > 0
    room.choices_of("composition").arrows = False
    assert drawn_on(view)["xs"] == []
    assert view.arrows.key.visible is False


def test_arrows_lead_from_the_heads_read_more_than_by_chance_to_the_one_in_focus():
    room = room_of("gpt-mini", HEAD)
    room.choices_of("composition").arrows = True
    view = MapView(room)
    found = composition(traced("gpt-mini"), 1, 4)
    arrows = view.arrows.lens.arrows()
    for path in "qkv":
        heads = found.table[(found.table["path"] == path) & found.table["writer"].str.contains("H")]
        above = heads[heads["share"].abs() > found.chance[path]].head(ARROWS)
        assert [(str(arrow.head), arrow.share) for arrow in arrows if arrow.path == path] == list(
            zip(above["writer"], above["share"], strict=True)
        )
        assert number(above["share"].iloc[0]) in view.arrows.key.object
        assert number(found.chance[path]) in view.arrows.key.object
    columns = drawn_on(view)
    assert set(columns) == set(COLUMNS)
    assert len(columns["xs"]) == 4 * len(arrows)  # a line and its end, and the paper around both
    layout = view.map.layout()
    colours = path_colours(dark=False)
    shafts = list(zip(*(columns[name][2 * len(arrows) :: 2] for name in ("xs", "ys", "colour")), strict=True))
    for arrow, (x, y, colour) in zip(arrows, shafts, strict=True):
        assert colour == colours[arrow.path]
        assert layout.head_at(x[0] * layout.n_columns, y[0] * layout.n_rows) == arrow.head
        end = np.array([x[-1] * layout.n_columns, y[-1] * layout.n_rows])
        assert abs(end - [HEAD.head + 0.5, HEAD.layer + 0.5]).max() <= 0.5


def test_arrows_follow_the_focus_and_the_theme():
    room = room_of("gpt-mini", HEAD)
    room.choices_of("composition").arrows = True
    view = MapView(room)
    before = drawn_on(view)["xs"]
    room.selection.focus_on(HeadId("decoder", 2, 1))
    after = drawn_on(view)["xs"]
    assert before != after
    assert "L2 H1" in view.arrows.key.object
    view.dark = True
    assert set(path_colours(dark=True).values()) & set(drawn_on(view)["colour"])


def test_a_share_below_zero_ends_in_a_bar_and_one_above_in_a_point():
    columns = arrow_columns(
        [MapArrow((0, 0), (0, 3), "k", 0.5), MapArrow((2, 0), (2, 3), "k", -0.5)], (4, 4), (50.0, 50.0), dark=False
    )
    point, bar = columns["ys"][5], columns["ys"][7]
    assert max(bar) - min(bar) < 0.01 < max(point) - min(point)
    assert columns["dash"][4] == columns["dash"][6] != columns["dash"][5] == ""


def test_a_model_that_does_not_allow_it_says_why_under_the_map():
    recorded = single("decoder", layers=3)
    assert "weights only" in CompositionView.fits(recorded)
    room = workspace(recorded)
    room.tasks = TASKS
    room.selection.focus_on(HeadId("decoder", 1, 1))
    room.choices_of("composition").arrows = True
    view = MapView(room)
    assert drawn_on(view)["xs"] == []
    assert "weights only" in view.arrows.key.object
    assert not view.problem
