"""Human rationales: which characters of a text people marked as the reason for its label, from a JSONL file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from atlas.errors import TextError

TEXT, SPANS, LABEL = "text", "rationales", "label"
"""Keys of a line."""

MOST_BYTES = 256 << 20
"""Bytes of a file that are read at once."""

ENDS = 2
"""Numbers of a span."""

Spans = tuple[tuple[int, int], ...]


class Rationale(NamedTuple):
    """One text with what people marked in it."""

    row: int
    """Its line, counted from 1."""
    text: str
    spans: Spans
    """(start, end) characters, the end not included."""
    label: str | None = None
    """The outcome that they are the reason for; None: the one that the model decides on."""


class Rationales(NamedTuple):
    """The lines of a file."""

    texts: tuple[Rationale, ...]
    bad: tuple[tuple[int, str], ...]
    """Line and reason of those that cannot be used."""


def read_rationales(path: str | Path) -> Rationales:
    """Read a JSONL file: a line is `{"text": ..., "rationales": [[start, end], ...]}`, and perhaps `"label"`.

    Characters are counted from 0, and the end of a span is not part of it.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            msg = f"{path} has more than {MOST_BYTES >> 20} MiB. Split it."
            raise TextError(msg)
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        msg = f"The file {path} cannot be read: {error.strerror or error}."
        raise TextError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8."
        raise TextError(msg) from error
    texts, bad = [], []
    # Not splitlines(), which also splits at separators that JSON may hold as they are.
    for row, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            texts.append(_rationale(row, line))
        except TextError as error:
            bad.append((row, str(error)))
    if not texts:
        said = f" Line {bad[0][0]} {bad[0][1]}." if bad else ""
        msg = f'{path} has no line like {{"{TEXT}": "...", "{SPANS}": [[0, 4]]}}.{said}'
        raise TextError(msg)
    return Rationales(tuple(texts), tuple(bad))


def _rationale(row: int, line: str) -> Rationale:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        msg = "is no JSON"
        raise TextError(msg) from error
    fields: dict[str, Any] = found if isinstance(found, dict) else {}
    text, label, spans = (fields.get(name) for name in (TEXT, LABEL, SPANS))
    reason = ""
    if not isinstance(found, dict):
        reason = f"holds {type(found).__name__} where an object should be"
    elif not isinstance(text, str) or not text.strip():
        reason = f"has no {TEXT!r}"
    elif label is not None and not isinstance(label, str):
        reason = f"has a {LABEL!r} that is no text"
    elif not isinstance(spans, list) or not spans:
        reason = f"has no {SPANS!r}"
    if reason or text is None or spans is None:
        raise TextError(reason)
    return Rationale(row, text, tuple(sorted({_span(each, len(text)) for each in spans})), label)


def _span(given: Any, length: int) -> tuple[int, int]:
    if isinstance(given, list) and len(given) == ENDS and all(type(each) is int for each in given):
        start, end = given
        if 0 <= start < end <= length:
            return start, end
    msg = f"has the span {given!r}, which is no [start, end] within its {length:,} characters"
    raise TextError(msg)
