from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from atlas.metrics.keysets import anchor_key, is_punctuation, key_sets


@pytest.mark.parametrize(
    "token", [",", " .", "\u0120,", "\u2581\u201c", "##)", "...", "$", "=", "_", "\u3002", "#", "##", ".</w>"]
)
def test_punctuation(token):
    assert is_punctuation(token)


@pytest.mark.parametrize("token", ["", " ", "\u2581", "\u0120", "a", ".a", "1", "##s", "\u010a", "\U0001f600", "don't"])
def test_not_punctuation(token):
    assert not is_punctuation(token)


def table(tokens, special, **columns):
    return pd.DataFrame({"token": tokens, "special": [token in special for token in tokens], **columns})


def test_the_anchor_is_a_special_token_in_front_or_xlnets_cls():
    assert anchor_key(table(["[CLS]", "a", "[SEP]"], {"[CLS]", "[SEP]"})) == 0
    assert anchor_key(table(["<s>", "a", "</s>"], {"<s>", "</s>"})) == 0
    assert anchor_key(table(["a", "<sep>", "<cls>"], {"<sep>", "<cls>"})) == 2
    # T5 and Marian: only an end mark, which is a sink but no [CLS].
    assert anchor_key(table(["a", "b", "</s>"], {"</s>"})) is None
    assert anchor_key(table(["a", "b"], set())) is None


def test_special_tokens_are_in_no_set_of_words():
    tokens = table(
        ["[CLS]", ",", "Ann", "[SEP]"], {"[CLS]", "[SEP]"}, pos=["X", "PUNCT", "PROPN", "NOUN"], entity=["O", "", "PER", "LOC"]
    )
    sets = key_sets(tokens)
    assert np.flatnonzero(sets["punctuation"]).tolist() == [1]
    assert np.flatnonzero(sets["content_words"]).tolist() == [2]
    assert np.flatnonzero(sets["function_words"]).tolist() == []
    assert np.flatnonzero(sets["entities"]).tolist() == [2]
    assert np.flatnonzero(sets["balance"]).tolist() == [0]


def test_no_tagger_is_not_the_same_as_nothing_found():
    bare = key_sets(table(["a", "b"], set()))
    assert bare["entities"] is None
    assert bare["content_words"] is None
    none_found = key_sets(table(["a", "b"], set(), entity=[None, None], pos=[None, None]))
    assert none_found["entities"] is not None
    assert not none_found["entities"].any()
    assert none_found["content_words"] is None
