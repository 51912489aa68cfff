"""From shards to the tables of a corpus. Shards are merged in their order, so the same shards give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from atlas.corpus.measure import SIDES, Task
from atlas.corpus.pieces import TokenSums, Top, by_decile
from atlas.corpus.store import Store, as_bytes
from atlas.corpus.texts import BadEntry, Entry
from atlas.ids import KINDS, HeadId
from atlas.metrics.heads import COUNTED
from atlas.metrics.moments import Moments
from atlas.metrics.offsets import HIGH, LOW
from atlas.metrics.roles import ROLES
from atlas.metrics.sketches import edges_of
from atlas.metrics.standard import COMPARED
from atlas.tracing.corpus import TOP

TOP_TOKENS = 30
"""Tokens of a head and side kept by mass, and as many by mean."""

LEAST_COUNT = 5
"""Occurrences from which a token's mean is worth a place."""

_SUMMED = ("sketch", "distance", "distance_uniform", "distance_n")
"""What is added up over all texts, whatever their group."""


@dataclass
class Merged:
    """The sums over all shards so far."""

    heads: tuple[HeadId, ...]
    groups: tuple[str, ...]
    moments: Moments
    uniform: np.ndarray
    rows: np.ndarray
    n_texts: np.ndarray
    sketch: np.ndarray
    distance: np.ndarray
    distance_uniform: np.ndarray
    distance_n: np.ndarray
    top: Top
    tokens: dict[tuple[str, str], TokenSums] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=dict)
    bad: list[BadEntry] = field(default_factory=list)
    unusable: set[int] = field(default_factory=set)
    """Texts that no shard could use, by their number."""
    n_tokens: int = 0
    n_cut: int = 0
    n_dropped: int = 0

    @classmethod
    def empty(cls, heads: Sequence[HeadId], groups: Sequence[str]) -> Merged:
        """Of no shard."""
        n, metrics, bins = len(heads), len(COMPARED), len(LOW)
        shape = (len(groups), n, metrics)
        return cls(
            heads=tuple(heads),
            groups=tuple(groups),
            moments=Moments.empty(shape),
            uniform=np.zeros(shape),
            rows=np.zeros((len(groups), n, len(COUNTED)), dtype=np.int64),
            n_texts=np.zeros(len(groups), dtype=np.int64),
            sketch=np.zeros((n, metrics, len(edges_of(COMPARED[0])) - 1), dtype=np.int64),
            distance=np.zeros((n, bins)),
            distance_uniform=np.zeros((n, bins)),
            distance_n=np.zeros(n, dtype=np.int64),
            top=Top.of(np.zeros((0, n, len(ROLES))), []),
        )

    def add(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], work: Task, first: int) -> None:
        """Take in one shard, whose first text is that number of the corpus."""
        at = [self.groups.index(group) for group in header["groups"]]
        theirs = Moments(arrays["n"], arrays["mean"], arrays["m2"])
        own = Moments(self.moments.n[at], self.moments.mean[at], self.moments.m2[at])
        for part, new in zip(self.moments, own.merged(theirs), strict=True):
            part[at] = new
        self.uniform[at] += arrays["uniform"]
        self.rows[at] += arrays["rows"]
        self.n_texts[at] += arrays["texts"]
        for name in _SUMMED:
            getattr(self, name)[...] += arrays[name]
        numbers = np.where(arrays["top_text"] >= 0, arrays["top_text"] + first, -1)
        self.top = self.top.merged(Top(arrays["top_value"], numbers))
        for kind in dict.fromkeys(head.kind for head in self.heads):
            for side in SIDES:
                if f"ids_{kind}_{side}" in arrays:
                    new_tokens = TokenSums(
                        arrays[f"ids_{kind}_{side}"], arrays[f"mass_{kind}_{side}"], arrays[f"occurrences_{kind}_{side}"]
                    )
                    known = self.tokens.get((kind, side))
                    self.tokens[kind, side] = new_tokens if known is None else known.merged(new_tokens)
        for token, (name, special) in header["names"].items():
            self.names[token] = (name, special or self.names.get(token, (name, False))[1])
        for place, reason in header["bad"]:
            self.bad.append(BadEntry(work.texts[place].source, work.texts[place].row, reason))
            self.unusable.add(first + place)
        self.n_tokens += header["tokens"]
        self.n_cut += header["cut"]
        self.n_dropped += header["dropped"]

    def as_shard(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Header and arrays of a shard of all texts so far; `add` takes it in again."""
        arrays: dict[str, np.ndarray] = {
            "n": self.moments.n,
            "mean": self.moments.mean,
            "m2": self.moments.m2,
            "texts": self.n_texts,
        }
        arrays |= {name: getattr(self, name) for name in ("uniform", "rows", *_SUMMED)}
        arrays |= {"top_value": self.top.value, "top_text": self.top.text}
        for (kind, side), sums in self.tokens.items():
            arrays |= {f"{part}_{kind}_{side}": getattr(sums, part) for part in ("ids", "mass", "occurrences")}
        header = {
            "groups": list(self.groups), "bad": [], "tokens": self.n_tokens, "cut": self.n_cut, "names": self.names,
            "dropped": self.n_dropped,
        }  # fmt: skip
        return header, arrays


def merge(
    store: Store,
    work: Sequence[Task],
    present: Sequence[bool],
    heads: Sequence[HeadId],
    progress: Callable[[int, int], None] | None = None,
) -> Merged:
    """The sums over the shards that are present."""
    groups = ["", *sorted({entry.group for each in work for entry in each.texts} - {""})]
    merged = Merged.empty(heads, groups)
    first = 0
    for number, (each, there) in enumerate(zip(work, present, strict=True)):
        if there:
            merged.add(*store.read(each.name), each, first)
        first += len(each.texts)
        if progress is not None:
            progress(number + 1, len(work))
    return merged


TextEdges = tuple[dict[str, Any], list[dict[str, np.ndarray]]]
"""Of a text: its tokens by side, and the edges of its heads."""


@dataclass(frozen=True)
class Chosen:
    """The exemplars, one row each: (head, role, decile, value, text)."""

    head: np.ndarray
    role: np.ndarray
    decile: np.ndarray
    value: np.ndarray
    text: np.ndarray

    @classmethod
    def none(cls) -> Chosen:
        """No exemplar."""
        empty = np.zeros(0, dtype=np.int64)
        return cls(empty, empty, empty, np.zeros(0), empty)

    def pairs(self) -> list[tuple[int, int]]:
        """(text, head) whose edges are needed, each once, in order."""
        return sorted(set(zip(self.text.tolist(), self.head.tolist(), strict=True)))


def choose(merged: Merged, sample: np.ndarray, values: np.ndarray, order: np.ndarray) -> Chosen:
    """For every head and role the text with the largest value, and from every decile the sampled text that comes first.

    Parameters
    ----------
    sample, values
        Numbers of the sampled texts, and their values (text, head, role).
    order
        The priority of every sampled text.
    """
    edges = [edges_of(role) for role in ROLES]
    counts = merged.sketch[:, [COMPARED.index(role) for role in ROLES]]
    tenth = by_decile(values, counts, edges)
    rows = []
    for head in range(len(merged.heads)):
        for role in range(len(ROLES)):
            if merged.top.text[head, role] < 0:
                continue
            rows.append((head, role, TOP, merged.top.value[head, role], merged.top.text[head, role]))
            for decile in range(10):
                inside = np.flatnonzero(tenth[:, head, role] == decile)
                if len(inside):
                    best = inside[order[inside].argmin()]
                    rows.append((head, role, decile, values[best, head, role], sample[best]))
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    heads, roles, deciles, texts = (np.array(columns[at], dtype=np.int64) for at in (0, 1, 2, 4))
    return Chosen(heads, roles, deciles, np.array(columns[3], dtype=np.float64), texts)


def tables_of(
    merged: Merged,
    chosen: Chosen,
    edges: Mapping[int, TextEdges],
    entries: Sequence[Entry],
) -> dict[str, np.ndarray]:
    """The arrays of the store; `edges` are, of every text of an exemplar, its tokens and the edges of its heads in order."""
    count = np.maximum(merged.moments.n, 1)
    distances = np.maximum(merged.distance_n, 1)[:, None]
    reachable = (merged.distance_uniform > 0) & (merged.distance_n > 0)[:, None]
    found: dict[str, np.ndarray] = {
        "kind": np.array([KINDS.index(head.kind) for head in merged.heads], dtype=np.int64),
        "layer": np.array([head.layer for head in merged.heads], dtype=np.int64),
        "head": np.array([head.head for head in merged.heads], dtype=np.int64),
        "n": merged.moments.n,
        "mean": merged.moments.mean,
        "m2": merged.moments.m2,
        "uniform": merged.uniform / count,
        "rows": merged.rows,
        "sketch": merged.sketch,
        "sketch_edges": np.stack([edges_of(name) for name in COMPARED]),
        "distance": np.where(reachable, merged.distance / distances, np.nan),
        "distance_uniform": np.where(reachable, merged.distance_uniform / distances, np.nan),
        "distance_low": LOW,
        "distance_high": HIGH,
        "bad": as_bytes([list(each) for each in merged.bad]),
    }
    return found | _token_tables(merged) | _exemplar_tables(chosen, edges, entries)


def _token_tables(merged: Merged) -> dict[str, np.ndarray]:
    ids = sorted(merged.names, key=int)
    place = {int(token): at for at, token in enumerate(ids)}
    rows = []
    firsts = {kind: at for at, kind in reversed(list(enumerate(head.kind for head in merged.heads)))}
    for (kind, side), sums in merged.tokens.items():
        for own, best in enumerate(sums.top(TOP_TOKENS, LEAST_COUNT)):
            rows += [
                (firsts[kind] + own, SIDES.index(side), place[int(sums.ids[at])], sums.mass[own, at], sums.occurrences[at])
                for at in best
            ]
    rows.sort(key=lambda row: (row[0], row[1]))
    used = sorted({row[2] for row in rows})
    short = {at: new for new, at in enumerate(used)}
    names = [merged.names[ids[at]] for at in used]
    return {
        "token_names": as_bytes([name for name, _ in names]),
        "token_head": np.array([row[0] for row in rows], dtype=np.int64),
        "token_side": np.array([row[1] for row in rows], dtype=np.int64),
        "token_of": np.array([short[row[2]] for row in rows], dtype=np.int64),
        "token_mass": np.array([row[3] for row in rows], dtype=np.float64),
        "token_count": np.array([row[4] for row in rows], dtype=np.int64),
        "token_special": np.array([names[short[row[2]]][1] for row in rows], dtype=np.int64),
    }


def _exemplar_tables(chosen: Chosen, edges: Mapping[int, TextEdges], entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    pairs = chosen.pairs()
    place = {pair: at for at, pair in enumerate(pairs)}
    texts = sorted(edges)
    short = {text: at for at, text in enumerate(texts)}
    parts = [part for text in texts for part in edges[text][1]]
    starts = np.concatenate([[0], np.cumsum([len(part["query"]) for part in parts])]).astype(np.int64)
    described = [
        {**{name: getattr(entries[text], name) for name in ("text", "pair", "target", "source", "row")}, "tokens": edges[text][0]}
        for text in texts
    ]
    kinds = {"query": np.int32, "key": np.int32, "weight": np.float32}
    return {
        "exemplar_head": chosen.head,
        "exemplar_metric": chosen.role,
        "exemplar_decile": chosen.decile,
        "exemplar_value": chosen.value,
        "exemplar_text": np.array([short[text] for text in chosen.text.tolist()], dtype=np.int64),
        "exemplar_pair": np.array(
            [place[pair] for pair in zip(chosen.text.tolist(), chosen.head.tolist(), strict=True)], dtype=np.int64
        ),
        "pair_start": starts,
        "texts": as_bytes(described),
    } | {
        f"edge_{name}": np.concatenate([np.zeros(0, dtype), *(part[name] for part in parts)]) for name, dtype in kinds.items()
    }  # fmt: skip
