"""Similarity of heads, against plain loops over pairs and rows; and what gestures on it do."""

from __future__ import annotations

import itertools
import time

import holoviews as hv
import numpy as np
import panel as pn
import pytest
from bokeh.document import Document
from bokeh.events import KeyModifiers, Tap
from bokeh.models import GlyphRenderer, Image, LinearAxis
from scipy.spatial.distance import jensenshannon

import atlas
from atlas.errors import NotCaptured, TooLarge
from atlas.ids import HeadId
from atlas.metrics.similarity import directions
from atlas.state.similar_heads import SimilarHeadsLens
from atlas.tracing import similar_heads as module
from atlas.tracing.similar_heads import PATTERN, WRITES, similar_heads, without_similarity
from atlas.views.similar_heads import SimilarHeadsView
from tests.engine.families import TEXT, loaded
from tests.engine.test_predict import traced
from tests.state.readers import rows, single, workspace


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def plain_pattern(trace, kind, heads, queries):
    """Row by row with SciPy's distance, whose square is the divergence."""
    weights = np.nan_to_num(trace.attention(kind).to_numpy().astype(np.float64))
    found = np.eye(len(heads))
    for (i, a), (j, b) in itertools.permutations(enumerate(heads), 2):
        squares = [jensenshannon(weights[a.layer, a.head, q], weights[b.layer, b.head, q], base=2) ** 2 for q in queries]
        found[i, j] = 1 - np.sqrt(np.mean(squares))
    return found


def plain_writes(trace, kind, heads, queries):
    written = trace.vectors("head_output", kind).to_numpy().astype(np.float64)
    unit = written / np.linalg.norm(written, axis=-1, keepdims=True)
    return np.array(
        [[np.mean([unit[a.layer, a.head, q] @ unit[b.layer, b.head, q] for q in queries]) for b in heads] for a in heads]
    )


CASES = [
    ("BERT", "encoder"),
    ("GPT-2", "decoder"),
    ("Mistral", "decoder"),
    ("Gemma2", "decoder"),
    ("GPT-OSS", "decoder"),
    ("T5", "cross"),
    ("gpt-mini", "decoder"),
]


@pytest.mark.parametrize("chosen", [(), (2, 5, 7)])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_both_similarities_are_those_of_plain_loops(name, kind, chosen):
    trace = traced(name)
    seen = np.isfinite(trace.attention(kind).to_numpy()).sum(-1).min((0, 1))
    queries = [q for q in (chosen or range(len(seen))) if seen[q] >= 2]
    for by, plain in ((PATTERN, plain_pattern), (WRITES, plain_writes)):
        if name == "gpt-mini" and by == PATTERN and not chosen:
            continue  # 48 heads by SciPy take long, and add nothing to the other cases
        found = similar_heads(trace, kind, by, chosen)
        assert (list(found.rows), found.all_rows) == (queries, len(queries))
        assert sorted(found.heads) == [head for head in trace.head_ids if head.kind == kind]
        np.testing.assert_allclose(found.values, plain(trace, kind, found.heads, queries), atol=2e-3)
        assert np.diag(found.values).tolist() == [1.0] * len(found.heads)


def test_chunks_of_rows_change_nothing(monkeypatch):
    whole = {by: similar_heads(traced("GPT-2"), "decoder", by) for by in (PATTERN, WRITES)}
    monkeypatch.setattr(module, "CHUNK_BYTES", 4 * 12 * 96)
    told = []
    for by, expected in whole.items():
        found = similar_heads(traced("GPT-2"), "decoder", by, report=told.append)
        np.testing.assert_allclose(found.values, expected.values, atol=1e-4)
    assert len(set(told)) > 10
    assert all(0 <= share <= 1 for share in told)


def test_alike_heads_stand_side_by_side_and_chance_is_far_below_them():
    one, other = rows((1, 1, 8, 8), 1), rows((1, 1, 8, 8), 2)
    weights = np.concatenate([np.concatenate([one, other, one, other, one], 1)] * 2)
    found = similar_heads(atlas.from_attention(weights, list("abcdefgh"), kind="encoder"), "encoder", PATTERN)
    groups = [head.head % 2 for head in found.heads]
    assert groups in ([0] * 6 + [1] * 4, [1] * 4 + [0] * 6)
    same = np.equal.outer(groups, groups)
    np.testing.assert_allclose(found.values[same], 1.0, atol=1e-3)
    assert found.values[~same].max() < 0.7
    assert abs(found.chance - found.values[~same].mean()) < 0.15  # two unrelated heads are as alike as shuffled ones


def test_uniform_heads_are_as_alike_by_chance_as_they_are():
    weights = np.tile(np.tri(6)[None, None] / np.arange(1, 7)[:, None], (2, 2, 1, 1)).astype(np.float32)
    found = similar_heads(atlas.from_attention(weights, list("abcdef"), kind="decoder"), "decoder", PATTERN)
    assert found.values == pytest.approx(np.ones((4, 4)), abs=1e-3)
    assert found.chance == pytest.approx(1.0, abs=1e-3)
    assert len(found.rows) == 5  # the first sees itself alone


def test_a_head_that_writes_nothing_is_not_known():
    trace = loaded("BERT").trace(TEXT, ablate=[("encoder", 1, 2)])
    found = similar_heads(trace, "encoder", WRITES)
    at = found.heads.index(HeadId("encoder", 1, 2))
    assert np.isnan(found.values[at]).all()
    assert np.isnan(found.values[:, at]).all()
    assert np.isfinite(np.delete(np.delete(found.values, at, 0), at, 1)).all()
    assert directions(np.zeros((2, 3))).tolist() == [[0.0] * 3] * 2


