"""The chosen pair of sentences, without a page: the block, the links in words, and selection both ways."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import panel as pn
import pytest

import atlas
from atlas.ids import HeadId
from atlas.plots.frame import number
from atlas.plots.raster import RASTER_PIXELS
from atlas.state import sentence_block as block_state
from atlas.state.sentence_block import CHOOSE
from atlas.tracing import sentence_block as block_module
from atlas.views.sentences import SentencesView
from tests.state.readers import CROSS, workspace
from tests.tracing.test_sentences import traced as tiny
from tests.views.test_plane import cells, tokens_of, trace

STORY = "Tom had a red ball. He gave the ball to Ann. Ann was happy and she played with it."


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def opened(of):
    room = workspace(of)
    view = SentencesView(room)
    pn.panel(view).get_root()
    return room, view


def told(view):
    return [row for group in view.links.groups for row in group["rows"]]


def test_a_tapped_cell_shows_the_tokens_of_its_sentences_and_their_strongest_links_in_words():
    of = atlas.load("gpt-mini").trace(STORY, capture=())
    room, view = opened(of)
    assert view._said() == CHOOSE
    assert not told(view)
    room.selection.select_heads([HeadId("decoder", 1, 1), HeadId("decoder", 2, 3)])
    view.tap(0.5 / 3, 1.5 / 3)
    tokens = of.tokens()
    queries, keys = (np.flatnonzero(tokens["sentence"] == place) for place in (1, 0))
    each = of.attention().to_numpy()[[1, 2], [1, 3]][:, queries][:, :, keys]
    found = view.block.picture()
    np.testing.assert_array_equal(found.pixels, view.block.scale().level(each.mean(axis=0)[cells(found)]))
    pair = "From the tokens of '2: He gave the ball to Ann.' to those of '1: Tom had a red ball.'"
    assert view._said() == f"{pair}, mean of L1 H1, L2 H3"
    rows = told(view)
    assert len(rows) == 10
    largest = each.max(axis=0)
    assert [row["shares"][0] for row in rows] == pytest.approx(np.sort(largest.ravel())[::-1][:10], abs=1e-5)
    q, k = np.unravel_index(int(largest.argmax()), largest.shape)
    names = tokens["token"].str.lstrip("Ġ▁")
    head = ("L1 H1", "L2 H3")[int(each[:, q, k].argmax())]
    chance = 1 / (queries[q] + 1)
    assert rows[0]["label"].startswith(f"'{names[queries[q]]}'")
    assert f" looks at '{names[keys[k]]}'" in rows[0]["label"]
    assert (rows[0]["number"], rows[0]["note"]) == (number(float(largest.max())), f"{head}, {chance:.3g} by chance")


def test_a_link_selects_its_two_tokens_and_again_their_sentences_and_the_pair_stays():
    room, view = opened(trace())
    view.tap(0.5 / 3, 2.5 / 3)
    first, block = view.pair.links_table().iloc[0], view.block.plane.plane()
    view.links._handle_msg({"key": "0"})
    assert (room.selection.queries, room.selection.keys) == ({first["query"]}, {first["key"]})
    assert [row["state"] for row in told(view)] == ["chosen", *[""] * 9]
    assert view.block.plane.plane() is block, "the same pair is not read again"
    marked = view.block.plane.marked()
    assert (len(marked.rows), len(marked.columns)) == (1, 1)
    view.links._handle_msg({"key": "0"})
    assert (room.selection.queries, room.selection.keys) == (tokens_of(2), tokens_of(0))
    # The same by the plane of the block.
    view.block.tap(0.01, 0.01)
    assert (room.selection.queries, room.selection.keys) == ({min(tokens_of(2))}, {min(tokens_of(0))})
    view.block._name_clicked("y", 0.01)
    view.block._name_clicked("y", 0.01)
    view.tap(0.5 / 3, 2.5 / 3)
    assert (room.selection.queries, room.selection.keys) == (tokens_of(2), tokens_of(0))


def test_heads_selected_elsewhere_are_those_of_the_block_and_tokens_of_several_sentences_are_no_pair():
    room, view = opened(trace())
    room.selection.select_pairs([min(tokens_of(2))], [min(tokens_of(1)), max(tokens_of(1))])
    head = HeadId("decoder", 1, 2)
    room.selection.pick(head)
    weights = trace().attention().to_numpy()[1, 2][np.ix_(sorted(tokens_of(2)), sorted(tokens_of(1)))]
    np.testing.assert_array_equal(view.block.plane.plane().whole, weights)
    assert {row["note"].partition(",")[0] for row in told(view)} == {"L1 H2"}
    room.selection.select_tokens([min(tokens_of(0)), min(tokens_of(1))], axis="to")
    assert view._said() == CHOOSE
    assert not view.links.visible
    room.selection.clear("tokens")
    assert view._said() == CHOOSE


def test_rows_of_cross_attention_are_the_target_and_columns_the_source():
    of = tiny("T5")
    room, view = opened(of)
    room.selection.show_kind(CROSS)
    view.tap(0.5 / 3, 1.5 / 3)
    queries, keys = (
        np.flatnonzero((of.tokens(side)["sentence"] == place) & ~of.tokens(side)["special"].astype(bool))
        for side, place in (("target", 1), ("source", 0))
    )
    expected = of.attention(CROSS).to_numpy()[0, 0][np.ix_(queries, keys)]
    np.testing.assert_allclose(view.block.plane.plane().whole, expected, atol=1e-6)
    room.selection.show_kind("encoder")
    assert view._said() == CHOOSE, "the queries were those of another text"


def test_a_pair_that_is_too_much_says_so_in_its_place_and_the_sentences_stay(monkeypatch):
    monkeypatch.setattr(block_module, "BLOCK_CELLS", 10)
    _, view = opened(trace())
    view.tap(0.5 / 3, 2.5 / 3)
    assert "Select fewer heads, or shorter sentences" in view._said()
    assert not view.links.visible
    assert view.problem == ""
    assert view.plane.plane().rows


def test_many_heads_are_read_in_a_thread(monkeypatch):
    monkeypatch.setattr(block_state, "QUICK_HEADS", 5)
    room, view = opened(trace())
    asked = []
    ask = view.pair.ask
    monkeypatch.setattr(view.pair, "ask", lambda key, *given, **how: asked.append(key) or ask(key, *given, **how))
    view.tap(0.5 / 3, 2.5 / 3)
    assert not asked
    room.selection.select_heads(trace().head_ids)
    assert len(asked) >= 1
    weights = trace().attention().to_numpy().reshape(-1, *trace().attention().shape[2:])
    expected = weights.mean(axis=0)[np.ix_(sorted(tokens_of(2)), sorted(tokens_of(0)))]
    np.testing.assert_allclose(view.block.plane.plane().whole, expected, atol=1e-6)


def test_a_gesture_that_changes_both_planes_on_a_large_screen_sends_less_than_300_kb():
    of = trace()
    room, view = opened(of)
    figure_of = {plane: next(iter(plane.sheet._plots)).state for plane in (view, view.block)}
    view.tap(0.5 / 3, 2.5 / 3)
    for plane in (view, view.block):
        plane.size.event(width=1400, height=620)
    room.selection.pick(HeadId("decoder", 1, 1))
    images = [
        renderer.data_source.data["image"][0]
        for figure in figure_of.values()
        for renderer in figure.renderers
        if type(renderer.glyph).__name__ == "Image"
    ]
    assert len(images) == 2
    assert all(image.dtype == np.uint8 for image in images)
    assert sum(image.nbytes for image in images) > 60_000
    assert sum(image.nbytes for image in images) + RASTER_PIXELS < 300_000, "the matrix may be on screen too"


def test_nothing_is_sent_of_the_block_while_there_is_no_pair():
    room, view = opened(trace())
    (plot,) = view.block.sheet._plots
    source = plot.handles["glyph_renderer"].data_source
    before = source.data["image"][0]
    room.selection.pick(HeadId("decoder", 1, 1))
    assert source.data["image"][0] is before
    view.tap(0.5 / 3, 2.5 / 3)
    (plot,) = view.block.sheet._plots
    np.testing.assert_array_equal(plot.handles["glyph_renderer"].data_source.data["image"][0], view.block.picture().pixels)


def test_by_parts_a_cell_selects_a_whole_text_and_the_block_is_of_it():
    of = atlas.load("bert-mini").trace("The girl saw a dog. It was happy.", "The dog ran home.", capture=())
    room, view = opened(of)
    room.choices_of("sentences").by = "part"
    assert view.plane.plane().rows == ("first text 1: The girl saw a dog. It was happy.", "second text 2: The dog ran home.")
    assert view.plane.titles() == ("from (part)", "to (part)")
    view.tap(0.25, 0.75)
    table = of.tokens()
    segment = [set(np.flatnonzero((table["segment"] == number) & ~table["special"]).tolist()) for number in (0, 1)]
    assert (room.selection.queries, room.selection.keys) == (segment[1], segment[0])
    assert "From the tokens of 'second text 2" in view._said()
    room.choices_of("sentences").by = "sentence"
    assert view._said() == CHOOSE, "the first text has two sentences"
