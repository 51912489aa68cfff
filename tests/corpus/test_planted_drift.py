"""Drift of a model that is run: one altered head is found and named, halves of one corpus are not told apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import atlas
from tests.engine.families import FAMILIES, TEXT

ALTERED = (2, 1)
"""Layer and head: of the last layer, because no other head reads what it writes."""


def texts(n, seed):
    """Sentences of the words that the tiny models know."""
    made, words = np.random.default_rng(seed), sorted(set(TEXT.split()))
    return [" ".join(made.choice(words, made.integers(8, 16))) for _ in range(n)]


def model():
    """A tiny GPT-2 of its own."""
    (family,) = (each for each in FAMILIES if each.name == "GPT-2")
    return family.model(), family.tokenizer()


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return atlas.corpus.run(atlas.load(model()), texts(60, 1), tmp_path_factory.mktemp("before"), workers=0)


def test_one_altered_head_is_found_and_named(before, tmp_path):
    hf, tokenizer = model()
    layer, head = ALTERED
    width = hf.config.n_embd // hf.config.n_head
    with torch.no_grad():  # without queries it looks at all tokens alike
        attention = hf.transformer.h[layer].attn.c_attn
        attention.weight[:, head * width : (head + 1) * width] = 0
        attention.bias[head * width : (head + 1) * width] = 0
    after = atlas.corpus.run(atlas.load((hf, tokenizer)), texts(60, 1), tmp_path, workers=0)
    found = atlas.corpus.drift(before, after)
    (row,) = found.heads.itertuples()
    assert (row.layer, row.head) == ALTERED
    assert "Drift in 1 of 12 heads (L2 H1)" in found.sentence
    (entropy,) = found.found[found.found["metric"] == "entropy_norm"].itertuples()
    assert entropy.b == pytest.approx(1, abs=1e-5)


def test_other_texts_of_the_same_kind_are_no_drift(before, tmp_path):
    other = atlas.corpus.run(atlas.load(model()), texts(60, 2), tmp_path, workers=0)
    found = atlas.corpus.drift(before, other)
    assert not found, found.sentence
