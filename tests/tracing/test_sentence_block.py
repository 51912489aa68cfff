"""The tokens of two sentences, against the whole weights of the trace."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import TooLarge
from atlas.ids import HeadId
from atlas.tracing import sentence_block as module
from atlas.tracing.sentence_block import BLOCK_LINKS, sentence_block
from tests.tracing.test_sentences import CASES, numbers_of, traced


def tokens_of(trace, side, place):
    return np.flatnonzero([number == place for number in numbers_of(trace, side)])


@pytest.mark.parametrize("aggregate", ["mean", "max"])
@pytest.mark.parametrize(("name", "keep", "kind"), CASES)
def test_block_and_links_are_the_weights_of_the_trace(name, keep, kind, aggregate):
    trace = traced(name, keep)
    whole = trace.attention(kind).to_numpy()
    heads = [head for head in trace.head_ids if head.kind == kind][1:6]
    for row, column in ((2, 0), (1, 1)):
        queries, keys = (tokens_of(trace, trace.side(kind, axis), at) for axis, at in (("query", row), ("key", column)))
        each = np.stack([whole[head.layer, head.head][np.ix_(queries, keys)] for head in heads])
        found = sentence_block(trace, heads, queries, keys, aggregate)
        known = np.isfinite(each).any(axis=0)
        expected = np.full(each.shape[1:], np.nan)
        expected[known] = (np.nanmean if aggregate == "mean" else np.nanmax)(each[:, known], axis=0)
        np.testing.assert_allclose(found.weights, expected, atol=1e-5)
        largest = np.sort(np.nan_to_num(np.where(np.isfinite(each), each, 0).max(axis=0)).ravel())[::-1]
        np.testing.assert_allclose(found.weight, largest[largest > 0][:BLOCK_LINKS], atol=1e-5)
        for query, key, weight, head, chance in zip(*found[4:], strict=True):
            at = whole[head.layer, head.head][query]
            assert head in heads
            assert query in queries
            assert key in keys
            assert at[key] == pytest.approx(weight, abs=1e-5)
            assert chance == pytest.approx(1 / np.count_nonzero(~np.isnan(at)), abs=1e-6)
            there = each[:, np.searchsorted(queries, query), np.searchsorted(keys, key)]
            assert there[heads.index(head)] == pytest.approx(np.nanmax(there), abs=1e-5)


def test_a_causal_block_of_a_later_sentence_has_no_link():
    trace = traced("GPT-2")
    found = sentence_block(trace, trace.head_ids, tokens_of(trace, "source", 0), tokens_of(trace, "source", 2))
    assert np.isnan(found.weights).all()
    assert np.isnan(found.chance).all()
    assert not len(found.query)


def test_what_is_too_much_is_refused_with_what_to_do(monkeypatch):
    trace = traced("BERT")
    queries, keys = tokens_of(trace, "source", 0), tokens_of(trace, "source", 1)
    monkeypatch.setattr(module, "BLOCK_CELLS", 2 * len(queries) * len(keys))
    sentence_block(trace, trace.head_ids[:2], queries, keys)
    with pytest.raises(TooLarge, match="Select fewer heads, or shorter sentences"):
        sentence_block(trace, [HeadId("encoder", 0, at) for at in range(3)], queries, keys)
