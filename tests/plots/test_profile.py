from __future__ import annotations

import holoviews as hv
import numpy as np
import pandas as pd
import pytest
from bokeh.models import HoverTool, Line, Patch, Scatter
from holoviews.streams import Stream

from atlas.plots import profile
from atlas.plots.colours import DARK
from atlas.plots.frame import HEIGHT
from atlas.plots.profile import TICKS, layer_profile, profile_heads, profile_table

Changes = Stream.define("Changes", step=0)


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def table(layers=3, heads=4, seed=0):
    rng = np.random.default_rng(seed)
    n = layers * heads
    return pd.DataFrame(
        {
            "kind": "encoder",
            "layer": np.repeat(np.arange(layers), heads),
            "head": np.tile(np.arange(heads), layers),
            "entropy": rng.random(n),
            "entropy_uniform": np.repeat(2.0 + np.arange(layers), heads),
        }
    )


def glyphs(figure, kind):
    return [renderer for renderer in figure.renderers if isinstance(renderer.glyph, kind)]


def test_all_parts_share_one_table_of_the_layers(monkeypatch):
    made = []
    monkeypatch.setattr(profile, "profile_table", lambda *given: made.append(profile_table(*given)) or made[-1])
    layer_profile(table(), "entropy")
    assert len(made) == 1
    assert made[0].equals(profile_table(table(), "entropy"))  # no part has written into it


def test_numbers_of_a_layer():
    heads = table()
    heads.loc[5, "entropy"] = np.nan
    found = profile_table(heads, "entropy").set_index("layer")
    values = heads[heads["layer"] == 1]["entropy"].dropna()
    assert found.loc[1, "n"] == 3
    assert found.loc[1, "mean"] == pytest.approx(values.mean())
    assert found.loc[1, "low"] == pytest.approx(np.quantile(values, 0.1))
    assert found.loc[1, "high"] == pytest.approx(np.quantile(values, 0.9))
    assert found.loc[1, "uniform"] == 3


def test_a_layer_where_nothing_is_known_is_left_out():
    heads = table()
    heads.loc[heads["layer"] == 1, "entropy"] = np.nan
    assert profile_table(heads, "entropy")["layer"].tolist() == [0, 2]


def test_a_metric_known_nowhere_is_an_empty_frame():
    """As induction is where no token is repeated: axes and no marks, and no error."""
    figure = hv.render(layer_profile(table().assign(entropy=np.nan).drop(columns="entropy_uniform"), "entropy"))
    (band,) = glyphs(figure, Patch)
    assert len(band.data_source.data["y"]) == 0
    assert np.isnan(glyphs(figure, Scatter)[0].data_source.data["value"]).all()
    assert (figure.y_range.start, figure.y_range.end) == (0.0, 1.0)


def test_every_part_is_on_screen_with_the_numbers():
    heads = table()
    found = profile_table(heads, "entropy")
    figure = hv.render(layer_profile(heads, "entropy", label="Entropy"))
    (band,) = glyphs(figure, Patch)
    np.testing.assert_allclose(sorted(band.data_source.data["y"]), sorted([*found["low"], *found["high"]]))
    uniform, mean = glyphs(figure, Line)
    np.testing.assert_allclose(uniform.data_source.data["uniform"], found["uniform"])
    np.testing.assert_allclose(mean.data_source.data["mean"], found["mean"])
    assert uniform.glyph.line_dash
    points, layers = glyphs(figure, Scatter)
    np.testing.assert_allclose(points.data_source.data["value"], heads["entropy"])
    assert list(points.data_source.data["head"]) == list(heads["head"])
    assert points.data_source.data["about"][0] == f"Entropy: {heads['entropy'][0]:.3g}"
    assert layers.data_source.data["layer_label"][0] == "Layer 0"
    assert layers.data_source.data["layer_about"][0].startswith("mean of 4 heads: ")
    assert layers.data_source.data["layer_about"][0].endswith("spread evenly: 2")
    assert figure.yaxis[0].axis_label == "Entropy"
    assert figure.xaxis[0].axis_label == "layer"
    # Only marks answer the pointer: a line that does gives the number of its nearest corner for any place on it.
    hovered = {id(renderer) for tool in figure.select({"type": HoverTool}) for renderer in tool.renderers}
    assert hovered == {id(points), id(layers)}


def test_the_frame_is_that_of_every_plot():
    figure = hv.render(layer_profile(table(), "entropy", dark=True, y_range=(0.0, 7.0)))
    assert figure.toolbar.logo is None
    assert figure.toolbar.autohide
    assert (figure.sizing_mode, figure.height) == ("stretch_width", HEIGHT)
    assert figure.background_fill_color == DARK.paper
    assert (figure.y_range.start, figure.y_range.end) == (0.0, 7.0)
    assert (figure.x_range.start, figure.x_range.end) == (-0.5, 2.5)


def test_selected_heads_stand_out_and_clearing_brings_all_back():
    heads = table()
    chosen = heads.assign(selected=heads["head"] == 1)

    stream = Changes()
    drawn = hv.DynamicMap(lambda step: profile_heads(chosen if step == 0 else heads, "entropy"), streams=[stream])
    (points,) = hv.renderer("bokeh").get_plot(drawn).state.renderers
    assert points.data_source.selected.indices == [1, 5, 9]
    stream.event(step=1)
    assert points.data_source.selected.indices == []


def test_all_parts_of_a_map_follow_what_is_shown():
    shown = [table(), table(layers=20, heads=3, seed=1), table(layers=1, heads=1)]
    ranges = [(0.0, 5.0), (0.0, 25.0), (-1.0, 4.0)]
    stream = Changes()

    drawn = hv.DynamicMap(
        lambda step: layer_profile(shown[step], "entropy", label=f"metric {step}", y_range=ranges[step]), streams=[stream]
    )
    figure = hv.renderer("bokeh").get_plot(drawn).state
    for step, heads in enumerate(shown):
        stream.event(step=step)
        (points, layers), (_, mean) = glyphs(figure, Scatter), glyphs(figure, Line)
        np.testing.assert_allclose(points.data_source.data["value"], heads["entropy"])
        np.testing.assert_allclose(mean.data_source.data["mean"], profile_table(heads, "entropy")["mean"])
        assert len(layers.data_source.data["layer_label"]) == heads["layer"].nunique()
        assert (figure.y_range.start, figure.y_range.end) == ranges[step]
        assert figure.x_range.end == heads["layer"].max() + 0.5
        assert figure.yaxis[0].axis_label == f"metric {step}"
        ticks = figure.xaxis[0].ticker.ticks
        assert len(ticks) <= TICKS
        assert ticks[0] == 0
