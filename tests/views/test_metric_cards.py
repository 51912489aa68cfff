"""The metric cards, without a page: numbers against the weights, and selection both ways."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import panel as pn
import pytest
from bokeh.models import GlyphRenderer, HoverTool

import atlas
from atlas.ids import HeadId
from atlas.plots.metric_cards import heights, metric_columns
from atlas.plots.row_words import WORDS
from atlas.state import metric_cards as state
from atlas.state.corpora import Corpora, named
from atlas.state.metric_cards import ALL, DEPTH, SHOWN
from atlas.state.workspace import Workspace
from atlas.tracing import metric_cards as tracing
from atlas.tracing.corpus_heads import quantiles
from atlas.views.metric_cards import MetricCardsView
from tests.engine.families import TARGET, TEXT, loaded
from tests.state.readers import CROSS, DECODER, ENCODER, both, never, rows, single, workspace
from tests.tracing.corpora import METRICS
from tests.views.test_corpus import HEADS, PREVIOUS, made_corpus, numbers
from tests.views.test_corpus import trace as decoder_trace

CASES = [("BERT", ENCODER), ("GPT-2", DECODER), ("T5", CROSS), ("bert-mini", ENCODER)]

GESTURE_BYTES = 300_000
"""What a gesture may send."""


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(name):
    model = atlas.load(name) if name == "bert-mini" else loaded(name)
    return model.trace(TEXT, keep="weights", capture=(), **({"target": TARGET} if "cross" in model.kinds else {}))


def view_of(trace, kind=None):
    room = workspace(trace)
    if kind:
        room.selection.show_kind(kind)
    return room, MetricCardsView(room)


def card_of(view, metric):
    return next(card for card in view.metrics.cards() if card.metric == metric)


def plain(weights, metric):
    """A metric of one head from its weights, NaN where masked, over rows that see two keys or more."""
    weights = weights[(~np.isnan(weights)).sum(1) > 1]
    seen = (~np.isnan(weights)).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "confidence_max": np.nanmax(weights),
            "confidence_mean": np.nanmax(weights, 1).mean(),
            "entropy": np.nansum(np.where(weights > 0, -weights * np.log(weights), 0.0), 1).mean(),
            "sparsity": (weights < (1 - 1e-6) / seen[:, None])[~np.isnan(weights)].mean(),
            "uniformity": np.nanstd(weights),
            "median": np.nanmedian(weights),
            "balance": weights[:, 0].mean(),  # [CLS] stands first in these texts
        }[metric]


@pytest.mark.parametrize("queries", [(), (2, 5)])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_values_uniform_values_and_ranks_are_what_the_weights_say(name, kind, queries):
    trace = traced(name)
    room, view = view_of(trace, kind)
    chosen = [HeadId(kind, 1, 0), HeadId(kind, 1, 1)]
    room.selection.select_heads(chosen)
    room.selection.select_pairs(queries, [])
    weights = trace.attention(kind, queries=list(queries) or None).to_numpy().astype(float)
    evenly = np.where(np.isnan(weights), np.nan, 1.0) / (~np.isnan(weights)).sum(-1, keepdims=True)
    has_anchor = bool(trace.tokens(trace.side(kind, "key"))["special"].iloc[0])
    for metric in SHOWN:
        card = card_of(view, metric)
        if metric == "balance" and not has_anchor:
            assert np.isnan(card.value)
            assert card.standing() == "no [CLS] or BOS among these tokens"
            continue
        each = np.array([[plain(head, metric) for head in layer] for layer in weights])
        np.testing.assert_allclose(card.values, each.ravel(), rtol=2e-4, atol=1e-6, err_msg=metric)
        assert card.value == pytest.approx(each[1, :2].mean(), rel=2e-4, abs=1e-6)
        assert card.value_uniform == pytest.approx(np.mean([plain(evenly[1, head], metric) for head in (0, 1)]), abs=1e-6)
        lower = int((card.values < card.value).sum())
        assert card.standing() == f"higher than {lower:,} of {each.size:,} heads"
    change = tracing.whole_metrics(trace, kind, queries)  # compared with scipy in its own test
    card = card_of(view, DEPTH)
    np.testing.assert_allclose(card.values, change.change)
    assert card.value == pytest.approx(change.change[0])


def test_the_focused_head_is_looked_at_where_none_is_selected_and_all_of_them_on_request():
    room, view = view_of(single())
    room.selection.focus_on(HeadId(ENCODER, 1, 2))
    assert view.metrics.looked_at() == (HeadId(ENCODER, 1, 2),)
    card = card_of(view, "entropy")
    assert card.value == card.values[5]
    assert view.metrics.line == "Head in focus, L1 H2, among 6 heads; measured on all rows"
    room.selection.select_heads([HeadId(ENCODER, 0, 0), HeadId(ENCODER, 0, 1)])
    assert card_of(view, "entropy").value == pytest.approx(card.values[:2].mean())
    assert card_of(view, DEPTH).standing() == "no layer before the first"
    view.metrics.choices.show = ALL
    card = card_of(view, "entropy")
    assert (card.value, card.standing()) == (pytest.approx(card.values.mean()), "mean of all 6 heads")
    assert view.metrics.line == "Mean of all 6 heads; measured on all rows"


def test_heads_of_another_kind_are_not_looked_at():
    room, view = view_of(both(), CROSS)
    room.selection.select_heads([HeadId(ENCODER, 0, 1), HeadId(CROSS, 2, 1)])
    room.selection.show_kind(CROSS)
    assert view.metrics.looked_at() == (HeadId(CROSS, 2, 1),)
    assert len(card_of(view, "entropy").values) == 6


def drawn(root):
    """Columns of each glyph on the figure, by the names of the columns that it has."""
    glyphs = [model for model in root.references() if isinstance(model, GlyphRenderer)]
    return {frozenset(glyph.data_source.data): glyph.data_source.data for glyph in glyphs}


def test_what_is_on_screen_follows_heads_tokens_and_traces():
    room, view = view_of(single())
    root = pn.panel(view).get_root()
    for change in (
        lambda: room.selection.pick(HeadId(ENCODER, 1, 1)),
        lambda: room.selection.select_tokens([2, 3]),
        lambda: room.pipeline.show(both()),
        lambda: room.selection.show_kind(CROSS),
    ):
        change()
        columns, shown = metric_columns(view.strips()), drawn(root)
        for name in ("heads", "steps", "shown"):
            for column, values in columns[name].items():
                np.testing.assert_array_equal(shown[frozenset(columns[name])][column], values)
        (words,) = (axis.major_label_overrides for axis in root.references() if getattr(axis, "name", "") == WORDS)
        card = card_of(view, "entropy")
        assert words[2].startswith(f"{card.value:.3g} · {card.standing()}\nuniform attention: ")
    assert view.redrawn == 0


def test_a_tap_on_a_point_selects_its_head_and_a_tap_on_a_step_its_layer():
    room, view = view_of(single())
    strips = view.strips()
    for row, item in ((1, 4), (2, 0)):
        view._tapped(float(strips[row].place(strips[row].values)[item]), float(heights(strips[row], row)[item]))
        assert room.selection.heads == {HeadId(ENCODER, *divmod(item, 3))}
        assert (room.selection.origin, view.metrics.looked_at()) == ("metric_cards", tuple(room.selection.heads))
    view._tapped(float(strips[2].place(strips[2].values)[0]), float(heights(strips[2], 2)[0]))
    assert room.selection.heads == frozenset()  # the same again lets go
    last = len(strips) - 1
    view._tapped(float(strips[last].place(strips[last].values)[0]), float(last))
    assert (room.selection.heads, room.selection.label) == ({HeadId(ENCODER, 1, head) for head in range(3)}, "layer 1")
    before = room.selection.heads
    for x, y in ((5.0, 1.0), (0.5, 40.0), (0.5, -3.0)):
        view._tapped(x, y)
    assert room.selection.heads == before


def test_too_many_weights_leave_the_other_metrics_and_say_what_to_do(monkeypatch):
    monkeypatch.setattr(tracing, "ALL_CELLS", 100)
    room, view = view_of(single(seed=7))
    assert card_of(view, "median").standing() == card_of(view, DEPTH).standing() == "see below"
    assert "Select fewer tokens as 'from'" in view.metrics.note()
    assert (view.problem, card_of(view, "entropy").known) == ("", 6)
    room.selection.select_tokens([3, 4], axis="from")
    assert view.metrics.note() == ""
    assert np.isfinite(card_of(view, "median").values).all()


def test_the_export_has_every_value_and_the_mean_of_those_looked_at():
    room, view = view_of(single())
    room.selection.select_heads([HeadId(ENCODER, 0, 1), HeadId(ENCODER, 1, 0)])
    table = view.export().table
    assert list(dict.fromkeys(table["metric"])) == [*SHOWN, DEPTH]
    own = table[table["metric"] == "sparsity"]
    np.testing.assert_allclose(own["value"], single().heads["sparsity"])
    assert own["mean_shown"].unique() == pytest.approx(own["value"][own["shown"]].mean())
    steps = table[table["metric"] == DEPTH]
    assert steps["head"].isna().all()
    assert steps["layer"].tolist() == [1]


def test_1_200_heads_are_less_than_a_gesture_may_send():
    trace = atlas.from_attention(rows((25, 48, 8, 8)), [f"t{i}" for i in range(8)], kind=ENCODER)
    _, view = view_of(trace)
    root = pn.panel(view).get_root()
    view.metrics.choices.show = ALL
    # All columns at once: more than any gesture changes.
    size = sum(np.asarray(values).nbytes for data in drawn(root).values() for values in data.values())
    assert len(metric_columns(view.strips())["shown"]["x"]) == 7 * 1200 + 24
    assert size < GESTURE_BYTES
    hover = [model for model in root.references() if isinstance(model, HoverTool)]
    assert hover
    assert all(each.formatters == {"@{value}": "printf"} and "@{value}{%.3g}" in each.tooltips for each in hover)


def test_other_heads_send_marks_alone():
    room, view = view_of(single())
    root = pn.panel(view).get_root()
    columns = metric_columns(view.strips())
    before = {name: drawn(root)[frozenset(columns[name])]["at_x"] for name in ("heads", "steps")}
    room.selection.select_heads([HeadId(ENCODER, 0, 1), HeadId(ENCODER, 1, 1)])
    for name, places in before.items():
        assert drawn(root)[frozenset(columns[name])]["at_x"] is places
    assert len(drawn(root)[frozenset({"x", "y"})]["x"]) == 2 * len(SHOWN) + 1


@pytest.mark.parametrize("limit", ["QUICK_CELLS", "QUICK_HEADS"])
def test_many_weights_are_asked_for_and_give_the_same_numbers(monkeypatch, limit):
    quick = view_of(single(seed=8))[1]
    expected = card_of(quick, "median").values
    monkeypatch.setattr(state, limit, 0)
    asked, real = [], state.MetricCardsLens.ask
    monkeypatch.setattr(state.MetricCardsLens, "ask", lambda *given, **more: asked.append(given) or real(*given, **more))
    room, view = view_of(atlas.from_attention(rows((2, 3, 8, 8), 8), [f"t{i}" for i in range(8)], kind=ENCODER))
    np.testing.assert_allclose(card_of(view, "median").values, expected)
    room.selection.select_tokens([1, 2])
    found = card_of(view, DEPTH).values
    assert len(asked) == 2
    np.testing.assert_allclose(found, tracing.whole_metrics(view.metrics.trace, ENCODER, (1, 2)).change)


def test_the_same_heads_over_a_corpus_stand_beside_their_values():
    room = Workspace(never, corpora=Corpora(opened=named([made_corpus()])))
    room.pipeline.show(decoder_trace())
    view = MetricCardsView(room)
    held = numbers()[:, :, METRICS.index("sparsity")]  # (text, head)
    card = card_of(view, "sparsity")
    np.testing.assert_allclose(card.over_texts.values, held.mean(0), rtol=1e-6)
    room.selection.pick(PREVIOUS)
    found = card_of(view, "sparsity").over_texts
    assert found.value == pytest.approx(held[:, 6].mean())
    # A quantile is within a bin of the truth.
    error = quantiles(made_corpus(), "sparsity")["error"].max()
    assert found.low == pytest.approx(np.quantile(held[:, 6], 0.05, method="inverted_cdf"), abs=error)
    assert found.high == pytest.approx(np.quantile(held[:, 6], 0.95, method="inverted_cdf"), abs=error)
    strip = view.strips()[SHOWN.index("sparsity")]
    columns = metric_columns(view.strips())["texts"]
    assert columns["texts_x"][SHOWN.index("sparsity")] == pytest.approx(float(strip.place(found.value)))
    assert "60 texts of stories" in view.metrics.over_texts()
    assert card_of(view, DEPTH).over_texts is None
    room.selection.select_heads([HEADS[6], HEADS[7]])
    found = card_of(view, "sparsity").over_texts
    assert found.value == pytest.approx(held[:, 6:8].mean())
    assert np.isnan(found.low)
    # Figures of whole texts are no reference for single rows.
    room.selection.select_tokens([2])
    assert card_of(view, "sparsity").over_texts is None
    assert view.metrics.over_texts().startswith("A corpus has no figures of single rows")


def test_without_a_corpus_there_are_no_triangles():
    _, view = view_of(single())
    assert np.isnan(metric_columns(view.strips())["texts"]["texts_x"]).all()
    assert view.metrics.over_texts() == ""
