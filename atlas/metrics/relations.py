"""Do heads find syntactic heads? Per-relation accuracy on word-level attention, in the manner of Clark et al. (2019).

For a dependent word the prediction is the word it attends to most (dependent to head), or the word that attends to it most
(head to dependent); a word's attention to itself does not count. Every word has one head, so both directions have one right
answer. The baseline always answers with the word at the relation's most frequent offset.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]

Arc = tuple[int, int, str]
"""Dependent, head, relation."""

DIRECTIONS = ("dependent_to_head", "head_to_dependent")

ALL = "all"
"""The row that pools all relations."""

NOT_POOLED = frozenset({"punct"})
"""Where a comma is attached is a convention of the treebank: kept as a relation, left out of `all`, as in the paper."""

ROOT = "root"

MIN_ARCS = 5
"""Arcs under which the accuracy of a relation is an anecdote: among a hundred heads some are right on all of them."""

CONFIDENCE_Z = 1.959963984540054
"""Normal quantile of a 95 % interval."""


@dataclass(frozen=True)
class ParsedAttention:
    """One sentence: what the heads of a model do with its words, and its parse.

    Attributes
    ----------
    weights
        (layer, head, word, word) word-level attention, NaN where masked.
    heads
        For each word the position of its syntactic head; negative, or the word itself, at the root.
    relations
        For each word the name of its relation to that head (any case; subtypes as the parser writes them).
    """

    weights: Floats
    heads: Sequence[int]
    relations: Sequence[str]


@dataclass
class RelationCounts:
    """Hits so far, to be added up over sentences: one sentence says nothing about a relation."""

    n: Counter[tuple[str, str]] = field(default_factory=Counter)
    hits: dict[tuple[str, str], Ints] = field(default_factory=dict)
    offsets: dict[tuple[str, str], Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, sentence: ParsedAttention) -> None:
        """Count one sentence."""
        arcs = _arcs(sentence)
        for direction in DIRECTIONS:
            self.count(arcs, direction, *predicted_heads(sentence.weights, direction))

    def count(self, arcs: Sequence[Arc], direction: str, predicted: Ints, visible: npt.NDArray[np.bool_]) -> None:
        """Count what `predicted_heads` found for some arcs."""
        for dependent, head, relation in arcs:
            # A causal model's word cannot attend to a head that is still to come: nothing to be right or wrong about.
            if not visible[dependent, head]:
                continue
            hit = predicted[..., dependent] == head
            for name in _rows_of(relation):
                self._count((name, direction), hit.astype(np.int64), head - dependent)

    def _count(self, key: tuple[str, str], hit: Ints, offset: int) -> None:
        self.n[key] += 1
        self.hits[key] = self.hits[key] + hit if key in self.hits else hit
        self.offsets[key][offset] += 1

    def table(self) -> pd.DataFrame:
        """One row for each layer, head, relation and direction, the more frequent relations first."""
        parts = []
        for key, n in sorted(self.n.items(), key=lambda item: (-item[1], item[0])):
            hits = self.hits[key]
            layers, heads = np.indices(hits.shape).reshape(2, -1)
            offset, frequency = min(self.offsets[key].items(), key=lambda item: (-item[1], abs(item[0]), item[0]))
            lo, hi = wilson_interval(hits.reshape(-1), n)
            columns: dict[str, Any] = {"layer": layers, "head": heads, "relation": key[0], "direction": key[1], "n": n}
            columns |= {"accuracy": hits.reshape(-1) / n, "lo": lo, "hi": hi}
            columns |= {"baseline": frequency / n, "baseline_offset": offset}
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


COLUMNS = ("layer", "head", "relation", "direction", "n", "accuracy", "lo", "hi", "baseline", "baseline_offset")


def relation_accuracy(sentences: Iterable[ParsedAttention]) -> pd.DataFrame:
    """Accuracy of every head for every relation and direction, with n, a Wilson interval and the best fixed offset."""
    counts = RelationCounts()
    for sentence in sentences:
        counts.add(sentence)
    return counts.table()


def relation_chances(table: pd.DataFrame) -> Floats:
    """q-values of the rows of `relation_accuracy`: how easily the best fixed offset alone gives a head as many hits.

    The exact binomial probability of so many hits or more in n arcs at the rate of the baseline, corrected for the heads and both
    directions of a relation (Benjamini & Hochberg). NaN under `MIN_ARCS` arcs.
    """
    n = table["n"].to_numpy(float)
    hits = np.rint(table["accuracy"].to_numpy(float) * n)
    p = np.asarray(stats.binom.sf(hits - 1, n, table["baseline"].to_numpy(float)))
    found = np.full(len(table), np.nan)
    relations = table["relation"].to_numpy(str)
    for relation in np.unique(relations):
        tested = (relations == relation) & (n >= MIN_ARCS)
        if tested.any():
            found[tested] = stats.false_discovery_control(p[tested], method="bh")
    return found


def best_by_relation(table: pd.DataFrame, min_n: int = 1) -> pd.DataFrame:
    """For each relation its most accurate head and direction, the more frequent relations first.

    The best of many heads is the luckiest too: judge its interval against the baseline on other sentences.
    """
    enough = table[table["n"] >= min_n]
    first = enough.sort_values(["accuracy", "n"], ascending=False, kind="stable").drop_duplicates("relation")
    return first.sort_values(["n", "relation"], ascending=[False, True], kind="stable").reset_index(drop=True)


def wilson_interval(hits: npt.ArrayLike, n: npt.ArrayLike, z: float = CONFIDENCE_Z) -> tuple[Floats, Floats]:
    """Wilson score interval of proportions, vectorised; NaN where n is 0."""
    total = np.asarray(n, dtype=float)
    total = np.where(total > 0, total, np.nan)
    share = np.asarray(hits, dtype=float) / total
    weight = z**2 / total
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * np.sqrt(share * (1 - share) / total + weight / (4 * total))
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def arcs_of(heads: Sequence[int], relations: Sequence[str]) -> list[Arc]:
    """(dependent, head, relation) of parsed words, without roots."""
    triples = zip(range(len(heads)), map(int, heads), map(str.lower, relations), strict=True)
    return [arc for arc in triples if 0 <= arc[1] < len(heads) and arc[0] != arc[1] and arc[2] != ROOT]


def predicted_heads(weights: Floats, direction: str) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """(layer, head, word) the word that each word's head is predicted to be; (word, word) what could be predicted.

    Seen from the dependent in both directions: its row of `weights`, or, from head to dependent, its column.
    """
    return _predictions(weights if direction == DIRECTIONS[0] else np.swapaxes(weights, -1, -2))


def _arcs(sentence: ParsedAttention) -> list[Arc]:
    n_words = len(sentence.heads)
    if sentence.weights.shape[-2:] != (n_words, n_words) or len(sentence.relations) != n_words:
        words, names = sentence.weights.shape[-2:], len(sentence.relations)
        msg = f"Attention between {words} words does not go with {n_words} syntactic heads and {names} relations."
        raise ValueError(msg)
    return arcs_of(sentence.heads, sentence.relations)


def _predictions(weights: Floats) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """(layer, head, word) the word each word points to, never itself; and (word, word) what could be pointed to."""
    visible = np.asarray(~np.isnan(weights).all((0, 1)))
    choice = np.where(np.isnan(weights), -np.inf, weights)
    words = np.arange(weights.shape[-1])
    # Not 0 but out of reach: where all else is 0 too, argmax would otherwise answer with the word itself.
    choice[..., words, words] = -np.inf
    return choice.argmax(-1).astype(np.int64), visible


def _rows_of(relation: str) -> tuple[str, ...]:
    return (relation,) if relation in NOT_POOLED else (relation, ALL)
