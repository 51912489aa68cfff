"""gus-mini on texts as readers paste them: words, spans, long texts, and held-out sentences beside the baselines of its card."""

from __future__ import annotations

import functools
import json
import re

import numpy as np
import pytest
import torch

import atlas
from atlas.bias import detect
from atlas.engine.running.token_labels import token_labels
from atlas.resources import asset
from atlas.tracing.labelled import flagged, limits, words_of

PASTED = {
    "They're \"too emotional\" (again); aren't they?!": ["They're", "too", "emotional", "again", "aren't", "they"],
    "Women can't drive, don’t you think?": ["Women", "can't", "drive", "don’t", "you", "think"],
    "Immigrants’ kids—lazy… aren't they?": ["Immigrants", "kids", "lazy", "aren't", "they"],
    "😀 Old people 👩‍👩‍👧 are so 🤖-like 🇩🇪!": ["Old", "people", "are", "so", "like"],
    "All naïve café-goers\n\n\tare   elitist snobs.": ["All", "naïve", "café", "goers", "are", "elitist", "snobs"],
    "l'homme; #women @men 50% U.S. 'women'": ["l'homme", "women", "men", "50", "U.S", "women"],
}

PARTS = (
    "Women can't drive; they're \"too emotional\" to lead, aren't they?",
    "Immigrants are unbelievably lazy 😀 and steal our jobs!",
    "The train left at nine, and it rained on the old road.",
    "All teachers — even the naïve ones — are so-called “idealists”.",
    "Old people don’t understand computers 🤖.",
)

LONG = " ".join(f"{part} Paragraph {number} ends." for number in range(12) for part in PARTS)

BEFORE_MARKS = re.compile(r" (?=[.,!?;:%)\]’]|'s\b|n't\b|'re\b|'m\b|'ve\b|'ll\b|'d\b)|(?<=[(\[]) ")
"""The spaces that the data set puts around punctuation and inside contractions, and no writer does."""


@functools.cache
def detector():
    return atlas.load("gus-mini")


@pytest.mark.parametrize("text", PASTED)
def test_words_and_spans_are_those_of_the_text_whatever_stands_around_them(text):
    found = detect(detector(), text, 0.02)
    words = found.words
    assert words["word"].tolist() == PASTED[text]
    assert [text[start:end] for start, end in words[["start", "end"]].to_numpy()] == PASTED[text]
    assert len(found.spans), "so low a threshold flags something"
    for span in found.spans.to_dict("records"):
        assert span["start"] in set(words["start"])
        assert span["end"] in set(words["end"])
        inside = words[(words["start"] >= span["start"]) & (words["end"] <= span["end"])]
        assert span["probability"] == pytest.approx(inside[span["label"]].mean())


def test_a_text_of_three_times_the_length_is_read_as_its_pieces_are_away_from_their_borders():
    """The pieces are run by transformers alone; each word is read where it is farther from the ends of a piece."""
    model = detector()
    found = token_labels(model, LONG)
    assert len(found.tokens) > 3 * model.limit
    words = words_of(found)
    assert words.table["word"].tolist() == re.findall(r"[^\W_]+(?:['’][^\W_]+)?", LONG)
    ids, inside = found.tokens["id"].to_numpy(), model.limit - 2
    assert ids[0] == model.tokenizer.cls_token_id
    body, read = ids[1:-1], {}
    step = inside - inside // 4
    starts = range(0, len(body) - inside + step, step)
    for start in starts:
        piece = body[start : start + inside]
        framed = torch.tensor([[ids[0], *piece, ids[-1]]])
        with torch.no_grad():
            values = torch.sigmoid(model.hf(input_ids=framed).logits[0].float()).numpy()
        for at in range(len(piece)):
            read.setdefault(start + at + 1, []).append((min(at, len(piece) - 1 - at), values[at + 1]))
    assert set(read) == set(range(1, len(ids) - 1)), "the pieces overlap and leave nothing out"
    begins_at = found.tokens["start"].to_numpy(float, na_value=-1)
    first = [int(np.flatnonzero(begins_at == start)[0]) for start in words.table["start"]]
    best = [max(read[at], key=lambda each: each[0]) for at in first]
    values = np.array([value for _, value in best])
    assert min(depth for (depth, _), at in zip(best, first, strict=True) if inside < at < len(ids) - inside) >= inside // 8 - 1
    limit = limits(words.labels, None, found.thresholds)
    for column, label in enumerate(words.labels):
        begins, goes_on = (values[:, found.names.index(f"{side}-{label}")] for side in "BI")
        np.testing.assert_allclose(words.probability[:, column], np.maximum(begins, goes_on), atol=1e-4)
        near = np.abs(words.begins[:, column] - limit[0, column]) < 1e-4
        near |= np.abs(words.inside[:, column] - limit[1, column]) < 1e-4
        on = (begins >= limit[0, column]) | (goes_on >= limit[1, column])
        np.testing.assert_array_equal(flagged(words, limit)[~near, column], on[~near])
    assert 0 < flagged(words, limit).any(axis=1).mean() < 1


def card_figure(name):
    """A figure of the card's table."""
    card = asset("models", "gus-mini", "MODEL_CARD.md").read_text(encoding="utf-8")
    return float(re.search(rf"^\| {re.escape(name)} \| ([\d.]+) \|$", card, re.MULTILINE)[1])


def test_on_held_out_sentences_written_as_people_write_it_beats_the_baselines_of_its_card(shared_data):
    told, truth, names = [], [], ("B-STEREO", "I-STEREO", "B-GEN", "I-GEN", "B-UNFAIR", "I-UNFAIR")
    own = detector().hf.config.thresholds
    for line in shared_data("gus", "dev.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        text = BEFORE_MARKS.sub("", row["text"])
        words = words_of(token_labels(detector(), text))
        places, at = {start: place for place, start in enumerate(words.table["start"])}, 0
        for token, labels in zip(row["tokens"], row["labels"], strict=True):
            start = text.index(token, at)
            at, place = start + len(token), places.get(start)
            values = [0.0] * len(names)
            if place is not None:
                table = {"B": words.begins, "I": words.inside}
                values = [table[name[0]][place, words.labels.index(name[2:])] for name in names]
            told.append([value >= own[name] for value, name in zip(values, names, strict=True)])
            truth.append([name in labels for name in names])
    told, truth = np.array(told), np.array(truth)
    macro = (2 * (told & truth).sum(0) / (told.sum(0) + truth.sum(0))).mean()
    assert macro > card_figure("F1 on dev · bag of words, logistic regression · macro without O") + 0.03
    assert macro > card_figure("F1 on dev · word list · macro without O") + 0.08
    assert macro == pytest.approx(card_figure("F1 on dev · gus-mini · macro without O"), abs=0.03)
