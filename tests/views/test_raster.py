"""The key to the colours under the Map and the matrix."""

from __future__ import annotations

import html.parser

import numpy as np
import pytest

from atlas.plots.colours import LEVELS, MASKED, MASKED_LINE, raster_palette
from atlas.plots.raster import scale
from atlas.views.map import MapView
from atlas.views.matrix import MatrixView
from atlas.views.raster import STOPS, ramp
from tests.state.readers import DECODER, single, workspace


class Words(html.parser.HTMLParser):
    """What a reader sees of some HTML."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_data(self, data):
        self.found.append(data.strip())


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["linear", "log", "equalised"])
def test_the_ramp_goes_from_the_lowest_colour_to_the_highest_and_says_where_it_ends(name, dark):
    palette = raster_palette(dark=dark)
    how = scale(name, 0.5, np.linspace(0, 0.5, 99))
    made = ramp(how, palette, "may not look")
    colours = made.partition("to right, ")[2].partition(")")[0].split(", ")
    assert (len(colours), colours[0], colours[-1]) == (STOPS, palette[0], palette[LEVELS - 1])
    assert [palette.index(colour) for colour in colours] == sorted(palette.index(colour) for colour in colours)
    assert palette[MASKED] in made
    assert palette[MASKED_LINE] in made
    words = Words(made).found
    assert words[-2:] == ["≥ 0.5", "may not look"]
    assert words[0] == {"linear": "0", "log": "0.0001", "equalised": "0"}[name]
    assert words[:-1] == [*[f"{value:.2g}" for _, value in how.ticks()][:-1], "≥ 0.5"]


@pytest.mark.parametrize("kind", [MapView, MatrixView])
def test_the_key_says_nothing_of_the_text(kind):
    strange = ("<script>alert(1)</script>", "secret", "&amp;", "dog")
    one, other = (kind(workspace(single(DECODER, tokens=tokens))) for tokens in (strange, ("a", "b", "c", "d")))
    made = one._ramp()
    assert made == other._ramp()
    assert not any(token in made for token in (*strange, "alert"))
    assert f"≥ {one.scale().ceiling:.2g}" in made


@pytest.mark.parametrize("kind", [MapView, MatrixView])
def test_before_a_trace_there_are_no_colours_to_explain(kind):
    room = workspace()
    view = kind(room)
    assert view._ramp() == ""
    room.pipeline.show(single())
    assert view._ramp()
