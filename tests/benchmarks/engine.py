"""The engine's rows of the table."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import transformers as tr

from atlas.attribution import why
from atlas.engine.loading.load import load
from atlas.engine.running import attention_block
from atlas.metrics.heads import head_metrics
from atlas.metrics.rows import row_statistics
from atlas.tracing.head_table import layer_plans
from tests.benchmarks.timing import Row, apart, compared, peak_bytes, seconds
from tests.engine.families import tokenizer

FEW, SHORT, MIDDLE, LONG, LONGEST = 64, 128, 512, 2048, 4096
WORDS = 90
"""Ids that stand for words in the tiny vocabulary."""


def bert(tokens: int = SHORT) -> Any:
    """A model of BERT-base's shape with random weights: speed does not depend on what they say."""
    torch.manual_seed(0)
    return tr.BertForMaskedLM(tr.BertConfig(max_position_embeddings=max(tokens, 512))).eval()


def gpt2(tokens: int) -> Any:
    """A model of GPT-2's shape (12 x 12 heads) for long texts."""
    torch.manual_seed(0)
    return tr.GPT2LMHeadModel(tr.GPT2Config(n_positions=tokens)).eval()


def ids(tokens: int) -> list[int]:
    """A text of so many tokens."""
    return np.random.default_rng(0).integers(5, WORDS, tokens).tolist()


def trace_against_forward() -> Row:
    """Everything a trace holds, against the forward pass that returns attentions and hidden states."""
    hf, given = bert(), torch.tensor([ids(SHORT)])
    eager = bert()
    eager.set_attn_implementation("eager")
    model = load((hf, tokenizer()))

    def plain() -> None:
        with torch.no_grad():
            eager(given, output_attentions=True, output_hidden_states=True)

    found = compared(lambda: model.trace(ids(SHORT)), plain)
    what = "model.trace (attention, stream, predictions) against the eager forward with attentions and states, 12x12x128"
    return Row(what, found.words, "<= 1.15x", found.ratio <= 1.15, found.plain())


def metrics_against_forward() -> Row:
    """Every metric of every head from its weights, against a forward pass."""
    hf, given = bert(), torch.tensor([ids(SHORT)])
    model = load((hf, tokenizer()))
    trace = model.trace(ids(SHORT), capture=())
    attention = trace.attention_of()
    tokens = trace.tokens()
    plans = layer_plans(attention, trace.token_tables)
    device = [plan.to(torch.as_tensor) for plan in plans]
    weights = [torch.tensor(layer.weights) for layer in attention.layers]

    def metrics() -> None:
        each = [row_statistics(layer, plan) for layer, plan in zip(weights, device, strict=True)]
        stats = {name: np.stack([stats[name].numpy() for stats in each]) for name in each[0]}
        head_metrics(stats, plans, tokens)

    def forward() -> None:
        with torch.no_grad():
            hf(given)

    found = compared(metrics, forward)
    return Row("the attention metrics of all heads against the forward pass, 12x12x128", found.words, "<= 0.25x",
               found.ratio <= 0.25, found.plain())  # fmt: skip


def _long_trace(tokens: int, keep: str) -> tuple[int, float, int]:
    model = load((gpt2(tokens), tokenizer(special=False)))
    model.trace(ids(64), capture=())
    before = peak_bytes()
    took = seconds(lambda: model.trace(ids(tokens), keep=keep, capture=()))
    return peak_bytes() - before, took, before


def _long_plain(tokens: int) -> tuple[int, float, int]:
    hf = gpt2(tokens)
    hf.set_attn_implementation("eager")

    def plain(n: int) -> None:
        with torch.no_grad():
            hf(torch.tensor([ids(n)]), use_cache=False)

    plain(64)
    before = peak_bytes()
    took = seconds(lambda: plain(tokens))
    return peak_bytes() - before, took, before


def long_against_forward() -> Row:
    """2,048 tokens by queries and keys, against an eager forward that keeps nothing."""
    hf = gpt2(LONG)
    eager = gpt2(LONG)
    eager.set_attn_implementation("eager")
    model = load((hf, tokenizer(special=False)))
    given = torch.tensor([ids(LONG)])

    def plain() -> None:
        with torch.no_grad():
            eager(given, use_cache=False)

    found = compared(lambda: model.trace(ids(LONG), keep="qk", capture=()), plain, pairs=3)
    return Row("keep='qk' with the in-pass statistics at 2,048 tokens against the eager forward that keeps nothing",
               found.words, "<= 1.5x", found.ratio <= 1.5, found.plain())  # fmt: skip


