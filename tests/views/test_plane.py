"""Planes without a page: what is signed, and what a gesture on the sentence matrix does to the other views and they to it."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pandas as pd
import pytest
from bokeh.document import Document
from bokeh.events import AxisClick, Tap

from atlas.ids import HeadId
from atlas.plots.colours import BACKGROUND, LEVELS, MASKED, MASKED_LINE, raster_palette
from atlas.state.sentences import DIFFERENCE
from atlas.tracing.sentences import sentences
from atlas.views.matrix import MatrixView
from atlas.views.sentences import SentencesView
from tests.engine.families import loaded
from tests.state.readers import single, workspace

TEXT = "The cat ran after the dog. She was tired! The doctor said hello to the dog and the cat."


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def trace(name="GPT-2"):
    return loaded(name).trace(TEXT, keep="weights", capture=())


def tokens_of(place, name="GPT-2"):
    table = trace(name).tokens()
    return frozenset(np.flatnonzero((table["sentence"] == place) & ~table["special"].astype(bool)).tolist())


def cells(found):
    """The row and the column of every pixel of a picture of few cells."""
    down, across = ((edges[:-1] + edges[1:]) / 2 for edges in (found.view.y_edges, found.view.x_edges))
    return np.ix_(down.astype(int), across.astype(int))


def drawn(view):
    """The figure of a view, drawn and in a document."""
    figure = hv.render(view._pane().object)
    Document().add_root(figure)
    return figure


def room_of_all_heads(name="GPT-2"):
    """A workspace with every head selected."""
    room = workspace(trace(name))
    room.selection.select_heads(trace(name).head_ids)
    return room


def happens(event):
    """Report an event as the browser does."""
    event.model.document.callbacks.trigger_event(event)


def test_the_pixels_are_the_numbers_and_what_may_not_be_seen_is_hatched():
    room = room_of_all_heads()
    view = SentencesView(room)
    expected = sentences(trace(), trace().head_ids)
    found = view.picture()
    values = expected.mass[cells(found)]
    hatched = np.isnan(values)
    assert hatched.any()
    assert set(np.unique(found.pixels[hatched])) == {MASKED, MASKED_LINE}
    np.testing.assert_array_equal(found.pixels[~hatched], view.scale().level(values[~hatched]))
    assert view.scale().ceiling == pytest.approx(np.nanmax(expected.mass))
    assert view.lens.line.startswith("mean of 12 heads: attention mass")


def test_a_cell_says_its_mass_and_what_uniform_attention_gives():
    view = SentencesView(room_of_all_heads())
    expected = sentences(trace(), trace().head_ids)
    view._pointed(0.5 / 3, 2.5 / 3)
    said = view.under.object
    assert said.startswith("mean of 12 heads   3: The doctor said hello … → 1: The cat ran after the …   ")
    assert f"mass {expected.mass[2, 0]:.3g}   by chance {expected.chance[2, 0]:.3g}" in said
    view._pointed(2.5 / 3, 0.5 / 3)
    assert "mass N/A" in view.under.object


def test_differences_from_chance_have_a_diverging_scale_around_0():
    room = room_of_all_heads()
    view = SentencesView(room)
    room.choices_of("sentences").show = DIFFERENCE
    found, expected = view.picture(), sentences(trace(), trace().head_ids)
    values = (expected.mass - expected.chance)[cells(found)]
    seen = ~np.isnan(values)
    scale = view.scale()
    assert scale.ceiling == pytest.approx(np.nanmax(np.abs(values)))
    np.testing.assert_array_equal(
        np.sign(found.pixels[seen].astype(int) - scale.zero), np.sign(scale.level(values[seen]) - scale.zero)
    )
    far = np.abs(values[seen]) > scale.begins(1)
    np.testing.assert_array_equal(np.sign(found.pixels[seen].astype(int) - scale.zero)[far], np.sign(values[seen])[far])
    paper = raster_palette(dark=False)[BACKGROUND]
    assert found.palette[scale.zero] == paper
    assert found.palette != list(raster_palette(dark=False))
    room.choices_of("sentences").threshold = scale.ceiling / 2
    shown = view.picture().palette
    hidden = [level for level in range(scale.zero - scale.steps, scale.zero + scale.steps + 1) if shown[level] == paper]
    reach = scale.reach(scale.ceiling / 2)
    assert hidden == list(range(scale.zero - reach + 1, scale.zero + reach))
    assert 0 < reach < scale.steps
    assert room.display.threshold == 0  # that of the matrix is its own
    room.choices_of("sentences").threshold = 3.0
    assert set(np.unique(view.picture().pixels)) == {BACKGROUND, MASKED, MASKED_LINE}


def test_a_tap_on_a_cell_selects_the_tokens_of_its_sentences_and_the_matrix_marks_them():
    room = workspace(trace())
    view, matrix = SentencesView(room), MatrixView(room)
    figure, other = drawn(view), drawn(matrix)
    happens(Tap(figure, x=0.5 / 3, y=2.5 / 3))
    assert (room.selection.queries, room.selection.keys) == (tokens_of(2), tokens_of(0))
    assert room.selection.origin == "sentences"
    n = len(trace().tokens())
    quads = [renderer.data_source.data for renderer in other.renderers if type(renderer.glyph).__name__ == "Quad"]
    rows = list(zip(quads[0]["bottom"], quads[0]["top"], strict=True))
    columns = list(zip(quads[1]["left"], quads[1]["right"], strict=True))
    assert rows == [(min(tokens_of(2)) / n, (max(tokens_of(2)) + 1) / n)]
    assert columns == [(min(tokens_of(0)) / n, (max(tokens_of(0)) + 1) / n)]
    happens(Tap(figure, x=0.5 / 3, y=2.5 / 3))
    assert room.selection.is_empty


def test_a_name_selects_one_side_and_the_switch_of_the_text_holds_for_a_tap():
    room = workspace(trace())
    view = SentencesView(room)
    figure = drawn(view)
    figure.x_range.update(start=0, end=1)
    figure.y_range.update(start=1, end=0)
    happens(AxisClick(figure.xaxis[0], value=1.5 / 3))
    assert (room.selection.queries, room.selection.keys) == (frozenset(), tokens_of(1))
    happens(AxisClick(figure.yaxis[0], value=2.5 / 3))
    assert (room.selection.queries, room.selection.keys) == (tokens_of(2), tokens_of(1))
    room.selection.clear("tokens")
    room.display.axis = "from"
    view.tap(0.5 / 3, 1.5 / 3)
    assert (room.selection.queries, room.selection.keys) == (tokens_of(1), frozenset())


def test_tokens_selected_elsewhere_mark_their_sentences_and_heads_selected_elsewhere_are_shown():
    room = workspace(trace())
    view, matrix = SentencesView(room), MatrixView(room)
    figure = drawn(view)
    at = min(tokens_of(1))
    n = len(trace().tokens())
    matrix.tap((at + 0.5) / n, (n - 0.5) / n)
    assert view._boxes() == {"rows": [(0.0, 2 / 3, 1.0, 1.0)], "columns": [(1 / 3, 0.0, 2 / 3, 1.0)]}
    bands = [renderer.data_source.data for renderer in figure.renderers if type(renderer.glyph).__name__ == "Quad"]
    assert [(list(band["left"]), list(band["bottom"])) for band in bands] == [([0.0], [2 / 3]), ([1 / 3], [0.0])]
    image = next(renderer for renderer in figure.renderers if type(renderer.glyph).__name__ == "Image").data_source
    before = image.data["image"][0].copy()
    head = HeadId("decoder", 1, 2)
    room.selection.pick(head)
    np.testing.assert_array_equal(view.plane.plane().whole, sentences(trace(), [head]).mass)
    assert not np.array_equal(image.data["image"][0], before)
    np.testing.assert_array_equal(image.data["image"][0], view.picture().pixels)
    room.selection.select_tokens([min(tokens_of(0))], axis="from")
    assert list(bands[0]["bottom"]) == [0.0]


def test_a_gesture_replaces_columns_and_draws_no_plot():
    room = workspace(trace())
    view = SentencesView(room)
    figure = drawn(view)
    renderers, redrawn = list(figure.renderers), view.redrawn
    room.selection.select_tokens(sorted(tokens_of(0)), axis="to")
    room.selection.pick(HeadId("decoder", 0, 1))
    room.choices_of("sentences").show = DIFFERENCE
    assert list(figure.renderers) == renderers
    assert view.redrawn == redrawn


def test_special_tokens_are_in_no_sentence():
    room = workspace(trace("BERT"))
    view = SentencesView(room)
    plane = view.plane.plane()
    room.selection.select_tokens([0], axis="from")
    assert view.plane.marked().rows == frozenset()
    assert plane.tokens("row", 0) == tokens_of(0, "BERT")
    assert 0 not in plane.tokens("row", 0)


def test_the_export_is_the_plane_as_shown():
    view = SentencesView(room_of_all_heads())
    view._pane()
    name, table, picture, _ = view.export()
    expected = pd.DataFrame(sentences(trace(), trace().head_ids).mass)
    assert name == "sentences"
    np.testing.assert_array_equal(table.to_numpy(), expected.to_numpy())
    assert list(table.index) == list(view.plane.plane().rows)
    assert isinstance(picture, hv.Image)


def test_a_recording_without_text_cannot_have_it_and_says_why():
    assert "no text" in SentencesView.fits(single())
    assert SentencesView.fits(trace()) == ""


def test_the_ramp_of_a_signed_plane_goes_from_minus_to_plus():
    room = workspace(trace())
    view = SentencesView(room)
    room.choices_of("sentences").show = DIFFERENCE
    made, palette = view._ramp(), raster_palette(dark=False, signed=True)
    colours = made.partition("to right, ")[2].partition(")")[0].split(", ")
    assert (colours[0], colours[-1]) == (palette[0], palette[LEVELS - 2])
    top = f"{view.scale().ceiling:.2g}"
    assert f">−{top}<" in made  # nothing lies beyond, so nothing says that something does
    assert f">{top}<" in made
    view.plane._ceiling = view.scale().ceiling / 2
    top, made = f"{view.scale().ceiling:.2g}", view._ramp()
    assert f">≤ −{top}<" in made
    assert f">≥ {top}<" in made
