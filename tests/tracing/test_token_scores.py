"""Attention as a number a token, against plain sums over the weights themselves."""

from __future__ import annotations

import numpy as np
import pytest

import atlas
from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.ids import HeadId
from atlas.tracing import token_scores
from atlas.tracing.token_scores import received, sent, sinks
from tests.engine.families import BY_NAME
from tests.tracing.test_windows import cases, choices, everything, layered, together, traced


def column_means(weights, rows):
    """Per key: the mean over the rows that may see it; NaN where none may."""
    found = np.full(weights.shape[1], np.nan)
    for key in range(weights.shape[1]):
        seen = [weights[row, key] for row in rows if not np.isnan(weights[row, key])]
        if seen:
            found[key] = sum(seen) / len(seen)
    return found


def row_sums(weights, columns):
    """Per query: what it gives to these columns; its largest weight where there are none; NaN where it may see none of them."""
    found = np.full(len(weights), np.nan)
    for query, row in enumerate(weights):
        seen = [row[key] for key in (columns or range(len(row))) if not np.isnan(row[key])]
        if seen:
            found[query] = sum(seen) if columns else max(seen)
    return found


@pytest.mark.parametrize("aggregate", ["mean", "max"])
@pytest.mark.parametrize(("name", "keep", "kind"), cases())
def test_received(name, keep, kind, aggregate):
    trace = traced(name, keep)
    weights = everything(trace, kind)
    n = weights.shape[2]
    for chosen in choices(trace, kind):
        for rows in ((), {0}, {n - 1}, {1, 4, 7}, set(range(n)), set(range(n)) - {0, 5}):
            alone = np.stack([column_means(weights[head.layer, head.head], rows or range(n)) for head in chosen])
            found = received(trace, chosen, rows, aggregate=aggregate)
            np.testing.assert_allclose(found, together(alone, aggregate), atol=1e-5, rtol=2e-3)


@pytest.mark.parametrize("aggregate", ["mean", "max"])
@pytest.mark.parametrize(("name", "keep", "kind"), cases())
def test_sent(name, keep, kind, aggregate):
    trace = traced(name, keep)
    weights = everything(trace, kind)
    m = weights.shape[3]
    for chosen in choices(trace, kind):
        for columns in ((), {0}, {m - 1}, {1, 4, 7}, set(range(m))):
            alone = np.stack([row_sums(weights[head.layer, head.head], columns) for head in chosen])
            found = sent(trace, chosen, columns, aggregate=aggregate)
            np.testing.assert_allclose(found, together(alone, aggregate), atol=1e-5, rtol=2e-3)


def test_the_mask_is_not_what_is_painted():
    # A causal head that spreads evenly: sums would paint the first token black and the last one white.
    n = 6
    weights = np.tri(n) / np.arange(1, n + 1)[:, None]
    trace = atlas.from_attention(weights[None, None], list("abcdef"), kind="decoder")
    found = received(trace, trace.head_ids)
    np.testing.assert_allclose(found, [np.mean([1 / (row + 1) for row in range(key, n)]) for key in range(n)], rtol=1e-6)
    np.testing.assert_allclose(received(trace, trace.head_ids, {3}), [0.25] * 4 + [np.nan] * 2, rtol=1e-6)
    np.testing.assert_allclose(sent(trace, trace.head_ids, {3}), [np.nan] * 3 + [1 / 4, 1 / 5, 1 / 6], rtol=1e-6)


def test_a_token_that_may_look_nowhere_sends_nothing_known_and_one_nobody_sees_receives_nothing_known():
    weights = np.full((1, 2, 3, 3), 0.5, np.float32)
    weights[..., 2] = weights[..., 2, :] = np.nan
    trace = atlas.from_attention(weights, ["a", "b", "[PAD]"])
    for found in (received(trace, trace.head_ids), sent(trace, trace.head_ids, {0})):
        np.testing.assert_allclose(found, [0.5, 0.5, np.nan])
    np.testing.assert_allclose(sent(trace, trace.head_ids), [0.5, 0.5, np.nan])


def test_heads_of_one_layer_with_masks_of_their_own():
    near = np.tri(5, dtype=bool) & ~np.tri(5, k=-2, dtype=bool)
    trace = layered(np.stack([np.tri(5, dtype=bool), near]))
    weights = everything(trace, "decoder")[0]
    for rows in ({3}, {1, 4}):
        for head, of_head in zip(trace.head_ids, weights, strict=True):
            np.testing.assert_allclose(received(trace, [head], rows), column_means(of_head, rows), rtol=1e-6)
            np.testing.assert_allclose(sent(trace, [head], rows), row_sums(of_head, rows), rtol=1e-6)


def test_more_than_a_reader_would_wait_for_is_refused_in_words(monkeypatch):
    trace = traced("BERT", "qk")
    n, heads = trace.attention_of().n_queries, trace.head_ids[:3]
    monkeypatch.setattr(token_scores, "PAINTED_CELLS", 2 * n * 3)
    for paint in (received, sent):
        paint(trace, heads)
        paint(trace, heads, {1, 2})
        paint(trace, heads[:2], {1, 2, 3})
        with pytest.raises(TooLarge, match=r"million weights, more than .*Select fewer tokens or fewer heads"):
            paint(trace, heads, {1, 2, 3})
    # Of all rows but a few, the few are what has to be looked at.
    received(trace, heads, set(range(n)) - {1, 2})


def test_what_a_trace_did_not_keep_is_said():
    trace = layered(np.tri(5, dtype=bool))
    for paint in (received, sent):
        with pytest.raises(NotCaptured, match="no statistics of its decoder attention"):
            paint(trace, trace.head_ids)
        assert paint(trace, trace.head_ids, {2}).shape == (5,)


def test_heads_of_several_kinds_have_no_mean():
    trace = traced("T5", "qk")
    for paint in (received, sent):
        with pytest.raises(UnknownName, match="not of cross, encoder"):
            paint(trace, [HeadId("encoder", 0, 0), HeadId("cross", 0, 0)])
        with pytest.raises(UnknownName, match="one of mean, max"):
            paint(trace, [HeadId("encoder", 0, 0)], aggregate="sum")


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5"])
def test_sinks_are_special_tokens_and_in_a_causal_text_the_first(name):
    trace = traced(name, "qk")
    assert trace.kinds == BY_NAME[name].kinds
    for kind in trace.kinds:
        special = trace.tokens(trace.side(kind, "key"))["special"].to_numpy(bool)
        marks = sinks(trace, kind)
        np.testing.assert_array_equal(marks[1:], special[1:])
        assert marks[0] == (kind == "decoder" or special[0])
        marks[:] = True  # a copy: whoever changes it changes nobody's tokens
        np.testing.assert_array_equal(trace.tokens(trace.side(kind, "key"))["special"], special)
