from __future__ import annotations

import holoviews as hv
import numpy as np
import pandas as pd
import pytest
from bokeh.document import Document
from bokeh.document.events import ColumnDataChangedEvent
from bokeh.models import HoverTool, LassoSelectTool, TapTool
from holoviews.streams import Stream

from atlas.plots.colours import CATEGORIES, CIRCLE, DARK, LIGHT, MARKS, UNKNOWN, Category, category, raster_palette
from atlas.plots.frame import HEIGHT
from atlas.plots.heads import DRAWN, FADED, MEANINGLESS, PLACE, colour_key, head_scatter, point_columns

Changes = Stream.define("Changes", step=0)


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def heads(n=4, **columns):
    table = {"kind": "encoder", "layer": np.arange(n) // 2, "head": np.arange(n) % 2}
    return pd.DataFrame(table | {"x": np.arange(n) / 10, "y": np.arange(n) * 1.0} | columns)


def figure_of(element):
    return hv.renderer("bokeh").get_plot(element).state


def points_of(figure):
    (renderer,) = figure.renderers
    return renderer, renderer.data_source.data


def shown(renderer, name):
    """What the browser draws for each point: HoloViews sends one value where all are equal, and a field where they are not."""
    spec, data = getattr(renderer.glyph, name), renderer.data_source.data
    n = len(data["label"])
    return list(data[spec.field]) if hasattr(spec, "field") else [spec] * n


def test_each_point_is_drawn_by_its_own_row():
    data = heads(category=["broad", "unnamed", "previous", "broad"], size=[1.0, 0.0, np.nan, 0.5])
    figure = figure_of(head_scatter(data, colour_label="Cluster", size_label="Confidence", x_label="PC1", y_label="PC2"))
    renderer, source = points_of(figure)
    expected = [category(name) for name in data["category"]]
    assert list(source["colour"]) == [how.colour for how in expected]
    assert list(source["marker"]) == [how.marker for how in expected]
    assert shown(renderer, "marker") == [how.marker for how in expected]
    assert shown(renderer, "fill_color") == [how.colour for how in expected]
    sizes = np.array(source["size"])
    assert sizes[0] == sizes.max()
    assert sizes[1] == sizes[2] == sizes.min()
    # Areas go with the values, not diameters.
    assert sizes[3] ** 2 == pytest.approx((sizes[0] ** 2 + sizes[1] ** 2) / 2)
    assert list(source["label"]) == ["L0 H0", "L0 H1", "L1 H0", "L1 H1"]
    assert (figure.xaxis[0].axis_label, figure.yaxis[0].axis_label) == ("PC1", "PC2")


@pytest.mark.parametrize("mark", MARKS, ids=[mark.marker for mark in MARKS])
def test_holoviews_draws_every_mark_alone_and_beside_the_others(mark, monkeypatch):
    monkeypatch.setattr("atlas.plots.heads.category", lambda name: Category("#123456", MARKS[int(name)]))
    chosen = MARKS.index(mark)
    for marks in ([chosen] * 3, [chosen, *range(len(MARKS))]):
        renderer, _ = points_of(figure_of(head_scatter(heads(len(marks), category=[str(at) for at in marks]))))
        assert shown(renderer, "marker") == [MARKS[at].marker for at in marks]


def test_the_hover_says_the_head_and_its_numbers_in_three_digits():
    data = heads(value=[0.123456, -1234.5678, np.nan, 0.00012345]).assign(label=["L0 H0 <b>", "b", "c", "d"])
    figure = figure_of(head_scatter(data, x_label="Distance", y_label="Depth", colour_label="Entropy"))
    _, source = points_of(figure)
    assert list(source["about"]) == [
        "Distance: 0\nDepth: 0\nEntropy: 0.123",
        "Distance: 0.1\nDepth: 1\nEntropy: −1,230",
        "Distance: 0.2\nDepth: 2\nEntropy: N/A",
        "Distance: 0.3\nDepth: 3\nEntropy: 0.000123",
    ]
    (hover,) = figure.select({"type": HoverTool})
    # A plain reference to the column: Bokeh writes what it names as text, unless it says {safe}.
    assert "@{label}" in hover.tooltips
    assert "safe" not in hover.tooltips


def test_the_hover_says_on_how_many_rows_a_number_rests():
    data = heads(value=[0.9, 0.5, 0.1, 0.2], size=[1.0, 2.0, 3.0, 4.0]).assign(value_rows=[1, 1, 7, 7], x_rows=3)
    about = point_columns(data, x_label="Previous", y_label="Depth", colour_label="Punctuation", size_label="Entropy")["about"]
    assert about[0] == "Previous: 0 (on 3 rows)\nDepth: 0\nPunctuation: 0.9 (on 1 row)\nEntropy: 1"
    assert about[2].split("\n")[2] == "Punctuation: 0.1 (on 7 rows)"


def test_what_is_said_twice_is_said_once():
    data = heads(value=[1.0, 2.0, 3.0, 4.0]).assign(x=[1.0, 2.0, 3.0, 4.0])
    about = point_columns(data, x_label="Entropy", y_label="Depth", colour_label="Entropy")["about"]
    assert about[0] == "Entropy: 1\nDepth: 0"


def test_tsne_has_no_ticks_and_says_why():
    figure = figure_of(head_scatter(heads(category="unnamed"), ticks=False, colour_label="Cluster"))
    assert figure.xaxis[0].axis_label == MEANINGLESS
    for axis in (figure.xaxis[0], figure.yaxis[0]):
        assert axis.major_label_text_alpha == 0
        assert axis.major_tick_line_alpha == 0
        assert axis.minor_tick_line_color is None
    assert points_of(figure)[1]["about"][0] == "Cluster: unnamed"


def test_selection_fades_the_others_and_the_focus_has_a_thick_edge():
    data = heads(category="broad", selected=[True, False, True, False], focus=[False, True, False, False])
    renderer, source = points_of(figure_of(head_scatter(data)))
    assert renderer.data_source.selected.indices == [0, 2]
    assert renderer.nonselection_glyph.fill_alpha == FADED
    assert list(source["edge"]) == [LIGHT.ink, LIGHT.accent, LIGHT.ink, LIGHT.ink]
    assert source["edge_width"][1] > 2 > source["edge_width"][0]


def test_tools_and_frame():
    figure = figure_of(head_scatter(heads(category="broad"), dark=True))
    kinds = {type(tool).__name__ for tool in figure.toolbar.tools}
    assert kinds == {"HoverTool", "TapTool", "BoxSelectTool", "LassoSelectTool", "PanTool", "WheelZoomTool", "ResetTool"}
    assert isinstance(figure.toolbar.active_drag, LassoSelectTool)
    assert isinstance(figure.toolbar.active_tap, TapTool)
    # Once a gesture: reported while it is drawn, a lasso redraws every view at every move of the pointer.
    assert not figure.toolbar.active_drag.continuous
    # A page is scrolled over its plots: the wheel is the page's unless Ctrl is held.
    assert figure.toolbar.active_scroll.modifiers == {"ctrl": True}
    assert figure.toolbar.logo is None
    assert figure.toolbar.autohide
    assert (figure.sizing_mode, figure.height) == ("stretch_width", HEIGHT)
    assert figure.background_fill_color == figure.border_fill_color == DARK.paper
    assert figure.xaxis[0].axis_label_text_color == DARK.ink


def test_shapes_do_not_go_through_webgl():
    """Bokeh 3.9's WebGL drew the selected points with the shapes of the first points of the table."""
    assert figure_of(head_scatter(heads(category="broad"))).output_backend == "canvas"


def test_magnitudes_are_coloured_by_fixed_limits():
    some, more = ([0.0, 0.5, 1.0, np.nan], [0.0, 0.5, 2.0, np.nan])
    one, other = (point_columns(heads(value=value), colour_limits=(0, 2))["colour"] for value in (some, more))
    assert one[1] == other[1]
    assert one[2] != other[2]
    assert one[3] == raster_palette(dark=False)[UNKNOWN]
    assert one[0] not in {LIGHT.paper, one[1]}


def test_the_key_says_what_the_colours_mean():
    names = heads(category=["broad", "unnamed", "broad", "next"])
    assert colour_key(names) == [(name, category(name)) for name in ("broad", "unnamed", "next")]
    numbers = colour_key(heads(value=[0.0, 0.1, 2.0, np.nan]), colour_limits=(0.0, 0.5))
    assert [words for words, _ in numbers] == ["0", "0.125", "0.25", "0.375", "0.5", "not known"]
    layers = colour_key(heads(value=[0, 1, 2, 11]))
    assert [words for words, _ in layers] == ["0", "3", "6", "8", "11"]
    assert colour_key(heads()) == []


@pytest.mark.parametrize("dark", [False, True])
def test_where_nothing_is_known_the_key_says_that_alone(dark):
    grey = raster_palette(dark=dark)[UNKNOWN]
    for limits in ({}, {"colour_limits": (0.0, 0.5)}):
        assert colour_key(heads(value=[np.nan] * 4), dark=dark, **limits) == [("not known", Category(grey, CIRCLE))]
    known = colour_key(heads(value=[0.0, 0.25, 0.5, 1.0]), dark=dark)
    assert [words for words, _ in known] == ["0", "0.25", "0.5", "0.75", "1"]  # and nothing that is not there
    assert colour_key(heads(value=[0.0, 0.25, np.nan, 1.0]), dark=dark) == [*known, ("not known", Category(grey, CIRCLE))]


def test_one_dynamic_map_shows_everything():
    """Categories, numbers, other heads, t-SNE, another theme and nothing at all: one element type, the same dimensions."""
    pages = [
        (
            heads(category=["broad", "unnamed", "next", "near"], selected=[True] * 2 + [False] * 2),
            {"x_range": (0, 1), "y_range": (0, 9)},
        ),
        (heads(6, value=np.arange(6.0)), {"x_range": (0, 1), "y_range": (0, 9), "dark": True, "x_label": "Entropy"}),
        (heads(3, category="far", size=[1, 2, 3]), {"x_range": (-5, 5), "y_range": (-6, 6), "ticks": False}),
        (heads(0, category=[]), {"x_range": (0, 1), "y_range": (0, 1)}),
        (heads(2), {"x_range": (0, 1), "y_range": (0, 1), "x_label": "again"}),
    ]

    def draw(step):
        data, config = pages[step]
        return head_scatter(data, **config)

    stream = Changes()
    plot = hv.renderer("bokeh").get_plot(hv.DynamicMap(draw, streams=[stream]))
    figure = plot.state
    for step, (data, config) in enumerate(pages):
        stream.event(step=step)
        renderer, source = points_of(figure)
        drawn = point_columns(data, **config)
        for column in (*PLACE, *DRAWN):
            assert list(source[column]) == list(drawn[column]), (step, column)
        for style, column in (("marker", "marker"), ("fill_color", "colour"), ("size", "size"), ("line_color", "edge")):
            assert shown(renderer, style) == list(drawn[column]), (step, style)
        wanted = np.flatnonzero(data["selected"]).tolist() if "selected" in data else []
        assert renderer.data_source.selected.indices == wanted
        assert (figure.x_range.start, figure.x_range.end) == config["x_range"]
        assert (figure.y_range.start, figure.y_range.end) == config["y_range"]
        assert figure.background_fill_color == (DARK if config.get("dark") else LIGHT).paper
        assert figure.xaxis[0].major_label_text_alpha == (1 if config.get("ticks", True) else 0)
    assert figure.xaxis[0].axis_label == "again"


def test_a_readers_zoom_survives_updates_with_the_same_limits():
    def draw(step):
        limits = (0.0, 1.0) if step < 2 else (0.0, 2.0)
        return head_scatter(heads(category=["broad", "unnamed", "next", "near"][step]), x_range=limits, y_range=(0.0, 9.0))

    stream = Changes()
    figure = hv.renderer("bokeh").get_plot(hv.DynamicMap(draw, streams=[stream])).state
    figure.x_range.start, figure.x_range.end = 0.2, 0.3
    stream.event(step=1)
    assert points_of(figure)[1]["marker"][0] == CATEGORIES["unnamed"].marker
    assert (figure.x_range.start, figure.x_range.end) == (0.2, 0.3)
    stream.event(step=2)
    assert (figure.x_range.start, figure.x_range.end) == (0.0, 2.0)


def test_unknown_positions_take_no_part_in_the_range():
    figure = figure_of(head_scatter(heads(category="broad").assign(x=[np.nan, 1.0, 3.0, np.inf])))
    assert (figure.x_range.start, figure.x_range.end) == pytest.approx((0.88, 3.12))


def test_a_single_head_has_room():
    figure = figure_of(head_scatter(heads(1, category="broad")))
    assert figure.x_range.end > figure.x_range.start


def test_an_update_is_sent_once():
    """Strings that reach HoloViews as numpy arrays are sent a second time, column by column, after every update."""
    stream = Changes()
    draw = lambda step: head_scatter(heads(category=["broad", "unnamed", "next", "near"]), x_label=f"{step}")
    plot = hv.renderer("bokeh").get_plot(hv.DynamicMap(draw, streams=[stream]))
    document = Document()
    document.add_root(plot.state)
    plot.document = document
    sent = []
    document.on_change(lambda event: sent.append(event) if isinstance(event, ColumnDataChangedEvent) else None)
    stream.event(step=1)
    assert len(sent) == 1
