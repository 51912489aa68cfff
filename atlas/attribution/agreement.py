"""How far the attention of each head, and one method, agree with another about which tokens matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atlas.attribution.statistics import (
    false_discovery,
    jaccard,
    kendall,
    mean_intervals,
    rank_biased_overlap,
    spearman,
)
from atlas.errors import UnknownName
from atlas.tracing.explained import Attribution, Resolved

if TYPE_CHECKING:
    from atlas.trace import Trace

TOP = 5
"""Tokens compared by Jaccard's index."""


def agreement(
    trace: Trace,
    attribution: Attribution,
    specials: bool = False,  # noqa: FBT001, FBT002 - the signature is public
    permutations: int = 999,
    seed: int = 0,
    *,
    top: int = TOP,
    signed: bool = False,
) -> pd.DataFrame:
    """How far each head attends to the tokens that an attribution says matter, one row a head.

    A head's score of a token is the attention that the token receives: its mean over the queries that may see it. In a causal
    model only tokens up to the position of the target count, and only queries up to it: later ones cannot have made it.

    Parameters
    ----------
    trace
        Its heads are compared.
    attribution
        Of the same text.
    specials
        Whether special tokens are compared too. They take much of the attention and have no words, so they would decide the rank
        correlation of a short text.
    permutations, seed
        Of the null: how often the attribution is permuted over the tokens.
    top
        How many of the largest scores `jaccard` compares.
    signed
        Whether tokens that speak against the target rank last. By default the magnitude counts: attention has no sign, and a head
        may attend to a token because it speaks against the target.

    Returns
    -------
    kind, layer, head, rho (Spearman) with lo and hi (95 %), p (permutations), q (Benjamini-Hochberg over all heads), tau
    (Kendall's tau-b), jaccard, rbo (rank-biased overlap, extrapolated), n (tokens compared).
    """
    parts = [
        _of_kind(trace, attribution, kind, permutations, seed, top, specials=specials, signed=signed) for kind in trace.kinds
    ]
    table = pd.concat(parts, ignore_index=True)
    table.insert(list(table.columns).index("p") + 1, "q", false_discovery(table["p"]))
    return table


def mean_by_layer(table: pd.DataFrame) -> pd.DataFrame:
    """Of what `agreement` gives, the mean rho of each layer: kind, layer, mean, lo, hi (95 %, bootstrap over its heads), n."""
    parts = []
    for kind, own in table.groupby("kind", sort=False):
        layers = own["layer"].unique()
        rho = own["rho"].to_numpy(dtype=float).reshape(len(layers), -1)
        known = np.isfinite(rho).any(axis=1)
        means = pd.DataFrame(mean_intervals(rho[known]), index=np.flatnonzero(known)).reindex(range(len(layers)))
        parts.append(means.assign(kind=kind, layer=layers, n=means["n"].fillna(0).astype(int)))
    return pd.concat(parts, ignore_index=True)[["kind", "layer", "mean", "lo", "hi", "n"]]


def _of_kind(
    trace: Trace,
    attribution: Attribution,
    kind: str,
    permutations: int,
    seed: int,
    top: int,
    *,
    specials: bool,
    signed: bool,
) -> pd.DataFrame:
    side, attention = trace.side(kind, "key"), trace.attention_of(kind)
    scores = attribution.side(side)
    if len(scores) != attention.n_keys:
        msg = f"The attribution has {len(scores)} {side} tokens, and this trace {attention.n_keys}: they are not of one text."
        raise UnknownName(msg)
    queries, keys = looked_at(trace, attribution.target, kind, specials=specials)
    received = np.concatenate([received_by(trace, kind, layer, queries, keys) for layer in range(trace.n_layers(kind))])
    values = scores[keys] if signed else np.abs(scores[keys])
    table = pd.DataFrame(
        {
            "kind": kind,
            "layer": np.repeat(np.arange(trace.n_layers(kind)), attention.n_heads),
            "head": np.tile(np.arange(attention.n_heads), trace.n_layers(kind)),
        }
    )
    if not len(keys):
        return table.assign(**dict.fromkeys(("rho", "lo", "hi", "p", "tau", "jaccard", "rbo"), np.nan), n=0)
    found = spearman(received, values, permutations=permutations, seed=seed)
    # A row that does not vary has no order, and its ties would be ranked as the text goes.
    ordered = np.where(np.isnan(found.rho), np.nan, 1.0)
    return table.assign(
        **found._asdict(),
        tau=kendall(received, values),
        jaccard=jaccard(received, values, min(top, len(keys))) * ordered,
        rbo=rank_biased_overlap(received, values) * ordered,
        n=len(keys),
    )


def looked_at(trace: Trace, target: Resolved, kind: str, *, specials: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The queries and keys that can have made the prediction; special tokens are no keys unless they are asked for."""
    attention = trace.attention_of(kind)
    queries, keys = np.arange(attention.n_queries), np.arange(attention.n_keys)
    if looks_back(trace) and target.position >= 0:
        queries = queries[: target.position + 1] if kind in ("decoder", "cross") else queries
        keys = keys[: target.position + 1] if kind == "decoder" else keys
    if not specials:
        keys = keys[~trace.token_tables[trace.side(kind, "key")]["special"].to_numpy(dtype=bool)[keys]]
    return queries, keys


def looks_back(trace: Trace) -> bool:
    """Whether the stream that predicts sees no later token."""
    if "decoder" not in trace.kinds:
        return False
    mask = trace.attention_of("decoder").layers[0].mask
    return mask.causal if mask.cells is None else not bool(np.triu(mask.cells, 1).any())


def received_by(trace: Trace, kind: str, layer: int, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(head, key) mean attention over the queries that may see a key; 0 for a key that none may see."""
    weights = trace.attention(kind, layer, queries=queries.tolist(), keys=keys.tolist()).to_numpy().astype(float)
    seen = np.isfinite(weights)
    return np.asarray(np.where(seen, weights, 0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1))
