"""What a worker does: measure the texts of one shard, or keep the strongest edges of exemplars.

A task writes one file, and doing it again does no harm.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from atlas.corpus.pieces import TokenSums, Top
from atlas.corpus.store import Store
from atlas.corpus.texts import Entry
from atlas.engine.loading.examine import alone_in_a_batch
from atlas.engine.running.capture import tables, token_names
from atlas.engine.running.many_texts import KindSums, facts_of, measured
from atlas.engine.running.strongest_edges import strongest
from atlas.engine.running.targets import with_target
from atlas.errors import AtlasError
from atlas.ids import KINDS, HeadId
from atlas.metrics.heads import COUNTED
from atlas.metrics.moments import Moments, stacked
from atlas.metrics.offsets import LOW
from atlas.metrics.roles import ROLES
from atlas.metrics.sketches import counts_of, edges_of
from atlas.metrics.standard import COMPARED
from atlas.trace import Texts, annotated
from atlas.tracing.plans import side_of

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.engine.running.encode import Encoded
    from atlas.engine.running.head_sums import SideFacts

LAYOUT = 3
"""Number of the arrangement of a shard: another one makes other names, so that files of two arrangements are not mixed."""

SIDES = ("query", "key")

MEASURE, VALUES, EDGES = "measure", "values", "edges"
"""What a task does: sums over its texts; the roles of every text; the strongest edges of some heads of every text."""

ROLE_PLACES = [COMPARED.index(role) for role in ROLES]


class How(NamedTuple):
    """Settings that change what is in a shard."""

    words: bool = False
    """Tag parts of speech and entities."""
    truncate: bool = True
    batch_tokens: int = 2048
    """Tokens of a padded batch at most."""


class Task(NamedTuple):
    """One shard."""

    name: str
    what: str
    texts: tuple[Entry, ...]
    how: How
    heads: tuple[tuple[int, ...], ...] = ()
    """For edges: the heads of every text, by their number in the model."""


class Loaded(NamedTuple):
    """A model and its heads in order."""

    model: Model
    heads: tuple[HeadId, ...]

    @classmethod
    def of(cls, model: Model) -> Loaded:
        """By kind, layer and head, as head tables have them."""
        return cls(
            model, tuple(HeadId(k.kind, la, h) for k in model.size.kinds for la in range(k.n_layers) for h in range(k.n_heads))
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of attention in order."""
        return tuple(kind for kind in KINDS if any(head.kind == kind for head in self.heads))


