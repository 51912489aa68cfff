"""The folder of a corpus: files that are there whole or not at all, and tables that are replaced at once. Local, or by fsspec."""

from __future__ import annotations

import io
import json
import os
import shutil
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import zarr

from atlas.tracing.corpus import FORMAT, ROOT, VERSION

SHARDS = "shards"
TABLES = "tables-"
HEADER = "header"
"""The array of a shard that holds what is no array, as JSON."""


class Store:
    """The folder at a path, or at an address that fsspec knows, such as s3://bucket/name."""

    def __init__(self, where: str | Path) -> None:
        self.remote = "://" in str(where)
        self.where = str(where) if self.remote else os.fspath(Path(where).absolute())
        self._files, self._folder = fsspec.url_to_fs(self.where)

    def _at(self, *parts: str) -> str:
        return "/".join([self._folder.rstrip("/"), *parts])

    def prepare(self) -> None:
        """Make the folder of the shards."""
        self._files.makedirs(self._at(SHARDS), exist_ok=True)

    def names(self) -> set[str]:
        """The shards that are there."""
        self._files.invalidate_cache()
        if not self._files.exists(self._at(SHARDS)):
            return set()
        found = (path.rpartition("/")[2] for path in self._files.ls(self._at(SHARDS), detail=False))
        return {name.removesuffix(".npz") for name in found if name.endswith(".npz") and not name.startswith(".")}

    def has(self, name: str) -> bool:
        """Whether a shard is there."""
        self._files.invalidate_cache()
        return bool(self._files.exists(self._at(SHARDS, f"{name}.npz")))

    def write(self, name: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Write a shard; the same content gives the same bytes."""
        buffer = io.BytesIO()
        whole: dict[str, Any] = {HEADER: as_bytes(header), **{key: arrays[key] for key in sorted(arrays)}}
        np.savez_compressed(buffer, **whole)
        self._put(buffer.getvalue(), SHARDS, f"{name}.npz")

    def read(self, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """(header, arrays) of a shard."""
        data = self._files.cat_file(self._at(SHARDS, f"{name}.npz"))
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            arrays = {key: found[key] for key in found.files}
        return json.loads(arrays.pop(HEADER).tobytes().decode()), arrays

    def put(self, data: bytes, name: str) -> None:
        """Write a file beside the tables, whole or not at all."""
        self._put(data, name)

    def publish(self, name: str, tables: Mapping[str, np.ndarray], about: Mapping[str, Any], root: Mapping[str, Any]) -> None:
        """Write tables under a name of their own, then let the root point to them: a reader sees the old ones or the new.

        The name stands for the content, so tables that are there are not written again. Older ones stay: somebody may have them
        open, or another run may be about to point to them.
        """
        if not self._written(name):
            self._write_tables(name, tables, about)
        attributes = {"format": FORMAT, "version": VERSION, "tables": TABLES + name, **root}
        document = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
        self._put(json.dumps(document, indent=1, sort_keys=True).encode(), ROOT)

    def remove(self, name: str) -> None:
        """Remove tables that nothing points to any more."""
        where = self._at(TABLES + name)
        self._files.invalidate_cache()
        if self._files.exists(where):
            self._files.rm(where, recursive=True)

    def remove_stale(self, keep: Collection[str], age: timedelta) -> None:
        """Remove tables that nobody has written to for so long, unless they are to be kept or the root points to them.

        What is newer stays: another process may be about to point to it. Unfinished tables of processes that were killed are
        tables too. Where an object store does not say when it was written to, everything stays.
        """
        self._files.invalidate_cache()
        now, kept = datetime.now(UTC), {TABLES + name for name in keep} | {self._pointed()}
        for path in self._files.ls(self._at(), detail=False):
            name = path.rpartition("/")[2]
            if name in kept or not name.startswith((TABLES, f".{TABLES}")):
                continue
            # A monitor beside this one may remove it first.
            with suppress(NotImplementedError, FileNotFoundError):
                if now - self._files.modified(f"{path}/{ROOT}" if self.remote else path) > age:
                    self._files.rm(path, recursive=True)

    def _pointed(self) -> str:
        """The folder of the tables that the root points to; empty where there is no root."""
        if not self._files.exists(self._at(ROOT)):
            return ""
        return str(json.loads(self._files.cat_file(self._at(ROOT))).get("attributes", {}).get("tables", ""))

    def _written(self, name: str) -> bool:
        """Whether tables are there whole: a local folder is when it is there, one of an object store when the root names it."""
        self._files.invalidate_cache()
        if not self.remote:
            return bool(self._files.exists(self._at(TABLES + name)))
        return self._pointed() == TABLES + name

    def _write_tables(self, name: str, tables: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
        """A local folder is renamed into its place; on an object store the root is what makes it seen."""
        new = TABLES + name if self.remote else f".{TABLES}{name}.{uuid.uuid4().hex}"
        store = zarr.storage.FsspecStore.from_url(self.where) if self.remote else zarr.storage.LocalStore(self.where)
        group = zarr.open_group(store, path=new, mode="w", zarr_format=3, attributes=dict(about))
        for key in sorted(tables):
            array = np.ascontiguousarray(tables[key])
            group.create_array(key, data=array, chunks=_chunks(key, array))
        if self.remote:
            return
        try:
            Path(self.where, new).rename(Path(self.where, TABLES + name))
        except OSError:
            # Another run was first, with the same tables.
            if not self._written(name):
                raise
        finally:
            shutil.rmtree(Path(self.where, new), ignore_errors=True)

    def _put(self, data: bytes, *parts: str) -> None:
        """A file of an object store appears when it is complete; a local one is renamed into its place."""
        if self.remote:
            self._files.pipe_file(self._at(*parts), data)
            return
        path = Path(self.where, *parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            new.write_bytes(data)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)


CHUNK = 1 << 18
"""Numbers of a chunk: an exemplar's edges are a few thousand of millions."""


SKETCH = "sketch"
"""The table (head, metric, bin) that is read a metric at a time; every other one is read whole."""


def _chunks(name: str, array: np.ndarray) -> tuple[int, ...]:
    if name == SKETCH:
        heads, _, bins = array.shape
        return max(1, heads), 1, max(1, bins)
    if array.ndim == 1:
        return (max(1, min(len(array), CHUNK)),)
    return tuple(max(1, size) for size in array.shape)


def as_bytes(value: Any) -> np.ndarray:
    """A plain value as JSON in an array of bytes."""
    return np.frombuffer(json.dumps(value, ensure_ascii=False, sort_keys=True).encode(), dtype=np.uint8)
