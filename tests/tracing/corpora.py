"""Small corpora made from numbers text by text, without a model: what a store of them would hold."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import zarr

from atlas.ids import HEAD, KINDS
from atlas.metrics.drills import head_scores
from atlas.metrics.moments import Moments, stacked
from atlas.metrics.sketches import counts_of, edges_of
from atlas.tracing.corpus import Corpus
from atlas.tracing.drills import Drills

METRICS = (
    "entropy_norm", "confidence_mean", "sparsity", "self", "previous", "next", "distance", "induction", "duplicate", "balance",
    "special", "punctuation", "first_key", "long_range",
)  # fmt: skip

ROLES = ("previous", "induction", "first_key")

LOW, HIGH = np.array([-7, -2, -1, 0]), np.array([-3, -2, -1, 0])

TEXTS = [f"Text number {at} says the doctor ran." for at in range(12)]


def values(n, heads=6, seed=0, spread=0.05):
    """(text, head, metric) numbers: shares around a level of each head and metric, distances around 4."""
    made = np.random.default_rng(seed)
    level = np.random.default_rng(99).uniform(0.1, 0.4, (heads, len(METRICS)))
    found = np.clip(level + spread * made.standard_normal((n, heads, len(METRICS))), 0, 1)
    found[..., METRICS.index("distance")] *= 10
    return found


def corpus(numbers, *, kinds=(("decoder", 2, 3),), model="tiny", where="/somewhere/tiny", uniform=0.15, seed=0, groups=()):
    """A corpus of (text, head, metric) numbers; `groups` says of each text which it belongs to."""
    ids = [(kind, layer, head) for kind, layers, heads in kinds for layer in range(layers) for head in range(heads)]
    assert numbers.shape[1:] == (len(ids), len(METRICS))
    made = np.random.default_rng(seed)
    names = ["", *sorted(set(groups))]
    parts = [numbers, *(numbers[np.array(groups) == name] for name in names[1:])]
    moments = stacked([Moments.of(part) for part in parts])
    edges = np.stack([edges_of(name) for name in METRICS])
    sketch = np.stack([counts_of(numbers[:, :, at], edges[at]) for at in range(len(METRICS))], axis=1)
    mass = made.dirichlet(np.ones(len(LOW)), len(ids))
    mass[[kind == "cross" for kind, _, _ in ids]] = np.nan
    words = ["Ġthe", "Ġdoctor", "Ġran", ".", "<b>"]
    tokens = [(head, side, of) for head in range(len(ids)) for side in (0, 1) for of in range(len(words))]
    chosen = [(head, role, decile) for head in range(len(ids)) for role in range(len(ROLES)) for decile in (-1, 0, 4, 9)]
    texts = [
        {"text": text, "pair": None, "target": None, "source": "texts.txt", "row": at, "tokens": dict.fromkeys(
            ("encoder", "decoder", "tokens", "source", "target"), text.split())}
        for at, text in enumerate(TEXTS)
    ]  # fmt: skip
    pairs = len(chosen)
    arrays = {
        "kind": [KINDS.index(kind) for kind, _, _ in ids], "layer": [at for _, at, _ in ids], "head": [at for _, _, at in ids],
        "n": moments.n, "mean": moments.mean, "m2": moments.m2,
        "uniform": np.full(moments.mean.shape, uniform), "rows": np.full((*moments.mean.shape[:2], 0), 0),
        "sketch": sketch, "sketch_edges": edges,
        "distance": mass, "distance_uniform": np.full(mass.shape, 1 / len(LOW)), "distance_low": LOW, "distance_high": HIGH,
        "token_head": [at for at, _, _ in tokens], "token_side": [at for _, at, _ in tokens],
        "token_of": [at for _, _, at in tokens],
        "token_mass": made.uniform(1, 50, len(tokens)), "token_count": made.integers(50, 90, len(tokens)),
        "token_special": np.zeros(len(tokens)),
        "exemplar_head": [at for at, _, _ in chosen], "exemplar_metric": [at for _, at, _ in chosen],
        "exemplar_decile": [at for _, _, at in chosen], "exemplar_value": made.uniform(0, 1, pairs),
        "exemplar_text": made.integers(0, len(texts), pairs), "exemplar_pair": np.arange(pairs),
        "pair_start": np.arange(0, 5 * pairs + 1, 5),
        "edge_query": np.tile([0, 1, 1, 2, 2], pairs), "edge_key": np.tile([0, 0, 1, 0, 2], pairs),
        "edge_weight": np.where(np.arange(5 * pairs) % 5, made.uniform(0, 1, 5 * pairs), 1.0),
    }  # fmt: skip
    store = zarr.open_group(zarr.storage.MemoryStore(), mode="w", zarr_format=3)
    for name, array in arrays.items():
        store.create_array(name, data=np.asarray(array))
    for name, said in {"token_names": words, "texts": texts, "bad": []}.items():
        store.create_array(name, data=np.frombuffer(json.dumps(said).encode(), np.uint8))
    store.attrs.update(
        metrics=METRICS, kinds=[kind for kind, _, _ in kinds], groups=names, texts=[len(part) for part in parts], counted=[],
        roles=ROLES,
    )  # fmt: skip
    about = {"model": model, "revision": None, "texts": len(numbers), "tokens": 10 * len(numbers), "bad": 0, "settings": {}}
    return Corpus(store, {"provenance": about, "complete": (1, 1)}, where)


def drilled(held, best=9):
    """A corpus with drills in induction, in which one head is good."""
    ids = held.heads[HEAD]
    draw = np.random.default_rng(0)
    scores, shuffled = draw.uniform(0, 0.2, (2, 16, len(ids)))
    scores[:, best] = draw.uniform(0.8, 0.9, 16)
    table = ids.assign(drill="drill_induction", **head_scores(scores, shuffled)._asdict())
    reasons = pd.DataFrame([("drill_successor", "decoder", "no list.")], columns=["drill", "kind", "reason"])
    held.once("drills", lambda: Drills(table, reasons, {"seed": 0}))
    return held


def of_head(table, head):
    """The rows of a head of a table of a corpus."""
    return table[(table["kind"] == head.kind) & (table["layer"] == head.layer) & (table["head"] == head.head)]


def plain_mean(numbers, head, metric):
    """The mean over the texts, by hand."""
    return float(pd.Series(numbers[:, head, METRICS.index(metric)]).mean())
