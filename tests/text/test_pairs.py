"""Words of two texts in pairs, whatever cut either of them into tokens."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from atlas.text.pairs import NO_PARTNER, paired_words, pooled_pairs, same_units, units_of_words
from atlas.text.words import word_attention


def table(tokens, words, special=()):
    return pd.DataFrame({"token": tokens, "word": words, "special": [at in special for at in range(len(tokens))]})


@pytest.mark.parametrize(
    ("one", "other", "pairs"),
    [
        ("The nurse said that she ran", "the nurse said that he ran", [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]),
        ("she ran home", "she ran home fast", [(0, 0), (1, 1), (2, 2)]),
        ("a very old man", "an old man", [(2, 1), (3, 2)]),
        ("one two", "three four five", []),
        ("", "three", []),
    ],
)
def test_equal_words_are_paired_and_as_many_others_between_them(one, other, pairs):
    assert paired_words(one.split(), other.split()) == pairs


def test_pieces_of_a_word_are_one_unit_and_special_tokens_that_only_one_side_has_are_without_partner():
    one = table(["[CLS]", "un", "##happy", "cat", "[SEP]"], [-1, 0, 0, 1, -1], special=(0, 4))
    other = table(["unhap", "py", " ", "cat", "s"], [0, 0, -1, 1, 1])
    units = units_of_words(one, other, [(0, 0), (1, 1)])
    assert units.old.tolist() == [NO_PARTNER, 0, 0, 1, NO_PARTNER]
    assert units.new.tolist() == [0, 0, 1, 1, 1]  # white space goes with the word after it
    assert units.words.tolist() == [True, True]


def test_special_tokens_that_both_sides_have_are_paired_in_their_order():
    one = table(["[CLS]", "cat", "[SEP]"], [-1, 0, -1], special=(0, 2))
    other = table(["[CLS]", "ca", "##t", "ran", "[SEP]"], [-1, 0, 0, 1, -1], special=(0, 4))
    units = units_of_words(one, other, [(0, 0)])
    assert units.old.tolist() == [1, 0, 2]
    assert units.new.tolist() == [1, 0, 0, NO_PARTNER, 2]
    assert units.words.tolist() == [True, False, False]


def test_attention_to_a_word_is_summed_from_it_averaged_and_what_has_no_partner_is_the_last_column():
    weights = np.random.default_rng(0).dirichlet(np.ones(5), size=5)
    units = np.array([NO_PARTNER, 1, 0, 0, NO_PARTNER])
    found = pooled_pairs(weights, units, units)
    rows = [weights[[2, 3]].mean(axis=0), weights[1]]
    expected = [[row[2] + row[3], row[1], row[0] + row[4]] for row in rows]
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_where_every_word_is_paired_the_pooling_is_that_of_words():
    weights = np.random.default_rng(0).dirichlet(np.ones(4), size=(2, 4))
    weights[:, np.triu(np.ones((4, 4), bool), 1)] = np.nan
    words = np.array([0, 1, 1, 2])
    found = pooled_pairs(weights, words, words)
    np.testing.assert_array_equal(found[..., :-1], word_attention(weights, words).weights)
    assert not found[..., -1].any()


def test_tokens_that_are_the_same_are_units_of_their_own():
    units = same_units(table(["[CLS]", "a", "b"], [-1, 0, 1], special=(0,)))
    assert units.old.tolist() == units.new.tolist() == [0, 1, 2]
    assert units.words.tolist() == [False, True, True]
