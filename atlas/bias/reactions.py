"""How far every head reacts to a counterfactual, held against its reaction to neutral swaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atlas.attribution.statistics import false_discovery
from atlas.bias.alignment import reaction, sides_of
from atlas.bias.neutral import LEAST
from atlas.metrics.between import Moved

if TYPE_CHECKING:
    from collections.abc import Iterable

    from atlas.trace import Trace
    from atlas.tracing.counterfactual import Counterfactual

STILL = 1e-5
"""A head that moves less does not move: weights are float32."""

ROUNDING = 1e-9

KEPT_BYTES = 512 << 20
"""Weights of the text that are kept from one other text to the next: all of 144 heads at 512 tokens."""


def heads_moved(trace: Trace, others: Iterable[tuple[Trace, Counterfactual]]) -> list[Moved]:
    """For each other trace how far every head moved, in the order of `trace.head_ids`."""
    known: dict[tuple[str, int], np.ndarray] = {}
    made = []
    for other, found in others:
        sides = sides_of(trace, other, found)
        parts = []
        for kind in trace.kinds:
            for layer in range(trace.n_layers(kind)):
                own = known.get((kind, layer))
                if own is None:
                    own = trace.attention(kind, layer).to_numpy()
                    if sum(each.nbytes for each in known.values()) + own.nbytes <= KEPT_BYTES:
                        known[kind, layer] = own
                parts.append(reaction(trace, other, kind, layer, sides, own))
        made.append(Moved(*(np.concatenate(each) for each in zip(*parts, strict=True))))
    return made


def beyond_neutral(observed: np.ndarray, neutral: np.ndarray) -> pd.DataFrame:
    """Reactions held against those to neutral swaps: neutral, ratio, z, p, q, n, one row a head.

    Parameters
    ----------
    observed
        (head,) how far each head moved.
    neutral
        (swap, head) how far it moved under neutral swaps.

    Notes
    -----
    z = (log d − m) / (s √(1 + 1/n)), with m and s mean and standard deviation of log d over the n neutral swaps of this head. The
    null has the same z of every neutral swap against the others, of all heads together: so p (one-sided, more than neutral) is
    no smaller than 1 / (1 + n x heads), where a head's own n swaps alone could not bear a correction over all heads. It rests
    on reactions in units of their own spread being alike in all heads. A head that never moves has no number.
    """
    n = len(neutral)
    unknown = np.full(len(observed), np.nan)
    table = {name: unknown.copy() for name in ("neutral", "ratio", "z", "p")}
    moves = np.isfinite(observed) & (np.maximum(observed, neutral.max(axis=0, initial=0)) > STILL)
    if n >= LEAST and moves.any():
        logs, own = np.log(np.maximum(neutral[:, moves], STILL)), np.log(np.maximum(observed[moves], STILL))
        mean, spread = logs.mean(axis=0), logs.std(axis=0, ddof=1)
        z = _standard(own, mean, spread, n)
        null = np.stack([_against_others(logs, at) for at in range(n)]).ravel()
        ordered = np.sort(null)
        above = len(ordered) - np.searchsorted(ordered, z - ROUNDING)
        table["neutral"][moves], table["ratio"][moves] = np.exp(mean), np.exp(own - mean)
        # A head that stays where it is reacts no more than any: all z of a head that hardly ever moves are nearly equal.
        table["z"][moves], table["p"][moves] = z, np.where(observed[moves] > STILL, (1 + above) / (1 + len(ordered)), 1.0)
    return pd.DataFrame(table).assign(q=false_discovery(table["p"]), n=n)


def _against_others(logs: np.ndarray, at: int) -> np.ndarray:
    """Z of one neutral swap against the others."""
    others = np.delete(logs, at, axis=0)
    return _standard(logs[at], others.mean(axis=0), others.std(axis=0, ddof=1), len(others))


def _standard(values: np.ndarray, mean: np.ndarray, spread: np.ndarray, n: int) -> np.ndarray:
    return np.asarray((values - mean) / np.maximum(spread * np.sqrt(1 + 1 / n), ROUNDING))


def reactions_table(trace: Trace, observed: Moved, neutral: Sequence[Moved]) -> pd.DataFrame:
    """One row a head, with all its numbers."""
    heads = trace.head_ids
    null = np.stack([each.distance for each in neutral]) if neutral else np.empty((0, len(heads)))
    table = pd.DataFrame(
        {
            "kind": [head.kind for head in heads],
            "layer": [head.layer for head in heads],
            "head": [head.head for head in heads],
            "moved": observed.distance,
            "unpaired": observed.unpaired,
            "unpaired_new": observed.unpaired_new,
        }
    )
    return pd.concat([table, beyond_neutral(observed.distance, null)], axis=1)
