"""One decision on both sides: what stands for what, shares that compare, and a correlation with its null."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

import atlas
from atlas.attribution import METHODS, attribute
from atlas.attribution.two_sides import methods_of_both, side_by_side, target_beside, two_attributions
from atlas.errors import NotCaptured
from atlas.tracing.explained import Attribution, Resolved, Target
from atlas.tracing.two_attributions import BOTH, ONLY_A, ONLY_B, OWN
from atlas.tracing.two_predictions import counterpart
from atlas.tracing.two_traces import TwoTraces

TEXT = "The nurse said that she was tired. The doctor went home."
OTHER = "The old nurse said that he was not tired. The doctor went home."
PAIRS = [(at, at + (at >= 2) + (at >= 7)) for at in range(1, 14)]
"""By hand: token of `TEXT` -> token of `OTHER`, in BERT's words after [CLS]; 'old' (2) and 'not' (8) are new."""

WORDS, OTHERS = ("[CLS]", "the", "doctor", "ran", ".", "[SEP]"), ("[CLS]", "the", "old", "doctor", "ran", ".", "[SEP]")


@functools.cache
def traced(name, text, **changed):
    return atlas.load(name).trace(text, **changed)


def pair(name=("bert-mini", "bert-mini"), text=(TEXT, OTHER)):
    return TwoTraces(*map(traced, name, text))


def by_hand(scores, counts):
    """Shares of some scores."""
    return scores / np.abs(scores[counts]).sum()


@pytest.mark.parametrize("method", ["integrated_gradients", "saliency", "occlusion", "rollout"])
def test_both_sides_are_the_attributions_of_either_alone_aligned_by_hand(method):
    made = two_attributions(pair(), Target(5), method)
    assert (made.a.target.position, made.b.target.position, made.b.target.outcome) == (5, 6, "she")
    a = attribute(atlas.load("bert-mini"), TEXT, Target(5), method).scores
    b = attribute(atlas.load("bert-mini"), OTHER, Target(6, "she"), method).scores
    shares = [by_hand(each, slice(1, -1)) for each in (a, b)]
    table = made.table[made.table["compared"]]
    assert table["tokens_a"].tolist() == [(one,) for one, _ in PAIRS]
    assert table["tokens_b"].tolist() == [(other,) for _, other in PAIRS]
    one, other = shares[0][[at for at, _ in PAIRS]], shares[1][[at for _, at in PAIRS]]
    np.testing.assert_allclose(table["a"], one, atol=1e-6)
    np.testing.assert_allclose(table["b"], other, atol=1e-6)
    np.testing.assert_allclose(table["difference"], other - one, atol=1e-6)
    alone = made.table[made.table["where"] == ONLY_B]
    assert alone["word"].tolist() == ["old", "not"]
    np.testing.assert_allclose(alone["b"], shares[1][[2, 8]], atol=1e-6)
    assert alone["a"].isna().all()
    special = made.table[made.table["word"].isin(["[CLS]", "[SEP]"])]
    assert special[["a", "b"]].isna().all(axis=None)
    np.testing.assert_allclose(special["raw_a"], a[[0, -1]], atol=1e-6)
    assert made.left_out[0] == pytest.approx(np.abs(a[[0, -1]]).sum() / np.abs(a).sum(), abs=1e-6)
    assert (made.rho, made.n) == (pytest.approx(spearmanr(one, other).statistic, abs=1e-6), len(PAIRS))
    assert made.lo < made.rho < made.hi


def test_the_p_is_the_share_of_shuffles_that_are_as_far_from_0():
    made = two_attributions(pair(), Target(5), "rollout")
    table = made.table[made.table["compared"]]
    random = np.random.default_rng(1)
    null = [spearmanr(table["a"], random.permutation(table["b"])).statistic for _ in range(2_000)]
    assert made.p == pytest.approx(np.mean(np.abs(null) >= abs(made.rho)), abs=0.03)


@pytest.mark.parametrize("name", ["bert-mini", "gpt-mini", "mood-mini", "gus-mini", "t5-mini"])
def test_a_text_beside_itself_does_not_differ(name):
    made = two_attributions(pair((name, name), (TEXT, TEXT)), Target(), "integrated_gradients")
    assert made.a.target == made.b.target
    assert (made.table["where"] == BOTH).all()
    table = made.table[made.table["compared"]]
    np.testing.assert_allclose(table["difference"], 0, atol=1e-9)
    assert (made.rho, made.instead) == (pytest.approx(1), "")
    assert np.abs(table["a"]).sum() == pytest.approx(1)


def test_what_comes_after_the_explained_place_has_no_share_where_a_model_looks_back():
    made = two_attributions(pair(("gpt-mini", "gpt-mini")), Target(3), "integrated_gradients")
    assert made.b.target.position == 4
    assert made.table.loc[made.table["compared"], "tokens_a"].tolist() == [(0,), (1,), (2,), (3,)]
    assert made.table.loc[made.table["a"].notna(), "tokens_a"].tolist() == [(0,), (1,), (2,), (3,)]
    assert made.n == 4


def test_between_a_model_that_fills_masks_and_one_that_goes_on_the_same_word_is_predicted():
    two = pair(("bert-mini", "gpt-mini"), (TEXT, TEXT))
    made = two_attributions(two, Target(5), "input_x_gradient")
    assert (made.a.target.position, made.b.target.position) == (5, 3)
    assert [each.target.outcome.strip() for each in (made.a, made.b)] == ["she", "she"]
    assert made.instead == ""
    named = [attribute(two.b.live.model, TEXT, Target(3, name), "rollout").target for name in (" she", "she")]
    assert made.b.target.probability == pytest.approx(max(each.probability for each in named), rel=1e-5)