def long_memory() -> Row:
    """How much memory a long trace adds, where the weights alone would be 2.4 GB."""
    ours, _, _ = apart(_long_trace, LONG, "qk")
    theirs, _, _ = apart(_long_plain, LONG)
    extra = max(ours - theirs, 0)
    figures = {"trace": ours, "forward": theirs, "weights would be": 144 * LONG**2 * 4}
    return Row("extra memory of that trace beside the forward pass (the weights would be 2.4 GB)", f"{extra / 1e9:.2f} GB",
               "< 1 GB", extra < 1e9, figures)  # fmt: skip


def longest() -> Row:
    """4,096 tokens."""
    grown, took, _ = apart(_long_trace, LONGEST, "qk")
    figures = {"seconds": round(took, 1), "memory added": grown, "weights would be": 144 * LONGEST**2 * 4}
    return Row(
        "4,096 tokens, 12 layers x 12 heads, traced on this machine",
        f"{took:.0f} s, {grown / 1e9:.1f} GB",
        "works",
        True,
        figures,
    )


def _bertviz(tokens: int) -> tuple[int, float]:
    from bertviz import model_view

    rng = np.random.default_rng(0)
    attention = tuple(
        torch.softmax(torch.as_tensor(rng.normal(size=(1, 12, tokens, tokens)), dtype=torch.float32), -1) for _ in range(12)
    )
    names = [f"t{i}" for i in range(tokens)]
    start = time.perf_counter()
    html = model_view(attention, names, html_action="return").data
    return len(html.encode()), time.perf_counter() - start


def _first_paint(tokens: int) -> tuple[int, float]:
    """What the first view of all heads needs: a quantised thumbnail of each, from recorded weights to bytes."""
    from atlas.tracing.recorded import from_attention

    rng = np.random.default_rng(0)
    scores = rng.normal(size=(12, 12, tokens, tokens)).astype(np.float32)
    weights = np.exp(scores)
    weights /= weights.sum(-1, keepdims=True)
    names = [f"t{i}" for i in range(tokens)]
    start = time.perf_counter()
    thumbnails = from_attention(weights, names).attention_of().thumbnails
    sent = np.clip(np.nan_to_num(thumbnails) * 255, 0, 255).astype(np.uint8).tobytes()
    return len(sent), time.perf_counter() - start


def against_bertviz() -> Row:
    """All heads of 512 tokens on a screen: what has to travel, and how long it takes to make."""
    theirs, their_seconds = apart(_bertviz, MIDDLE)
    ours, our_seconds = apart(_first_paint, MIDDLE)
    fewer, sooner = theirs / ours, their_seconds / our_seconds
    figures = {
        "bertviz bytes": theirs,
        "bertviz seconds": round(their_seconds, 2),
        "bytes": ours,
        "seconds": round(our_seconds, 2),
    }
    return Row("all heads of 12x12x512 from recorded weights, made for a browser, against BertViz's model view",
               f"{fewer:,.0f}x fewer bytes, {sooner:.0f}x sooner", ">= 1,000x, >= 10x",
               fewer >= 1000 and sooner >= 10, figures)  # fmt: skip


def import_time() -> Row:
    """`import atlas`, beyond what Python itself takes to start."""
    code = (
        "import sys, time; start = time.perf_counter(); import atlas; "
        "print(time.perf_counter() - start, 'torch' in sys.modules, 'panel' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(5)]
    took = sorted(float(run[0]) for run in runs)[2]
    heavy = any(flag == "True" for run in runs for flag in run[1:])
    return Row("`import atlas`", f"{took:.3f} s, {'with' if heavy else 'no'} torch or panel", "<= 0.3 s, no torch, no panel",
               took <= 0.3 and not heavy, {"seconds": took})  # fmt: skip


def why_one_edge() -> Row:
    """One edge of the last layer taken apart, with its model's run up to the block, against the forward pass."""
    hf, given = gpt2(MIDDLE), torch.tensor([ids(FEW)])
    trace = load((hf, tokenizer(special=False))).trace(ids(FEW))

    def forward() -> None:
        with torch.no_grad():
            hf(given)

    def edge() -> None:
        why(trace, 11, 3, FEW - 4, FEW // 3)

    with patch.object(attention_block, "KEPT_INPUTS", 0):
        found = compared(edge, forward)
    again = compared(edge, forward)
    figures = found.plain() | {f"again {name}": value for name, value in again.plain().items()}
    words = f"{found.ours:.2f} s, {found.words} of a forward pass; the next edge of the layer {again.ours:.2f} s"
    what = "`why` for one edge, 12x12x64, with the run up to its block"
    return Row(what, words, "< 0.3 s", found.ours < 0.3, figures)


ROWS = (
    trace_against_forward,
    metrics_against_forward,
    why_one_edge,
    long_against_forward,
    long_memory,
    longest,
    against_bertviz,
    import_time,
)
