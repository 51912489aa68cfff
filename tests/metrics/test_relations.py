from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from atlas.metrics import ParsedAttention, best_by_relation, relation_accuracy, wilson_interval

#            the cat saw the dog .
HEADS = [1, 2, -1, 4, 2, 2]
DEPS = ["det", "nsubj", "ROOT", "det", "dobj", "punct"]


def attention(rng, layers=2, heads=3, words=6):
    weights = rng.random((layers, heads, words, words))
    return weights / weights.sum(-1, keepdims=True)


def by_loops(sentences, layer, head):
    """Accuracy of one head, word by word."""
    n, hits = {}, {}
    for weights, heads, deps in sentences:
        matrix = weights[layer, head]
        for word, (parent, relation) in enumerate(zip(heads, deps, strict=True)):
            if parent < 0:
                continue
            others = [k for k in range(len(heads)) if k != word]
            row = max((k for k in others if not np.isnan(matrix[word, k])), key=lambda k: matrix[word, k], default=None)
            column = max((k for k in others if not np.isnan(matrix[k, word])), key=lambda k: matrix[k, word], default=None)
            guesses = (
                ("dependent_to_head", row, matrix[word, parent]),
                ("head_to_dependent", column, matrix[parent, word]),
            )
            for direction, guess, cell in guesses:
                if np.isnan(cell):
                    continue
                for name in {relation, "all"} if relation != "punct" else {relation}:
                    key = (name, direction)
                    n[key] = n.get(key, 0) + 1
                    hits[key] = hits.get(key, 0) + (guess == parent)
    return n, hits


@pytest.mark.parametrize("causal", [False, True])
def test_accuracy_equals_plain_loops(causal):
    rng = np.random.default_rng(0)
    sentences = []
    for _ in range(6):
        words = int(rng.integers(3, 9))
        weights = attention(rng, words=words)
        if causal:
            weights[..., ~np.tri(words, dtype=bool)] = np.nan
        parents = [int(rng.choice([k for k in range(words) if k != word])) for word in range(words)]
        parents[0] = -1
        sentences.append((weights, parents, ["ROOT", *rng.choice(["det", "nsubj", "punct"], words - 1)]))
    table = relation_accuracy(ParsedAttention(*sentence) for sentence in sentences)
    for (layer, head), part in table.groupby(["layer", "head"]):
        n, hits = by_loops(sentences, layer, head)
        found = part.set_index(["relation", "direction"])
        assert set(found.index) == set(n)
        for key, count in n.items():
            assert found.loc[key, "n"] == count
            assert found.loc[key, "accuracy"] == pytest.approx(hits[key] / count)


def planted():
    weights = np.full((1, 2, 6, 6), 0.01)
    for word, parent in enumerate(HEADS):
        if parent >= 0:
            weights[0, 0, word, parent] = 0.9
            weights[0, 1, parent, word] = 0.9
    # All on oneself is no answer: the diagonal must not win.
    weights[0, :, range(6), range(6)] = 5.0
    return ParsedAttention(weights, HEADS, DEPS)


def test_planted_syntax_heads():
    table = relation_accuracy([planted()]).set_index(["head", "relation", "direction"])
    for relation in ("det", "nsubj", "dobj", "all", "punct"):
        assert table.loc[(0, relation, "dependent_to_head"), "accuracy"] == 1
        assert table.loc[(1, relation, "head_to_dependent"), "accuracy"] == 1
    # the -> cat and the -> dog are one to the right, twice: a fixed offset does as well.
    assert table.loc[(0, "det", "dependent_to_head"), "baseline"] == 1
    assert table.loc[(0, "det", "dependent_to_head"), "baseline_offset"] == 1
    # All but punctuation: offsets +1, +1, +1, -2.
    assert table.loc[(0, "all", "dependent_to_head"), "n"] == 4
    assert table.loc[(0, "all", "dependent_to_head"), "baseline"] == pytest.approx(0.75)


def test_counts_add_up_over_sentences_and_the_best_head_is_told():
    rng = np.random.default_rng(1)
    noise = [ParsedAttention(attention(rng, layers=1, heads=2), HEADS, DEPS) for _ in range(3)]
    table = relation_accuracy([planted(), *noise, planted()])
    assert table.query("relation == 'det'")["n"].unique().tolist() == [10]
    best = best_by_relation(relation_accuracy([planted()]))
    assert best["relation"].tolist()[0] == "all"
    assert best["relation"].is_unique
    assert best_by_relation(relation_accuracy([planted()]), min_n=2)["relation"].tolist() == ["all", "det"]


def test_a_causal_model_is_not_asked_about_the_future():
    weights = attention(np.random.default_rng(2), layers=1, heads=1)
    weights[..., ~np.tri(6, dtype=bool)] = np.nan
    table = relation_accuracy([ParsedAttention(weights, HEADS, DEPS)])
    assert set(table.query("direction == 'dependent_to_head'")["relation"]) == {"dobj", "punct", "all"}
    assert set(table.query("direction == 'head_to_dependent'")["relation"]) == {"det", "nsubj", "all"}


def test_wilson_interval_equals_scipys():
    hits, n = np.array([0, 1, 7, 10, 432]), np.array([10, 10, 10, 10, 1000])
    lo, hi = wilson_interval(hits, n)
    for place, (h, m) in enumerate(zip(hits, n, strict=True)):
        expected = binomtest(int(h), int(m)).proportion_ci(method="wilson")
        assert (lo[place], hi[place]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert np.isnan(wilson_interval(0, 0)).all()


def test_nothing_to_count_and_what_does_not_fit():
    empty = relation_accuracy([ParsedAttention(attention(np.random.default_rng(3), words=1), [-1], ["ROOT"])])
    assert isinstance(empty, pd.DataFrame)
    assert empty.empty
    assert "accuracy" in empty.columns
    with pytest.raises(ValueError, match="does not go with"):
        relation_accuracy([ParsedAttention(attention(np.random.default_rng(3)), [-1, 0], ["ROOT", "det"])])
