"""The line beside the text says what `trace.predictions` says."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

import atlas
from atlas.state.library import examples
from atlas.state.outcome_line import OutcomeLens, ends_of, outcome_in_words, percent, points
from atlas.state.words import shown_token
from tests.state.readers import single, workspace


@functools.cache
def model(name):
    return atlas.load(name)


@functools.cache
def trace(name, text="", **texts):
    text = text or next(example.text for example in examples() if example.model == name)
    return model(name).trace(text, **texts)


def first(found):
    """The likeliest outcome of every position: (name, probability)."""
    table = found.predictions(1)
    return list(zip(table["label" if "label" in table else "token"], table["probability"], strict=True))


@pytest.mark.parametrize(
    ("probability", "said"),
    [(0.92812, "92.8 %"), (0.5, "50 %"), (0.00123, "0.123 %"), (0.99961, "over 99.9 %"), (1.0, "100 %"), (1e-7, "under 0.001 %")],
)
def test_a_probability_has_three_digits_and_is_never_rounded_to_certainty(probability, said):
    assert percent(probability) == said


def test_a_causal_model_names_the_next_tokens():
    found = trace("gpt-mini")
    table = found.predictions(3)
    rows = table[table["position"] == table["position"].max()]
    with torch.no_grad():
        ids = torch.tensor([found.tokens()["id"].tolist()])
        chances = model("gpt-mini").hf(ids).logits[0, -1].softmax(-1)
    assert rows["probability"].to_numpy() == pytest.approx(chances.topk(3).values.numpy(), abs=1e-5)
    assert list(rows["token"]) == [" him", " her", " Anna"]
    shares = [percent(share) for share in rows["probability"]]
    assert outcome_in_words(found) == f"Next token: 'him' {shares[0]}, 'her' {shares[1]}, 'Anna' {shares[2]}"


def test_a_classifier_names_its_class_first():
    found = trace("mood-mini")
    table = found.predictions(3)
    said = ", ".join(f"{label} {percent(share)}" for label, share in zip(table["label"], table["probability"], strict=True))
    assert table["label"].iloc[0] == "positive"
    assert outcome_in_words(found) == f"Class: {said}"


def test_a_mask_is_said_to_be_filled_with_the_likeliest_tokens():
    found = trace("bert-mini", "The doctor [MASK] the nurse.")
    table = found.predictions(3)
    rows = table[table["position"] == list(found.tokens()["token"]).index("[MASK]")]
    said = ", ".join(f"'{name}' {percent(share)}" for name, share in zip(rows["token"], rows["probability"], strict=True))
    assert outcome_in_words(found) == f"The mask is filled with {said}"
    two = trace("bert-mini", "The [MASK] thanked the [MASK].")
    places = [at for at, token in enumerate(two.tokens()["token"]) if token == "[MASK]"]
    said = "; ".join(f"at {at}: '{first(two)[at][0]}' {percent(first(two)[at][1])}" for at in places)
    assert outcome_in_words(two) == f"Masks are filled with {said}"


def test_without_a_mask_the_least_expected_token_is_named_and_said_to_be_seen():
    found = trace("bert-mini")
    tokens = found.tokens()
    with torch.no_grad():
        chances = model("bert-mini").hf(torch.tensor([tokens["id"].tolist()])).logits[0].softmax(-1)
    own = {at: float(chances[at, tokens["id"].iloc[at]]) for at in range(len(tokens)) if not tokens["special"].iloc[at]}
    at = min(own, key=own.get)
    said = outcome_in_words(found)
    assert said.startswith(f"Least expected, though seen: '{tokens['token'].iloc[at]}' ({at}) ")
    assert said.endswith(f"likeliest there: '{first(found)[at][0]}' {percent(first(found)[at][1])}")
    kept = found.predictions(50).query("position == @at")
    own_kept = kept[kept["id"] == tokens["id"].iloc[at]]["probability"]
    assert (percent(own_kept.iloc[0]) if len(own_kept) else f"under {percent(kept['probability'].iloc[-1])}") in said


def labels_by_hand(found, limits):
    """Label -> the set of words that have it, read at their first token."""
    table, tokens = found.predictions(7), found.tokens()
    begins = tokens["word"] != tokens["word"].shift()
    firsts = [at for at in range(len(tokens)) if begins.iloc[at] and not tokens["special"].iloc[at]]
    by_hand = {}
    for at in firsts:
        for row in table[table["position"] == at].itertuples():
            if row.label != "O" and row.probability >= limits[row.label]:
                by_hand.setdefault(row.label[2:], set()).add(at)
    return by_hand


@pytest.mark.parametrize("text", ["", "Teenagers are lazy, but he works.", "Everybody knows that rich people are greedy."])
def test_the_labelled_words_are_those_over_the_models_own_thresholds(text):
    found = trace("gus-mini", text)
    limits = model("gus-mini").hf.config.thresholds
    by_hand = labels_by_hand(found, limits)
    assert by_hand
    said = outcome_in_words(found)
    assert said.startswith("Labelled (at the model's own thresholds): ")
    parts, whole = said.split(": ", 1)[1].split(" · "), found.texts.text
    heard = {}
    for part in parts:
        label, quoted = part.split(" ", 1)
        one, *other = quoted.split("'")[1].split(" … ")
        span = whole[whole.index(one) :]
        span = span[: span.index(other[0]) + len(other[0])] if other else one
        assert ends_of(span) == quoted.split("'")[1]
        heard.setdefault(label, set()).update(span.split())
    tokens = found.tokens()
    for label, positions in by_hand.items():
        words = set()
        for at in positions:
            rest = whole[int(tokens["start"].iloc[at]) :]
            words.add(rest.split()[0].strip(".,"))
        assert {word.strip(".,") for word in heard[label]} == words
    assert heard.keys() == by_hand.keys()


def test_the_probability_of_a_span_is_the_least_of_its_words():
    found = trace("gus-mini")
    table = found.predictions(7)
    share = {(row.position, row.label): row.probability for row in table.itertuples()}
    assert list(found.tokens()["token"][1:3]) == ["Young", "people"]
    least = min(share[1, "B-GEN"], share[2, "I-GEN"])
    assert f"GEN 'Young people' at least {percent(least)}" in outcome_in_words(found)


def test_of_many_labelled_words_the_first_and_the_last_are_named():
    assert ends_of("Immigrants work hard and pay their taxes") == "Immigrants … taxes"
    assert ends_of("old people") == "old people"
    assert ends_of("x" * 40) == "x" * 40
    assert ends_of(f"{'x' * 40} y") == f"{'x' * 40} y"


def test_a_text_without_labels_says_so():
    assert outcome_in_words(trace("gus-mini", "The train was late.")) == "No word is labelled (at the model's own thresholds)"


def test_an_encoder_decoder_says_what_it_writes_and_where_it_doubts():
    found = trace("t5-mini")
    shares = [share for _, share in first(found)[:-1]]
    least = int(np.argmin(shares))
    assert "".join(name for name, _ in first(found)[:-1]).strip() == found.texts.target == "1998-03-03"
    doubt = f"'{first(found)[least][0].strip()}' {percent(shares[least])}"
    assert outcome_in_words(found) == f"Writes '1998-03-03'; least certain token: {doubt}"


def test_a_text_given_to_the_decoder_is_held_against_what_it_would_write():
    found = trace("t5-mini", target="1997-03-03")
    names = [name.strip() for name, _ in first(found)]
    tokens = [shown_token(str(token)) for token in found.tokens("target")["token"]]
    other = [at for at in range(len(tokens) - 1) if names[at] != tokens[at + 1]]
    assert tokens[other[0] + 1] == "7"
    said = outcome_in_words(found)
    assert said.startswith(f"The decoder was given '1997-03-03'; it would write {len(other)} token")
    assert said.endswith(f"first '{names[other[0]]}' {percent(first(found)[other[0]][1])} instead of '7'")


def test_a_recording_has_no_outcome_and_no_line():
    space = workspace(single())
    assert space.lens(OutcomeLens).line == ""
    assert space.lens(OutcomeLens).problem == ""


def test_the_line_follows_the_trace():
    space = workspace(trace("mood-mini"))
    lens = space.lens(OutcomeLens)
    assert lens.line.startswith("Class: positive")
    space.pipeline.show(trace("gpt-mini"))
    assert lens.line.startswith("Next token: 'him'")


@pytest.mark.parametrize(
    ("change", "said"), [(-0.012, "−1.2 points"), (0.00163, "+0.163 points"), (0.0, "0 points"), (-0.0, "0 points"),
                         (4e-9, "+4·10⁻⁷ points")]
)  # fmt: skip
def test_a_change_of_a_probability_has_a_sign_where_there_is_one(change, said):
    assert points(change) == said
