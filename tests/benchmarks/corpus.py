"""Runs over many texts: tokens a second beside the eager forward, workers, and what a shard costs on a cluster."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import atlas
from atlas.corpus import Settings
from atlas.engine.running.capture import stacked
from atlas.engine.running.many_texts import facts_of, measured
from tests.benchmarks.engine import WORDS, bert
from tests.benchmarks.timing import PAIRS, Ratio, Row, compared, seconds
from tests.engine.families import TEXT, tokenizer

BATCH = 16
SPEED = 1 / 0.9
"""The time that 0.9 of the tokens a second takes."""

SHARD, SHARDS = 128, 16


def _batch(model: Any, lengths: list[int]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [model.encode(rng.integers(5, WORDS, length).tolist()) for length in lengths]


def _against_eager(model: Any, eager: Any, batch: list[Any], pairs: int) -> Ratio:
    facts = [facts_of(encoded) for encoded in batch]
    inputs = {name: tensor for name, tensor in stacked(model, batch).items() if name in model.accepts}

    def plain() -> None:
        with torch.no_grad():
            eager(**inputs, output_attentions=True)

    return compared(lambda: measured(model, batch, facts), plain, pairs)


def corpus_against_forward() -> Row:
    """What a corpus keeps of a batch, against the eager forward with attentions: a model of BERT-base's shape."""
    eager = bert()
    eager.set_attn_implementation("eager")
    model = atlas.load((bert(), tokenizer()))
    found = _against_eager(model, eager, _batch(model, list(range(96, 128, 8))), 7)
    what = "a batch of a corpus against the eager forward with attentions, 12x12, 4 texts of 96 to 120 tokens"
    return Row(what, found.words, f"<= {SPEED:.2f}x", found.ratio <= SPEED, found.plain())


def corpus_against_small_forward() -> Row:
    """The same of gpt-mini, where the reductions are as much work as the layers."""
    model, eager = atlas.load("gpt-mini", device="cpu"), atlas.load("gpt-mini", device="cpu").hf
    eager.set_attn_implementation("eager")
    found = _against_eager(model, eager, _batch(model, [80 + at for at in range(BATCH)]), PAIRS)
    what = f"the same for gpt-mini, {BATCH} texts of 80 to 95 tokens"
    return Row(what, found.words, f"<= {SPEED:.2f}x", found.ratio <= SPEED, found.plain())


def _texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(TEXT.split(), 40)) for _ in range(SHARD * SHARDS)]


def _on_workers(count: int) -> tuple[float, float]:
    """Seconds of a run on so many workers that have the model already, and in this process."""
    from distributed import Client, LocalCluster

    folder = Path(tempfile.mkdtemp())
    settings = Settings(shard_size=SHARD)
    try:
        with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
            # Four small shards a worker, so that each has imported and loaded before the clock runs.
            atlas.corpus.run("gpt-mini", _texts()[: 32 * count], folder / "warm", client, settings=Settings(shard_size=8))
            there = seconds(lambda: atlas.corpus.run("gpt-mini", _texts(), folder / "there", client, settings=settings))
        here = seconds(lambda: atlas.corpus.run("gpt-mini", _texts(), folder / "here", workers=0, settings=settings))
    finally:
        shutil.rmtree(folder)
    return there, here


def corpus_workers() -> Row:
    """Two workers against one, whole runs with their exemplars."""
    one, here = _on_workers(1)
    two, _ = _on_workers(2)
    overhead = (one - here) / SHARDS
    figures = {"one": one, "two": two, "here": here, "overhead": overhead}
    said = f"{one / two:.2f}x; a shard costs {max(overhead, 0) * 1e3:.0f} ms more on a worker than in this process"
    what = f"two workers against one: gpt-mini, {SHARDS} shards of {SHARD} texts of 40 tokens"
    return Row(what, said, ">= 1.7x", one / two >= 1.7, figures)


ROWS = (corpus_against_forward, corpus_against_small_forward, corpus_workers)
