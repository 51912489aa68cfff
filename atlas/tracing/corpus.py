"""Corpus: what every head did over many texts, as `atlas.corpus.run` stored it. No torch and no Dask here.

One is made by

    atlas.corpus.run("gpt-mini", ["The cat sat on the mat. The cat slept.", ...], "heads-of-gpt-mini")
    atlas corpus gpt-mini texts.txt -o heads-of-gpt-mini --workers 0

and opened by `atlas.open("heads-of-gpt-mini")`.

The store is one Zarr hierarchy. The attributes of its root say what it is and name the group that holds the tables, so that
whoever reads while a run goes on sees the tables of before or of after, never half of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pandas as pd

from atlas.errors import BadTraceFile, UnknownName
from atlas.ids import KINDS
from atlas.metrics.moments import Moments
from atlas.metrics.sketches import LARGEST, quantiles
from atlas.single_flight import Keeps, SingleFlight
from atlas.tracing.corpus_sound import check_about, check_arrays, check_below, check_numbers, check_words, whole
from atlas.tracing.declared import check_zarr

if TYPE_CHECKING:
    import zarr

FORMAT = "attention-atlas corpus"
VERSION = 1

ROOT = "zarr.json"
"""The file that says what a store is."""

OPEN_BYTES = 8 << 30
"""No corpus is larger: a file that says so would fill the memory before anything else could be said about it."""

SPARE_BYTES = 512 << 20
"""What the tables of a folder may hold beyond what its files can: most bins of a thousand heads are empty, and take no room."""

SHARES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
"""Columns of `quantiles`."""

ALL = ""
"""The group of all texts."""

TOP = -1
"""What stands for a decile in the exemplar with the largest value of all."""


class Complete(NamedTuple):
    """How much of a corpus a store holds."""

    shards: int
    expected: int


class Exemplar(NamedTuple):
    """What one head does with one text."""

    edges: pd.DataFrame
    """query, key, weight, query_token, key_token: the strongest keys of every query, strongest first within a query."""
    query_tokens: tuple[str, ...]
    key_tokens: tuple[str, ...]


class Corpus(Keeps):
    """What every head did over many texts. Tables are read when they are first asked for; each caller gets a copy."""

    def __init__(self, group: zarr.Group, attributes: Mapping[str, Any], where: str) -> None:
        self._group = group
        self._cache, self._under_way = {}, SingleFlight()
        self._about: dict[str, Any] = dict(group.attrs)
        self.where = where
        """The folder or the address it was opened from."""
        self.provenance: Mapping[str, Any] = attributes["provenance"]
        """model, revision, class, task, dtype, device; texts, tokens, bad (counts); settings, versions, made."""
        self.complete = Complete(*attributes["complete"])
        """Shards that are in these figures, and shards of the whole corpus."""

    def __repr__(self) -> str:
        about = self.provenance
        part = (
            ""
            if self.complete.shards == self.complete.expected
            else f", {self.complete.shards} of {self.complete.expected} parts"
        )
        return f"<Corpus of {about['model']}: {len(self._ids)} heads, {about['texts']:,} texts, {about['tokens']:,} tokens{part}>"

    # -- heads ---------------------------------------------------------------------------------------------------------

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of the head table that a corpus has: all but the costly ones."""
        return tuple(self._about["metrics"])

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of attention of the model."""
        return tuple(self._about["kinds"])

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups of texts; the first, '', is all of them."""
        return tuple(self._about["groups"])

    @property
    def n_texts(self) -> dict[str, int]:
        """Group -> how many texts it has."""
        return {name: int(n) for name, n in zip(self.groups, self._about["texts"], strict=True)}

    @property
    def heads(self) -> pd.DataFrame:
        """One row a head: kind, layer, head, n, and of every metric NAME, NAME_lo, NAME_hi, NAME_uniform, NAME_n.

        NAME is the mean of the texts' values, NAME_lo to NAME_hi its 95 % interval by text (Student's t, NaN under two texts),
        NAME_uniform the mean for uniform attention over the same texts and NAME_n how many texts had a value. NAME_rows, of the
        metrics that have it in a trace's table, says on how many rows of attention these values rest. n is the number of texts.
        """
        return self.heads_of(ALL)

    def heads_of(self, group: str) -> pd.DataFrame:
        """The table `heads` over the texts of one group."""
        if group not in self.groups:
            msg = f"This corpus has no group {group!r}; it has {', '.join(map(repr, self.groups))}."
            raise UnknownName(msg)
        at = self.groups.index(group)
        table: pd.DataFrame = self.once(f"heads of group {at}", lambda: self._head_table(at))
        return table.copy()

    def moments(self, group: str = ALL) -> Moments:
        """(head, metric) count, mean and sum of squares over the texts of a group, as the head table has heads and metrics."""
        self.heads_of(group)  # an unknown group is an error
        return self._moments(self.groups.index(group))

    def _moments(self, at: int) -> Moments:
        return Moments(*(self._array(name)[at] for name in ("n", "mean", "m2")))

    def _head_table(self, at: int) -> pd.DataFrame:
        moments = self._moments(at)
        mean, (lo, hi) = moments.known_mean(), moments.interval()
        uniform, rows = self._array("uniform")[at], self._array("rows")[at]
        columns: dict[str, Any] = {"n": np.full(len(self._ids), self._about["texts"][at])}
        for place, name in enumerate(self.metrics):
            columns[name] = mean[:, place]
            most = LARGEST.get(name, 1.0)
            columns[f"{name}_lo"] = np.clip(lo[:, place], 0.0, most)
            columns[f"{name}_hi"] = np.clip(hi[:, place], 0.0, most)
            columns[f"{name}_uniform"] = np.where(moments.n[:, place] > 0, uniform[:, place], np.nan)
            columns[f"{name}_n"] = moments.n[:, place]
        columns |= {f"{name}_rows": rows[:, place] for place, name in enumerate(self._about["counted"])}
        return pd.concat([self._ids, pd.DataFrame(columns)], axis=1)

    def quantiles(self, name: str) -> pd.DataFrame:
        """kind, layer, head, q05, q25, q50, q75, q95 of the texts' values of a metric, and error.

        A quantile is the smallest value that at least that share of the texts does not exceed; none is farther from the truth
        than `error`.
        """
        found, errors = quantiles(*self.sketch(name), list(SHARES.values()))
        table = pd.DataFrame(found, columns=list(SHARES)).assign(error=errors.max(axis=-1))
        return pd.concat([self._ids, table], axis=1)

    def distribution(self, name: str) -> pd.DataFrame:
        """kind, layer, head, low, high, count: the texts whose value of a metric is in a bin; bins without one are left out."""
        counts, edges = self.sketch(name)
        head, place = np.nonzero(counts)
        table = pd.DataFrame({"low": edges[place], "high": edges[place + 1], "count": counts[head, place]})
        return pd.concat([self._ids.iloc[head].reset_index(drop=True), table], axis=1)

    def sketch(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(head, bin) how many texts have a value of a metric in each bin, and the (bin + 1,) edges of the bins."""
        at = self._place(name)
        return self._part("sketch", (slice(None), at)), np.asarray(self._array("sketch_edges")[at])

    @property
    def distances(self) -> pd.DataFrame:
        """kind, layer, head, low, high, mass, mass_uniform: how far keys are from their queries, in tokens.

        A bin holds the offsets key − query from low to high, both included: −1 is the previous token. `mass` is the share of a
        row's attention, meaned over the rows of a text that may see two keys or more and then over the texts. A head of
        cross-attention has no distances, so it has no rows here.
        """
        mass, uniform = self._array("distance"), self._array("distance_uniform")
        low, high = self._array("distance_low"), self._array("distance_high")
        head, place = np.nonzero(~np.isnan(mass))
        table = pd.DataFrame(
            {"low": low[place], "high": high[place], "mass": mass[head, place], "mass_uniform": uniform[head, place]}
        )
        return pd.concat([self._ids.iloc[head].reset_index(drop=True), table], axis=1)

    @property
    def tokens(self) -> pd.DataFrame:
        """kind, layer, head, side, token, mass, count, special: the top tokens of every head, largest mass first.

        Side 'key': `mass` is all the attention the token received over the corpus, in rows. Side 'query': `mass` is what its rows
        gave to keys that are neither special nor the first, which is where heads rest. `count` says how often the token occurs on
        that side; mass / count is the mean. A head's table has the tokens with the largest mass and those with the largest mean
        among the tokens that occur often enough to have one (`provenance['settings']['least_count']`).
        """
        names = np.asarray(self._text("token_names"), dtype=object)
        at, sides = self._array("token_head"), np.array(["query", "key"], dtype=object)
        self._points("token_of", len(names))
        table = pd.DataFrame(
            {
                "side": sides[self._array("token_side")],
                "token": names[self._array("token_of")],
                "mass": self._array("token_mass"),
                "count": self._array("token_count"),
                "special": self._array("token_special").astype(bool),
            }
        )
        return pd.concat([self._ids.iloc[at].reset_index(drop=True), table], axis=1)

    # -- texts ---------------------------------------------------------------------------------------------------------

    @property
    def exemplars(self) -> pd.DataFrame:
        """kind, layer, head, metric, decile, value, text, pair, target, source, row.

        For every head and role: the text with the largest value (decile −1) and one text drawn from each tenth of the texts by
        value (0: the lowest). A tenth that no sampled text fell in is left out. `source` and `row` say where the text comes from.
        """
        texts = pd.DataFrame(self._texts, columns=["text", "pair", "target", "source", "row", "tokens"]).drop(columns="tokens")
        at = self._array("exemplar_head")
        roles = np.asarray(self._about["roles"], dtype=object)
        self._points("exemplar_metric", len(roles))
        self._points("exemplar_text", len(texts))
        table = pd.DataFrame(
            {
                "metric": roles[self._array("exemplar_metric")],
                "decile": self._array("exemplar_decile"),
                "value": self._array("exemplar_value"),
            }
        )
        chosen = texts.iloc[self._array("exemplar_text")].reset_index(drop=True)
        made = pd.concat([self._ids.iloc[at].reset_index(drop=True), table, chosen], axis=1)
        made.index.name = "exemplar"
        return made

    def edges(self, row: Any) -> Exemplar:
        """What the head of a row of `exemplars` (the row itself, or its label) does with that text: 8 strongest keys a query."""
        at = int(cast("int", row.name) if isinstance(row, pd.Series) else row)
        place = int(self._array("exemplar_pair")[at])
        start, end = (int(bound) for bound in self._array("pair_start")[place : place + 2])
        query, key, weight = (self._part(f"edge_{name}", slice(start, end)) for name in ("query", "key", "weight"))
        kind = str(self._ids["kind"].iloc[int(self._array("exemplar_head")[at])])
        self._points("exemplar_text", len(self._texts))
        tokens = self._texts[int(self._array("exemplar_text")[at])]["tokens"]
        with whole(self.where):
            query_tokens, key_tokens = (tuple(tokens[_side(kind, axis, tokens)]) for axis in ("query", "key"))
            check_below("edge_query", query, len(query_tokens))
            check_below("edge_key", key, len(key_tokens))
        table = pd.DataFrame({"query": query.astype(np.int64), "key": key.astype(np.int64), "weight": weight})
        table["query_token"] = np.asarray(query_tokens, dtype=object)[table["query"]]
        table["key_token"] = np.asarray(key_tokens, dtype=object)[table["key"]]
        return Exemplar(table, query_tokens, key_tokens)

    @property
    def bad(self) -> pd.DataFrame:
        """source, row, reason: rows of the files that could not be used."""
        return pd.DataFrame(self._text("bad"), columns=["source", "row", "reason"])

    # -- reading -------------------------------------------------------------------------------------------------------

    @cached_property
    def _ids(self) -> pd.DataFrame:
        kinds = np.asarray(KINDS, dtype=object)[self._array("kind")]
        return pd.DataFrame({"kind": kinds, "layer": self._array("layer"), "head": self._array("head")})

    @cached_property
    def _texts(self) -> list[dict[str, Any]]:
        texts: list[dict[str, Any]] = self._text("texts")
        return texts

    @cached_property
    def _read(self) -> dict[str, np.ndarray]:
        return {}

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """Heads, texts and so on, by what the tables declare."""
        return check_arrays(dict(self._group.arrays()), self._about)

    def _points(self, name: str, most: int) -> None:
        """Check that a table points to what is there."""
        with whole(self.where):
            check_below(name, self._array(name), most)

    def _array(self, name: str) -> np.ndarray:
        if name not in self._read:
            with whole(self.where):
                read = self._part(name)
                check_numbers(name, read, self._sizes)
                self._read[name] = read
        return self._read[name]

    def _part(self, name: str, which: Any = slice(None)) -> np.ndarray:
        """Some of an array; only the chunks that hold it are read."""
        with whole(self.where):
            array: Any = self._group[name]
            return np.asarray(array[which])

    def _text(self, name: str) -> Any:
        with whole(self.where):
            found = json.loads(self._part(name).tobytes().decode())
            check_words(name, found)
            return found

    def _place(self, name: str) -> int:
        if name not in self.metrics:
            msg = f"A corpus has no quantiles of {name!r}; it has {', '.join(self.metrics)}."
            raise UnknownName(msg)
        return self.metrics.index(name)


def _side(kind: str, axis: str, tokens: Mapping[str, Any]) -> str:
    from atlas.tracing.plans import side_of

    return side_of(kind, axis, tokens)


def is_corpus(path: str | Path) -> bool:
    """Whether a folder says that it holds a corpus."""
    try:
        return _attributes(str(path)).get("format") == FORMAT
    except (OSError, ValueError):
        return False


def _attributes(where: str) -> dict[str, Any]:
    """The attributes of a store's root."""
    import fsspec

    filesystem, folder = fsspec.url_to_fs(where)
    about = json.loads(filesystem.cat_file(f"{folder.rstrip('/')}/{ROOT}"))
    attributes = about.get("attributes") if isinstance(about, dict) else None
    return attributes if isinstance(attributes, dict) else {}


def open_corpus(path: str | Path) -> Corpus:
    """Open a store of `atlas.corpus.run`: a folder, or the address of one on an object store (through fsspec)."""
    import zarr

    where = str(path)
    with whole(where):
        attributes = _attributes(where)
        _check(attributes, where)
        if "://" not in where:
            check_zarr(_tables(where, attributes["tables"]), SPARE_BYTES)
        # zarr_format is fixed because older formats can name a codec that unpickles.
        group = zarr.open_group(_store(where), path=str(attributes["tables"]), mode="r", zarr_format=3)
        _check_size(sum(array.nbytes for _, array in group.arrays()), where)
        about = dict(group.attrs)
        check_about(attributes.get("provenance"), attributes.get("complete"), about)
        check_arrays(dict(group.arrays()), about)
        return Corpus(group, attributes, where)


def _tables(where: str, name: Any) -> Path:
    """The folder of the tables, which stands in the store itself."""
    if not isinstance(name, str) or Path(name).name != name:
        msg = "it names no tables of its own"
        raise BadTraceFile(msg)
    return Path(where, name)


def _check(attributes: Mapping[str, Any], where: str) -> None:
    if attributes.get("format") != FORMAT:
        msg = f"{where} holds no corpus of Attention Atlas."
        raise BadTraceFile(msg)
    if int(attributes["version"]) > VERSION:
        msg = (
            f"{where} was written by a newer Attention Atlas (format {attributes['version']}, this one reads {VERSION}). Upgrade."
        )
        raise BadTraceFile(msg)


def _check_size(declared: int, where: str) -> None:
    if declared > OPEN_BYTES:
        msg = f"{where} declares {declared / 2**30:.1f} GiB of tables, more than a corpus has. It is not opened."
        raise BadTraceFile(msg)


def _store(where: str) -> Any:
    import zarr

    if "://" not in where:
        return zarr.storage.LocalStore(where, read_only=True)
    return zarr.storage.FsspecStore.from_url(where, read_only=True)
