"""Texts of a file: CSV, JSON, JSONL or plain lines. A row that cannot be used is listed with its reason and never lost."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from atlas.errors import TextError

MOST_BYTES = 200_000_000
"""Of a file: it is held in memory at once, and 500 texts are a thousandth of that."""

MOST_ROWS = 200_000
"""Rows of a file that comes from a page: every bad one is kept with its reason, and 16 MB hold eight million empty ones."""

MOST_COLUMNS = 1_000
"""Columns of a CSV file: in each short row the missing ones are filled up, and a header of megabytes would take hours."""

TEXT = "text"
"""The column of texts where none is named."""

Cell = tuple[int, Any]
"""Row, counted from 1, and what stands there."""


class TextRow(NamedTuple):
    """One text."""

    row: int
    """Counted from 1; in a CSV file without its header."""
    text: str


class BadRow(NamedTuple):
    """One row that cannot be used."""

    row: int
    reason: str


class TextRows(NamedTuple):
    """The rows of a file."""

    texts: tuple[TextRow, ...]
    bad: tuple[BadRow, ...]


def read_texts(path: str | Path, column: str = TEXT) -> TextRows:
    """The texts of a file, by its ending.

    Parameters
    ----------
    path
        .csv (with a header), .json (a list of texts or objects), .jsonl (a text or an object a line), .txt (a text a line; empty
        lines are no rows).
    column
        Column or key that holds the text. A CSV file with one column alone needs none.
    """
    return sorted_out(read_cells(path, column), column)


def texts_in(name: str, data: bytes, column: str = TEXT) -> TextRows:
    """The texts in the bytes of a file, by the ending of its name, as `read_texts` reads them from a disk."""
    cells = _cells(Path(name), lambda: _decoded(data), column)
    found = sorted_out(itertools.islice(cells, MOST_ROWS), column)
    if next(cells, None) is not None:
        msg = f"{name} has more than {MOST_ROWS:,} rows, more than a page takes. Split it, or use the command line."
        raise TextError(msg)
    return found


def read_cells(path: str | Path, column: str) -> Iterator[Cell]:
    """Row by row what stands in a column of such a file, whatever it is; `sorted_out` tells texts from the rest."""
    path = Path(path)
    return _cells(path, lambda: _content(path), column)


def _cells(path: Path, content: Callable[[], str], column: str) -> Iterator[Cell]:
    return ((row, value_of(found, column)) for row, found in _rows(path, content, column))


def read_rows(path: str | Path, column: str = TEXT) -> Iterator[Cell]:
    """Row by row what such a file holds: a mapping with all of its columns, or a text alone; `value_of` takes out a column.

    A CSV file has to have that column, or one column alone, which then gets its name.
    """
    path = Path(path)
    return _rows(path, lambda: _content(path), column)


def rows_in(name: str, data: bytes, column: str = TEXT) -> Iterator[Cell]:
    """The rows in the bytes of a file, by the ending of its name, as `read_rows` reads them from a disk."""
    return _rows(Path(name), lambda: _decoded(data), column)


def _rows(path: Path, content: Callable[[], str], column: str) -> Iterator[Cell]:
    """The rows of a file; its content is asked for once its ending is known."""
    read = _READERS.get(path.suffix.lower())
    if read is None:
        msg = f"Texts are read from {', '.join(_READERS)} files, not from {path.name!r}."
        raise TextError(msg)
    return read(content(), path, column)


def sorted_out(cells: Iterable[Cell], column: str = TEXT) -> TextRows:
    """The cells that are texts, and the rows of those that are not, with the reason."""
    texts, bad = [], []
    for row, found in cells:
        reason = why_no_text(found, column)
        if reason:
            bad.append(BadRow(row, reason))
        else:
            texts.append(TextRow(row, found))
    return TextRows(tuple(texts), tuple(bad))


def _content(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            msg = f"{path} has {size / 1e6:,.0f} MB; up to {MOST_BYTES / 1e6:,.0f} MB are read. Split it."
            raise TextError(msg)
        return _decoded(path.read_bytes())
    except OSError as error:
        msg = f"The file {path} cannot be read: {error.strerror or error}."
        raise TextError(msg) from error


def _decoded(data: bytes) -> str:
    """The text of a file. Bytes that are no UTF-8 become surrogates, so that only their rows are bad."""
    return data.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")


def why_no_text(found: Any, column: str = TEXT) -> str:
    """Why this is no text; empty: it is one."""
    if isinstance(found, _Broken):
        return found.reason
    if found is None:
        return f"has no {column!r}"
    if not isinstance(found, str):
        return f"holds {type(found).__name__} where a text should be"
    if not found.strip():
        return "is empty"
    if any("\ud800" <= letter <= "\udfff" for letter in found):
        return "is not UTF-8"
    return ""


class _Broken(NamedTuple):
    reason: str


def _lines(content: str, _: Path, __: str) -> Iterator[Cell]:
    for row, line in enumerate(content.split("\n"), 1):
        if line.strip():
            yield row, line.removesuffix("\r")


def _jsonl(content: str, _: Path, __: str) -> Iterator[Cell]:
    for row, line in enumerate(content.split("\n"), 1):
        if line.strip():
            try:
                yield row, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield row, _Broken(f"is no JSON ({error})")


def _json(content: str, path: Path, column: str) -> Iterator[Cell]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        msg = f"{path} is no JSON ({error})."
        raise TextError(msg) from error
    if not isinstance(found, list):
        msg = f'{path} has to hold a JSON list of texts, or of {{"{column}": ...}}, not {type(found).__name__}.'
        raise TextError(msg)
    yield from enumerate(found, 1)


def _csv(content: str, path: Path, column: str) -> Iterator[Cell]:
    reader = csv.DictReader(io.StringIO(content, newline=""))
    try:
        names = list(reader.fieldnames or ())
        if len(names) > MOST_COLUMNS:
            msg = f"{path} has {len(names):,} columns, more than the {MOST_COLUMNS:,} of a file of texts."
            raise TextError(msg)
        named = column if column in names else names[0] if len(names) == 1 else None
        if named is None:
            msg = f"{path} has no column {column!r}; it has {', '.join(names) or 'none'}."
            raise TextError(msg)
        for row, each in enumerate(reader, 1):
            yield row, each if named == column else {**each, column: each[named]}
    except csv.Error as error:
        msg = f"{path} is no CSV: {error} (near line {reader.line_num})."
        raise TextError(msg) from error


def value_of(found: Any, column: str) -> Any:
    """What stands in a column of a row; a row that is no mapping is the text itself."""
    return found.get(column) if isinstance(found, Mapping) else found


_READERS: Mapping[str, Callable[[str, Path, str], Iterator[Cell]]] = {
    ".csv": _csv,
    ".json": _json,
    ".jsonl": _jsonl,
    ".txt": _lines,
}
