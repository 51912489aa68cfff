"""Known patterns, against loops over single weights and words."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy.stats import binomtest, false_discovery_control

import atlas
from atlas.errors import NotCaptured, TooLarge
from atlas.ids import HeadId
from atlas.metrics.relations import DIRECTIONS, MIN_ARCS
from atlas.tracing import patterns as module
from atlas.tracing.patterns import PLACES, arcs, page_of, pages, place_patterns, relation_patterns, without_patterns
from tests.engine.families import loaded
from tests.state.readers import both, rows, single

TEXT = "The old doctor saw the cat. The cat ran after the big dog, and the doctor said that she was tired of the old dog."
TARGET = "The doctor saw the cat and the dog."

CASES = [("BERT", "encoder"), ("GPT-2", "decoder"), ("Llama", "decoder"), ("T5", "encoder"), ("T5", "decoder"),
         ("bert-mini", "encoder")]  # fmt: skip


@functools.cache
def traced(name):
    model = atlas.load(name) if name.endswith("-mini") else loaded(name)
    return model.trace(TEXT, keep="weights", capture=(), **({"target": TARGET} if "cross" in model.kinds else {}))


def words_of(trace, kind):
    """(word number, positions, syntactic head, relation) of every word with tokens, in order."""
    reading = trace.reading(trace.side(kind, "query"))
    found = []
    for _, word in reading.parse.iterrows():
        places = [at for at, of in enumerate(reading.table["word"]) if of == word["word"]]
        if places:
            found.append((int(word["word"]), places, int(word["head"]), str(word["dep"]).lower()))
    return found


def between(weights, words):
    """Word to word: from a word the mean over its tokens, to a word the sum; NaN where none of it is visible."""
    found = np.full((len(words), len(words)), np.nan)
    for i, from_word in enumerate(words):
        for j, to_word in enumerate(words):
            block = weights[np.ix_(from_word[1], to_word[1])]
            if i != j and np.isfinite(block).any():
                found[i, j] = np.nansum(block, axis=1).mean()
    return found


def guesses(matrix, direction):
    """The word that each word points to, or that points most to it."""
    found = matrix if direction == DIRECTIONS[0] else matrix.T
    return [int(np.nanargmax(row)) if np.isfinite(row).any() else -1 for row in found]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_relations_are_what_single_heads_hit_word_by_word_beside_the_best_offset(name, kind):
    trace = traced(name)
    words = words_of(trace, kind)
    number = {word: at for at, (word, *_) in enumerate(words)}
    table = relation_patterns(trace, kind)
    weights = trace.attention(kind).to_numpy()
    for direction in DIRECTIONS:
        part = table[(table["pattern"] == "all") & (table["direction"] == direction)].set_index(["layer", "head"])
        for layer, head in ((0, 0), (weights.shape[0] - 1, weights.shape[1] - 1)):
            matrix = between(weights[layer, head], words)
            seen = matrix if direction == DIRECTIONS[0] else matrix.T
            guess = guesses(matrix, direction)
            told = [(at, number[parent]) for at, (_, _, parent, relation) in enumerate(words)
                    if parent in number and relation not in ("root", "punct")]  # fmt: skip
            told = [(at, parent) for at, parent in told if np.isfinite(seen[at, parent])]
            row = part.loc[(layer, head)]
            assert row["n"] == len(told)
            assert row["score"] == pytest.approx(np.mean([guess[at] == parent for at, parent in told]))
            offsets = [parent - at for at, parent in told]
            assert row["chance"] == pytest.approx(max(map(offsets.count, offsets)) / len(told))
    for (_, n), part in table.groupby(["pattern", "n"]):
        if n < MIN_ARCS:
            assert part["q"].isna().all()
    tested = table[(table["pattern"] == "all") & (table["n"] >= MIN_ARCS)]
    assert len(tested)
    p = [binomtest(round(r.score * r.n), r.n, r.chance, alternative="greater").pvalue for r in tested.itertuples()]
    np.testing.assert_allclose(tested["q"], false_discovery_control(p), atol=1e-9)


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_arcs_of_a_page_are_the_parse_and_where_the_head_points(name, kind, direction):
    trace = traced(name)
    words = words_of(trace, kind)
    number = {word: at for at, (word, *_) in enumerate(words)}
    head = HeadId(kind, 1, 1)
    matrix = between(trace.attention(kind).to_numpy()[1, 1], words)
    guess, seen = guesses(matrix, direction), matrix if direction == DIRECTIONS[0] else matrix.T
    there = pages(trace, kind)
    assert np.concatenate([page.words for page in there]).tolist() == list(range(len(words)))
    for page in there:
        found = arcs(trace, head, page, direction)
        place = {int(word): at for at, word in enumerate(page.words)}
        expected, hits, outside, unseen = [], [], 0, 0
        for at in page.words:
            parent, relation = number.get(words[at][2], -1), words[at][3]
            if parent < 0 or relation == "root":
                continue
            if parent in place:
                expected.append((place[at], place[parent], relation))
            if np.isnan(seen[at, parent]):
                unseen += 1
            elif guess[at] in place:
                hits.append((place[at], place[guess[at]], relation, guess[at] == parent))
            else:
                outside += 1
        assert (list(found.parse), list(found.found), found.outside, found.unseen) == (expected, hits, outside, unseen)
        assert [sorted(tokens) for tokens in found.tokens] == [words[at][1] for at in page.words]
        if kind == "decoder":
            # A causal model never shows the future: where words look, they look back; where they are looked at, from later on.
            back = [word < dependent for dependent, word, *_ in found.found]
            assert all(back) if direction == DIRECTIONS[0] else not any(back)


def test_long_sentences_are_drawn_in_parts_and_a_token_finds_its_page(monkeypatch):
    trace = traced("BERT")
    monkeypatch.setattr(module, "WORDS_A_PAGE", 5)
    there = pages(trace, "encoder")
    assert max(len(page.words) for page in there) == 5
    of_word = trace.reading().table["word"].to_numpy()
    for token in np.flatnonzero(of_word >= 0):
        assert of_word[token] in there[page_of(trace, "encoder", frozenset({int(token)}))].words
    assert page_of(trace, "encoder", frozenset({0})) == 0  # [CLS] is in no sentence


def test_places_are_the_metrics_of_the_head_table_and_a_planted_head_is_beyond_chance():
    words = ["[CLS]", *["a", "b", "c", "d", "e", "f", "a", "b", "c", "d", "e", "f"], "[SEP]"]
    n = len(words)
    weights = rows((2, 4, n, n), 1)
    weights[0, 1] = 0.05 / n + 0.95 * np.eye(n, k=-1)
    weights[0, 1, 0] = 1 / n
    weights[1, 2] = 0.05 / n + 0.95 * np.eye(n, k=1)
    weights[1, 2, -1] = 1 / n
    trace = atlas.from_attention(weights / weights.sum(-1, keepdims=True), words)
    table = place_patterns(trace.heads)
    assert set(table["pattern"]) == set(PLACES) - {"punctuation"}  # the text has none
    for name in set(table["pattern"]):
        part = table[table["pattern"] == name]
        np.testing.assert_array_equal(part["score"], trace.heads[name])
        np.testing.assert_array_equal(part["chance"], trace.heads[f"{name}_uniform"])
    follow = {(row.pattern, row.layer, row.head) for row in table[table["q"] <= 0.05].itertuples()}
    assert {("previous", 0, 1), ("next", 1, 2)} <= follow
    assert ("previous", 1, 2) not in follow


def test_what_has_no_relations_says_why(monkeypatch):
    with pytest.raises(NotCaptured, match="parse"):
        relation_patterns(single(), "encoder")
    with pytest.raises(NotCaptured, match="Cross-attention links two texts"):
        relation_patterns(traced("T5"), "cross")
    monkeypatch.setattr(module, "RELATION_CELLS", 10)
    with pytest.raises(TooLarge, match="Run a shorter text"):
        relation_patterns(traced("BERT"), "encoder")
    cross = atlas.from_attention({"cross": rows((1, 1, 2, 2))}, {"source": ["a", "b"], "target": ["c", "d"]})
    assert "cross-attention links two" in without_patterns(cross)
    assert without_patterns(both()) == ""
