"""Rows about explanations: gradients, heads switched off, influence, agreement."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from captum.attr import LayerIntegratedGradients

from atlas.attribution import Target, agreement, attribute, head_effects, influence
from atlas.engine.loading.load import load
from tests.benchmarks.engine import MIDDLE, bert, gpt2, ids
from tests.benchmarks.timing import Row, apart, compared, peak_bytes, seconds
from tests.engine.families import tokenizer

TEXT, STEPS, PAD = 64, 50, 0


@functools.cache
def masked() -> Any:
    """A model of BERT-base's shape and its trace of 64 tokens."""
    model = load((bert(), tokenizer()))
    return model, model.trace(ids(TEXT))


def gradients_against_captum() -> Row:
    """Integrated gradients over 50 steps, against captum's on the table of tokens."""
    model, trace = masked()
    target = Target(TEXT - 1)
    outcome = attribute(model, trace, target, "saliency").target.outcome_id
    given = torch.tensor([ids(TEXT)])
    captum = LayerIntegratedGradients(lambda tokens: model.hf(tokens).logits[:, -1, outcome], model.hf.get_input_embeddings())
    baseline = torch.full_like(given, PAD)

    def theirs() -> None:
        captum.attribute(given, baseline, n_steps=STEPS, internal_batch_size=16)

    def ours() -> None:
        attribute(model, trace, target, "integrated_gradients", baseline="pad", steps=STEPS, most_steps=STEPS)

    found = compared(ours, theirs, pairs=5)
    return Row("integrated gradients, 12x12x64, 50 steps, against captum's own", found.words, "<= 1.2x", found.ratio <= 1.2,
               found.plain())  # fmt: skip


def effects_against_passes() -> Row:
    """The effects of all heads, against one forward pass a head."""
    model, trace = masked()
    given = torch.tensor([ids(TEXT)])

    def passes() -> None:
        with torch.no_grad():
            for _ in range(144):
                model.hf(given)

    found = compared(passes, lambda: head_effects(model, trace, Target(TEXT - 1)), pairs=3)
    return Row("effects of all 144 heads, 64 tokens: one pass a head against ours", found.words, ">= 3x", found.ratio >= 3,
               found.plain())  # fmt: skip


def _contribution_graph() -> tuple[float, int]:
    trace = load((gpt2(MIDDLE), tokenizer(special=False))).trace(ids(MIDDLE), capture=())
    before = peak_bytes()
    took = seconds(lambda: influence(trace, MIDDLE - 1, "contribution"))
    return took, peak_bytes() - before


def contribution_graph() -> Row:
    """Who reaches the last token through all layers, by contribution."""
    took, grown = apart(_contribution_graph)
    measured = f"{took:.1f} s, {grown / 1e9:.2f} GB beyond the run's own peak"
    return Row("contribution graph, GPT-2-small shape, 512 tokens, the first time", measured, "< 2 s, < 1 GB",
               took < 2 and grown < 1e9, {"seconds": took, "memory added": grown})  # fmt: skip


def maximum_flow() -> Row:
    """Attention flow to every token from one of them."""
    model, trace = masked()
    took = min(seconds(lambda: attribute(model, trace, Target(TEXT - 1), "attention_flow")) for _ in range(3))
    return Row("attention flow (maximum flow) from one token to all, 64 tokens, 12 layers", f"{took:.2f} s", "< 1 s", took < 1,
               {"seconds": took})  # fmt: skip


def permutation_null() -> Row:
    """The agreement of all heads with an attribution, and its null."""
    model, trace = masked()
    found = attribute(model, trace, Target(TEXT - 1), "saliency")
    times = [seconds(lambda: agreement(trace, found, permutations=999)) for _ in range(3)]
    took = float(np.median(times))
    return Row("the permutation null of all heads, 12x12x64, 999 permutations", f"{took:.2f} s", "< 0.5 s", took < 0.5,
               {"seconds": took})  # fmt: skip


ROWS = (gradients_against_captum, effects_against_passes, contribution_graph, maximum_flow, permutation_null)