def task(identity: Mapping[str, Any], what: str, texts: Sequence[Entry], how: How, heads: Sequence[Sequence[int]] = ()) -> Task:
    """A task, named by the hash of everything that its file depends on."""
    read = [(entry.text, entry.pair, entry.target, entry.group if what == MEASURE else "") for entry in texts]
    whole = [LAYOUT, what, dict(identity), how, read, [list(map(int, own)) for own in heads]]
    digest = hashlib.sha256(json.dumps(whole, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
    return Task(f"{what}-{digest[:32]}", what, tuple(texts), how, tuple(tuple(map(int, own)) for own in heads))


def perform(store: Store, work: Task, loaded: Loaded) -> str:
    """Do a task unless its file is there already; returns its name."""
    if not store.has(work.name):
        header, arrays = _DOES[work.what](work, loaded)
        store.write(work.name, {**header, "what": work.what}, arrays)
    return work.name


class Read(NamedTuple):
    """The usable texts of a task, and why others are not."""

    places: list[int]
    encoded: list[Encoded]
    facts: list[dict[str, SideFacts]]
    bad: list[tuple[int, str]]


def _read(work: Task, model: Model) -> Read:
    found = Read([], [], [], [])
    for place, entry in enumerate(work.texts):
        try:
            encoded = model.encode(entry.text, entry.pair, truncate=work.how.truncate)
            encoded = with_target(model, encoded, entry.target, None, regenerate=False)
            # What does not fit into memory is found here, text by text, and not in the middle of a batch.
            model.sized(_shape(encoded), "qk", ())
        except AtlasError as error:
            found.bad.append((place, " ".join(str(error).split())))
            continue
        found.places.append(place)
        found.encoded.append(encoded)
        found.facts.append(facts_of(encoded, _annotated(encoded) if work.how.words else None))
    return found


def _shape(encoded: Encoded) -> Any:
    from atlas.engine.running.recorder import TextShape

    return TextShape(encoded.n_source, encoded.n_target)


def _annotated(encoded: Encoded) -> dict[str, Any]:
    texts = Texts(encoded.text, encoded.pair, encoded.target)
    return {side: annotated(table, texts, side).table for side, table in tables(encoded).items()}


def _batches(read: Read, model: Model, how: How) -> Iterator[list[int]]:
    """Places in `read`, texts of like length together, so that little is padding."""
    order = sorted(range(len(read.encoded)), key=lambda at: (read.encoded[at].n_source, read.encoded[at].n_target, at))
    alone = alone_in_a_batch(model.hf, model.task, model.kinds)
    batch: list[int] = []
    for at in order:
        longest = max(read.encoded[at].n_source, read.encoded[at].n_target)
        if batch and (alone or (len(batch) + 1) * longest > how.batch_tokens):
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


class _Whole(NamedTuple):
    """All texts of a shard, in their order."""

    values: np.ndarray
    uniform: np.ndarray
    rows: np.ndarray
    distance: np.ndarray
    distance_uniform: np.ndarray


def _run(read: Read, loaded: Loaded, how: How) -> tuple[_Whole, dict[tuple[str, str], TokenSums]]:
    n_texts, n_heads = len(read.encoded), len(loaded.heads)
    metrics = (n_texts, n_heads, len(COMPARED))
    bins = (n_texts, n_heads, len(LOW))
    whole = _Whole(np.full(metrics, np.nan), np.full(metrics, np.nan), np.zeros((n_texts, n_heads, len(COUNTED)), np.int64),
                   np.full(bins, np.nan), np.full(bins, np.nan))  # fmt: skip
    tokens: dict[tuple[str, str], list[TokenSums]] = {}
    for batch in _batches(read, loaded.model, how):
        facts = [read.facts[at] for at in batch]
        found = measured(loaded.model, [read.encoded[at] for at in batch], facts)
        for name, into in whole._asdict().items():
            into[batch] = np.concatenate([getattr(found[kind], name) for kind in loaded.kinds], axis=1)
        for kind, sums in found.items():
            for side in SIDES:
                tokens.setdefault((kind, side), []).append(_token_sums(kind, side, sums, facts))
    return whole, {place: _merged(parts) for place, parts in tokens.items()}


def _merged(parts: Sequence[TokenSums]) -> TokenSums:
    return TokenSums.of(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.mass for part in parts], axis=1),
        np.concatenate([part.occurrences for part in parts]),
        sum(part.dropped for part in parts),
    )


def _token_sums(kind: str, side: str, sums: KindSums, facts: Sequence[Mapping[str, SideFacts]]) -> TokenSums:
    """Of a batch. A query counts where its row may see two keys or more; rows are alike in all layers but for windows."""
    own = [each[side_of(kind, side, each)] for each in facts]
    mass = sums.received if side == "key" else sums.active * sums.informative
    ids = np.concatenate([each.ids for each in own])
    joined = np.concatenate([mass[at, :, : len(each.ids)] for at, each in enumerate(own)], axis=1)
    count = None
    if side == "query":
        count = np.concatenate([sums.informative[at, :, : len(each.ids)].max(axis=0) for at, each in enumerate(own)])
    return TokenSums.of(ids, joined, count)


def _measure(work: Task, loaded: Loaded) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    read = _read(work, loaded.model)
    return shard_of(read, [work.texts[place].group for place in read.places], loaded, work.how)


