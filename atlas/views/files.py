"""Files of a view, made on demand and in memory: nothing is left on the disk of a server, and nobody else can fetch them.

A CSV file has no place for a stamp that its readers would pass over: a line before the header would be taken for the header. Its
stamp is a second file, NAME.csv-metadata.json, which is where the W3C's "CSV on the Web" looks for what a CSV file is. Parquet
has metadata of its own, and HTML and notebooks show it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import NotCaptured, UnknownName
from atlas.state.recipe import notebook
from atlas.state.stamp import Stamp, stamp
from atlas.views.base import UNDER_WAY, Export, View
from atlas.views.corpus_choice import CorpusView
from atlas.views.single import copied_alone
from atlas.views.standalone import page

KEY = "attention-atlas"
"""Under this name a file's metadata hold the stamp."""


class File(NamedTuple):
    """A file in memory."""

    name: str
    kind: str
    """Its media type."""
    data: bytes


def files_of(view: View, ending: str) -> list[File]:
    """The files of a view of a page: of the numbers, of a notebook, or of HTML that stands alone."""
    if ending not in MAKERS:
        msg = f"A view is not exported as {ending!r}; it is as {', '.join(MAKERS)}."
        raise UnknownName(msg)
    # Refused here, because the copy of a view would wait for the numbers, and the whole server with it.
    reason = UNDER_WAY if view.lens.busy else view.problem
    if reason:
        raise NotCaptured(reason)
    return MAKERS[ending](view, stamp(view.workspace, view.key))


def csv_files(name: str, table: pd.DataFrame, stamped: Stamp) -> list[File]:
    """A table as CSV, and beside it what it is."""
    text = table.to_csv(index=has_names(table))
    columns = [{"titles": str(column)} for column in ([table.index.name] if has_names(table) else []) + list(table.columns)]
    about = {
        "@context": "http://www.w3.org/ns/csvw",
        "url": f"{name}.csv",
        "tableSchema": {"columns": columns},
        "notes": [{KEY: stamped}],
    }
    written = json.dumps(about, ensure_ascii=False, indent=1)
    return [File(f"{name}.csv", "text/csv", _utf8(text)), File(f"{name}.csv-metadata.json", "application/json", _utf8(written))]


def parquet_file(name: str, table: pd.DataFrame, stamped: Stamp) -> File:
    """A table as Parquet, with the stamp in its metadata."""
    plain = for_parquet(table)
    made = pa.Table.from_pandas(plain, preserve_index=has_names(table))
    told = {KEY.encode(): _utf8(json.dumps(stamped, ensure_ascii=False))}
    made = made.replace_schema_metadata({**(made.schema.metadata or {}), **told})
    out = io.BytesIO()
    pq.write_table(made, out)
    return File(f"{name}.parquet", "application/vnd.apache.parquet", out.getvalue())


def for_parquet(table: pd.DataFrame) -> pd.DataFrame:
    """A table as Parquet can hold it: columns have a name each and one type each."""
    plain = table.copy(deep=False)
    plain.attrs = {}  # pandas would write them as JSON, which they need not be
    names = [str(column) for column in plain.columns]
    # A text may hold a token twice: its columns get their positions, as in the readout of a cell.
    plain.columns = pd.Index([f"{name} ({at})" if names.count(name) > 1 else name for at, name in enumerate(names)])
    for name in names if len(set(names)) == len(names) else ():
        if pd.api.types.infer_dtype(plain[name], skipna=True).startswith("mixed"):
            plain[name] = plain[name].map(str, na_action="ignore")
    return plain


def has_names(table: pd.DataFrame) -> bool:
    """Whether the rows of a table have names, which a file should include."""
    return table.index.name is not None


def _csv(view: View, stamped: Stamp) -> list[File]:
    return [file for name, table in _tables(view.export()) for file in csv_files(name, table, stamped)]


def _parquet(view: View, stamped: Stamp) -> list[File]:
    return [parquet_file(name, table, stamped) for name, table in _tables(view.export())]


def _tables(exported: Export) -> list[tuple[str, pd.DataFrame]]:
    """All tables by the names of their files."""
    more = [(f"{exported.name}-{name}", table) for name, table in exported.more.items()]
    return [(exported.name, exported.table), *more]


def _html(view: View, stamped: Stamp) -> list[File]:
    return [File(f"{view.key}.html", "text/html", _utf8(page(copied_alone(view), stamped, like=view)))]


def _notebook(view: View, stamped: Stamp) -> list[File]:
    text = notebook(view.workspace, view.key, view.title, view.lens_type, stamped, of_corpora=isinstance(view, CorpusView))
    return [File(f"{view.key}.ipynb", "application/x-ipynb+json", _utf8(text))]


def _utf8(text: str) -> bytes:
    """Bytes of a text; half of a surrogate pair, which is no UTF-8, is a question mark."""
    return text.encode("utf-8", "replace")


MAKERS: Mapping[str, Callable[[View, Any], list[File]]] = {
    "csv": _csv, "parquet": _parquet, "html": _html, "ipynb": _notebook,
}  # fmt: skip
"""Ending -> what makes the files of a view."""
