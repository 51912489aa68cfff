"""The store of a monitor: sums over the sampled texts, in a shard of its own beside those of other monitors of the same model."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from atlas.corpus.measure import MEASURE, How, Loaded, Read, Task, shard_of
from atlas.corpus.merge import LEAST_COUNT, Chosen, Merged, tables_of
from atlas.corpus.publish import identity_of, publish
from atlas.corpus.store import Store
from atlas.engine.running.many_texts import facts_of
from atlas.engine.running.recorder import TextShape
from atlas.errors import CorpusError
from atlas.tracing.corpus import Corpus, open_corpus

if TYPE_CHECKING:
    import numpy as np

    from atlas.engine.running.encode import Encoded

PREFIX = "monitor-"
"""Of the names of a monitor's shards."""

KEPT_TABLES = 3
"""Of the tables that a monitor wrote, as many stay: a reader may have some open, and a monitor writes for months."""

STALE = timedelta(days=1)
"""Tables of processes that ended stay so long: every start of a service leaves some, and nobody else removes them."""

OTHER = "{where} holds {what}. A monitor adds to its own kind only; give it another folder."

HOW = How()


class Monitored:
    """What one monitor measured, and the folder where it is kept."""

    def __init__(self, where: str, loaded: Loaded, settings: Mapping[str, Any]) -> None:
        self._store = Store(where)
        self._loaded = loaded
        self._settings = settings
        self._identity = identity_of(loaded)
        self._own = f"{PREFIX}{uuid.uuid4().hex}"
        self._merged = Merged.empty(loaded.heads, [""])
        self._written = 0
        self._tables: list[str] = []
        self._check()

    @property
    def texts(self) -> int:
        """How many were measured."""
        return int(self._merged.n_texts[0])

    @property
    def unwritten(self) -> int:
        """How many of them the folder lacks."""
        return self.texts - self._written

    def add(self, texts: Sequence[Encoded]) -> None:
        """Measure some texts and take them in."""
        self._merged.add(*self.measured(texts), Task("", MEASURE, (), HOW), self.texts)

    def measured(self, texts: Sequence[Encoded]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The sums over some texts."""
        model = self._loaded.model
        for encoded in texts:
            model.sized(TextShape(encoded.n_source, encoded.n_target), "qk", ())
        read = Read(list(range(len(texts))), list(texts), [facts_of(encoded) for encoded in texts], [])
        return shard_of(read, [""] * len(texts), self._loaded, HOW)

    def write(self) -> Corpus:
        """Write the sums, and the tables of all monitors of this folder."""
        self._store.prepare()
        header, arrays = self._merged.as_shard()
        self._store.write(self._own, {**header, "what": PREFIX, "identity": self._identity}, arrays)
        names = sorted(self._store.names())
        whole, first = Merged.empty(self._loaded.heads, [""]), 0
        counts: list[int] = []
        for name in names:
            header, arrays = self._store.read(name)
            whole.add(header, arrays, Task(name, MEASURE, (), HOW), first)
            counts.append(int(arrays["texts"][0]))
            first += counts[-1]
        settings = {**HOW._asdict(), **self._settings, "monitor": True, "least_count": LEAST_COUNT}
        content = json.dumps([names, counts, settings]).encode()
        name = hashlib.sha256(content).hexdigest()[:16]
        publish(
            self._store, name, self._loaded, self._identity, whole,
            tables_of(whole, Chosen.none(), {}, ()), settings, 0, (len(names), len(names)),
        )  # fmt: skip
        self._written = self.texts
        self._tables = [each for each in self._tables if each != name] + [name]
        for old in self._tables[:-KEPT_TABLES]:
            self._store.remove(old)
        self._tables = self._tables[-KEPT_TABLES:]
        self._store.remove_stale(self._tables, STALE)
        return open_corpus(self._store.where)

    def _check(self) -> None:
        """Refuse a folder whose figures are not of this model, or not a monitor's."""
        names = sorted(self._store.names())
        if any(not name.startswith(PREFIX) for name in names):
            raise CorpusError(OTHER.format(where=self._store.where, what="a corpus of atlas.corpus.run"))
        if names and self._store.read(names[0])[0].get("identity") != self._identity:
            raise CorpusError(OTHER.format(where=self._store.where, what="figures of another model, or of other weights"))
