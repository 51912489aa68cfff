from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from atlas.text.align import token_table
from atlas.text.words import word_attention, word_units

NAN = np.nan


def attention(n_queries, n_keys, seed=0, lead=(2, 3)):
    made = np.random.default_rng(seed).random((*lead, n_queries, n_keys)) ** 4
    return made / made.sum(-1, keepdims=True)


def causal(n, seed=0):
    made = np.where(np.tri(n, dtype=bool), attention(n, n, seed), 0)
    made /= made.sum(-1, keepdims=True)
    return np.where(np.tri(n, dtype=bool), made, NAN)


def by_hand(weights, queries, keys):
    """The rule read literally, unit by unit, for unmasked weights."""
    units = [list(dict.fromkeys(w if w >= 0 else (i,) for i, w in enumerate(side))) for side in (queries, keys)]
    members = [
        [[i for i, w in enumerate(side) if (w if w >= 0 else (i,)) == unit] for unit in own]
        for side, own in zip((queries, keys), units, strict=True)
    ]
    return np.array([[weights[np.ix_(q, k)].sum(axis=1).mean() for k in members[1]] for q in members[0]])


WORDS = st.lists(st.integers(-1, 4), min_size=1, max_size=9)


@given(WORDS, WORDS, st.integers(0, 1000))
def test_summed_over_keys_and_averaged_over_queries(query_words, key_words, seed):
    weights = attention(len(query_words), len(key_words), seed, lead=())
    pooled, queries, keys = word_attention(weights, query_words, key_words)
    np.testing.assert_allclose(pooled, by_hand(weights, query_words, key_words), atol=1e-12)
    np.testing.assert_allclose(pooled.sum(-1), 1, atol=1e-12)
    # the mass of the tokens: each unit's row, as often as it has tokens
    columns = pooled.T @ queries.size
    tokens = np.zeros(len(keys))
    np.add.at(tokens, keys.of_token, weights.sum(0))
    np.testing.assert_allclose(columns, tokens, atol=1e-12)


@given(st.integers(1, 9), st.integers(0, 1000), st.booleans())
def test_whole_words_change_nothing(n, seed, masked):
    weights = causal(n, seed) if masked else attention(n, n, seed)
    np.testing.assert_array_equal(word_attention(weights, np.arange(n)).weights, weights)
    np.testing.assert_array_equal(word_attention(weights, [-1] * n).weights, weights)


@given(WORDS, st.integers(0, 1000))
def test_causal_rows_sum_to_one_and_later_words_stay_masked(token_words, seed):
    token_words = sorted(token_words)
    pooled, units, _ = word_attention(causal(len(token_words), seed), token_words)
    np.testing.assert_allclose(np.nansum(pooled, -1), 1, atol=1e-12)
    assert np.array_equal(np.isnan(pooled[0, 0]), ~np.tri(len(units), dtype=bool))


def test_a_causal_word_by_hand():
    weights = np.array([[1, NAN, NAN], [0.4, 0.6, NAN], [0.2, 0.3, 0.5]])
    pooled = word_attention(weights, [0, 1, 1]).weights
    np.testing.assert_allclose(pooled, [[1, NAN], [0.3, 0.7]])


def test_a_query_that_sees_nothing_is_left_out_of_the_mean():
    weights = np.array([[NAN, NAN], [0.25, 0.75], [NAN, NAN]])
    pooled = word_attention(weights, [0, 0, 1], [0, 1]).weights
    np.testing.assert_allclose(pooled, [[0.25, 0.75], [NAN, NAN]])


