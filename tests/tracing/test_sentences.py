"""Attention between sentences, against loops over single tokens."""

from __future__ import annotations

import functools
import itertools
import warnings

import numpy as np
import pytest

import atlas
from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.ids import HeadId
from atlas.text.sentences import stretches
from atlas.tracing import sentences as module
from atlas.tracing.sentences import PART, has_parts, sentences, without_sentences
from tests.engine.families import loaded

TEXT = "The cat ran after the dog. She was tired! The doctor said hello to the dog and the cat."
TARGET = "A cat ran. The doctor said hello. She was tired."


@functools.cache
def traced(name, keep="weights", **texts):
    model = loaded(name)
    return model.trace(TEXT, keep=keep, capture=(), **({"target": TARGET} if "cross" in model.kinds else {}) | texts)


CASES = [
    pytest.param(name, keep, kind, id=f"{name}-{keep}-{kind}")
    for name, kinds in {
        "BERT": ["encoder"], "GPT-2": ["decoder"], "Mistral": ["decoder"], "GPT-OSS": ["decoder"],
        "T5": ["encoder", "decoder", "cross"],
    }.items()
    for keep in ("weights", "qk")
    for kind in kinds
]  # fmt: skip


def numbers_of(trace, side):
    """The sentence of every token that is no special token, else None."""
    table = trace.tokens(side)
    rows = zip(table["sentence"], table["special"], strict=True)
    return [None if special or sentence < 0 else int(sentence) for sentence, special in rows]


def plain(weights, of_row, of_column):
    """Token by token: (mass, mass of uniform attention), NaN where nothing may be seen."""
    rows, columns = ([*dict.fromkeys(n for n in of if n is not None)] for of in (of_row, of_column))
    found = np.full((2, len(rows), len(columns)), np.nan)
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        given, evenly, any_seen = [], [], False
        for query in (q for q, of in enumerate(of_row) if of == row):
            visible = [k for k in range(len(of_column)) if not np.isnan(weights[query, k])]
            there = [k for k in visible if of_column[k] == column]
            given.append(sum(float(weights[query, k]) for k in there))
            evenly.append(len(there) / len(visible))
            any_seen = any_seen or bool(there)
        if any_seen:
            found[:, i, j] = np.mean(given), np.mean(evenly)
    return found


@pytest.mark.parametrize("aggregate", ["mean", "max"])
@pytest.mark.parametrize(("name", "keep", "kind"), CASES)
def test_the_mass_between_sentences_is_what_its_tokens_give(name, keep, kind, aggregate):
    trace = traced(name, keep)
    of = [numbers_of(trace, trace.side(kind, axis)) for axis in ("query", "key")]
    weights = trace.attention(kind).to_numpy()
    of_kind = [head for head in trace.head_ids if head.kind == kind]
    for heads in (of_kind[:1], of_kind[1:4:2], of_kind):
        found = sentences(trace, heads, aggregate)
        each = np.stack([plain(weights[head.layer, head.head], *of) for head in heads])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # numpy warns of cells that are NaN everywhere
            mass, chance = (np.nanmean if aggregate == "mean" else np.nanmax)(each, axis=0)
        assert found.mass.shape == (3, 3)
        np.testing.assert_allclose(found.mass, mass, atol=1e-5)
        np.testing.assert_allclose(found.chance, chance, atol=1e-5)
    if kind == "decoder":
        assert np.isnan(found.mass[np.triu_indices(3, 1)]).all()  # no sentence looks at a later one
    assert np.isfinite(found.mass[np.tril_indices(3)]).all() or name in ("Mistral", "GPT-OSS")


def test_rows_are_the_target_and_columns_the_source_and_specials_are_in_none():
    trace = traced("T5")
    found = sentences(trace, [HeadId("cross", 0, 0)])
    assert found.rows == ("1: A cat ran.", "2: The doctor said hello.", "3: She was tired.")
    assert found.columns[:2] == ("1: The cat ran after the dog.", "2: She was tired!")
    for side, of in (("target", found.row_of), ("source", found.column_of)):
        expected = [-1 if number is None else number for number in numbers_of(trace, side)]
        np.testing.assert_array_equal(of, expected)


def test_a_second_text_has_sentences_of_its_own():
    trace = loaded("BERT").trace("The cat ran. The dog ran.", "She was tired.", keep="weights", capture=())
    found = sentences(trace, trace.head_ids)
    assert found.rows == ("1: The cat ran.", "2: The dog ran.", "3: She was tired.")
    of = numbers_of(trace, "source")
    each = np.stack([plain(trace.attention().to_numpy()[head.layer, head.head], of, of) for head in trace.head_ids])
    np.testing.assert_allclose(found.mass, each[:, 0].mean(0), atol=1e-5)