def shard_of(read: Read, group_of: Sequence[str], loaded: Loaded, how: How) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a shard: the sums over texts, each of a group ('': of none)."""
    whole, tokens = _run(read, loaded, how)
    groups = ["", *sorted(set(group_of) - {""})]
    members = [np.array([not group or own == group for own in group_of], dtype=bool) for group in groups]
    moments = stacked([Moments.of(whole.values[chosen]) for chosen in members])
    known = ~np.isnan(whole.values)
    arrays: dict[str, np.ndarray] = {
        "n": moments.n,
        "mean": moments.mean,
        "m2": moments.m2,
        "uniform": np.stack([np.where(known[m], whole.uniform[m], 0.0).sum(axis=0) for m in members]),
        "rows": np.stack([whole.rows[chosen].sum(axis=0) for chosen in members]),
        "texts": np.array([chosen.sum() for chosen in members]),
        "sketch": np.stack(
            [counts_of(whole.values[:, :, at], edges_of(name)) for at, name in enumerate(COMPARED)], axis=1
        ).astype(np.int32),
        "distance": np.nansum(whole.distance, axis=0),
        "distance_uniform": np.nansum(whole.distance_uniform, axis=0),
        "distance_n": (~np.isnan(whole.distance[:, :, 0])).sum(axis=0),
    }
    top = Top.of(whole.values[:, :, ROLE_PLACES], read.places)
    arrays |= {"top_value": top.value, "top_text": top.text}
    for (kind, side), sums in tokens.items():
        arrays |= {f"{part}_{kind}_{side}": getattr(sums, part) for part in ("ids", "mass", "occurrences")}
    header = {
        "groups": groups,
        "bad": read.bad,
        "tokens": sum(encoded.n_source + encoded.n_target for encoded in read.encoded),
        "cut": sum(encoded.cut > 0 for encoded in read.encoded),
        "names": _names(read, loaded.model),
        "dropped": sum(sums.dropped for sums in tokens.values()),
    }
    return header, arrays


def _names(read: Read, model: Model) -> dict[str, tuple[str, bool]]:
    """Id -> (the token, whether it is special) of the tokens that occur."""
    special: dict[int, bool] = {}
    for facts in read.facts:
        for side in facts.values():
            for token, flag in zip(side.ids.tolist(), side.special.tolist(), strict=True):
                special[token] = special.get(token, False) or flag
    ids = sorted(special)
    if not ids:
        return {}
    names = token_names(model.tokenizer, np.asarray(ids))
    return {str(token): (str(name), special[token]) for token, name in zip(ids, names, strict=True)}


def _values(work: Task, loaded: Loaded) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    read = _read(work, loaded.model)
    whole, _ = _run(read, loaded, work.how)
    return {}, {"places": np.asarray(read.places, dtype=np.int64), "values": whole.values[:, :, ROLE_PLACES]}


def _edges(work: Task, loaded: Loaded) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    read = _read(work, loaded.model)
    tokens: dict[int, dict[str, list[str]]] = {}
    found: dict[int, Any] = {}
    for batch in _batches(read, loaded.model, work.how):
        heads = [[loaded.heads[head] for head in work.heads[read.places[at]]] for at in batch]
        for at, seen in zip(batch, strongest(loaded.model, [read.encoded[at] for at in batch], heads), strict=True):
            tokens[read.places[at]], found[read.places[at]] = seen.tokens, seen.edges
    ordered = [edges for place in range(len(work.texts)) for edges in found.get(place, ())]
    empty = np.zeros(0, dtype=np.int32)
    return (
        {"tokens": [tokens.get(place) for place in range(len(work.texts))]},
        {
            "lengths": np.array([len(edges.query) for edges in ordered], dtype=np.int64),
            "query": np.concatenate([empty, *(edges.query for edges in ordered)]),
            "key": np.concatenate([empty, *(edges.key for edges in ordered)]),
            "weight": np.concatenate([empty.astype(np.float32), *(edges.weight for edges in ordered)]),
        },
    )


_DOES = {MEASURE: _measure, VALUES: _values, EDGES: _edges}
