"""A run over a corpus: parts the texts, lets the shards be measured, merges them and publishes the tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from atlas.corpus import workers as who
from atlas.corpus.measure import EDGES, MEASURE, VALUES, How, Loaded, Task, task
from atlas.corpus.merge import LEAST_COUNT, Chosen, Merged, choose, merge, tables_of
from atlas.corpus.pieces import priorities, sampled
from atlas.corpus.publish import identity_of, publish
from atlas.corpus.store import Store, as_bytes
from atlas.corpus.texts import Columns, Entries, Entry, chosen, read_entries
from atlas.engine.loading.load import load
from atlas.engine.model import Model
from atlas.errors import CorpusError, TextError
from atlas.tracing.corpus import Corpus, open_corpus

if TYPE_CHECKING:
    from os import PathLike

Progress = Callable[[int, int], None]
"""(texts done, all texts)"""

SAMPLE = 128
"""Texts that exemplars are drawn from: that a tenth of a corpus has none of them happens once in 700,000."""


EDGES_AT_ONCE = 32
"""Texts of a task that keeps edges: each has all weights of a batch for a moment."""

VALUES_AT_ONCE = 32
"""Texts of a task that keeps the roles of every text: there are few in all, and one task of all would leave workers idle."""


class Settings(NamedTuple):
    """How a corpus is worked on."""

    shard_size: int = 256
    """Texts of a shard."""
    words: bool = False
    truncate: bool = True
    batch_tokens: int = 2048

    @property
    def how(self) -> How:
        """What of it is in the shards."""
        return How(self.words, self.truncate, self.batch_tokens)


def run(
    model: Any,
    texts: str | Path | Iterable[Any],
    out: str | PathLike[str],
    client: Any = None,
    limit: int | None = None,
    seed: int = 0,
    *,
    sample: int | None = None,
    columns: Columns = Columns(),  # noqa: B008 - immutable
    workers: int | None = None,
    scheduler: str | None = None,
    settings: Settings = Settings(),  # noqa: B008 - immutable
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Corpus:
    """Measure every head of a model on many texts, and keep what does not grow with their number.

    The run can be stopped at any time, also by force: called again with the same `out`, it does only the shards that are missing.

    Parameters
    ----------
    model
        A name, folder or hub id, as `atlas.load` takes it; or a loaded model. One in memory alone works in this process only.
    texts
        A path (.csv, .json, .jsonl, .txt, .parquet or a folder of those), several as `Path`s, the id of a data set; or a list of
        texts, pairs, or mappings with the columns.
    out
        A folder, or an address that fsspec knows. `atlas.open` reads it.
    client
        A Dask client. By default processes of this machine are started, one thread each, if there is more than one shard.
    limit, sample, seed
        The first `limit` texts; or `sample` drawn from these, by the seed, which also draws the exemplars.
    columns
        The columns of the text, its pair and its target, and of a group by which the means are also given apart.
    workers
        Processes of this machine; 0: this process, without Dask.
    scheduler
        The address of a Dask scheduler, instead of a client.
    settings
        `Settings(shard_size, words, truncate, batch_tokens)`. With `words`, parts of speech and entities are tagged, which takes
        longer than a small model's pass; without, the metrics that need them are unknown.
    progress
        Called with the texts done and their number.
    report
        Called with what a person may want to read, such as the address of Dask's dashboard.
    """
    entries = chosen(read_entries(texts, columns), limit, sample, seed)
    if not entries.texts:
        msg = "There is no text to measure the heads on." + (
            f" {len(entries.bad):,} rows could not be used." if entries.bad else ""
        )
        raise TextError(msg)
    source = None if isinstance(model, Model | tuple) else who.ModelSource(str(model), revision, device, dtype, trust_remote_code)
    loaded = Loaded.of(model if isinstance(model, Model) else load(model) if source is None else source.load().model)
    source = source or source_of(loaded.model)
    store = Store(str(out))
    plan = Plan.of(loaded, entries, settings, seed, store)
    with _doing(plan, source, client, workers, scheduler, report) as do:
        try:
            plan.measure(do, progress)
        except (KeyboardInterrupt, CorpusError):
            # What is there is worth looking at; the run is resumed by calling it again.
            plan.publish(None, columns, limit, sample)
            raise
        plan.publish(do, columns, limit, sample, progress)
    return open_corpus(store.where)


def source_of(model: Model) -> who.ModelSource | None:
    """How another process loads this model; None where it cannot."""
    where = model.identity.source
    if where == "memory" or model.borrowed:
        return None
    dtype = str(model.hf.dtype).removeprefix("torch.")
    name = str(getattr(model.hf.config, "_name_or_path", "") or model.name) if where == "folder" else model.name
    return who.ModelSource(name, model.revision if where == "hub" else None, str(model.device), dtype)


@contextmanager
def _doing(
    plan: Plan,
    source: who.ModelSource | None,
    client: Any,
    workers: int | None,
    scheduler: str | None,
    report: Callable[[str], None],
) -> Iterator[who.Doing]:
    """Whoever does the tasks, while the context is open."""
    elsewhere = client is not None or scheduler is not None
    in_memory = source is None and workers is None
    count = 0 if elsewhere or in_memory else who.processes_of(workers, len(plan.missing()))
    if not elsewhere and count == 0:
        yield who.here(plan.store, plan.loaded)
        return
    if source is None:
        msg = (
            f"{plan.loaded.model.name} is in this process alone, so no other process can load it. Save it to a folder and "
            "give that, or pass workers=0."
        )
        raise CorpusError(msg)
    with ExitStack() as stack:
        if client is None:
            opened = who.connected(scheduler, report) if scheduler is not None else who.cluster_of(count, report)
            client = stack.enter_context(opened)
        yield stack.enter_context(who.on(client, plan.store, source))


@dataclass
class Plan:
    """What there is to do, and what it depends on."""

    loaded: Loaded
    entries: Entries
    settings: Settings
    seed: int
    store: Store
    identity: dict[str, Any]
    shards: list[Task] = field(default_factory=list)

    @classmethod
    def of(cls, loaded: Loaded, entries: Entries, settings: Settings, seed: int, store: Store) -> Plan:
        """Part the texts into shards."""
        identity = identity_of(loaded)
        plan = cls(loaded, entries, settings, seed, store, identity)
        plan.shards = [plan._task(MEASURE, part) for part in _parts(entries.texts, settings.shard_size)]
        return plan

    def _task(self, what: str, texts: Sequence[Entry], heads: Sequence[Sequence[int]] = ()) -> Task:
        return task(self.identity, what, texts, self.settings.how, heads)

    def missing(self) -> list[Task]:
        """Shards whose files are not there; shards of the same texts are one."""
        there = self.store.names()
        return list({shard.name: shard for shard in self.shards if shard.name not in there}.values())

    def measure(self, do: who.Doing, progress: Progress | None) -> None:
        """Let the missing shards be measured."""
        self.store.prepare()
        missing = self.missing()
        total = len(self.entries.texts)
        finished = total - sum(len(shard.texts) for shard in missing)

        def done(shard: Task) -> None:
            nonlocal finished
            finished += len(shard.texts)
            if progress is not None:
                progress(finished, total)

        if progress is not None:
            progress(finished, total)
        do(missing, done)
        if progress is not None and finished < total:
            progress(total, total)

    def publish(
        self,
        do: who.Doing | None,
        columns: Columns,
        limit: int | None,
        sample: int | None,
        progress: Progress | None = None,
    ) -> None:
        """Merge the shards that are there, let the exemplars be looked at (unless `do` is None), and write the tables."""
        there = self.store.names()
        present = [shard.name in there for shard in self.shards]
        if not any(present):
            return
        merged = merge(self.store, self.shards, present, self.loaded.heads)
        exemplars = Chosen.none()
        edges: dict[int, Any] = {}
        if do is not None:

            def looked_at(_: Task) -> None:
                # The texts are done, but who waits wants to be asked now and then whether to go on.
                if progress is not None:
                    progress(len(self.entries.texts), len(self.entries.texts))

            exemplars = self._exemplars(merged, do, looked_at)
            edges = self._edges(exemplars, do, looked_at)
        tables = tables_of(merged, exemplars, edges, self.entries.texts)
        bad = [*self.entries.bad, *merged.bad]
        tables["bad"] = as_bytes([list(each) for each in bad])
        settings = {
            **self.settings._asdict(), "seed": self.seed, "limit": limit, "sample": sample, **columns._asdict(),
            "exemplar_sample": SAMPLE, "least_count": LEAST_COUNT,
        }  # fmt: skip
        names = [shard.name for shard, known in zip(self.shards, present, strict=True) if known]
        name = hashlib.sha256(json.dumps([names, settings, do is None, [list(b) for b in bad]]).encode()).hexdigest()[:16]
        publish(self.store, name, self.loaded, self.identity, merged, tables, settings, len(bad), (sum(present), len(present)))

    def _exemplars(self, merged: Merged, do: who.Doing, done: who.Done) -> Chosen:
        usable = len(self.entries.texts)
        drawn = sampled(usable, SAMPLE, self.seed)
        size = min(self.settings.shard_size, VALUES_AT_ONCE)
        work = [self._task(VALUES, [self.entries.texts[at] for at in part]) for part in _parts(drawn, size)]
        _do_missing(self.store, work, do, done)
        places, values = [], []
        for first, each in zip(range(0, len(drawn), size), work, strict=True):
            _, arrays = self.store.read(each.name)
            places.append(drawn[first + arrays["places"]])
            values.append(arrays["values"])
        known = np.concatenate(places)
        return choose(merged, known, np.concatenate(values), priorities(usable, self.seed)[known])

    def _edges(self, exemplars: Chosen, do: who.Doing, done: who.Done) -> dict[int, Any]:
        """Of every text of an exemplar: its tokens, and the edges of its heads in order."""
        heads: dict[int, list[int]] = {}
        for text, head in exemplars.pairs():
            heads.setdefault(text, []).append(head)
        parts = list(_parts(sorted(heads), EDGES_AT_ONCE))
        work = [self._task(EDGES, [self.entries.texts[text] for text in part], [heads[text] for text in part]) for part in parts]
        _do_missing(self.store, work, do, done)
        found: dict[int, Any] = {}
        for part, each in zip(parts, work, strict=True):
            header, arrays = self.store.read(each.name)
            ends = np.cumsum(arrays["lengths"])
            bounds = iter(zip(ends - arrays["lengths"], ends, strict=True))
            for place, text in enumerate(part):
                own = [
                    {name: arrays[name][start:end] for name in ("query", "key", "weight")}
                    for _, (start, end) in zip(heads[text], bounds, strict=False)
                ]
                found[text] = (header["tokens"][place], own)
        return found


def _do_missing(store: Store, work: Sequence[Task], do: who.Doing, done: who.Done) -> None:
    there = store.names()
    do(list({each.name: each for each in work if each.name not in there}.values()), done)


def _parts(items: Any, size: int) -> list[Any]:
    if size < 1:
        msg = f"A shard has at least one text; shard_size={size} was asked for."
        raise CorpusError(msg)
    return [items[start : start + size] for start in range(0, len(items), size)]
