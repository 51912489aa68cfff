"""The GUS sentences: words with up to three spans of different kinds on each, and how labels of words are scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .places import REPO

DATA = REPO.parent / "shared" / "data" / "gus"
OUTSIDE = "O"
KINDS = ("STEREO", "GEN", "UNFAIR")
LABELS = (OUTSIDE, *(f"{mark}-{kind}" for kind in KINDS for mark in "BI"))
TUNE_EVERY = 8  # one training sentence in eight is not learnt from: thresholds are tuned on it, for the model and the baselines
GRID = np.round(np.arange(0.05, 0.96, 0.025), 3)


@dataclass(frozen=True)
class Sentence:
    """Words, and a row of seven zeros and ones for each."""

    words: tuple[str, ...]
    labels: np.ndarray


def sentences(part: str, data: Path = DATA) -> list[Sentence]:
    """All sentences of 'train' or 'dev'."""
    place = data / f"{part}.jsonl"
    if not place.exists():
        message = f"no GUS sentences at {place}; this recipe cannot be run without them"
        raise FileNotFoundError(message)
    found = []
    for line in place.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        labels = np.zeros((len(row["tokens"]), len(LABELS)), np.float32)
        for word, names in enumerate(row["labels"]):
            labels[word, [LABELS.index(name) for name in names]] = 1
        found.append(Sentence(tuple(row["tokens"]), labels))
    return found


def parted(found: Sequence[Sentence]) -> tuple[list[Sentence], list[Sentence]]:
    """Sentences to learn from, and to tune thresholds on."""
    learn = [sentence for place, sentence in enumerate(found) if place % TUNE_EVERY]
    return learn, list(found[::TUNE_EVERY])


def f1(told: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """F1 of each label over words; 0 where neither the truth nor the answer has any."""
    hits = (told & truth).sum(0)
    return 2 * hits / np.maximum(1, told.sum(0) + truth.sum(0))


def tuned(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """For each label the threshold of the grid with the best F1; of equals the middle one, which is the least fitted."""
    by_threshold = np.stack([f1(scores >= threshold, truth) for threshold in GRID])
    best = [np.flatnonzero(column == column.max()) for column in by_threshold.T]
    return np.array([GRID[places[len(places) // 2]] for places in best])


def report(told: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """F1 of each label, and their mean over all seven and over the six that say something."""
    scores = f1(told, truth)
    table = {name: round(float(score), 3) for name, score in zip(LABELS, scores, strict=True)}
    return table | {"macro": round(float(scores.mean()), 3), "macro without O": round(float(scores[1:].mean()), 3)}


def stacked(found: Sequence[Sentence]) -> np.ndarray:
    """The labels of all words as truths."""
    return np.concatenate([sentence.labels for sentence in found]) > 0
