"""Runs over many texts: tokens a second beside the eager forward, workers, and what a shard costs on a cluster."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
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

MILLION = 1_000_000
WORKERS = (1, 8, 64)
"""For which the time of a million texts is computed."""


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


@dataclass(frozen=True)
class OnWorkers:
    """A whole run on some workers that have the model already."""

    seconds: float
    serial: float
    """Seconds of the processor in the one process that plans, hands out and merges: it works for all workers."""


def _on_workers(count: int) -> OnWorkers:
    from distributed import Client, LocalCluster

    folder = Path(tempfile.mkdtemp())
    try:
        with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
            # Four small shards a worker, so that each has imported and loaded before the clock runs.
            atlas.corpus.run("gpt-mini", _texts()[: 32 * count], folder / "warm", client, settings=Settings(shard_size=8))
            begun = time.process_time()
            took = seconds(
                lambda: atlas.corpus.run("gpt-mini", _texts(), folder / "all", client, settings=Settings(shard_size=SHARD))
            )
            return OnWorkers(took, time.process_time() - begun)
    finally:
        shutil.rmtree(folder)


def hours(one: OnWorkers, workers: int, texts: int = MILLION) -> float:
    """What so many texts take where every worker has a core of its own, and no less than the one process that works for all."""
    return max(one.seconds / workers, one.serial) * texts / (SHARD * SHARDS) / 3600


def corpus_workers() -> Row:
    """Two workers against one, whole runs with their exemplars, and what a million texts would take."""
    one, two = _on_workers(1), _on_workers(2)
    ratio = one.seconds / two.seconds
    said = f"{ratio:.2f}x; planning, handing out and merging take {1000 * one.serial / SHARDS:.0f} ms a shard"
    what = f"two workers against one: gpt-mini, {SHARDS} shards of {SHARD} texts of 40 tokens"
    lines = [f"| {workers} | {hours(one, workers):.2f} h |" for workers in WORKERS]
    table = "\n".join(["| workers | a million such texts (computed) |", "|---|---|", *lines])
    return Row(what, said, ">= 1.7x", ratio >= 1.7, {"one": asdict(one), "two": asdict(two)}, table)


ROWS = (corpus_against_forward, corpus_against_small_forward, corpus_workers)
