"""Lenses: stale at once, worked out when somebody looks, told once a gesture, and a reason where there is nothing."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest

import atlas
from atlas.errors import AtlasError
from atlas.ids import HeadId
from atlas.plots.colours import LEVELS
from atlas.plots.raster import scale
from atlas.state.ceilings import SAMPLED_CELLS, SAMPLED_ROWS, colour_ceiling, hides_sinks, sample_of, spread_of
from atlas.state.heads import HeadsLens
from atlas.state.lens import EMPTY
from atlas.state.map import MapLens
from atlas.state.map_layout import Layout, ranked
from atlas.state.matrix import MatrixLens
from atlas.state.selection_bar import BarLens
from atlas.state.token_strip import StripLens
from atlas.trace import Texts
from atlas.tracing import token_scores, windows
from atlas.tracing.record import Attention
from atlas.tracing.restricted import OUTSIDE
from atlas.tracing.selected_heads import selected_heads
from atlas.tracing.statistics import block_maxima
from tests.engine.families import TARGET, TEXT, loaded
from tests.state.readers import CROSS, DECODER, ENCODER, SOURCE, Listener, both, rows, single, workspace
from tests.text.made import table as token_table

LENSES = (MatrixLens, MapLens, StripLens, BarLens, HeadsLens)

GESTURES = {
    "pick": lambda room: room.selection.pick(HeadId(ENCODER, 1, 2)),
    "a box": lambda room: room.selection.select_heads([HeadId(ENCODER, 0, 1), HeadId(ENCODER, 1, 1)], label="a box"),
    "tokens": lambda room: room.selection.select_tokens([1, 2]),
    "a pair": lambda room: room.selection.select_pairs([1], [2]),
    "kind": lambda room: room.selection.show_kind(CROSS),
    "arrow": lambda room: room.selection.step(1, 0),
    "slider": lambda room: setattr(room.layer, "layer", 1),
    "a link": lambda room: room.selection.restore(HeadId(CROSS, 1, 1), [HeadId(CROSS, 1, 1)], [1], [2], "x"),
    "mode": lambda room: setattr(room.display, "mode", "column"),
    "mode and level": lambda room: room.display.param.update(mode="column", level="word", aggregate="max"),
    "paint": lambda room: setattr(room.display, "paint", "sent"),
    "order": lambda room: setattr(room.display, "order", "entropy"),
    "threshold": lambda room: setattr(room.display, "threshold", 0.5),
    "tab": lambda room: setattr(room.display, "tab", "overview"),
}


@functools.cache
def traced(name, text=TEXT, **more):
    model = loaded(name)
    return model.trace(text, keep="qk", capture=(), **({"target": TARGET} if "cross" in model.kinds else {}), **more)


def shown(room, lens):
    """Everything the numbers of a lens follow from; the focus only where it changes what is shown."""
    selection = room.selection
    named = {part: {name: getattr(getattr(room, part), name) for name in names} for part, names in lens.reads.items()}
    chosen = named.get("selection", {})
    if "focus" in chosen and lens.depends() is not None:
        chosen["focus"] = room.kind
    if isinstance(lens, StripLens):
        chosen["shown"] = lens.shown_heads()
    if isinstance(lens, MatrixLens):
        # The line says whether a head is shown because it is selected or because it is in focus.
        chosen["heads"] = selection.heads_of(room.kind), selection.heads_of(room.kind) or (selection.focus,)
    return named


@pytest.mark.parametrize("kind", LENSES)
@pytest.mark.parametrize("gesture", GESTURES)
def test_a_gesture_is_one_redraw_of_what_it_concerns_and_none_of_the_rest(kind, gesture):
    room = workspace(both())
    lens = kind(room)
    heard = Listener(lens, ["revision"])
    before = shown(room, lens)
    GESTURES[gesture](room)
    assert len(heard.take()) == int(before != shown(room, lens))
    # And the same once more changes nothing, so nothing is drawn.
    before = shown(room, lens)
    GESTURES[gesture](room)
    assert len(heard.take()) == int(before != shown(room, lens))


@pytest.mark.parametrize("kind", LENSES)
def test_a_new_trace_is_one_redraw_however_much_of_the_selection_goes_with_it(kind):
    room = workspace(both())
    lens = kind(room)
    room.selection.restore(HeadId(CROSS, 2, 1), [HeadId(CROSS, 2, 1)], [4], [7], "x")
    heard = Listener(lens, ["revision"])
    seen = []
    lens.param.watch(lambda *_: seen.append((room.selection.focus, room.selection.heads, room.settling)), "revision")
    room.pipeline.show(single(layers=1, heads=1, tokens=("a",)))
    assert len(heard.take()) == 1
    assert seen == [(HeadId(ENCODER, 0, 0), frozenset(), False)]
    room.pipeline.show(room.trace)  # the same trace again, as a run that was kept brings it
    assert len(heard.take()) == 1


@pytest.mark.parametrize("kind", LENSES)
def test_before_a_trace_nothing_is_drawn_and_it_says_what_to_do(kind):
    room = workspace()
    lens = kind(room)
    heard = Listener(lens, ["revision"])
    room.selection.restore(HeadId(ENCODER, 0, 1), [], [1], [], "")
    room.display.mode = "column"
    assert heard.take() == []
    assert lens.attempt(lambda: lens.trace, None) is None  # a page is drawn before there is a trace
    assert (lens.empty, lens.problem) == (EMPTY, "")
    with pytest.raises(AtlasError, match="Nothing is analysed yet"):
        lens.trace  # noqa: B018
    room.pipeline.show(single())
    assert (lens.empty, lens.problem) == ("", "")


@pytest.mark.parametrize("kind", LENSES)
def test_a_view_that_is_opened_late_finds_the_trace_there(kind):
    room = workspace(both())
    room.selection.select_tokens([2])
    lens = kind(room)
    assert lens.empty == ""
    if kind is BarLens:
        assert lens.said() == "tokens: doctor"


def test_two_readers_know_nothing_of_each_other():
    one, other = workspace(both()), workspace(both())
    lenses = [kind(other) for kind in LENSES]
    heard = [Listener(lens) for lens in lenses]
    for gesture in GESTURES.values():
        gesture(one)
    assert [each.take() for each in heard] == [[]] * len(LENSES)


# -- the matrix --------------------------------------------------------------------------------------------------------


def weights_of(trace, head):
    return trace.attention(head.kind, layer=head.layer, head=head.head).to_numpy()


def picture(lens):
    plane = lens.plane()
    return lens.window(0, len(plane.rows), 0, len(plane.columns))


def test_nothing_is_worked_out_before_somebody_looks(monkeypatch):
    asked = []
    monkeypatch.setattr(windows, "_read", lambda *a, real=windows._read: asked.append("block") or real(*a))
    monkeypatch.setattr(windows, "_rolled", lambda *a, real=windows._rolled: asked.append("rolled") or real(*a))
    monkeypatch.setattr(windows, "words", lambda *a, real=windows.words: asked.append("words") or real(*a))
    room = workspace(single(seed=77))
    lens = MatrixLens(room)
    room.selection.pick(HeadId(ENCODER, 1, 1))
    room.display.mode = "rollout"
    room.display.level = "word"
    assert asked == []
    picture(lens)
    assert asked == ["rolled", "rolled"]  # layer 1 rests on layer 0
    picture(lens)
    assert len(asked) == 2


def test_one_head_or_the_selected_ones_together_never_those_of_another_kind():
    trace = both()
    room = workspace(trace)
    lens = MatrixLens(room)
    assert lens.heads() == (HeadId(ENCODER, 0, 0),)
    np.testing.assert_array_equal(picture(lens).values, weights_of(trace, HeadId(ENCODER, 0, 0)))
    assert lens.line == "encoder L0 H0, the head in focus: attention weight"
    chosen = [HeadId(ENCODER, 0, 1), HeadId(ENCODER, 1, 3)]
    room.selection.select_heads([*chosen, HeadId(CROSS, 2, 1), HeadId(DECODER, 0, 0)])
    stack = np.stack([weights_of(trace, head) for head in chosen])
    np.testing.assert_allclose(picture(lens).values, stack.mean(0), atol=1e-5)
    assert lens.line == "mean of 2 heads: attention weight"
    room.display.aggregate = "max"
    np.testing.assert_array_equal(picture(lens).values, stack.max(0))
    assert lens.line == "largest of 2 heads: attention weight"
    room.selection.show_kind(CROSS)
    np.testing.assert_array_equal(picture(lens).values, weights_of(trace, HeadId(CROSS, 2, 1)))
    assert (lens.plane().rows[1], lens.plane().columns[1]) == ("docteur ⇒ a", "the")
    room.selection.clear("heads")
    room.selection.show_kind(DECODER)
    room.selection.step(-9, -9)
    np.testing.assert_array_equal(picture(lens).values, weights_of(trace, HeadId(DECODER, 0, 0)))


def test_a_reason_comes_and_goes():
    room = workspace(both())
    lens = MatrixLens(room)
    room.display.mode = "rollout"
    room.selection.show_kind(CROSS)
    assert lens.plane().rows == ()
    assert "cross-attention links two" in lens.problem
    room.selection.show_kind(ENCODER)
    assert lens.plane().rows[1] == "the"
    assert lens.problem == ""
    room.display.mode = "moved"
    assert lens.plane().rows == ()
    assert "holds weights only" in lens.problem
    room.display.mode = "weight"
    room.display.level = "word"
    assert lens.plane().rows == ()
    assert "Show tokens instead" in lens.problem  # a recording has no words
    room.display.level = "token"
    assert lens.plane().rows[1] == "the"
    assert lens.problem == ""


def test_what_is_too_much_to_work_out_is_shown_as_thumbnails(monkeypatch):
    n = 130  # thumbnails of 44 cells of 3 tokens each, the last of them of one
    trace = single(DECODER, 1, 2, tuple(map(str, range(n))))
    room = workspace(trace)
    lens = MatrixLens(room)
    assert picture(lens).exact
    monkeypatch.setattr(windows, "WINDOW_CELLS", 1_000)
    found = picture(lens)
    assert not found.exact
    assert (found.row0, found.row1, found.column0, found.column1) == (0, 132, 0, 132)
    np.testing.assert_array_equal(found.values, block_maxima(weights_of(trace, HeadId(DECODER, 0, 0))))
    near = lens.window(100.2, 119.9, 90.5, 99.9)
    assert near.exact
    assert (near.row0, near.row1, near.column0, near.column1) == (100, 120, 90, 100)
    np.testing.assert_array_equal(near.values, weights_of(trace, HeadId(DECODER, 0, 0))[100:120, 90:100])
    room.display.mode = "column"
    assert lens.attempt(lambda: picture(lens), None) is None
    assert "Select fewer heads, or show the weights themselves" in lens.problem
    assert lens.attempt(lambda: lens.window(0, 10, 0, 10), None) is not None
    assert lens.problem == ""


def test_a_window_beyond_the_plane_is_cut():
    lens = MatrixLens(workspace(single()))
    found = lens.window(-3.5, 99, 6.2, 99)
    assert (found.row0, found.row1, found.column0, found.column1) == (0, 8, 6, 8)
    assert found.values.shape == (8, 2)
    assert lens.window(30, 40, 0, 8).values.size == 0


def test_words_are_a_plane_of_their_own():
    trace = traced("BERT", "the doctors said cats ran")
    room = workspace(trace)
    lens = MatrixLens(room)
    room.display.level = "word"
    plane = lens.plane()
    assert plane.rows == ("[CLS]", "the", "doctors", "said", "cats", "ran", "[SEP]")
    assert picture(lens).values.shape == (7, 7)
    np.testing.assert_allclose(picture(lens).values.sum(1), 1, atol=1e-5)
    assert lens.line.endswith("attention weight, words")
    assert lens.cell(2, 4) == {"row": "doctors", "column": "cats", "value": pytest.approx(float(plane.whole[2, 4]))}
    assert lens.ceiling() == pytest.approx(plane.whole.max())


@pytest.mark.parametrize("name", ["BERT", "Gemma2", "T5"])
def test_the_numbers_of_a_cell_multiply_out_to_the_weight_shown(name):
    trace = traced(name)
    room = workspace(trace)
    lens = MatrixLens(room)
    for kind in trace.kinds:
        room.selection.show_kind(kind)
        head = HeadId(kind, 1, 1)
        room.selection.focus_on(head)
        weights = weights_of(trace, head)
        row = 9
        cells = [lens.cell(row, column) for column in range(weights.shape[1])]
        for column, cell in enumerate(cells):
            assert cell["value"] == pytest.approx(weights[row, column], abs=1e-5, nan_ok=True)
            assert cell["softmax"] == pytest.approx(weights[row, column], abs=1e-5, nan_ok=True)
        masked = np.array([cell["masked"] for cell in cells])
        seen = ~np.isnan(weights[row])
        np.testing.assert_array_equal(np.isnan(masked), ~seen)
        powers = np.exp(masked[seen] - masked[seen].max())
        np.testing.assert_allclose(powers / powers.sum(), weights[row][seen], atol=1e-5)
        layer = trace.attention_of(kind).layers[1]
        raw = np.array([cell["q·k"] for cell in cells]) * layer.scaling
        capped = raw if layer.softcap is None else np.tanh(raw / layer.softcap) * layer.softcap
        np.testing.assert_allclose([cell["scaled"] for cell in cells], capped, rtol=1e-4, atol=1e-4)
        ranks = [cell["rank"] for cell, here in zip(cells, seen, strict=True) if here]
        best = int(np.nanargmax(weights[row]))
        assert cells[best]["rank"] == 1
        assert max(ranks) <= cells[best]["of"] == seen.sum()
        assert not any("rank" in cell for cell, here in zip(cells, seen, strict=True) if not here)


def test_a_recording_has_no_steps_and_several_heads_have_none_in_common():
    room = workspace(single())
    lens = MatrixLens(room)
    assert lens.cell(1, 2).keys() == {"row", "column", "value", "softmax", "rank", "of"}
    room.selection.select_heads([HeadId(ENCODER, 0, 0), HeadId(ENCODER, 0, 1)])
    assert lens.cell(1, 2).keys() == {"row", "column", "value"}
    for outside in ((-1, 0), (8, 0), (0, 8)):
        assert lens.cell(*outside) == {}


@pytest.mark.parametrize("mode", ["weight", "column", "rollout", "moved"])
@pytest.mark.parametrize("name", ["BERT", "GPT-2"])
def test_the_scale_of_the_matrix_ends_at_the_largest_value_that_counts(name, mode):
    trace = traced(name)
    room = workspace(trace)
    lens = MatrixLens(room)
    room.selection.select_heads([head for head in trace.head_ids if head.layer == 1])
    for setting in ("auto", "shown", "hidden"):
        room.display.param.update(mode=mode, sinks=setting)
        values = picture(lens).values
        marks = trace.tokens()["special"].to_numpy(bool)
        if name == "GPT-2":
            marks = marks | (np.arange(len(marks)) == 0)
        hidden = setting == "hidden" or (setting == "auto" and name == "GPT-2")
        highest = np.nanmax(values[:, ~marks] if hidden else values)
        # From some rows of a long text; of a short one the largest may be in a row that was not looked at.
        assert 0.5 * highest <= lens.ceiling() <= highest * (1 + 1e-6)


def test_the_scale_of_many_heads_reads_each_head_once(monkeypatch):
    trace = traced("GPT-2")
    room = workspace(trace)
    lens = MatrixLens(room)
    room.selection.select_heads(trace.head_ids)
    lens.plane()
    block, read = Attention.block, []
    monkeypatch.setattr(Attention, "block", lambda own, *where: read.append(where[:2]) or block(own, *where))
    lens.ceiling()
    assert sorted(read) == [(head.layer, head.head) for head in trace.head_ids]


# -- the Map -----------------------------------------------------------------------------------------------------------


def numbers(layout):
    """(layer, head) of every head, row by row."""
    return [[(head.layer, head.head) for head in row] for row in layout.rows]


def test_heads_lie_by_number_or_all_of_them_by_a_metric_the_largest_first():
    trace = single(layers=3, heads=5)
    room = workspace(trace)
    lens = MapLens(room)
    assert numbers(lens.layout()) == [[(layer, head) for head in range(5)] for layer in range(3)]
    room.display.order = "entropy"
    values = trace.heads.set_index(["layer", "head"])["entropy"]
    ranking = [place for row in numbers(lens.layout()) for place in row]
    assert list(values.loc[ranking]) == sorted(values, reverse=True)
    assert len({layer for layer, _ in ranking[:5]}) > 1  # over all heads, not layer by layer
    assert [lens.layout().rank(head) for head in lens.layout().ids] == list(range(1, 16))
    small = trace.attention_of(ENCODER).thumbnails
    for row, heads in enumerate(lens.layout().rows):
        for column, head in enumerate(heads):
            np.testing.assert_array_equal(lens.thumbnails()[row, column], small[head.layer, head.head])
            assert lens.layout().places[head] == (row, column)
            assert lens.layout().head_at(column + 0.5, row + 0.5) == head


def test_heads_of_a_cluster_lie_together():
    room = workspace(single(layers=3, heads=5))
    room.display.order = "cluster"
    lens = MapLens(room)
    table = HeadsLens(room).table()
    of = {(row.layer, row.head): row.cluster for row in table.itertuples()}
    names = [of[head.layer, head.head] for head in lens.layout().ids]
    assert len(list(itertools.groupby(names))) == len(set(names))
    assert lens.line.endswith("heads of a cluster lie together")


def test_heads_without_a_value_come_last_and_equal_ones_by_number():
    weights = np.full((1, 4, 3, 3), 1 / 3, np.float32)
    weights[0, 2] = np.eye(3)
    trace = atlas.from_attention(weights, ["a", "b", "c"])
    room = workspace(trace)
    room.display.order = "entropy"
    assert numbers(MapLens(room).layout()) == [[(0, 0), (0, 1), (0, 3), (0, 2)]]
    room.display.order = "induction"  # no token is repeated: nobody has one
    assert trace.heads["induction"].isna().all()
    lens = MapLens(room)
    assert numbers(lens.layout()) == [[(0, 0), (0, 1), (0, 2), (0, 3)]]
    assert lens.layout().ranked_by == ""
    assert lens.line.endswith("in the order of their numbers: Induction is not known of any head here")
    unknown_last = ranked([HeadId(ENCODER, 0, head) for head in range(3)], np.array([np.nan, 1.0, 2.0]), 3, largest_first=True)
    assert [head.head for head in unknown_last[0]] == [2, 1, 0]


@pytest.mark.parametrize("x", [0.0, 0.06, 0.51, 1.99, 2.5, 2.9999])
@pytest.mark.parametrize("y", [0.06, 0.93, 1.5])
def test_the_cell_under_a_point_is_where_it_is_drawn(x, y):
    rows = tuple(tuple(HeadId(ENCODER, layer, head) for head in row) for layer, row in enumerate(((2, 0, 1), (0, 1, 2))))
    layout = Layout(ENCODER, rows, 4, 7)
    found = layout.cell_at(x, y, 0.05, 0.05)
    across, down = (x % 1 - 0.05) / 0.9, (y % 1 - 0.05) / 0.9
    if not (0 <= across < 1 and 0 <= down < 1):
        assert found is None
    else:
        assert found == (layout.head_at(x, y), int(down * 4), int(across * 7))
    assert layout.head_at(x, y) == rows[int(y)][int(x)]


@pytest.mark.parametrize(("x", "y"), [(-0.1, 0.5), (3.0, 0.5), (0.5, -0.1), (0.5, 2.0)])
def test_beyond_the_sheet_there_is_no_head(x, y):
    rows = tuple(tuple(HeadId(ENCODER, layer, head) for head in row) for layer, row in enumerate(((2, 0, 1), (0, 1, 2))))
    layout = Layout(ENCODER, rows, 4, 7)
    assert layout.head_at(x, y) is None
    assert layout.cell_at(x, y, 0.05, 0.05) is None


@pytest.mark.parametrize("kind", [ENCODER, DECODER])
@pytest.mark.parametrize("n", [12, 70, 130])
def test_selected_tokens_are_what_every_head_shows(n, kind):
    """With one, two and three tokens in a cell of a thumbnail; in a decoder there are cells that may not be looked at."""
    trace = single(kind, layers=2, heads=2, tokens=tuple(map(str, range(n))))
    room = workspace(trace)
    lens = MapLens(room)
    lens.choices.show = "thumbnails"
    room.selection.select_pairs([4, 5, 10], [8])
    lens.layout()
    assert lens.line == f"recorded attention: 2 layers × 2 heads, {n} × {n} tokens · only from: 4, 5, 10 · to: 8"
    lit = np.zeros((n, n), bool)
    lit[[4, 5, 10]] = True
    lit[:, 8] = True
    for head in trace.head_ids:
        weights = weights_of(trace, head)
        expected = np.where(lit, weights, OUTSIDE)
        np.testing.assert_array_equal(lens.exact(head, slice(0, n), slice(0, n)), expected)
        np.testing.assert_array_equal(lens.exact(head, slice(3, 11), slice(5, 10)), expected[3:11, 5:10])
        small = block_maxima(np.where(np.isnan(expected), OUTSIDE, expected))
        np.testing.assert_array_equal(lens.thumbnails()[head.layer, head.head], small)
    room.selection.clear()
    np.testing.assert_array_equal(lens.thumbnails(), trace.attention_of(kind).thumbnails)
    assert lens.line == f"recorded attention: 2 layers × 2 heads, {n} × {n} tokens"


def test_the_scale_of_the_map_follows_the_switch_the_kind_and_the_trace():
    room = workspace(both())
    lens = MapLens(room)

    def ends_where(trace, kind, hidden):
        special = trace.tokens(trace.side(kind, "key"))["special"].to_numpy(bool)
        marks = special | ((np.arange(len(special)) == 0) & (kind == DECODER))
        weights = trace.attention(kind).to_numpy()  # so short that every row is looked at
        assert lens.ceiling() == np.nanmax(weights[..., ~marks] if hidden else weights)

    ends_where(both(), ENCODER, hidden=False)
    room.display.sinks = "hidden"
    ends_where(both(), ENCODER, hidden=True)
    room.display.sinks = "auto"
    room.selection.show_kind(DECODER)
    ends_where(both(), DECODER, hidden=True)
    room.display.sinks = "shown"
    ends_where(both(), DECODER, hidden=False)
    room.pipeline.show(both(seed=9))
    ends_where(both(seed=9), DECODER, hidden=False)


def test_the_weight_under_the_pointer_is_the_weight():
    trace = single(DECODER)
    lens = MapLens(workspace(trace))
    head = HeadId(DECODER, 1, 2)
    assert lens.weight(head, 3, 2) == weights_of(trace, head)[3, 2]
    assert np.isnan(lens.weight(head, 2, 3))
    assert lens.names("key")[2] == "doctor"


# -- ceilings ----------------------------------------------------------------------------------------------------------


def test_sinks_are_hidden_by_default_in_causal_models_only():
    assert [hides_sinks("auto", kind) for kind in (ENCODER, DECODER, CROSS)] == [False, True, False]
    assert all(hides_sinks("hidden", kind) and not hides_sinks("shown", kind) for kind in (ENCODER, DECODER, CROSS))


def test_a_scale_ends_somewhere_even_where_nothing_is_left():
    marks = np.array([True, False])
    values = np.array([[0.9, 0.2], [0.8, np.nan]])
    assert colour_ceiling(values, marks, "hidden", ENCODER) == 0.2
    assert colour_ceiling(values, marks, "shown", ENCODER) == 0.9
    assert colour_ceiling(values, np.array([True, True]), "hidden", ENCODER) == 0.9
    assert colour_ceiling(np.full((2, 2), np.nan), None, "shown", ENCODER) == 1
    assert colour_ceiling(np.zeros((2, 2)), None, "shown", ENCODER) == 1
    assert colour_ceiling(np.empty((0, 2)), None, "shown", ENCODER) == 1


def test_a_sample_is_bounded_spread_and_has_the_row_that_sees_everything():
    trace = single(DECODER, 2, 2, tuple(map(str, range(100))))
    sample = sample_of(trace, DECODER)
    assert sample.shape == (4, SAMPLED_ROWS, 100)
    assert not np.isnan(sample[:, -1]).any()
    assert sample.size <= SAMPLED_CELLS
    assert sample_of(trace, DECODER) is sample
    assert sample_of(single(tokens=("a",)), ENCODER).shape == (6, 1, 1)


def test_the_equalised_scale_has_colours_for_blocks_and_for_cells():
    trace = single(DECODER, 2, 2, tuple(map(str, range(200))))
    edges = scale("equalised", 1.0, spread_of(trace, DECODER)).edges
    cells = trace.attention_of(DECODER).block(1, 0)
    for seen in (cells, trace.attention_of(DECODER).thumbnails):
        used = np.unique(np.searchsorted(edges, seen[np.isfinite(seen)]))
        assert len(used) > LEVELS / 2
    short = single(tokens=("a", "b"))
    assert spread_of(short, ENCODER).tolist() == sample_of(short, ENCODER).ravel().tolist()


# -- the strip ---------------------------------------------------------------------------------------------------------


def written(tokens):
    return "".join(token["gap"] + token["text"] for token in tokens if not token["special"])


def test_the_text_is_the_text():
    text = "The  doctors said\n\nshe ran .\tA cat!"
    assert written(StripLens(workspace(traced("BERT", text))).tokens()) == text


def test_a_special_token_that_was_typed_is_written_once():
    text = "the  [MASK] ran , [MASK] [MASK] she ran"
    tokens = StripLens(workspace(traced("BERT", text))).tokens()
    assert [token["special"] for token in tokens].count(True) == 5
    assert "".join(token["gap"] + token["text"] for token in tokens[1:-1]) == text


def test_a_pair_is_both_texts_and_the_target_its_own():
    tokens = StripLens(workspace(traced("BERT", "the cat ran", pair="a  dog ran"))).tokens()
    assert [token["text"] for token in tokens if token["special"]] == ["[CLS]", "[SEP]", "[SEP]"]
    assert written(tokens) == "the cat rana  dog ran"
    trace = traced("T5")
    assert written(StripLens(workspace(trace)).tokens()) == TEXT
    assert written(StripLens(workspace(trace), "target").tokens()) == TARGET
    lens = StripLens(workspace(traced("BERT")), "target")
    assert not lens.there


def of_table(text, **made):
    """A lens on the tokens some tokenizer makes of a text."""
    tokens = token_table("byte_level", text, **made)
    n = len(tokens)
    trace = replace(atlas.from_attention(rows((1, 1, n, n)), ["x"] * n), token_tables={"source": tokens}, texts=Texts(text))
    return StripLens(workspace(replace(trace, _cache={})))


def test_a_character_of_several_tokens_is_written_once():
    tokens = of_table("a 🦄 é!").tokens()
    assert written(tokens).count("🦄") == 1
    assert [token["text"] for token in tokens if token["text"].startswith("<0x")] == ["<0xA6>", "<0x84>"]
    assert "".join(token["gap"] + token["text"] for token in tokens if not token["text"].startswith("<0x")) == "a 🦄 é!"


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (["[CLS]", "the", "doc", "##tor", ".", "[SEP]"], "the doctor ."),
        (["the", "Ġdoc", "tor", "."], "the doctor."),
        (["▁the", "▁doc", "tor", "."], "the doctor."),
    ],
)
def test_a_recording_has_no_text_and_reads_as_one(pieces, said):
    n = len(pieces)
    tokens = StripLens(workspace(atlas.from_attention(rows((1, 1, n, n)), pieces))).tokens()
    assert written(tokens).strip() == said
    assert {(token["word"], token["sentence"], token["pos"], token["entity"]) for token in tokens} == {(-1, -1, "", "")}
    assert [token["position"] for token in tokens] == list(range(n))


def test_what_received_and_what_sent_and_over_how_many_heads():
    trace = both()
    room = workspace(trace)
    lens = StripLens(room)
    every = trace.attention(ENCODER).to_numpy()
    np.testing.assert_allclose(lens.weights(), every[0, 0].mean(0), rtol=1e-5)
    assert lens.line == "attention received from all that see it, encoder L0 H0, the head in focus"
    room.selection.select_heads([HeadId(ENCODER, 0, 1), HeadId(ENCODER, 1, 1), HeadId(CROSS, 0, 0)])
    room.selection.select_tokens([2, 4], axis="from")
    np.testing.assert_allclose(lens.weights(), every[[0, 1], 1][:, [2, 4]].mean((0, 1)), rtol=1e-5)
    assert lens.line == (
        "attention received from 2 selected tokens, mean of encoder L0 H1, L1 H1 (1 head of another kind, not shown)"
    )
    room.display.param.update(aggregate="max", paint="sent")
    room.selection.select_tokens([3], axis="to")
    np.testing.assert_allclose(lens.weights(), every[[0, 1], 1][:, :, 3].max(0), rtol=1e-5)
    assert lens.line.startswith("attention given to 1 selected token, largest of encoder L0 H1, L1 H1")


def test_the_line_over_the_text_never_says_what_was():
    room = workspace(both())
    lens = StripLens(room)
    lens.follow(lens.weights)
    chosen = [HeadId(ENCODER, 0, 1), HeadId(ENCODER, 1, 1)]
    for heads, label, said in (
        (chosen, "", "mean of encoder L0 H1, L1 H1"),
        (chosen, "a box", "mean of encoder 2 heads of a box"),  # no number changes, the words do
        ([*chosen, HeadId(CROSS, 0, 0)], "", "mean of encoder L0 H1, L1 H1 (1 head of another kind, not shown)"),
        (chosen, "", "mean of encoder L0 H1, L1 H1"),
    ):
        room.selection.select_heads(heads, label=label)
        assert lens.line == f"attention received from all that see it, {said}"


def test_more_than_a_reader_would_wait_for_is_said_where_the_paint_would_be(monkeypatch):
    room = workspace(both())
    lens = StripLens(room)
    monkeypatch.setattr(token_scores, "PAINTED_CELLS", 100)
    room.selection.select_heads([head for head in room.trace.head_ids if head.kind == ENCODER])
    room.selection.select_tokens([1, 2])
    assert lens.weights() is None
    assert "Select fewer tokens or fewer heads" in lens.problem
    room.selection.pick(HeadId(ENCODER, 0, 0))
    assert lens.weights() is not None
    assert lens.problem == ""


def test_the_text_that_takes_no_part_is_not_painted():
    trace = both()
    room = workspace(trace)
    source, target = StripLens(room), StripLens(room, "target")
    assert (source.weights() is None, target.weights() is None) == (False, True)
    room.selection.show_kind(CROSS)
    assert (source.weights() is None, target.weights() is None) == (False, True)  # the source receives
    room.display.paint = "sent"
    assert (source.weights() is None, target.weights() is None) == (True, False)  # the target sends
    room.selection.show_kind(DECODER)
    room.display.paint = "received"
    assert (source.weights() is None, target.weights() is None) == (True, False)
    assert (source.problem, target.problem, source.line) == ("", "", "")


def test_the_paint_leaves_out_the_sink_where_sinks_are_hidden():
    room = workspace(single(DECODER))
    lens = StripLens(room)
    values = np.array([0.9, 0.1, 0.3, np.nan, 0.2, 0.1, 0.1, 0.8])  # [CLS] first, [SEP] last
    assert lens.ceiling(values) == 0.3
    room.display.sinks = "shown"
    assert lens.ceiling(values) == 0.9
    room.display.param.update(sinks="hidden", paint="sent")
    assert lens.ceiling(values) == 0.9  # what a sink sends is as good as anybody's
    assert lens.ceiling(np.full(8, np.nan)) == 1.0


# -- heads -------------------------------------------------------------------------------------------------------------


def test_heads_are_measured_anew_for_selected_tokens_and_not_for_selected_heads(monkeypatch):
    from atlas.state import selected_table as module

    asked = []
    monkeypatch.setattr(module, "selected_heads", lambda *a, real=selected_heads: asked.append(a[1:]) or real(*a))
    trace = both()
    room = workspace(trace)
    lens = HeadsLens(room)
    assert asked == []
    whole = lens.table()
    room.selection.select_heads([HeadId(ENCODER, 0, 1)])
    assert lens.table() is whole
    assert len(asked) == 1
    room.selection.select_tokens([2, 4])
    narrow = lens.table()
    expected = selected_heads(trace, ENCODER, {2, 4}, {2, 4})
    for name in ("entropy", "self", "selected"):
        np.testing.assert_allclose(narrow[name], expected[name])
    assert not np.allclose(narrow["entropy"], whole["entropy"])
    assert (
        lens.line == "8 heads, measured on the selection (tokens: doctor, she): too few rows for a role (2; it takes 5); "
        "clusters are of the whole text"
    )
    room.selection.show_kind(CROSS)
    assert set(lens.table()["kind"]) == {CROSS}
    assert len(lens.table()) == 6
    assert lens.points()["selected"].sum() == 0  # the selected head is of another kind


# -- what two reviews found of the matrix ------------------------------------------------------------------------------

PIECES = "the doctors said that the cats ran after the dogs"
"""Some of its words are two tokens."""


def test_a_reading_that_is_refused_has_a_scale_and_a_threshold_all_the_same():
    room = workspace(single())
    lens = MatrixLens(room)
    room.display.param.update(mode="moved", threshold=0.1)
    assert lens.ceiling() == 1.0
    assert lens.plane().rows == ()
    assert "holds weights only" in lens.problem
    room.display.mode = "weight"
    assert lens.ceiling() == np.nanmax(single().attention().to_numpy())  # of all heads; so short that every row is looked at
    assert lens.problem == ""


@pytest.mark.parametrize("name", ["BERT", "GPT-2"])
@pytest.mark.parametrize("setting", ["auto", "shown", "hidden"])
def test_words_of_special_tokens_are_left_out_of_the_scale_like_the_tokens(name, setting):
    trace = traced(name, PIECES)
    room = workspace(trace)
    lens = MatrixLens(room)
    room.display.param.update(level="word", sinks=setting)
    table = trace.tokens()
    sink = table["special"].to_numpy(bool) | ((np.arange(len(table)) == 0) & (name == "GPT-2"))
    # A token of no word is a unit of its own.
    words = np.where(table["word"] < 0, -1 - np.arange(len(table)), table["word"])
    units = list(dict.fromkeys(words.tolist()))
    sinks = np.array([sink[words == unit].any() for unit in units])
    hidden = setting == "hidden" or (setting == "auto" and name == "GPT-2")
    differs = set()
    for head in trace.head_ids:
        room.selection.focus_on(head)
        whole = lens.plane().whole
        assert whole.shape == (len(units), len(units))
        assert lens.ceiling() == np.nanmax(whole[:, ~sinks] if hidden else whole)
        differs.add(lens.ceiling() < np.nanmax(whole))
    assert (True in differs) == hidden


@pytest.mark.parametrize("kind", [ENCODER, DECODER, CROSS])
def test_a_word_stands_for_its_tokens_and_a_token_is_in_its_word(kind):
    trace = traced("T5", PIECES)
    room = workspace(trace)
    lens = MatrixLens(room)
    room.selection.show_kind(kind)
    tokens = lens.plane()
    assert tokens.tokens("row", 3) == tokens.places("row", {3}) == {3}
    room.display.level = "word"
    plane = lens.plane()
    several = 0
    for axis, names in (("row", plane.rows), ("column", plane.columns)):
        table = trace.tokens(trace.side(kind, {"row": "query", "column": "key"}[axis]))
        parts = [plane.tokens(axis, at) for at in range(len(names))]
        assert sorted(token for part in parts for token in part) == list(range(len(table)))
        for at, (name, part) in enumerate(zip(names, parts, strict=True)):
            assert len(set(table["word"].iloc[sorted(part)])) == 1
            written = "".join(table["token"].iloc[sorted(part)])
            assert name == written
            assert plane.places(axis, part) == {at}
            for token in part:
                assert plane.places(axis, {token}) == {at}
            several += len(part) > 1
        assert plane.places(axis, {0, 1, len(table) - 1}) == {
            at for at, part in enumerate(parts) if part & {0, 1, len(table) - 1}
        }
        assert plane.places(axis, frozenset()) == frozenset()
    assert several >= 2 or kind == DECODER


@pytest.mark.parametrize("mode", ["column", "rollout", "moved"])
def test_a_reading_that_has_no_words_says_that_it_shows_tokens(mode):
    trace = traced("BERT", PIECES)
    room = workspace(trace)
    lens = MatrixLens(room)
    room.display.param.update(level="word", mode=mode)
    assert lens.plane().rows[1] == "the"
    assert len(lens.plane().rows) == len(trace.tokens())
    assert lens.line.endswith(", tokens (this reading has no words)")
    room.display.level = "token"
    lens.plane()
    assert "tokens (" not in lens.line
    room.display.param.update(level="word", mode="weight")
    lens.plane()
    assert lens.line.endswith("attention weight, words")


def test_whose_numbers_they_are_is_said_shortly():
    room = workspace(both())
    lens = MatrixLens(room)
    assert lens.whose() == "L0 H0"
    room.selection.pick(HeadId(ENCODER, 1, 3))
    assert lens.whose() == "L1 H3"
    room.selection.select_heads([HeadId(ENCODER, 0, 1), HeadId(ENCODER, 1, 3), HeadId(CROSS, 0, 0)])
    assert lens.whose() == "mean of 2 heads"
    room.display.aggregate = "max"
    assert lens.whose() == "max of 2 heads"
    room.display.mode = "rollout"
    assert lens.whose() == "to layer 1"


def test_a_cell_of_tokens_says_where_they_stand_and_one_of_words_their_names():
    room = workspace(single(tokens=("the", "cat", "saw", "the", "dog")))
    lens = MatrixLens(room)
    found = lens.cell(3, 0)
    assert (found["row"], found["column"]) == ("the (3)", "the (0)")
    room.display.mode = "rollout"
    assert lens.cell(4, 1) == {
        "row": "dog (4)",
        "column": "cat (1)",
        "value": float(windows.rollout(room.trace, ENCODER, 0)[4, 1]),
    }
    room = workspace(traced("BERT", PIECES))
    room.display.level = "word"
    found = MatrixLens(room).cell(2, 1)
    assert (found["row"], found["column"]) == ("doctors", "the")


def test_an_edge_that_was_cut_has_a_score_of_minus_infinity_and_no_weight():
    trace = loaded("BERT").trace(TEXT, keep="qk", capture=(), knock_out=[((1, 2), 5, 7)])
    room = workspace(trace)
    lens = MatrixLens(room)
    room.selection.pick(HeadId(ENCODER, 1, 2))
    cut, beside = lens.cell(5, 7), lens.cell(5, 8)
    assert cut["masked"] == -np.inf
    assert np.isnan([cut["softmax"], cut["value"]]).all()
    assert np.isfinite([cut["q·k"], cut["scaled"], beside["masked"]]).all()
    assert "rank" not in cut
    assert beside["of"] == len(trace.tokens()) - 1


# -- what two reviews found of the Map ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("queries", "keys"), [((2, 5), ()), ((2, 5), (3,)), ((), (3,))])
@pytest.mark.parametrize("metric", ["entropy", "self", "distance"])
def test_heads_are_ordered_by_what_they_do_in_the_selected_rows(metric, queries, keys):
    trace = single(layers=3, heads=6, seed=4)
    room = workspace(trace)
    lens = MapLens(room)
    room.display.order = metric
    whole = numbers(lens.layout())
    room.selection.select_pairs(queries, keys)
    weights = trace.attention().to_numpy().astype(float)[:, :, list(queries) or slice(None)]
    at = np.array(queries or range(len(SOURCE)))
    values = {
        "entropy": -(weights * np.log(weights)).sum(-1).mean(-1),
        "self": weights[:, :, np.arange(len(at)), at].mean(-1),
        "distance": (weights * np.abs(at[:, None] - np.arange(len(SOURCE)))).sum(-1).mean(-1),
    }[metric]
    order = np.argsort(-values.ravel(), kind="stable").reshape(values.shape)
    expected = [[divmod(at, values.shape[1]) for at in row] for row in order.tolist()]
    assert numbers(lens.layout()) == expected
    assert (whole != expected) == bool(queries)
    room.selection.clear()
    assert numbers(lens.layout()) == whole


def test_the_map_says_whose_it_is():
    lens = MapLens(workspace(traced("BERT")))
    lens.layout()
    assert lens.line.startswith(f"{lens.trace.provenance['model']}: 3 layers × 4 heads, ")


# -- what two reviews found of the strip and the heads -----------------------------------------------------------------


@pytest.mark.parametrize("paint", ["received", "sent"])
def test_what_cannot_be_painted_is_not_said_to_be_shown(monkeypatch, paint):
    room = workspace(both())
    lens = StripLens(room)
    room.display.paint = paint
    assert lens.weights() is not None
    assert lens.line
    monkeypatch.setattr(token_scores, "PAINTED_CELLS", 10)
    room.selection.select_tokens([1, 2])
    assert lens.weights() is None
    assert lens.line == ""
    assert "Select fewer tokens or fewer heads" in lens.problem
    room.selection.clear()
    assert lens.weights() is not None
    assert (lens.problem, bool(lens.line)) == ("", True)


def test_what_the_number_of_a_token_is():
    room = workspace(both())
    lens = StripLens(room)
    assert lens.meaning() == "receives"
    room.display.paint = "sent"
    assert lens.meaning() == "gives at most"
    room.selection.select_tokens([1], axis="to")
    assert lens.meaning() == "gives"


def test_of_rows_that_see_one_token_only_no_job_and_no_place_is_known():
    room = workspace(single(DECODER, layers=3, heads=4))
    lens = HeadsLens(room)
    assert "N/A" not in set(lens.table()["role"])
    assert np.isfinite(lens.points()[["x", "y"]]).all(axis=None)
    few = "Punctuation mass 2, Long-range mass 3"  # 8 tokens
    assert lens.line == f"12 heads, measured on all tokens; too few rows (under 5) for a role: {few}"
    room.selection.select_tokens([0], axis="from")
    assert set(lens.table()["role"]) == {"N/A"}
    points = lens.points()
    assert len(points) == 12
    assert points[["x", "y"]].isna().all(axis=None)
    assert lens.line.startswith("12 heads, measured on the selection (from: [CLS]")
    assert "where a row sees one token only, heads cannot differ" in lens.line
    assert [chip["label"] for group in lens.groups() if group["name"] == "Roles" for chip in group["chips"]] == ["N/A"]
    room.selection.select_tokens([0, 3], axis="from")  # one row that sees more is enough
    assert "N/A" not in set(lens.table()["role"])
    assert "cannot differ" not in lens.line


def test_few_rows_are_said_in_the_line_and_with_every_point():
    room = workspace(single(DECODER, layers=3, heads=4))
    room.display.param.update(colour="punctuation", size="self", layout="metrics", x="previous", y="entropy")
    lens = HeadsLens(room)
    assert lens.rows_of("punctuation") == 2
    assert lens.rows_of("entropy") is None
    room.selection.select_tokens([3, 4], axis="from")
    assert set(lens.table()["role"]) == {"too few rows"}
    assert ": too few rows for a role (2; it takes 5)" in lens.line
    points = lens.points()
    assert np.isfinite(points[["x", "y"]]).all(axis=None)  # their metrics are known all the same
    for place in ("x", "size"):
        assert set(points[f"{place}_rows"]) == {2}
    assert "y_rows" not in points
    assert [chip["label"] for group in lens.groups() if group["name"] == "Roles" for chip in group["chips"]] == ["too few rows"]


def test_why_a_metric_is_not_known_is_said():
    room = workspace(single(DECODER))
    lens = HeadsLens(room)
    assert lens.unknown("entropy") == ""
    assert lens.unknown("induction") == "Induction is not known of any head on this text."  # no token is repeated
    assert lens.unknown("selected") == "The weight on selected keys is known once tokens are selected as 'to'."
    room.selection.select_tokens([3], axis="from")
    assert lens.unknown("selected") == "The weight on selected keys is known once tokens are selected as 'to'."
    room.selection.select_tokens([2], axis="to")
    assert lens.unknown("selected") == ""
    room.selection.select_pairs([0], [])
    assert lens.unknown("entropy") == "Entropy is not known of any head on from: [CLS]."
    assert HeadsLens(workspace()).unknown("entropy") == ""


def test_a_role_is_a_role_on_the_tokens_it_was_read_from():
    room = workspace(single())
    lens = HeadsLens(room)
    role = lens.table()["role"].iloc[0]
    assert lens.members(f"role:{role}")[1] == f"role {role!r}"
    room.selection.select_tokens([2, 4])
    role = lens.table()["role"].iloc[0]
    heads, label = lens.members(f"role:{role}")
    assert heads == [head for head, own in zip(lens.ids(), lens.table()["role"], strict=True) if own == role]
    assert label == f"role {role!r} (tokens: doctor, she)"
    cluster = lens.table()["cluster"].iloc[0]
    assert lens.members(f"cluster:{cluster}")[1] == f"cluster {cluster!r}"  # of the whole text


@pytest.mark.parametrize("n", [8, 64, 65, 200])
def test_colours_of_many_tokens_go_by_the_root_and_the_line_says_so(n):
    room = workspace(single(DECODER, 1, 2, tuple(map(str, range(n)))))
    lens = StripLens(room)
    values = lens.weights()
    share = np.minimum(values / lens.ceiling(values), 1)
    np.testing.assert_allclose(lens.shades(values), share if n <= 64 else share**0.5)
    assert lens.line.endswith("; colours by its square root") == (n > 64)
