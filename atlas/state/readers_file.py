"""A file that a reader gives a page: what is taken, and the hash that stands for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from atlas.errors import BadData, TextError

MOST_BYTES = 16_000_000
"""Bytes of a file at most: five times the largest of the data sets. It stays in the memory of the session."""

TEXT_ENDINGS = (".csv", ".json", ".jsonl", ".txt")
"""Files that texts are read from. Not Parquet, whose few bytes may unfold to any number."""


def digest_of(name: str, data: bytes, instead: str, endings: Sequence[str] = TEXT_ENDINGS, about: str = "") -> str:
    """The hash of a file; raises where it is none that a page takes. `instead`: the command that reads larger ones."""
    if not name.lower().endswith(tuple(endings)):
        msg = f"Texts are read from {', '.join(endings)} files, not from {name!r}.{about}"
        raise TextError(msg)
    if len(data) > MOST_BYTES:
        msg = f"{name} has {len(data):,} bytes, more than the {MOST_BYTES:,} a page takes. Use `{instead}` for it."
        raise BadData(msg)
    return hashlib.sha256(data).hexdigest()
