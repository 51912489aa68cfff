"""Results of a long run, kept in a file batch by batch, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atlas.errors import BadData

FORMAT = 1
"""Version of the file's lines; a file of another version is not read."""


class Journal:
    """A JSONL file: first what the run is of, then a line an example.

    A batch is written whole and forced to the disk before the next one begins, so a kill loses one batch at most. A last line
    that is not complete is cut off when the file is opened again.
    """

    def __init__(self, path: Path, what: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        self.found: dict[str, tuple[float, ...]] = {}
        header = {"atlas benchmark": FORMAT, **what}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = self._read(header) if resume and path.exists() else 0
            self._file = path.open("r+b" if kept else "wb")
            self._file.truncate(kept)
            self._file.seek(kept)
            if not kept:
                self._write([header])
        except OSError as error:
            msg = f"The results cannot be kept in {path}: {error.strerror or error}. Choose another place."
            raise BadData(msg) from error

    def add(self, batch: Sequence[tuple[str, tuple[float, ...]]]) -> None:
        """Keep the scores of a batch of examples."""
        self._write([{"id": name, "scores": list(scores)} for name, scores in batch])
        self.found.update(batch)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, header: Mapping[str, Any]) -> int:
        """Read what is there, up to the last complete line; the number of bytes that stay."""
        kept = 0
        for at, line in enumerate(self.path.read_bytes().splitlines(keepends=True)):
            try:
                row = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                row = None
            if row is None or (at == 0 and row != json.loads(json.dumps(header))):
                break
            if at:
                self.found[row["id"]] = tuple(row["scores"])
            kept += len(line)
        return kept
