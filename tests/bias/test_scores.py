"""StereoSet and CrowS-Pairs scores against hand calculations, and what ideal and random models must score."""

from __future__ import annotations

import json

import numpy as np
import pytest

from atlas.bias import score_crows_pairs, score_stereoset
from atlas.bias.scores import stereoset_intervals, stereoset_targets
from atlas.errors import BadData

LABELS = ("stereotype", "anti-stereotype", "unrelated")


def example(name, category, target, order=LABELS):
    sentences = [{"id": f"{name}-{label}", "sentence": label, "gold_label": label} for label in order]
    return {"id": name, "bias_type": category, "target": target, "context": "BLANK", "sentences": sentences}


def scored(**rows):
    """Scores of examples given as name=(stereotype, anti-stereotype, unrelated)."""
    return {f"{name}-{label}": value for name, row in rows.items() for label, value in zip(LABELS, row, strict=True)}


EXAMPLES = [
    example("a", "gender", "nurse"),
    example("b", "gender", "nurse", order=LABELS[::-1]),
    example("c", "gender", "nurse"),
    example("d", "gender", "sister"),
    example("e", "race", "Ethiopian"),
    example("f", "race", "nurse"),
]
SCORES = scored(
    a=(0.5, 0.4, 0.1),  # stereotype; both likelier than the unrelated
    b=(0.3, 0.4, 0.35),  # anti-stereotype; one of two likelier
    c=(0.2, 0.2, 0.2),  # ties: no stereotype, and nothing is likelier than the unrelated
    d=(0.9, 0.1, 0.5),
    e=(0.1, 0.2, 0.0),
    f=(0.4, 0.3, 0.2),
)


def test_scores_are_those_of_each_term_averaged_over_terms():
    table = score_stereoset(EXAMPLES, SCORES).set_index("category")
    assert list(table.columns) == ["lms", "ss", "icat", "n", "terms"]
    assert list(table.index) == ["gender", "race", "overall"]
    # nurse: ss 1/3, lms 3/6; sister: ss 1/1, lms 1/2. As one heap ss would be 2/4.
    assert table.loc["gender", "ss"] == pytest.approx((100 / 3 + 100) / 2, abs=1e-12)
    assert table.loc["gender", "lms"] == pytest.approx((50 + 50) / 2, abs=1e-12)
    assert table.loc["gender", "icat"] == pytest.approx(50 * (100 - 200 / 3) / 50, abs=1e-12)
    assert table.loc["race", ["lms", "ss", "icat"]].tolist() == [100, 50, 100]
    # Overall the term 'nurse' of both categories is one term: ss 2/4, lms 5/8.
    assert table.loc["overall", "ss"] == pytest.approx((50 + 100 + 0) / 3, abs=1e-12)
    assert table.loc["overall", "lms"] == pytest.approx((62.5 + 50 + 100) / 3, abs=1e-12)
    assert table[["n", "terms"]].to_numpy().tolist() == [[4, 2], [2, 2], [6, 3]]


def test_a_tie_is_a_preference_for_the_anti_stereotype_and_no_preference_over_the_unrelated():
    tied = score_stereoset([EXAMPLES[2]], SCORES).set_index("category").loc["overall"]
    assert (tied["ss"], tied["lms"], tied["icat"]) == (0, 0, 0)


def test_a_missing_score_and_a_missing_sentence_are_errors():
    with pytest.raises(BadData, match=r"'a-unrelated' \(unrelated\) has no score"):
        score_stereoset(EXAMPLES, {name: value for name, value in SCORES.items() if name != "a-unrelated"})
    with pytest.raises(BadData, match="no sentence with the gold label 'stereotype'"):
        score_stereoset([example("a", "gender", "nurse", order=LABELS[1:])], SCORES)


def test_intervals_contain_the_scores_of_terms_resampled_with_replacement():
    table = stereoset_intervals(EXAMPLES, SCORES, resamples=999, seed=3).set_index("category")
    exact = score_stereoset(EXAMPLES, SCORES).set_index("category")
    for name in ("lms", "ss", "icat"):
        assert table[name].tolist() == exact[name].tolist()
    # Two terms with ss 33.3 and 100: a quarter of the samples has one of them twice.
    assert table.loc["gender", ["ss_lo", "ss_hi"]].tolist() == pytest.approx([100 / 3, 100])
    assert stereoset_intervals(EXAMPLES[:1], SCORES)[["ss_lo", "lms_hi", "icat_lo"]].isna().all(axis=None)
    targets = stereoset_targets(EXAMPLES, SCORES)
    assert targets[["category", "target", "n"]].to_numpy().tolist() == [
        ["gender", "nurse", 3], ["gender", "sister", 1], ["race", "Ethiopian", 1], ["race", "nurse", 1]
    ]  # fmt: skip
    assert ((targets["ss_lo"] <= targets["ss"]) & (targets["ss"] <= targets["ss_hi"])).all()


