"""Links and scores between words, against the word matrix and plain sums; words that are not broken; scripts without spaces."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import atlas
from atlas.ids import HeadId
from atlas.tracing import windows
from atlas.tracing.levels import TOKEN, TOKENS, WORD, grouped, level_of, side_words, word_names
from atlas.tracing.links import WORDS, head_links, layer_links, several_links, token_categories, unit_categories
from atlas.tracing.token_scores import sinks
from tests.engine.families import loaded

PIECES = "the doctors said that the cats ran after the dogs because she was tired"
"""Some of its words are two tokens."""

BROKEN = "The immunologists unquestionably misunderstood her hypothermia."

WHOLE = [("gpt-mini", "The old doctor said that she was tired"), ("bert-mini", "the cat ran.")]
"""No word is several tokens."""

DATE = "translate: the fourteenth of september nineteen ninety-eight"
"""What is written has a number of four tokens."""

SCRIPTS = "สวัสดีครับ 你好世界 👩‍🔬 نعم don't\nकिताब x"
"""No spaces between words, several tokens a character, several code points a sign."""

CASES = [
    ("BERT", "encoder"), ("GPT-2", "decoder"), ("T5", "encoder"), ("T5", "decoder"), ("T5", "cross"), ("bert-mini", "encoder"),
    ("gpt-mini", "decoder"), ("t5-mini", "cross"),
]  # fmt: skip


@functools.cache
def traced(name, text=None):
    model = atlas.load(name) if name.endswith("-mini") else loaded(name)
    text = text or {"t5-mini": DATE}.get(name, BROKEN if name.endswith("-mini") else PIECES)
    return model.trace(text, keep="weights", capture=(), **({"target": PIECES} if name == "T5" else {}))


def chosen(trace, kind):
    heads = [head for head in trace.head_ids if head.kind == kind]
    return heads[:1], [heads[0], heads[1], heads[-1]]


def plain_words(trace, kind):
    """(query units, key units) as lists of tokens, from the token table."""
    found = []
    for axis in ("query", "key"):
        groups = {}
        for at, word in enumerate(trace.tokens(trace.side(kind, axis))["word"]):
            groups.setdefault(("alone", at) if word < 0 else word, []).append(at)
        found.append(list(groups.values()))
    return found


def between(weights, queries, keys):
    """Sum over the tokens of the key, mean over those of the query, one cell after the other."""
    made = np.full((len(queries), len(keys)), np.nan)
    for q, k in np.ndindex(*made.shape):
        block = weights[np.ix_(queries[q], keys[k])]
        if not np.isnan(block).all():
            made[q, k] = np.nansum(block) / len(queries[q])
    return made


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_some_words_are_broken_here(name, kind):
    trace = traced(name)
    level = level_of(trace, kind, WORD)
    assert len(level.keys) < len(level.keys.of_token) or len(level.queries) < len(level.queries.of_token)


@pytest.mark.parametrize("aggregate", ["mean", "max"])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_links_between_words_are_the_cells_of_the_word_matrix_and_rows_sum_to_one(name, kind, aggregate):
    trace = traced(name)
    level, (queries, keys) = level_of(trace, kind, WORD), plain_words(trace, kind)
    for heads in chosen(trace, kind):
        matrix = windows.words(trace, heads, aggregate).weights
        stack = np.stack([trace.attention(kind, layer=head.layer, head=head.head).to_numpy() for head in heads]).astype(float)
        alone = np.stack([between(each, queries, keys) for each in stack])
        visible = ~np.isnan(alone).all(0)
        plain = np.where(visible, (np.nansum(alone, 0) / np.maximum((~np.isnan(alone)).sum(0), 1)) if aggregate == "mean"
                         else np.nan_to_num(alone, nan=-1).max(0), np.nan)  # fmt: skip
        np.testing.assert_allclose(matrix, plain, atol=1e-6)
        found = head_links(trace, heads, aggregate, most=10**6, level=level)
        np.testing.assert_array_equal(found.weight, matrix[found.query, found.key])
        assert len(found.weight) == np.count_nonzero(np.nan_to_num(matrix) > 0)
        assert found.cells == visible.sum()
        np.testing.assert_allclose(found.sent, np.nansum(matrix, 1), rtol=1e-5)
        np.testing.assert_allclose(found.received, np.nansum(matrix, 0), rtol=1e-4, atol=1e-6)
        if aggregate == "mean":
            np.testing.assert_allclose(found.sent, 1, atol=1e-5)
            assert found.mass == pytest.approx(len(queries), rel=1e-5)
        evenly = np.where(np.isnan(stack), np.nan, 1 / (~np.isnan(stack)).sum(-1, keepdims=True))
        chance = np.stack([between(each, queries, keys) for each in evenly])
        expected = chance[0] if aggregate == "mean" or len(heads) == 1 else np.nanmax(np.nan_to_num(chance, nan=-1), 0)
        np.testing.assert_allclose(found.chance, expected[found.query, found.key], rtol=1e-4)


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[1] != "cross"])
def test_layer_by_layer_a_layer_is_its_word_matrix(name, kind):
    trace = traced(name)
    found = layer_links(trace, kind, level=level_of(trace, kind, WORD), most=10**6)
    for layer, links in enumerate(found):
        matrix = windows.words(trace, [HeadId(kind, layer, head) for head in range(trace.n_heads(kind))]).weights
        np.testing.assert_array_equal(links.weight, matrix[links.query, links.key])
        np.testing.assert_allclose(links.sent, 1, atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_several_heads_have_the_cells_of_their_own_word_matrices(name, kind):
    trace = traced(name)
    heads = [HeadId(kind, 0, head) for head in range(trace.n_heads(kind))]
    found = several_links(trace, heads, most=10**6, level=level_of(trace, kind, WORD))
    matrices = {head.head: windows.words(trace, [head]).weights for head in heads}
    expected = [matrices[head][query, key] for head, query, key in zip(found.head, found.query, found.key, strict=True)]
    np.testing.assert_array_equal(found.weight, np.array(expected, np.float32))
    assert len(found.weight) == sum(np.count_nonzero(np.nan_to_num(each) > 0) for each in matrices.values())
    assert found.mass == found.whole == pytest.approx(len(heads) * len(matrices[0]), rel=1e-5)


@pytest.mark.parametrize("name", ["GPT-2", "gpt-mini"])
def test_no_word_of_a_causal_model_looks_at_a_later_word_and_one_looks_at_itself_for_its_own_tokens(name):
    trace = traced(name)
    level = level_of(trace, "decoder", WORD)
    found = head_links(trace, trace.head_ids[:1], most=10**6, level=level)
    assert (found.key <= found.query).all()
    weights = np.nan_to_num(trace.attention(layer=0, head=0).to_numpy())
    word = int(np.argmax(level.queries.size))
    tokens = np.flatnonzero(level.queries.of_token == word)
    assert len(tokens) > 1
    own = found.weight[(found.query == word) & (found.key == word)]
    assert own[0] == pytest.approx(weights[np.ix_(tokens, tokens)].sum() / len(tokens), rel=1e-5)


@pytest.mark.parametrize("name", ["gpt-mini", "BERT"])
def test_a_word_that_holds_a_sink_is_left_out_whole(name):
    trace = traced(name, "Immunologists ran." if name == "gpt-mini" else None)
    kind = trace.kinds[0]
    level = level_of(trace, kind, WORD)
    hidden = level.places("key", np.flatnonzero(sinks(trace, kind)).tolist())
    found = head_links(trace, trace.head_ids[:1], without_sinks=True, most=10**6, level=level)
    assert not set(found.key.tolist()) & hidden
    matrix = windows.words(trace, trace.head_ids[:1]).weights
    assert found.left_out == pytest.approx(np.nansum(matrix[:, sorted(hidden)]), rel=1e-5)
    assert set(range(len(level.keys))) - hidden == set(found.key.tolist())


def test_between_two_texts_words_are_in_the_text_of_their_tokens():
    trace = loaded("BERT").trace("the doctors ran", "the cats said", keep="weights", capture=())
    level = level_of(trace, "encoder", WORD)
    assert len(level.queries) < len(trace.tokens())
    segments = trace.tokens()["segment"].to_numpy()
    whole = several_links(trace, trace.head_ids[:2], most=10**6, level=level)
    found = several_links(trace, trace.head_ids[:2], "AB", most=10**6, level=level)
    assert len(found.weight)
    assert {segments[at] for query in found.query for at in level.tokens("query", query)} == {0}
    assert {segments[at] for key in found.key for at in level.tokens("key", key)} == {1}
    inside = [
        float(weight) for query, key, weight in zip(whole.query, whole.key, whole.weight, strict=True)
        if segments[level.queries.first[query]] == 0 and segments[level.keys.first[key]] == 1
    ]  # fmt: skip
    assert found.weight.tolist() == sorted(inside, reverse=True)


@pytest.mark.parametrize(("name", "text"), WHOLE)
def test_where_no_word_is_broken_words_are_tokens(name, text):
    trace = traced(name, text)
    kind = trace.kinds[0]
    level, units = level_of(trace, kind, WORD), grouped(trace, WORD)
    assert not units.several
    assert len(level.keys) == len(trace.tokens())
    heads = chosen(trace, kind)[1]
    for by_word, by_token in (
        (head_links(trace, heads, level=level), head_links(trace, heads)),
        (several_links(trace, heads, level=level), several_links(trace, heads)),
        (layer_links(trace, kind, level=level)[1], layer_links(trace, kind)[1]),
    ):
        for field in by_token._fields:
            np.testing.assert_allclose(getattr(by_word, field), getattr(by_token, field), rtol=1e-6, err_msg=field)
    assert units.tokens == grouped(trace, TOKEN).tokens
    assert unit_categories(trace, kind, level) == unit_categories(trace, kind, TOKENS)


@pytest.mark.parametrize("name", ["gpt-mini", "bert-mini", "GPT-2", "Llama"])
def test_scripts_without_spaces_and_characters_of_several_tokens(name):
    trace = traced(name, SCRIPTS)
    kind = trace.kinds[0]
    level, names = level_of(trace, kind, WORD), word_names(trace, "source")
    n = len(trace.tokens())
    assert sorted(at for unit in range(len(level.keys)) for at in level.tokens("key", unit)) == list(range(n))
    assert all(names)
    assert {"สวัสดีครับ", "你", "👩‍🔬", "don't"} <= set(names) or name != "gpt-mini"
    found = head_links(trace, trace.head_ids[:2], most=10**6, level=level)
    np.testing.assert_allclose(found.sent, 1, atol=1e-5)
    for position, said in enumerate(level.positions("key")):
        first, _, last = said.partition("–")
        assert level.tokens("key", position) == set(range(int(first), int(last or first) + 1))
    assert len(unit_categories(trace, kind, level)) == len(names)
    assert grouped(trace, WORD).names == names


def test_a_sum_over_words_is_that_of_their_tokens_on_both_sides():
    trace = traced("T5")
    units, values = grouped(trace, WORD), np.random.default_rng(0).normal(size=sum(map(len, trace.token_tables.values())))
    sums = units.summed(values)
    start = {side: sum(len(trace.token_tables[other]) for other in list(trace.token_tables)[:at])
             for at, side in enumerate(trace.token_tables)}  # fmt: skip
    for side, tokens, found in zip(units.sides, units.tokens, sums, strict=True):
        assert found == pytest.approx(sum(values[start[side] + at] for at in tokens))
    assert sum(map(len, units.tokens)) == len(values)
    assert units.several
    known = values.copy()
    known[units.tokens[-1][0] + start[units.sides[-1]]] = np.nan
    assert np.flatnonzero(np.isnan(units.summed(known))).tolist() == [len(sums) - 1]


def test_a_word_is_of_the_kind_of_its_tokens():
    trace = traced("bert-mini", "She said don't, immunologists!")
    level = level_of(trace, "encoder", WORD)
    names = word_names(trace, "source")
    kinds = dict(zip(names, unit_categories(trace, "encoder", level), strict=True))
    assert (kinds["[CLS]"], kinds["don't"], kinds["immunologists"], kinds[","]) == ("special tokens", WORDS, WORDS, "punctuation")
    assert len(token_categories(trace, "source")) > len(names)
    assert len(side_words(trace, "source")) == len(names)
