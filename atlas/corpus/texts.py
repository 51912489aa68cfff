"""The texts of a corpus: from files, folders, data sets, or as Python values. A row that cannot be used is listed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from atlas.errors import TextError
from atlas.text.files import TEXT, read_cells, sorted_out

TABLES = (".csv", ".json", ".jsonl", ".txt", ".parquet")
"""Endings of the files that are read, also from a folder."""

GIVEN = "given"
"""The source of texts that are no file's."""


class Entry(NamedTuple):
    """One text of a corpus."""

    text: str
    pair: str | None = None
    target: str | None = None
    group: str = ""
    source: str = GIVEN
    row: int = 0
    """Counted from 1."""


class BadEntry(NamedTuple):
    """One row that cannot be used."""

    source: str
    row: int
    reason: str


class Entries(NamedTuple):
    """The texts of a corpus in their order."""

    texts: tuple[Entry, ...]
    bad: tuple[BadEntry, ...]


class Columns(NamedTuple):
    """The names of the columns, or keys, of a file; None: there is none."""

    text: str = TEXT
    group: str | None = None
    pair: str | None = None
    target: str | None = None


def read_entries(given: Any, columns: Columns = Columns()) -> Entries:  # noqa: B008 - immutable
    """The texts of a file, a folder or a data set of the package `datasets` by its id; or texts given as they are.

    Parameters
    ----------
    given
        A path or several as `Path`s; or, as a single string, a path or the id of a data set ('owner/name' or 'owner/name:split');
        or a list of texts, of pairs of texts, or of mappings with the columns.
    columns
        What holds the text, its pair, its target and its group.
    """
    if isinstance(given, str | Path):
        return _read(str(given), columns)
    found = list(given)
    if found and all(isinstance(each, Path) for each in found):
        parts = [_read(str(path), columns) for path in found]
        return Entries(tuple(e for part in parts for e in part.texts), tuple(b for part in parts for b in part.bad))
    return _from_rows(_values(found, columns), GIVEN, columns)


def chosen(entries: Entries, limit: int | None = None, sample: int | None = None, seed: int = 0) -> Entries:
    """The first `limit` texts, or `sample` drawn from all of them, in their order."""
    texts = entries.texts if limit is None else entries.texts[:limit]
    if sample is not None and sample < len(texts):
        drawn = np.sort(np.random.default_rng(seed).choice(len(texts), size=sample, replace=False))
        texts = tuple(texts[int(at)] for at in drawn)
    return Entries(texts, entries.bad)


def _read(name: str, columns: Columns) -> Entries:
    path = Path(name)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in TABLES and file.is_file())
        if not files:
            msg = f"The folder {path} holds no file of texts ({', '.join(TABLES)})."
            raise TextError(msg)
        parts = [_from_file(file, str(file.relative_to(path)), columns) for file in files]
        return Entries(tuple(e for part in parts for e in part.texts), tuple(b for part in parts for b in part.bad))
    if path.suffix.lower() in TABLES or path.exists():
        return _from_file(path, path.name, columns)
    return _from_rows(_data_set(name, columns), name, columns)


def _from_file(path: Path, source: str, columns: Columns) -> Entries:
    if path.suffix.lower() == ".parquet":
        return _from_rows(_parquet(path, columns), source, columns)
    names = [name for name in (columns.text, columns.group, columns.pair, columns.target) if name is not None]
    read = {name: dict(read_cells(path, name)) for name in names}
    return _from_rows(((row, {name: read[name].get(row) for name in names}) for row in read[columns.text]), source, columns)


def _parquet(path: Path, columns: Columns) -> Iterator[tuple[int, Mapping[str, Any]]]:
    from pyarrow import parquet

    names = [name for name in columns if name is not None]
    try:
        # Not by pandas, where a missing text is the number NaN.
        known = parquet.read_schema(path).names
        table = parquet.read_table(path, columns=[name for name in names if name in known])
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read as Parquet: {error}."
        raise TextError(msg) from error
    _check_columns(names, known, str(path))
    yield from enumerate(table.to_pylist(), 1)


def _check_columns(wanted: Iterable[str | None], known: Sequence[str], where: str) -> None:
    missing = [name for name in wanted if name is not None and name not in known]
    if missing:
        msg = f"{where} has no column {missing[0]!r}; it has {', '.join(known) or 'none'}."
        raise TextError(msg)


def _data_set(name: str, columns: Columns) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if importlib.util.find_spec("datasets") is None:
        msg = (
            f"There is no file or folder {name!r}. If it is a data set of the hub, install the package that reads those: "
            "pip install datasets."
        )
        raise TextError(msg)
    import datasets

    found, _, split = name.partition(":")
    table = datasets.load_dataset(found, split=split or "train")
    _check_columns(columns, table.column_names, f"The data set {found}")
    names = [name for name in columns if name is not None]
    for row, each in enumerate(table, 1):
        yield row, {name: each[name] for name in names}  # another column may be called `target` and hold labels


def _values(given: Sequence[Any], columns: Columns) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for row, each in enumerate(given, 1):
        if isinstance(each, Entry):
            own = {columns.text: each.text, columns.pair: each.pair, columns.target: each.target, columns.group: each.group}
            yield row, {name: value for name, value in own.items() if name is not None}
        elif isinstance(each, Mapping):
            yield row, each
        elif isinstance(each, tuple) and len(each) == len(("text", "pair")):
            yield row, {columns.text: each[0], columns.pair or "pair": each[1]}
        else:
            yield row, {columns.text: each}


def _from_rows(rows: Iterable[tuple[int, Mapping[str, Any]]], source: str, columns: Columns) -> Entries:
    kept = dict(rows)
    found = sorted_out(((row, values.get(columns.text)) for row, values in kept.items()), columns.text)
    texts = []
    bad = [BadEntry(source, each.row, each.reason) for each in found.bad]
    for row, text in found.texts:
        values = kept[row]
        pair, target = (_optional(values, name) for name in (columns.pair or "pair", columns.target or "target"))
        group = values.get(columns.group) if columns.group is not None else ""
        wrong = [part for part in (pair, target) if part is not None and not isinstance(part, str)]
        if wrong:
            bad.append(BadEntry(source, row, f"holds {type(wrong[0]).__name__} where a second text should be"))
        elif group is None:
            bad.append(BadEntry(source, row, f"has no {columns.group!r}"))
        else:
            texts.append(Entry(text, pair, target, str(group), source, row))
    return Entries(tuple(texts), tuple(sorted(bad, key=lambda each: each.row)))


def _optional(values: Mapping[str, Any], name: str) -> Any:
    """A second text, where there is one; an empty cell of a table is none."""
    return values.get(name) or None
