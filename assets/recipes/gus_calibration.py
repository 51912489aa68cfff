"""How far gus-mini can be believed, from sentences it has not seen: `python -m assets.recipes.gus_calibration [--model DIR]`.

Writes calibration.json beside the weights: of each kind of label (B and I together, as the app shows it) a reliability table, and
how many words reach every threshold and how many of these are labelled so. Intervals are 95 %, whole sentences resampled, because
words of a sentence are labelled together. Punctuation is no word here, as it is none in the app.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from transformers import BertForTokenClassification

from . import gus_mini, vocabularies
from .gus_data import DATA, KINDS, LABELS, sentences
from .places import EMBEDDED

NAME = "calibration.json"
BINS = 10
STEPS = 100  # thresholds: every hundredth, as the sliders of the app have them
RESAMPLES = 999
SEED = 17
EDGES = (2.5, 97.5)
DIGITS = 4
WORDS = "{words:,} words of {texts:,} GUS sentences that were neither learnt from nor tuned on; labels largely by language models"


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Part / whole; NaN where the whole is nothing."""
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)


def plain(values: np.ndarray) -> list:
    """Rounded, with None for what is unknown: JSON has no NaN."""
    found: list = np.where(np.isnan(values), None, np.round(values, DIGITS)).tolist()
    return found


def edges(values: np.ndarray) -> np.ndarray:
    """(column, 2) of (resample, column): the 95 % interval; NaN where no resample has a value."""
    known = np.isfinite(values).any(axis=0)
    found = np.full((values.shape[1], 2), np.nan)
    found[known] = np.nanpercentile(values[:, known], EDGES, axis=0).T
    return found


def of_label(probability: np.ndarray, truth: np.ndarray, text: np.ndarray) -> dict[str, object]:
    """The tables of one label, from the probability and truth of every word and the sentence it is in."""
    texts = int(text.max()) + 1
    drawn = np.random.default_rng(SEED).multinomial(texts, np.full(texts, 1 / texts), size=RESAMPLES)
    # Thresholds are hundredths: a probability is at its hundredth below, and 0.29 * 100 is a little less than 29.
    step = np.floor(probability.astype(float) * STEPS + 1e-9).astype(int)
    count, hits = np.zeros((texts, STEPS + 1)), np.zeros((texts, STEPS + 1))
    np.add.at(count, (text, step), 1)
    np.add.at(hits, (text, step), truth)
    reached, right = (np.cumsum(table[:, ::-1], axis=1)[:, ::-1] for table in (count, hits))
    bin_of = np.minimum(step * BINS // STEPS, BINS - 1)
    in_bin, true_in_bin, mean = np.zeros((texts, BINS)), np.zeros((texts, BINS)), np.zeros(BINS)
    np.add.at(in_bin, (text, bin_of), 1)
    np.add.at(true_in_bin, (text, bin_of), truth)
    np.add.at(mean, bin_of, probability)
    n = in_bin.sum(0)
    columns = {
        "low": np.arange(BINS) / BINS,
        "high": np.arange(1, BINS + 1) / BINS,
        "n": n,
        "mean": ratio(mean, n),
        "share": ratio(true_in_bin.sum(0), n),
    }
    columns["share_lo"], columns["share_hi"] = edges(ratio(drawn @ true_in_bin, drawn @ in_bin)).T
    rows = zip(*(plain(column) for column in (columns | {"n": n.astype(int)}).values()), strict=True)
    every = right[:, :1]
    return {
        "words": len(truth),
        "positives": int(truth.sum()),
        "bins": [dict(zip(columns, row, strict=True)) for row in rows],
        "flagged": reached.sum(0).astype(int).tolist(),
        "hits": right.sum(0).astype(int).tolist(),
        "precision": plain(edges(ratio(drawn @ right, drawn @ reached))),
        "recall": plain(edges(ratio(drawn @ right, drawn @ every))),
    }


def measured(folder: Path, data: Path = DATA) -> dict[str, object]:
    """The whole table of a model in the standard layout."""
    model = BertForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    found = sentences("dev", data)
    scores = gus_mini.scores(model, vocabularies.load(folder), found)
    words = [(at, word) for at, sentence in enumerate(found) for word in sentence.words]
    kept = np.array([any(letter.isalnum() for letter in word) for _, word in words])
    text = np.array([at for at, _ in words])[kept]
    truth = np.concatenate([sentence.labels for sentence in found])[kept] > 0
    pairs = {kind: [LABELS.index(f"{mark}-{kind}") for mark in "BI"] for kind in KINDS}
    return {
        "detector": gus_mini.NAME,
        "weights": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "made_by": "python -m assets.recipes.gus_calibration",
        "data": WORDS.format(words=int(kept.sum()), texts=len(found)),
        "texts": len(found),
        "resamples": RESAMPLES,
        "labels": {kind: of_label(scores[kept][:, at].max(1), truth[:, at].any(1), text) for kind, at in pairs.items()},
    }


def write(folder: Path, data: Path = DATA) -> Path:
    """Measure, and store the table beside the weights."""
    place = folder / NAME
    found = measured(folder, data)
    labels = found.pop("labels")
    # A line a list: a line a number would be two thousand.
    lines = [f" {json.dumps(name)}: {json.dumps(value)}," for name, value in found.items()]
    parts = [
        f"  {json.dumps(name)}: {{\n"
        + ",\n".join(f"   {json.dumps(key)}: {json.dumps(value)}" for key, value in label.items())
        + "\n  }"
        for name, label in labels.items()
    ]
    text = "{\n" + "\n".join(lines) + '\n "labels": {\n' + ",\n".join(parts) + "\n }\n}"
    place.write_text(text + "\n", encoding="utf-8")
    return place


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=EMBEDDED / gus_mini.NAME, help="a folder in the standard layout")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder with dev.jsonl")
    options = parser.parse_args(arguments)
    print(write(options.model, options.data), flush=True)


if __name__ == "__main__":
    main()