def test_special_tokens_kept_dropped_renormalised():
    weights = np.array([[0.5, 0.1, 0.1, 0.3], [0.2, 0.2, 0.4, 0.2], [0.6, 0.1, 0.1, 0.2], [1, 0, 0, 0]])
    token_words = [-1, 0, 0, 1]
    kept = word_attention(weights, token_words)
    np.testing.assert_allclose(kept.weights, [[0.5, 0.2, 0.3], [0.4, 0.4, 0.2], [1, 0, 0]])
    assert kept.keys.word.tolist() == [-1, 0, 1]
    assert kept.keys.first.tolist() == [0, 1, 3]
    assert kept.keys.size.tolist() == [1, 2, 1]
    dropped = word_attention(weights, token_words, special="drop")
    np.testing.assert_allclose(dropped.weights, [[0.4, 0.2], [0, 0]])
    assert dropped.keys.word.tolist() == [0, 1]
    assert dropped.keys.of_token.tolist() == [-1, 0, 0, 1]
    again = word_attention(weights, token_words, special="renormalise")
    np.testing.assert_allclose(again.weights, [[2 / 3, 1 / 3], [NAN, NAN]])


def test_clark_zeroes_the_diagonal():
    weights = attention(4, 4, lead=(2,))
    plain = word_attention(weights, [-1, 0, 0, 1], special="drop").weights
    made = word_attention(weights, [-1, 0, 0, 1], special="drop", zero_diagonal=True).weights
    np.testing.assert_array_equal(made, plain * ~np.eye(2, dtype=bool))
    renormalised = word_attention(weights, [-1, 0, 0, 1], special="renormalise", zero_diagonal=True).weights
    np.testing.assert_allclose(renormalised, np.broadcast_to([[0, 1], [1, 0]], (2, 2, 2)))


def test_tokens_of_a_word_need_not_be_neighbours():
    weights = attention(4, 4, lead=())
    np.testing.assert_allclose(word_attention(weights, [1, 0, 1, -1]).weights, by_hand(weights, [1, 0, 1, -1], [1, 0, 1, -1]))


def test_nothing_left_is_empty_not_an_error():
    pooled, queries, _ = word_attention(attention(3, 3), [-1, -1, -1], special="drop")
    assert pooled.shape == (2, 3, 0, 0)
    assert len(queries) == 0


def test_the_given_array_is_not_written_to():
    weights = attention(2, 2)
    before = weights.copy()
    word_attention(weights, [0, 1], zero_diagonal=True)
    np.testing.assert_array_equal(weights, before)


@given(hnp.arrays(np.float16, (3, 3), elements=st.floats(0, 1, width=16)))
def test_half_precision_comes_back_in_single(weights):
    assert word_attention(weights, [0, 0, 1]).weights.dtype == np.float32
    assert word_attention(weights.astype(np.float64), [0, 0, 1]).weights.dtype == np.float64


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: word_attention(np.ones((3, 3)), [0, 1]), "do not fit 2 query tokens"),
        (lambda: word_attention(np.ones(3), [0, 1, 2]), "do not fit"),
        (lambda: word_attention(np.ones((2, 2)), [0, 1], special="mean"), "keep, drop, renormalise"),
        (lambda: word_attention(np.ones((2, 3)), [0, 1], [0, 1, 2], zero_diagonal=True), "no diagonal"),
        (lambda: word_units([[0, 1]]), "one row of numbers"),
    ],
)
def test_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_units_know_their_words_and_labels():
    text = "don't  unbelievable\n"
    table = token_table(
        text,
        ids=range(7),
        pieces=["<s>", "don", "'t", "Ġ", "Ġun", "believable", "Ċ"],
        special=[True] + [False] * 6,
        offsets=[(0, 0), (0, 3), (3, 5), (5, 6), (6, 9), (9, 19), (19, 20)],
        segments=[None, 0, 0, 0, 0, 0, 0],
    )
    units = word_units(table["word"])
    assert units.word.tolist() == [-1, 0, -1, 1, -1]
    assert units.labels(table, text) == ["<s>", "don't", " ", "unbelievable", "\n"]
    assert units.positions([1, 0, -1, 7]).tolist() == [3, 1, -1, -1]
    assert word_units([], drop=True).positions([0]).tolist() == [-1]
