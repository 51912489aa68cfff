"""Texts in a list, to go through one after another: those of a file, or given in Python. A row that cannot be used is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from atlas.errors import BadData, TextError
from atlas.text.files import TEXT, BadRow, Cell, read_rows, rows_in, value_of, why_no_text

TAKES_TARGET = "takes_target"
"""Name of the task that says of a model, as it is asked for, whether it is known as an encoder-decoder."""

MOST_BYTES = 4_000_000
"""Bytes of a file from a page: JSON is read in one step that nothing else gets in between, and this much takes 10 to 80 ms."""

MOST_TEXTS = 10_000
"""Rows of a list: more nobody steps through, and a filter looks through so many with every letter."""

LONGEST_LABEL = 60
"""Letters of a label that are kept: it stands at the end of a row."""

PAIR, TARGET, LABELS = "pair", "target", ("label", "group")
"""Columns that are read where there are any; of the labels the first."""

GIVEN = "given"
"""What a list is called that is no file's."""

PARQUET = ".parquet"


class ListedText(NamedTuple):
    """One text."""

    row: int
    """Counted from 1, as in the file."""
    text: str
    pair: str = ""
    target: str = ""
    """What an encoder-decoder's decoder reads; empty: what the model writes."""
    label: str = ""


class TextList(NamedTuple):
    """The texts of a list in their order."""

    name: str
    texts: tuple[ListedText, ...]
    bad: tuple[BadRow, ...] = ()
    left_out: bool = False
    """Whether there are more rows than a list takes."""
    folded: tuple[str, ...] = ()
    """What a filter looks through, a string a text."""

    def containing(self, words: str) -> tuple[int, ...]:
        """Places of the texts that hold some words in text, second text or label, whatever the case of the letters."""
        sought = words.casefold()
        return tuple(at for at, text in enumerate(self.folded) if sought in text)


NO_TEXTS = TextList("", ())


def listed_in(name: str, data: bytes, longest: int, column: str = TEXT) -> TextList:
    """The list in the bytes of a file, by the ending of its name."""
    if len(data) > MOST_BYTES:
        msg = f"{name} has {len(data):,} bytes, more than the {MOST_BYTES:,} of a list of texts. Split it."
        raise BadData(msg)
    return _listed(writable(Path(name).name), rows_in(name, data, column), longest, column)


def open_list(path: str | Path, longest: int, column: str = TEXT) -> TextList:
    """The list in a file of this machine, Parquet included."""
    path = Path(path)
    rows = _parquet(path, column) if path.suffix.lower() == PARQUET else read_rows(path, column)
    return _listed(path.name, rows, longest, column)


def list_of(given: Any, longest: int) -> TextList:
    """A list of texts, of pairs of texts, or of mappings with the columns; or a pandas table of such columns."""
    values = given.to_dict("records") if hasattr(given, "to_dict") else given
    return _listed(GIVEN, enumerate(map(_as_row, values), 1), longest, TEXT)


def _as_row(value: Any) -> Any:
    if isinstance(value, tuple) and len(value) == len((TEXT, PAIR)):
        return {TEXT: value[0], PAIR: value[1]}
    # What is missing in a pandas table is the number NaN.
    return {name: each for name, each in value.items() if each == each} if isinstance(value, Mapping) else value  # noqa: PLR0124


def _parquet(path: Path, column: str) -> Iterator[Cell]:
    from pyarrow import parquet

    wanted = (column, PAIR, TARGET, *LABELS)
    try:
        with parquet.ParquetFile(path) as file:
            known = file.schema_arrow.names
            if column not in known:
                msg = f"{path} has no column {column!r}; it has {', '.join(known) or 'none'}."
                raise TextError(msg)
            batches = file.iter_batches(batch_size=1_000, columns=[name for name in wanted if name in known])
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read as Parquet: {error}."
        raise TextError(msg) from error


def _listed(name: str, rows: Iterable[Cell], longest: int, column: str) -> TextList:
    rows = iter(rows)
    found = [_sorted(row, value, longest, column) for row, value in islice(rows, MOST_TEXTS)]
    texts = tuple(each for each in found if isinstance(each, ListedText))
    bad = tuple(each for each in found if isinstance(each, BadRow))
    folded = tuple(f"{each.text}\n{each.pair}\n{each.label}".casefold() for each in texts)
    return TextList(name, texts, bad, next(rows, None) is not None, folded)


def _sorted(row: int, found: Any, longest: int, column: str) -> ListedText | BadRow:
    """A row as a text; or why it cannot be used."""
    text = value_of(found, column)
    more: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    # An empty cell of a table is no second text.
    others = [more.get(name) or "" for name in (PAIR, TARGET)]
    reason = why_no_text(text, column) or next(filter(None, (why_no_text(other) for other in others if other != "")), "")
    reason = reason or _too_long((text, *others), longest)
    if reason:
        return BadRow(row, reason)
    pair, target = (str(other) for other in others)
    return ListedText(row, text, pair, target, _label(more))


def _too_long(texts: Sequence[str], longest: int) -> str:
    letters = max(map(len, texts))
    return f"has {letters:,} letters, more than the {longest:,} that are read" if letters > longest else ""


def _label(more: Mapping[str, Any]) -> str:
    """The label of a row, on one line."""
    found = next((more[name] for name in LABELS if more.get(name) is not None), "")
    return writable(" ".join(str(found).split())[:LONGEST_LABEL])


def writable(text: str) -> str:
    """A text as UTF-8 can hold it: half of a surrogate pair would end the connection of a page."""
    return text.encode("utf-8", "replace").decode()
