"""Attributions against what people marked: by hand, by sklearn, and over a file."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, f1_score, precision_recall_curve

import atlas
from atlas.attribution import Attribution, attribute, plausibility, plausibility_of_methods, read_rationales
from atlas.attribution.plausibility import area_under, iou_f1, runs
from atlas.errors import TextError
from atlas.tracing.explained import Resolved

TEXT = "we loved the warm sunny day at sea"


def scored(scores, text=TEXT):
    """An attribution that has these scores for the words of a text, between two special tokens."""
    words, starts, at = text.split(), [], 0
    for word in words:
        starts.append(text.index(word, at))
        at = starts[-1] + len(word)
    count = len(words)
    table = pd.DataFrame({
        "side": "source", "position": range(count + 2), "token": ["[CLS]", *words, "[SEP]"],
        "special": [True, *[False] * count, True], "score": [9.0, *scores, 9.0], "start": [None, *starts, None],
        "end": [None, *(start + len(word) for start, word in zip(starts, words, strict=True)), None],
        "segment": [-1, *[0] * count, -1],
    })  # fmt: skip
    return Attribution("by hand", Resolved(0, "source", "", 0), table)


def span(words):
    return [TEXT.index(words), TEXT.index(words) + len(words)]


def test_scores_are_those_by_hand():
    """People marked 'loved' and 'warm sunny day'; the three highest scores are 'loved', 'sunny' and 'sea'."""
    found = plausibility(scored([0, 5, -9, 1, 4, 0, 0.5, 3]), [span("loved"), span("warm sunny day")], k=3)
    assert list(found) == ["score", "value", "chance", "chance_lo", "chance_hi", "p"]
    value = found.set_index("score")["value"]
    assert value["token_f1"] == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    # Of the runs loved, sunny, sea the first is a span; sunny is a third of the other.
    assert value["iou_f1"] == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    assert found.attrs == {"k": 3, "tokens": 8, "marked": 4, "method": "by hand"}
    whole = plausibility(scored([0, 5, -9, 1, 4, 0, 0.5, 3]), [span("loved"), span("warm sunny day")])
    assert whole.attrs["k"] == 4


def test_a_perfect_attribution_is_beyond_chance_and_a_constant_one_is_chance():
    marked = [span("loved"), span("warm sunny day")]
    best = plausibility(scored([0, 4, 0, 4, 3, 4, 0, 0]), marked).set_index("score")
    assert best["value"].tolist() == [1.0, 1.0, 1.0]
    assert (best.loc[["auprc", "token_f1"], "p"] < 0.05).all()
    assert (best["chance_lo"] <= best["chance"]).all()
    assert (best["chance"] <= best["chance_hi"]).all()
    assert best.loc["token_f1", "chance"] == pytest.approx(0.5, abs=0.03)  # 4 of 8 tokens
    flat = plausibility(scored([1.0] * 8), marked).set_index("score")
    # One point at recall 1 with the share of marked tokens, and the start at precision 1.
    assert flat.loc["auprc", "value"] == flat.loc["auprc", "chance"] == pytest.approx((1 + 0.5) / 2)
    assert flat.loc["auprc", "p"] == 1


@pytest.mark.parametrize("seed", range(5))
def test_area_and_f1_are_sklearns_also_with_ties(seed):
    random = np.random.default_rng(seed)
    scores, truth = random.integers(0, 6, 20).astype(float), random.random((4, 20)) < 0.4
    for row, area in zip(truth, area_under(scores, truth), strict=True):
        precision, recall, _ = precision_recall_curve(row, scores)
        assert area == pytest.approx(auc(recall, precision))
    scores = random.permutation(8).astype(float)
    found = plausibility(scored(scores), [span("warm sunny")], k=3, draws=9).set_index("score")["value"]
    top = scores >= 5
    assert found["token_f1"] == pytest.approx(f1_score(np.isin(np.arange(8), [3, 4]), top))


def test_two_halves_of_a_span_are_one_span_found():
    whole = frozenset(range(4))
    assert runs(np.array([5, 0, 1, 3]), np.array([1, 2, 3, 4, 6, 7])) == [{0, 1}, {3}, {5}]
    assert iou_f1([frozenset({0, 1}), frozenset({2, 3})], [whole]) == 1.0
    assert iou_f1([frozenset({0})], [whole]) == 0.0


def test_what_cannot_be_compared_is_said():
    with pytest.raises(TextError, match="nothing to compare"):
        plausibility(scored([1.0] * 8), [[2, 3]])  # the space between two words
    bare = scored([1.0] * 8)
    with pytest.raises(TextError, match="where its tokens lie"):
        plausibility(replace(bare, tokens=bare.tokens.drop(columns="start")), [[0, 2]])


def test_tokens_of_a_model_are_marked_by_their_characters():
    model = atlas.load("bert-mini")
    found = attribute(model, "The doctor was tired.", method="saliency", pair="The doctor slept.")
    compared = plausibility(found, [[4, 10]])
    assert compared.attrs["marked"] == 1
    assert compared.attrs["tokens"] == 5
    doctor = found.tokens[(found.tokens["token"] == "doctor") & (found.tokens["segment"] == 0)].iloc[0]
    assert ("The doctor was tired."[doctor["start"] : doctor["end"]]) == "doctor"


LINES = [
    {"text": "What a lovely day we had", "rationales": [[7, 17]]},
    {"text": "I hated this awful place", "rationales": [[2, 7], [13, 18]], "label": "no such label"},
    {"text": "I am so happy about it", "rationales": [[8, 13]]},
    {"text": "short", "rationales": [[0, 9]]},
    {"text": "", "rationales": [[0, 1]]},
    {"text": "no spans", "rationales": []},
    {"text": "floats", "rationales": [[0.0, 1]]},
    {"text": "label", "rationales": [[0, 1]], "label": 3},
    [1],
]


def test_a_file_is_read_and_what_is_no_rationale_is_listed(tmp_path):
    path = tmp_path / "marked.jsonl"
    path.write_text("\n".join([*map(json.dumps, LINES), "{", ""]), encoding="utf-8")
    found = read_rationales(path)
    assert [each.row for each in found.texts] == [1, 2, 3]
    assert found.texts[1].spans == ((2, 7), (13, 18))
    assert [row for row, _ in found.bad] == [4, 5, 6, 7, 8, 9, 10]
    reasons = " ".join(reason for _, reason in found.bad)
    for said in ("[0, 9]", "no 'text'", "no 'rationales'", "[0.0, 1]", "'label' that is no text", "list", "no JSON"):
        assert said in reasons
    for content, said in (("{}\n", "Line 1 has no 'text'"), ("", "has no line like")):
        path.write_text(content)
        with pytest.raises(TextError, match=said):
            read_rationales(path)
    path.write_bytes(b"\xff")
    with pytest.raises(TextError, match="not UTF-8"):
        read_rationales(path)
    with pytest.raises(TextError, match="cannot be read"):
        read_rationales(tmp_path / "none.jsonl")


def test_methods_are_compared_over_the_texts_of_a_file(tmp_path):
    path = tmp_path / "marked.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)), encoding="utf-8")
    model, read = atlas.load("mood-mini"), read_rationales(path)
    found = plausibility_of_methods(model, read.texts, ["saliency", "rollout"], seed=3)
    assert found["method"].unique().tolist() == ["saliency", "rollout", "random"]
    assert found.attrs["texts"] == 2
    assert [row for row, _ in found.attrs["bad"]] == [2]
    texts = [read.texts[0], read.texts[2]]
    alone = [attribute(model, each.text, method="saliency") for each in texts]
    marked = [plausibility(each, text.spans, draws=1) for each, text in zip(alone, texts, strict=True)]
    share = sum(each.attrs["marked"] for each in marked) / sum(each.attrs["tokens"] for each in marked)
    assert found.attrs["share"] == pytest.approx(share)
    ks = [max(1, round(share * each.attrs["tokens"])) for each in marked]
    by_hand = [plausibility(each, text.spans, k=k, draws=1) for each, text, k in zip(alone, texts, ks, strict=True)]
    for score in ("auprc", "iou_f1", "token_f1"):
        expected = np.mean([each.set_index("score").loc[score, "value"] for each in by_hand])
        row = found[(found["method"] == "saliency") & (found["score"] == score)].iloc[0]
        assert row["mean"] == pytest.approx(expected, abs=1e-6)
        assert row["n"] == 2
