"""The embedded detector: words and spans against a plain reading of the model, thresholds, windows, and the text of a trace."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import torch

import atlas
from atlas.bias import detect
from atlas.bias.detection import labels_of_trace
from atlas.engine.running.token_labels import token_labels
from atlas.errors import NotCaptured, UnknownName
from atlas.tracing.labelled import TokenLabels, detection, flagged, limits, tokens_within, words_of
from tests.engine.families import loaded
from tests.state.readers import single

TEXT = "Women are too emotional to lead, and immigrants are unbelievably lazy. The train left at nine."
LONG = " ".join(f"{TEXT} Paragraph {i} ends here." for i in range(20))
LABELS = ["STEREO", "GEN", "UNFAIR"]


@functools.cache
def detector():
    return atlas.load("gus-mini")


def plain(text):
    """(offsets, label -> probability at every token) of a text that fits, by transformers alone."""
    model = detector()
    made = model.tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
    offsets = made.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        values = torch.sigmoid(model.hf(**made).logits[0].float()).numpy()
    return offsets, {name: values[:, at] for at, name in model.hf.config.id2label.items()}


def test_a_word_has_the_larger_probability_of_b_and_i_at_its_first_token():
    found = detect(detector(), TEXT)
    offsets, values = plain(TEXT)
    assert list(found.words.columns) == ["word", "start", "end", *LABELS]
    assert list(found.words["word"]) == TEXT.replace(",", "").replace(".", "").split()
    for row in found.words.to_dict("records"):
        assert TEXT[row["start"] : row["end"]] == row["word"]
        at = next(i for i, (start, end) in enumerate(offsets) if start == row["start"] and end > start)
        for label in LABELS:
            assert row[label] == pytest.approx(max(values[f"B-{label}"][at], values[f"I-{label}"][at]), abs=1e-5)


def test_flagged_words_are_those_whose_b_or_i_reaches_its_own_threshold_and_are_all_in_spans():
    own = detector().hf.config.thresholds
    offsets, values = plain(TEXT)
    for thresholds, limit in (
        (None, own),
        ({"GEN": 0.9, "STEREO": 0.2, "UNFAIR": 0.05}, None),
        (0.3, dict.fromkeys(own, 0.3)),
        (own, own),
    ):
        wanted = limit or {f"{side}-{label}": value for label, value in thresholds.items() for side in "BI"}
        found = detect(detector(), TEXT, thresholds)
        assert list(found.spans.columns) == ["label", "start", "end", "probability"]
        for label in LABELS:
            spans = found.spans[found.spans["label"] == label]
            for row in found.words.to_dict("records"):
                at = next(i for i, (start, end) in enumerate(offsets) if start == row["start"] and end > start)
                on = any(values[f"{side}-{label}"][at] >= wanted[f"{side}-{label}"] for side in "BI")
                inside = ((spans["start"] <= row["start"]) & (spans["end"] >= row["end"])).sum()
                assert inside == on, (label, row)
    assert len(detect("gus-mini", TEXT, 1.0).spans) == 0  # by its name too
    with pytest.raises(UnknownName, match="no label 'RACE'"):
        detect(detector(), TEXT, {"RACE": 0.5})


def made(text, values):
    """Labels of a text of one token a word: word -> {label: probability}."""
    names = ("O", "B-GEN", "I-GEN")
    words = text.split()
    starts = [text.index(word) for word in words]
    table = pd.DataFrame(
        {"start": starts, "end": [start + len(word) for start, word in zip(starts, words, strict=True)], "special": False}
    ).assign(segment=0, word=range(len(words)))
    probability = np.array([[values.get(word, {}).get(name, 0.0) for name in names] for word in words])
    return TokenLabels("made", names, probability, table, (text,), {})


def test_a_span_ends_at_b_at_an_unflagged_word_and_at_the_end_of_a_sentence():
    high, on = {"B-GEN": 0.9, "I-GEN": 0.1}, {"B-GEN": 0.2, "I-GEN": 0.8}
    text = "a b c d , e . f"
    found = detection(made(text, {"a": high, "b": on, "c": high, "d": on, "e": on, "f": on}))
    assert [text[start:end] for start, end in found.spans[["start", "end"]].to_numpy()] == ["a b", "c d , e", "f"]
    np.testing.assert_allclose(found.spans["probability"], [0.85, 0.9 / 3 + 1.6 / 3, 0.8])
    found = detection(made("a b c", {"a": on, "c": on}))
    assert list(found.spans["start"]) == [0, 4]


def test_a_long_text_loses_no_word_and_agrees_with_the_model_where_a_window_has_the_whole_text():
    counts = []
    model = detector()
    found = token_labels(model, LONG, lambda done, of: counts.append((done, of)))
    assert len(found.tokens) > 2 * model.limit
    assert counts[-1][1] >= 3
    assert np.isfinite(found.probability).all()
    words = detect(model, LONG).words
    assert list(words["word"]) == LONG.replace(",", "").replace(".", "").split()
    assert all(LONG[start:end] == word for word, start, end in words[["word", "start", "end"]].to_numpy())
    # The first tokens are read in the first window alone, as the model reads the text cut there.
    cut = model.tokenizer(LONG, truncation=True, max_length=model.limit, return_tensors="pt")
    with torch.no_grad():
        values = torch.sigmoid(model.hf(**cut).logits[0].float()).numpy()
    np.testing.assert_allclose(found.probability[1:100], values[1:100], atol=1e-5)


@pytest.mark.parametrize("name", ["gus-mini", "gpt-mini", "t5-mini"])
def test_the_text_of_a_trace_is_read_whatever_its_model_and_words_are_found_in_its_tokens(name):
    trace = atlas.load(name).trace(TEXT)
    found = labels_of_trace(trace)
    assert found.detector == "gus-mini"
    pd.testing.assert_frame_equal(detection(found).words, detect(detector(), TEXT).words, atol=1e-5)
    table = trace.tokens()
    for row in words_of(found).table.to_dict("records"):
        tokens = sorted(tokens_within(trace, row["segment"], row["start"], row["end"]))
        assert tokens
        assert table["start"].iloc[tokens[0]] <= row["start"]
        assert table["end"].iloc[tokens[-1]] >= row["end"]


def test_a_second_text_has_words_of_its_own_for_the_detector_itself_and_for_another_model():
    for name in ("gus-mini", "bert-mini"):
        trace = atlas.load(name).trace("Women are emotional.", "They lie.")
        words = words_of(labels_of_trace(trace)).table
        assert list(words["word"]) == ["Women", "are", "emotional", "They", "lie"]
        assert list(words["segment"]) == [0, 0, 0, 1, 1]
        tokens = trace.tokens()
        first = [min(tokens_within(trace, row.segment, row.start, row.end)) for row in words.itertuples()]
        assert [tokens["token"].iloc[at].lower()[:3] for at in first] == ["wom", "are", "emo", "the", "lie"]


def test_flagged_follows_the_threshold_of_its_label_alone():
    words = words_of(token_labels(detector(), TEXT))
    low, high = (limits(words.labels, {"GEN": gen, "STEREO": 0.5, "UNFAIR": 0.5}, {}) for gen in (0.05, 0.95))
    difference = flagged(words, low) != flagged(words, high)
    assert difference[:, words.labels.index("GEN")].any()
    assert not difference[:, [words.labels.index(label) for label in ("STEREO", "UNFAIR")]].any()


def test_what_detects_nothing_says_so():
    with pytest.raises(NotCaptured, match="labels no tokens"):
        detect(loaded("BERT"), "the cat ran")
    with pytest.raises(NotCaptured, match="no text"):
        labels_of_trace(single())