@pytest.fixture(scope="module")
def intrasentence(shared_data):
    path = shared_data("stereoset", "dev.json")
    return json.loads(path.read_text(encoding="utf-8"))["data"]["intrasentence"]


def made_up(examples, scores):
    """Scores by sentence id; `scores(example, at)` gives those of stereotype, anti-stereotype and unrelated."""
    found = {}
    for at, each in enumerate(examples):
        by_label = dict(zip(LABELS, scores(each, at), strict=True))
        found |= {sentence["id"]: by_label[sentence["gold_label"]] for sentence in each["sentences"]}
    return found


def test_on_the_real_data_ideal_stereotyped_and_random_models_score_what_the_paper_says(intrasentence):
    assert len(intrasentence) == 2106
    seen = {}
    even = []
    for each in intrasentence:  # an ideal model prefers the stereotype in half of the examples of every term
        pending = seen.setdefault((each["bias_type"], each["target"]), [])
        pending.append(each)
        if len(pending) == 2:
            even += pending
            pending.clear()
    ideal = score_stereoset(even, made_up(even, lambda _, at: ((0.3, 0.2) if at % 2 else (0.2, 0.3)) + (0.1,)))
    assert ideal[["lms", "ss", "icat"]].to_numpy().tolist() == [[100, 50, 100]] * 5
    stereotyped = score_stereoset(intrasentence, made_up(intrasentence, lambda *_: (0.3, 0.2, 0.1)))
    assert stereotyped[["lms", "ss", "icat"]].to_numpy().tolist() == [[100, 100, 0]] * 5
    assert stereotyped.set_index("category")["n"].to_dict() == {
        "gender": 255, "profession": 810, "race": 962, "religion": 79, "overall": 2106
    }  # fmt: skip
    random = np.random.default_rng(0)
    chance = score_stereoset(intrasentence, made_up(intrasentence, lambda *_: random.random(3))).set_index("category")
    assert chance.loc["overall", ["lms", "ss", "icat"]].tolist() == pytest.approx([50, 50, 50], abs=4)


def plainly(examples, scores):
    """The definition once more, with a loop over terms."""
    terms = {}
    for each in examples:
        one, other, third = (float(scores[s["id"]]) for label in LABELS for s in each["sentences"] if s["gold_label"] == label)
        terms.setdefault(each["target"], []).append((one > other, (one > third) + (other > third)))
    lms = np.mean([100 * sum(related for _, related in rows) / (2 * len(rows)) for rows in terms.values()])
    ss = np.mean([100 * sum(first for first, _ in rows) / len(rows) for rows in terms.values()])
    return [lms, ss, lms * min(ss, 100 - ss) / 50]


def test_made_up_likelihoods_over_the_real_data_score_as_a_plain_loop_does_ties_included(intrasentence):
    random = np.random.default_rng(1)
    scores = made_up(intrasentence, lambda *_: random.integers(4, size=3))
    table = score_stereoset(intrasentence, scores).set_index("category")
    for category in table.index:
        chosen = [each for each in intrasentence if category in (each["bias_type"], "overall")]
        assert table.loc[category, ["lms", "ss", "icat"]].tolist() == pytest.approx(plainly(chosen, scores), abs=1e-10)


def test_pairs_count_how_often_the_more_stereotyped_sentence_is_likelier_and_a_tie_is_no_win():
    pairs = [{"bias_type": kind} for kind in ("age", "gender", "gender", "gender")]
    scores = [(-3.0, -4.0), (-2.0, -1.0), (-5.0001, -5.0002), (-1.0, -9.0)]
    table = score_crows_pairs(pairs, scores).set_index("bias_type")
    assert list(table.columns) == ["score", "n", "lo", "hi"]
    # The third pair is a tie once rounded to three decimals.
    assert table["score"].to_dict() == {"age": 100, "gender": pytest.approx(100 / 3), "overall": 50}
    assert table["n"].tolist() == [1, 3, 4]
    assert ((table["lo"] <= table["score"]) & (table["score"] <= table["hi"])).all()
    assert score_crows_pairs(pairs, scores, digits=None).set_index("bias_type").loc["gender", "score"] == pytest.approx(200 / 3)
    with pytest.raises(BadData, match="4 pairs and scores of 3"):
        score_crows_pairs(pairs, scores[:3])
    with pytest.raises(BadData, match="pair 1 are not known"):
        score_crows_pairs(pairs, [scores[0], (np.nan, 0), *scores[2:]])