def test_long_texts_are_compared_at_some_rows_and_beyond_that_refused(monkeypatch):
    trace = traced("BERT")
    n = len(trace.tokens())
    monkeypatch.setattr(module, "PATTERN_CELLS", 66 * n * 10)
    found = similar_heads(trace, "encoder", PATTERN)
    assert (len(found.rows), found.rows[-1], found.all_rows) == (10, n - 1, n)
    room = workspace(trace)
    assert SimilarHeadsView(room).plane.plane().rows
    assert f"at 10 tokens of {n}, evenly spread" in room.lens(SimilarHeadsLens).line
    monkeypatch.setattr(module, "PATTERN_CELLS", 66 * n * 3)
    with pytest.raises(TooLarge, match="Select up to 3 tokens"):
        similar_heads(trace, "encoder", PATTERN)
    assert similar_heads(trace, "encoder", PATTERN, [1, 2]).rows == (1, 2)
    monkeypatch.setattr(module, "MOST_HEADS", 11)
    with pytest.raises(TooLarge, match="at most 11 are compared"):
        similar_heads(trace, "encoder", PATTERN)


def test_who_cannot_be_compared_says_why():
    assert "nothing to compare" in without_similarity(single(layers=1, heads=1))
    with pytest.raises(NotCaptured, match="sees two tokens or more"):
        similar_heads(traced("GPT-2"), "decoder", PATTERN, [0])
    with pytest.raises(NotCaptured):
        similar_heads(single(), "encoder", WRITES)
    assert similar_heads(single(), "encoder", PATTERN).values.shape == (6, 6)


def test_a_tap_selects_both_heads_and_with_shift_the_block_between_them():
    room = workspace(traced("GPT-2"))
    view = SimilarHeadsView(room)
    figure = hv.render(view._pane().object)
    Document().add_root(figure)
    heads = view.similar.found().heads

    def tapped(row, column, **held):
        event = Tap(
            figure, x=(column + 0.5) / 12, y=(row + 0.5) / 12, modifiers=KeyModifiers(shift=False, ctrl=False, alt=False) | held
        )
        figure.document.callbacks.trigger_event(event)

    tapped(2, 7)
    assert room.selection.heads == {heads[2], heads[7]}
    assert view.plane.marked().rows == view.plane.marked().columns == {2, 7}
    tapped(2, 7)
    assert room.selection.is_empty
    tapped(8, 5, shift=True)
    assert room.selection.heads == set(heads[5:9])
    assert room.selection.label == "a block of similar heads"
    view.plane.select_name("row", 3, "similar")
    assert room.selection.heads == {heads[3]}
    before = view.lens.revision
    room.selection.select_heads(heads[:2])
    assert view.lens.revision == before
    room.selection.select_tokens([4], axis="from")
    np.testing.assert_array_equal(view.plane.plane().whole, similar_heads(traced("GPT-2"), "decoder", PATTERN, [4]).values)
    assert "at 1 selected token" in view.lens.line


def test_the_readout_says_the_value_and_chance_and_cosines_have_two_signs():
    room = workspace(traced("GPT-2"))
    view = SimilarHeadsView(room)
    found = view.similar.found()
    view._pointed(4.5 / 12, 1.5 / 12)
    assert f"1 − Jensen-Shannon distance {found.values[1, 4]:.3g}   by chance {found.chance:.3g}" in view.under.object
    assert not view.plane.signed
    room.choices_of("similar").by = WRITES
    assert view.plane.signed
    np.testing.assert_array_equal(view.plane.plane().whole, similar_heads(traced("GPT-2"), "decoder", WRITES).values)
    assert list(view.export().table.index) == [str(head) for head in view.similar.heads()]


def test_1200_heads_at_64_tokens_are_compared_in_chunks():
    weights = np.random.default_rng(0).random((40, 30, 64, 64), dtype=np.float32) ** 4
    trace = atlas.from_attention(weights / weights.sum(-1, keepdims=True), [f"t{at}" for at in range(64)], kind="encoder")
    began = time.perf_counter()
    found = similar_heads(trace, "encoder", PATTERN, range(4))
    assert found.values.shape == (1200, 1200)
    assert time.perf_counter() - began < 60
    assert module._most_rows(trace, trace.attention_of(), PATTERN) >= 64


def test_the_last_picture_stays_until_the_next_one_comes(monkeypatch):
    room = workspace(single())
    view = SimilarHeadsView(room)
    root = pn.panel(view).get_root(Document())
    (source,) = {model.data_source for model in root.select({"type": GlyphRenderer}) if isinstance(model.glyph, Image)}
    names = [dict(axis.major_label_overrides) for axis in root.select({"type": LinearAxis})]
    before, found = source.data["image"][0].copy(), SimilarHeadsLens.found
    monkeypatch.setattr(SimilarHeadsLens, "found", lambda _: None)
    view.lens.busy = True
    room.selection.select_tokens([1])
    assert np.array_equal(source.data["image"][0], before)
    assert [dict(axis.major_label_overrides) for axis in root.select({"type": LinearAxis})] == names
    monkeypatch.setattr(SimilarHeadsLens, "found", found)
    view.lens.busy = False
    view.lens.arrived()
    assert not np.array_equal(source.data["image"][0], before)
