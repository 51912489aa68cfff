"""Two traces held against each other: plain subtraction where they have one shape, hand-built cases where they have not."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

import atlas
from atlas.errors import NotCaptured, UnknownName
from atlas.state.compare_groups import NO_ROLE
from atlas.text.align import token_table
from atlas.tracing.groups import clusters, roles
from atlas.tracing.selected_heads import selected_heads
from atlas.tracing.two_groups import CLUSTERS, ROLES, groups_of_both
from atlas.tracing.two_heads import metric_names
from atlas.tracing.two_traces import TwoTraces
from tests.engine.families import loaded
from tests.state.readers import CROSS, DECODER, ENCODER, both, rows, single

TEXT = "the cat ran after the dog"
WORDS = [f"w{'abcdefghijklmnopqr'[at]}x" for at in range(18)]
"""Words of two hand-built traces: one has [CLS], a token a word and [SEP], 20 tokens; the other cuts 13 in two, 31 tokens."""


def tokens_of(text, special=0):
    """A token table of whole words, or of words of which the first 13 are cut in two."""
    spans = [(4 * at, 4 * at + 3) for at in range(18)]
    if not special:
        spans = [part for at, (a, b) in enumerate(spans) for part in ([(a, a + 1), (a + 1, b)] if at < 13 else [(a, b)])]
    around = [(0, 0)] * special
    offsets = [*around, *spans, *around]
    names = ["[CLS]", *(text[a:b] for a, b in spans), "[SEP]"] if special else [text[a:b] for a, b in spans]
    flags = [special and at in (0, len(offsets) - 1) for at in range(len(offsets))]
    segments = [None if flag else 0 for flag in flags]
    return token_table(text, ids=range(len(names)), pieces=names, special=flags, offsets=offsets, segments=segments)


def hand_built(weights, kind, special):
    text = " ".join(WORDS)
    table = tokens_of(text, special)
    trace = atlas.from_attention(weights, table["token"].tolist(), kind=kind)
    return replace(trace, token_tables={"source": table})


def of_word(word, special):
    """The positions of a word in either trace."""
    if special:
        return [word + 1]
    return [2 * word, 2 * word + 1] if word < 13 else [13 + word]


@functools.cache
def bert_like():
    return hand_built(rows((6, 8, 20, 20), 0), ENCODER, special=1)


@functools.cache
def gpt_like():
    return hand_built(rows((12, 12, 31, 31), 1, causal=True), DECODER, special=0)


def between_words(weights, special):
    """(word, word + 1) by hand; masked pairs are no attention where another pair of the two words is visible."""
    found = np.full((18, 19), np.nan)
    for query in range(18):
        from_ = of_word(query, special)
        for key in range(18):
            cells = weights[np.ix_(from_, of_word(key, special))]
            if np.isfinite(cells).any():
                found[query, key] = np.nan_to_num(cells).sum() / len(from_)
        alone = [0, 19] if special else []
        found[query, 18] = np.nan_to_num(weights[np.ix_(from_, alone)]).sum() / len(from_)
    return found


@functools.cache
def runs():
    model = loaded("GPT-2")
    return model.trace(TEXT, capture=("stream", "predictions")), model.trace(
        TEXT, capture=("stream", "predictions"), ablate=["L0 H1", "L1 H2"]
    )


# -- equal shapes ------------------------------------------------------------------------------------------------------


def test_of_one_shape_and_text_every_difference_is_a_plain_subtraction():
    a, b = runs()
    found = atlas.compare(a, b)
    np.testing.assert_allclose(
        found.matrix("L2 H1").difference[:, :-1], b.attention(layer=2, head=1) - a.attention(layer=2, head=1)
    )
    heads, (one, other) = found.heads, (a.heads, b.heads)
    assert (heads["layer_b"] == heads["layer"]).all()
    assert (heads["head_b"] == heads["head"]).all()
    names = metric_names(one)
    assert {"entropy", "median", "previous", "first_key"} <= set(names)
    for name in names:
        np.testing.assert_array_equal(heads[f"{name}_a"], one[name])
        np.testing.assert_allclose(heads[name], other[name].to_numpy() - one[name].to_numpy(), err_msg=name)


def test_several_heads_are_taken_together_before_they_are_subtracted():
    a, b = runs()
    found = atlas.compare(a, b).matrix("L2 H0", "L2 H3")
    expected = (b.attention(layer=2, head=[0, 3]) - a.attention(layer=2, head=[0, 3])).mean("head")
    np.testing.assert_allclose(found.difference[:, :-1], expected, atol=1e-7)


def test_how_far_attention_moved_is_the_total_variation_and_0_where_nothing_changed():
    a, b = runs()
    heads = atlas.compare(a, b).heads
    np.testing.assert_array_equal(heads.loc[heads["layer"] == 0, "moved"], 0)
    one, other = (np.nan_to_num(trace.attention(layer=2, head=1).to_numpy()) for trace in (a, b))
    by_hand = np.abs(other - one).sum(1).mean() / 2
    assert by_hand > 1e-4
    assert heads["moved"].iloc[2 * 4 + 1] == pytest.approx(by_hand, rel=1e-4)


def test_predictions_stand_beside_each_other_at_the_same_words():
    a, b = runs()
    found = atlas.compare(a, b).predictions
    for position, rows_here in found.groupby("position_a"):
        assert (rows_here["position_b"] == position).all()
        for trace, side in ((a, "a"), (b, "b")):
            table = trace.predictions(5)
            here = table[table["position"] == position].iloc[0]
            best = rows_here.sort_values(side, ascending=False).iloc[0]
            assert best["outcome"] == here["token"].strip()
            assert best[side] == pytest.approx(here["probability"], rel=1e-5)


def test_cka_of_a_text_with_itself_is_1_on_the_diagonal_and_rows_are_the_layers():
    a, _ = runs()
    found = atlas.compare(a, a).cka
    assert found.cka.shape == (a.n_layers() + 1, a.n_layers() + 1)
    np.testing.assert_allclose(np.diag(found.cka), 1)
    states = [a.vectors("hidden", layer=layer).to_numpy() for layer in (0, 2)]
    x, y = (each - each.mean(0) for each in states)
    by_hand = np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert float(found.cka[0, 2]) == pytest.approx(by_hand, rel=1e-4)


# -- unequal shapes ----------------------------------------------------------------------------------------------------


def test_words_are_aligned_across_tokenizers_and_what_has_no_partner_is_listed():
    words = atlas.compare(bert_like(), gpt_like()).words
    paired = words[words["a"].notna() & words["b"].notna()]
    assert paired["a"].tolist() == paired["b"].tolist() == WORDS
    assert paired["tokens_a"].tolist() == [of_word(word, 1) for word in range(18)]
    assert paired["tokens_b"].tolist() == [of_word(word, 0) for word in range(18)]
    assert words.loc[words["b"].isna(), "a"].tolist() == ["[CLS]", "[SEP]"]


def test_the_matrix_of_20_tokens_against_31_is_that_of_words_by_hand():
    a, b = bert_like(), gpt_like()
    found = atlas.compare(a, b)
    heads = found.heads
    row = heads.iloc[8 * 3 + 5]
    matrix = found.matrix("L3 H5")
    one = between_words(a.attention(layer=3, head=5).to_numpy(), 1)
    other = between_words(b.attention(layer=int(row["layer_b"]), head=int(row["head_b"])).to_numpy(), 0)
    np.testing.assert_allclose(matrix.a, one, atol=1e-6)
    np.testing.assert_allclose(matrix.b, other, atol=1e-6)
    np.testing.assert_allclose(matrix.difference, other - one, atol=1e-6)
    assert np.isnan(matrix.difference.to_numpy()[0, 1:18]).all()  # the causal side may not look ahead, so there is no difference
    known = np.nan_to_num(one), np.nan_to_num(other)
    moved = (np.abs(known[1] - known[0])[:, :18].sum(1) + known[0][:, 18] + known[1][:, 18]) / 2
    assert row["moved"] == pytest.approx(moved.mean(), abs=1e-6)
    assert row["unpaired_a"] == pytest.approx(known[0][:, 18].mean(), abs=1e-6)
    assert row["unpaired_b"] == 0


def test_each_of_48_heads_has_a_partner_of_its_own_among_144_and_of_144_only_48_have_one():
    found = atlas.compare(bert_like(), gpt_like()).heads
    assert len(found) == 48
    assert len(set(zip(found["layer_b"], found["head_b"], strict=True))) == 48
    back = atlas.compare(gpt_like(), bert_like()).heads
    assert len(back) == 144
    assert back["layer_b"].notna().sum() == 48
    alone = back[back["layer_b"].isna()]
    assert alone[["similarity", "moved", "entropy_b", "entropy"]].isna().all(axis=None)
    assert (alone["role_b"] == "").all()


def test_planted_partners_are_found_by_their_patterns_in_another_tokenization():
    own = rows((6, 8, 20, 20), 0)
    own[..., [0, 19]] = 0
    own /= own.sum(-1, keepdims=True)
    weights = rows((12, 12, 31, 31), 1)
    places = np.random.default_rng(2).permutation(144)[:48]
    for at, place in enumerate(places):
        source = own.reshape(48, 20, 20)[at]
        target = weights.reshape(144, 31, 31)[place]
        for query in range(18):
            for key in range(18):
                share = source[query + 1, key + 1] / len(of_word(key, 0))
                target[np.ix_(of_word(query, 0), of_word(key, 0))] = share
    found = atlas.compare(hand_built(own, ENCODER, 1), hand_built(weights, ENCODER, 0)).heads
    assert (found["layer_b"] * 12 + found["head_b"]).tolist() == places.tolist()
    np.testing.assert_allclose(found["similarity"], 1, atol=1e-3)


def test_heads_of_other_kinds_are_never_paired_by_number():
    assert atlas.compare(single(ENCODER), single(DECODER)).heads["kind_b"].eq(DECODER).all()
    with pytest.raises(UnknownName, match="by 'pattern'"):
        atlas.compare(single(ENCODER), single(DECODER), match="number")


def test_heads_of_equal_shapes_are_paired_by_pattern_where_that_is_asked_for():
    a = single(layers=2, heads=3)
    shuffled = atlas.from_attention(
        a.attention().to_numpy().reshape(6, 8, 8)[[3, 0, 5, 1, 2, 4]].reshape(2, 3, 8, 8),
        a.token_tables["source"]["token"].tolist(),
    )
    found = atlas.compare(a, shuffled, match="pattern").heads
    assert (found["layer_b"] * 3 + found["head_b"]).tolist() == [1, 3, 4, 0, 5, 2]
    np.testing.assert_allclose(found["moved"], 0, atol=1e-6)


def test_of_an_encoder_decoder_each_kind_stands_beside_its_own():
    found = atlas.compare(both(seed=0), both(seed=5)).heads
    assert (found["kind"] == found["kind_b"]).all()
    assert set(found["kind"]) == {ENCODER, DECODER, CROSS}
    beside = atlas.compare(both(), single(DECODER)).heads
    assert set(zip(beside["kind"], beside["kind_b"], strict=True)) == {(ENCODER, DECODER), (ENCODER, "")}
    with pytest.raises(NotCaptured, match="no cross-attention"):
        atlas.compare(both(), single(DECODER)).matrix("cross L0 H0")


def test_texts_that_have_nothing_in_common_say_so():
    with pytest.raises(NotCaptured, match="no word in common"):
        atlas.compare(single(tokens=("one", "two")), single(tokens=("three", "four", "five"))).heads  # noqa: B018


@pytest.mark.parametrize("of", [ROLES, CLUSTERS])
def test_groups_of_both_sides_are_those_of_either_alone_at_paired_heads(of):
    two = TwoTraces(*runs())
    found = groups_of_both(two, DECODER, of)
    names = [
        roles(selected_heads(trace, DECODER)) if of == ROLES else list(clusters(trace, DECODER).name_of_rows) for trace in runs()
    ]
    for at, (one, other) in enumerate(zip(*names, strict=True)):
        assert (found.found.rows[found.row[at]], found.found.columns[found.column[at]]) == (one, other)
    assert found.found.counts.sum() == len(names[0])


def test_a_head_has_the_role_beside_its_partner_that_it_has_everywhere():
    encoders = bert_like(), hand_built(np.roll(np.eye(20), 1, axis=0) * 0.9 + rows((6, 8, 20, 20), 1) * 0.1, ENCODER, special=1)
    found = atlas.compare(*encoders).heads
    for name, trace in zip(("role_a", "role_b"), encoders, strict=True):
        assert list(found[name]) == ["" if role in NO_ROLE else role for role in roles(selected_heads(trace, ENCODER))]
    assert set(found["role_b"]) == {"previous token"}


def test_of_sides_that_differ_in_shape_only_paired_heads_are_grouped():
    found = groups_of_both(TwoTraces(gpt_like(), bert_like()), DECODER)
    assert (found.row >= 0).sum() == found.found.counts.sum() == 48
    assert ((found.row < 0) == (found.pairs.head < 0)).all()
    assert ((found.column < 0) == (found.row < 0)).all()
