"""The step-by-step view, without a page: its numbers against the model's own, and selection both ways."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import holoviews as hv
import numpy as np
import panel as pn
import pytest
from bokeh.document import Document
from bokeh.events import Tap
from bokeh.models import Plot

import atlas
from atlas.ids import HeadId
from atlas.plots.colours import BACKGROUND
from atlas.plots.frame import number
from atlas.plots.raster import signed_scale
from atlas.plots.steps import STRIP_LINES, block_edges, strip_pixels, strip_ranges
from atlas.state.prediction_words import digits
from atlas.state.steps import MOST_KEYS, MOST_SELECTED
from atlas.tracing.steps import row_steps
from atlas.views.steps import POINT, StepsView, _value_strips
from tests import printed
from tests.engine.families import TARGET, TEXT, loaded
from tests.state.readers import single, workspace

CASES = [("BERT", "encoder"), ("Llama", "decoder"), ("Gemma2", "decoder"), ("GPT-OSS", "decoder"), ("T5", "encoder"),
         ("T5", "decoder"), ("T5", "cross"), ("gpt-mini", "decoder")]  # fmt: skip


GESTURE_BYTES = 300_000
"""What a gesture may send."""


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(name):
    model = atlas.load(name) if name.endswith("-mini") else loaded(name)
    return model.trace(TEXT, keep="weights", capture=("head_outputs",), **({"target": TARGET} if "cross" in model.kinds else {}))


def view_of(name, kind=None):
    room = workspace(traced(name))
    if kind:
        room.selection.focus_on(HeadId(kind, 1, 1))
    return room, StepsView(room)


def numbers_in(group):
    return {row["label"]: (row["number"], row["note"]) for row in group["rows"]}


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_strips_and_columns_are_those_of_the_models_own_q_and_k(name, kind):
    room, view = view_of(name, kind)
    room.selection.select_tokens([5], axis="from")
    attention = traced(name).attention_of(kind)
    layer = attention.layers[1]
    q, k = layer.query[1, 5], layer.key[1 * len(layer.key) // layer.n_heads]
    strips = view.key_strips()
    shown = view.steps.shown()
    keys = list(shown.keys)
    weights = layer.weights[1, 5]
    visible = np.flatnonzero(np.isfinite(attention.block(1, 1)[5]))
    assert keys == visible[np.argsort(-weights[visible], kind="stable")].tolist()[:MOST_KEYS]
    if kind == "decoder":
        assert max(keys) <= 5  # a causal model never shows the future
    np.testing.assert_allclose(strips.blocks[0].values, np.concatenate([q[None], k[keys]]), rtol=1e-5)
    np.testing.assert_allclose(strips.blocks[1].values[1:], q * k[keys], rtol=1e-5)
    assert np.isnan(strips.blocks[1].values[0]).all()
    steps = row_steps(traced(name), HeadId(kind, 1, 1), 5)
    np.testing.assert_allclose(strips.bars[1:], weights[keys], atol=1e-5)
    assert strips.numbers["weight"] == ["", *[number(float(weight)) for weight in strips.bars[1:]]]
    assert strips.numbers["q·k"][1:] == [number(float(value)) for value in steps.steps["dot"][keys]]
    has = {"scaled": layer.scaling != 1, "capped": layer.softcap is not None, "+ bias": layer.bias is not None}
    assert list(strips.numbers) == ["q·k", *[title for title, there in has.items() if there], "weight"]
    values = layer.value[1 * len(layer.value) // layer.n_heads]
    below, key = view.value_strips(), keys[shown.chosen]
    mix = np.nan_to_num(weights[visible]) @ values[visible]
    expected = [values[key], weights[key] * values[key], mix]
    np.testing.assert_allclose(below.blocks[0].values, expected, rtol=1e-3, atol=1e-4 * np.abs(values).max())
    out = traced(name).captured("output_projection")[kind, 1][1]
    found, reason = view.steps.written()
    assert reason == ""
    assert found.mix == pytest.approx(np.linalg.norm(mix @ out), rel=1e-3)
    assert below.numbers["written"] == ["", number(float(found.by_key[key])), number(found.mix)]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_list_leads_from_number_to_number_to_the_weight_shown(name, kind):
    room, view = view_of(name, kind)
    room.selection.select_tokens([5], axis="from")
    group = view.steps.steps()
    said, shown = numbers_in(group), view.steps.shown()
    key = shown.keys[0]
    assert group["name"].startswith(f"{shown.query_name} → {shown.names[0]}")
    as_number = {label: printed.number(value) for label, (value, _) in said.items()}
    score = as_number["q·k"]
    row = shown.row
    if "scaled" in said:
        score *= row.scaling
        assert score == pytest.approx(as_number["scaled"], rel=1e-4, abs=1e-6)
    if "capped" in said:
        score = row.softcap * np.tanh(score / row.softcap)
        assert score == pytest.approx(as_number["capped"], rel=1e-4)
    if "+ bias" in said:
        score += float(row.bias[key])
    assert score == pytest.approx(as_number["mask"], rel=1e-4, abs=1e-4)
    assert as_number["exponent"] == pytest.approx(np.exp(as_number["mask"] - row.top), rel=1e-2)
    assert as_number["exponent"] / as_number["sum"] == pytest.approx(as_number["weight"], abs=1e-4)
    assert said["weight"][0] == digits(float(traced(name).attention_of(kind).layers[1].weights[1, 5, key])) or as_number[
        "weight"
    ] == pytest.approx(float(row.weights[key]), abs=1e-5)
    assert ("sink" in said["sum"][1]) == (name == "GPT-OSS")


def test_a_weight_whose_square_single_precision_cannot_hold_still_gives_a_length():
    v = np.full((2, 4), 3.0, np.float32)
    row = SimpleNamespace(v=v, weights=np.array([1.0, 2e-36], np.float32), mix=v[0])
    below = _value_strips(SimpleNamespace(row=row, names=["one", "other"], chosen=1), 1, None)
    assert below.numbers["length"] == ["6", "1.2·10⁻³⁵", "6"]


def test_pixels_are_the_colours_of_the_numbers_and_strips_do_not_touch():
    _, view = view_of("BERT")
    strips = view.key_strips()
    pixels = strip_pixels(strips)
    width = len(strips.blocks[0].values[0])
    for at, values in enumerate(strips.blocks[0].values):
        how = signed_scale(strips.blocks[0].limits[at])
        np.testing.assert_array_equal(pixels[at * STRIP_LINES, :width], how.level(values))
        assert (pixels[at * STRIP_LINES + STRIP_LINES - 1] == BACKGROUND).all()
    assert (pixels[0, width:] == BACKGROUND).all()  # q has no product of its own


def test_a_tap_on_a_row_selects_its_key_and_again_lets_it_go():
    room, view = view_of("BERT")
    figure = hv.render(view._keys())
    document = Document()
    document.add_root(figure)
    key = view.steps.shown().keys[2]

    def tap(row, **more):
        document.callbacks.trigger_event(Tap(figure, sx=0, sy=0, x=0.2, y=row + 0.5, **more))

    tap(3)
    assert (room.selection.keys, room.selection.queries) == ({key}, frozenset())
    assert view.steps.shown().names[view.steps.shown().chosen].endswith(f"({key})")
    assert view.steps.steps()["name"].split(" → ")[1].startswith(view.steps.shown().names[2])
    tap(1, modifiers={"shift": True})
    assert len(room.selection.keys) == 2
    tap(0)
    assert len(room.selection.keys) == 2  # q is no key
    room.selection.select_tokens([key], axis="to")
    tap(3)
    assert room.selection.keys == frozenset()


def test_the_rows_are_the_strongest_keys_and_the_selected_ones_and_the_rest_is_said(monkeypatch):
    monkeypatch.setattr("atlas.state.steps.MOST_KEYS", 4)
    room, view = view_of("BERT")
    weights = traced("BERT").attention_of().block(0, 0)[-1]
    order = np.argsort(-weights, kind="stable")
    room.selection.select_tokens([int(order[9])], axis="to")
    shown = view.steps.shown()
    assert list(shown.keys) == [*order[:4], order[9]]
    rest = np.delete(order, [0, 1, 2, 3, 9])
    said = f"… and {len(rest)} weaker keys with {100 * weights[rest].sum():.3g} % of the weight."
    assert view.steps.notes().startswith(said)
    assert shown.chosen == 4
    assert len(view.export().table) == 5
    room.selection.select_tokens(range(len(order)), axis="to")
    assert len(view.steps.shown().keys) == 4 + MOST_SELECTED
    assert "more than fit" in view.steps.notes()


def test_the_query_is_the_first_selected_one_else_the_last_token_and_a_hidden_key_is_said():
    room, view = view_of("GPT-2")
    last = len(traced("GPT-2").tokens()) - 1
    assert view.steps.shown().row.query == last
    view.steps.shown()
    assert "because no query is selected" in view.lens.line
    room.selection.select_pairs([7, 3], [9])
    assert view.steps.shown().row.query == 3
    assert view.lens.line.startswith("L0 H0, the head in focus, from that (3)") or "(3), first selected" in view.lens.line
    assert 9 not in view.steps.shown().keys
    assert "1 selected key without a row: this query may not look there." in view.steps.notes()


def test_what_is_shared_or_absent_or_not_recorded_is_said():
    _, llama = view_of("Llama")
    assert "Heads H0, H1 share these k and v (grouped keys)" in llama.steps.notes()
    assert "What they were before is not recorded" in llama.steps.notes()
    _, t5 = view_of("T5", "encoder")
    assert "Not in this attention: scaling, softcap." in t5.steps.notes()
    _, sinks = view_of("GPT-OSS")
    row = sinks.steps.shown().row
    assert f"takes {100 * row.sink_share:.3g} %" in sinks.steps.notes()
    assert StepsView.fits(single()).startswith("this trace holds weights only")


def test_a_cell_under_the_pointer_says_its_number():
    _, view = view_of("BERT")
    strips = view.key_strips()
    (left, right), (begins, _) = block_edges(strips)
    step = (right - left) / 8
    view._pointed_above(left + 3.5 * step, 2.5)
    assert view.under.object == f"k of {strips.names[2]}   dimension 3   {number(float(strips.blocks[0].values[2, 3]))}"
    view._pointed_above(begins + 0.5 * step, 2.5)
    assert view.under.object.endswith(f"dimension 0   {number(float(strips.blocks[1].values[2, 0]))}")
    view._pointed_above(begins + 0.5 * step, 0.5)
    assert view.under.object == POINT


def test_other_rows_change_the_drawn_plots_in_place_and_send_little():
    room, view = view_of("BERT")
    card = pn.panel(view)
    root = card.get_root()
    plots = [model for model in root.references() if isinstance(model, Plot)]
    for query in (3, 8):
        room.selection.select_tokens([query], axis="from")
        sources = [each.data_source for plot in plots for each in plot.renderers]
        texts = [list(source.data["text"]) for source in sources if "text" in source.data]
        for strips in (view.key_strips(), view.value_strips()):
            assert [text for column in strips.numbers.values() for text in column] in texts
        assert sum(np.asarray(column).nbytes for source in sources for column in source.data.values()) < GESTURE_BYTES
    assert view.redrawn == 0


def test_more_rows_than_there_was_room_for_are_shown_without_another_plot():
    room, view = view_of("BERT")
    root = pn.panel(view).get_root()
    figures = [model for model in root.references() if isinstance(model, Plot)]
    n = len(view.steps.trace.tokens())
    for keys in (range(n), [1], range(n)):
        room.selection.select_pairs([5], keys)
        rows = len(view.key_strips().names)
        assert (rows > MOST_KEYS + 1) == (len(keys) > 1)
        starts = sorted((figure.y_range.start, figure.y_range.end) for figure in figures)
        assert starts == sorted(strip_ranges(strips)[1] for strips in (view.key_strips(), view.value_strips()))
    assert view.redrawn == 0


def test_what_is_written_is_read_in_one_more_run_and_a_model_that_is_gone_is_said(monkeypatch):
    trace = loaded("BERT").trace(TEXT, capture=())
    view = StepsView(workspace(trace))
    found, reason = view.steps.written()
    assert reason == ""
    assert found.mix > 0
    gone = loaded("BERT").trace(TEXT, capture=())
    object.__setattr__(gone, "live", None)
    view = StepsView(workspace(gone))
    assert view.steps.written()[0] is None
    assert "its model is not here" in view.steps.notes()
    assert view.value_strips().numbers["written"] == ["", "", ""]