def test_a_head_is_summed_once_however_often_others_are_selected(monkeypatch):
    trace = loaded("BERT").trace(TEXT, keep="weights", capture=())
    summed = []
    monkeypatch.setattr(module, "sentence_mass", lambda *a, real=module.sentence_mass: summed.append(1) or real(*a))
    sentences(trace, trace.head_ids[:3])
    assert len(summed) == 3 + 1  # and the uniform one of their layer
    sentences(trace, trace.head_ids[1:4])
    assert len(summed) == 5


def test_what_is_too_much_is_refused_with_what_to_do(monkeypatch):
    trace = traced("BERT")
    n = len(trace.tokens())
    monkeypatch.setattr(module, "SENTENCE_CELLS", 2 * n * n)
    sentences(trace, trace.head_ids[:2])
    with pytest.raises(TooLarge, match="Select fewer heads"):
        sentences(trace, trace.head_ids[:3])


def test_what_has_no_sentences_says_why():
    recording = atlas.from_attention(np.full((1, 1, 2, 2), 0.5, np.float32), ["a", "b"])
    assert "this recording has tokens and no text" in without_sentences(recording, recording.kinds[0])
    with pytest.raises(NotCaptured, match="Nobody knows the sentences"):
        sentences(recording, recording.head_ids)
    assert without_sentences(traced("BERT"), "encoder") == ""
    with pytest.raises(UnknownName):
        sentences(traced("T5"), [HeadId("cross", 0, 0), HeadId("encoder", 0, 0)])


def test_chance_of_a_head_that_lost_edges_is_that_of_its_own_mask():
    whole = traced("BERT")
    rows, keys = ([at for at, number in enumerate(numbers_of(whole, "source")) if number == wanted] for wanted in (0, 1))
    cut = [(HeadId("encoder", 0, 1), query, key) for query in rows for key in keys]
    trace = loaded("BERT").trace(TEXT, keep="weights", capture=(), knock_out=cut)
    found = {head: sentences(trace, [HeadId("encoder", 0, head)]) for head in (0, 1)}
    assert np.isnan(found[1].chance[0, 1])
    assert np.isnan(found[1].mass[0, 1])
    np.testing.assert_allclose(found[0].chance, sentences(whole, [HeadId("encoder", 0, 0)]).chance)
    assert found[1].chance[0, 0] > found[0].chance[0, 0]


PARTS = {
    "pair": (lambda: loaded("BERT").trace("The cat ran. It was tired!", "The doctor said hello.", capture=()), "encoder",
             ["first text 1: The cat ran. It was tired!", "second text 2: The doctor said hello."]),
    "written": (lambda: loaded("GPT-2").write("The cat ran after", 4, capture=()), "decoder",
                ["prompt 1: The cat ran after", None]),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_texts_and_spans_are_compared_as_wholes(name):
    make, kind, names = PARTS[name]
    trace = make()
    assert has_parts(trace, kind)
    table = trace.tokens()
    labels = list(table["span"]) if name == "written" else [int(segment) for segment in table["segment"]]
    numbers = {label: at for at, label in enumerate(dict.fromkeys(label for label in labels if label not in ("", -1)))}
    of = [None if special else numbers.get(label) for label, special in zip(labels, table["special"], strict=True)]
    found = sentences(trace, trace.head_ids[:2], by=PART)
    weights = trace.attention(kind).to_numpy()[0, :2]
    expected = np.mean([plain(each, of, of) for each in weights], axis=0)
    np.testing.assert_allclose(found.mass, expected[0], atol=1e-6)
    np.testing.assert_allclose(found.chance, expected[1], atol=1e-6)
    assert [row if name else None for row, name in zip(found.rows, names, strict=True)] == names
    assert found.rows[-1].startswith(("second text 2: ", "written 2: "))


def test_messages_of_one_role_are_apart_and_a_text_alone_has_no_parts():
    units = stretches(["", "user", "user", "", "assistant", "user"])
    assert units.of_token.tolist() == [-1, 0, 0, -1, 1, 2]
    assert not has_parts(traced("BERT"), "encoder")
    found = sentences(traced("T5"), [HeadId("cross", 0, 0)], by=PART)
    assert [name.split(": ")[0] for name in (*found.rows, *found.columns)] == ["text 1", "text 1"]