def test_masks_stand_for_each_other_in_their_order_whatever_is_around_them():
    two = pair(text=("The nurse [MASK] that she was [MASK].", "[MASK] went home."))
    masks = [np.flatnonzero(each.token_tables["source"]["token"] == "[MASK]").tolist() for each in (two.a, two.b)]
    assert counterpart(two, masks[0][0]) == masks[1][0]
    assert counterpart(two, masks[0][1]) is None


def test_a_token_within_a_word_has_a_counterpart_where_the_word_is_cut_alike():
    two = pair(("t5-mini", "t5-mini"), ("Anna left on the third of March", "Peter left on the ninth of March"))
    units = two.words("target").units
    longest = np.flatnonzero(units.old == np.bincount(units.old[units.old >= 0]).argmax()).tolist()
    assert len(longest) > 1
    found = [counterpart(two, at) for at in longest]
    assert [two.b.token_tables["target"]["token"].iloc[at] for at in found] == [
        two.a.token_tables["target"]["token"].iloc[at] for at in longest
    ]


def test_where_b_has_no_such_place_outcome_or_task_its_own_prediction_is_explained_and_that_is_said():
    two = pair(text=(TEXT, "The doctor went home."))
    made = two_attributions(two, Target(3), "rollout")
    assert made.b.target.position == 5  # the last word, where B predicts by itself
    assert made.instead.startswith("Nothing on side B stands for the place that is explained on side A, so what side B predicts")
    own, why = target_beside(pair(), made.a.target, OWN)
    assert (own.position, own.outcome, why) == (4, None, "")
    mood = pair(("mood-mini", "bert-mini"), (TEXT, TEXT))
    made = two_attributions(mood, Target(), "rollout")
    assert made.instead.startswith("Side A classifies the text and side B fills masks, so no outcome is in both, so what side B")
    assert made.n == 13
    resolved = Resolved(5, "source", "##nosuchpiece", 0)
    own, why = target_beside(pair(("bert-mini", "gpt-mini"), (TEXT, TEXT)), resolved)
    assert (own.position, own.outcome) == (3, None)
    assert why == "Side B has no outcome '##nosuchpiece', so what side B predicts by itself is explained there."


def test_the_outcome_that_is_held_against_is_that_of_b_too():
    made = two_attributions(pair(), Target(5, "she", "he"), "input_x_gradient")
    assert (made.b.target.outcome, made.b.target.against) == ("she", "he")
    plain = attribute(atlas.load("bert-mini"), OTHER, Target(6, "she", "he"), "input_x_gradient").scores
    np.testing.assert_allclose(made.b.scores, plain, atol=1e-6)


def test_a_side_without_its_model_is_no_side_to_explain_and_every_method_that_one_side_lacks_has_its_reason():
    recorded = atlas.from_attention(np.full((1, 1, 3, 3), 1 / 3, dtype=np.float32), ["a", "b", "c"], kind="encoder")
    with pytest.raises(NotCaptured, match="Side B cannot be explained"):
        two_attributions(TwoTraces(traced("bert-mini", TEXT), recorded), Target(5), "rollout")
    assert methods_of_both(pair()) == {}
    reasons = {name: "no" for name, method in METHODS.items() if method.reason(atlas.load("gpt-mini"))}
    assert methods_of_both(pair(("bert-mini", "gpt-mini"), (TEXT, TEXT))).keys() == reasons.keys()


def attributed(words, scores):
    """An attribution with given scores."""
    table = pd.DataFrame({"side": "source", "position": range(len(words)), "token": words, "score": scores})
    return Attribution("occlusion", Resolved(-1, "source", "x", 0), table)


@functools.cache
def planted(words):
    n = len(words)
    return atlas.from_attention(np.full((1, 1, n, n), 1 / n, dtype=np.float32), list(words), kind="encoder")


SCORES = st.floats(-100, 100).filter(lambda score: abs(score) > 1e-3)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(SCORES, min_size=len(WORDS), max_size=len(WORDS)),
    st.lists(SCORES, min_size=len(OTHERS), max_size=len(OTHERS)),
    st.floats(0.01, 100),
)
def test_shares_sum_to_one_keep_their_sign_and_do_not_depend_on_the_size_of_scores_or_on_which_side_is_a(a, b, times):
    one, other = attributed(WORDS, a), attributed(OTHERS, b)
    table = side_by_side(TwoTraces(planted(WORDS), planted(OTHERS)), one, other)
    for name in ("a", "b"):
        known = table[name].notna()
        assert np.abs(table[name]).sum() == pytest.approx(1)
        assert (np.sign(table.loc[known, name]) == np.sign(table.loc[known, f"raw_{name}"])).all()
    assert set(table["where"]) == {BOTH, ONLY_B}
    larger = side_by_side(TwoTraces(planted(WORDS), planted(OTHERS)), attributed(WORDS, [times * each for each in a]), other)
    np.testing.assert_allclose(larger["difference"], table["difference"], atol=1e-9)
    turned = side_by_side(TwoTraces(planted(OTHERS), planted(WORDS)), other, one)
    assert set(turned["where"]) == {BOTH, ONLY_A}
    back = dict(zip(turned["tokens_b"], turned["difference"], strict=True))
    together = table[table["compared"]]
    np.testing.assert_allclose([-back[at] for at in together["tokens_a"]], together["difference"], atol=1e-12)
