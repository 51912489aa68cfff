"""The study mode of `atlas serve`: the researcher's file, and the folder of results."""

from __future__ import annotations

import argparse
import json
import os
import re
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from atlas.state.study import Record, Study

MOST_SESSIONS = 20_000
"""Results in a folder: whoever reaches the page can begin as many sessions as they like, and each makes a file."""

_SESSION = re.compile(r"[0-9a-f]{32}")


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command."""
    study = parser.add_argument_group(
        "study",
        "Ask everybody who opens the page to take part in a study: consent, tasks with timing, the System Usability Scale.",
    )
    study.add_argument(
        "--study", type=Path, metavar="FILE",
        help='JSON: {"title": ..., "consent": ..., "tasks": [{"id": ..., "text": ..., "answer": "text" | "number" | "choice", '
        '"options": [...]}]}',
    )  # fmt: skip
    study.add_argument("--study-results", type=Path, metavar="FOLDER", help="where a file for each participant is written")


def opened_study(args: argparse.Namespace) -> Callable[[], Study] | None:
    """What makes the study of one session; None where no study was asked for."""
    if args.study is None and args.study_results is None:
        return None
    if args.study is None or args.study_results is None:
        msg = "A study takes both --study FILE and --study-results FOLDER."
        raise AtlasError(msg)
    from atlas.state.study import Study
    from atlas.state.study_plan import read_plan

    try:
        text = args.study.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"The study {args.study} cannot be read: {error}."
        raise AtlasError(msg) from error
    plan, results = read_plan(text), Results(args.study_results)
    return partial(Study, plan, results.keep, results.drop)


class Results:
    """A folder with one file a session. Names are random, so that nobody guesses another's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        probe = folder / f".{uuid.uuid4().hex}"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe.touch()
            probe.unlink()
        except OSError as error:
            msg = f"Results cannot be written to {folder}: {error.strerror or error}. Choose another --study-results."
            raise AtlasError(msg) from error

    def keep(self, record: Record) -> None:
        """Write what is recorded of a session; its file is replaced only once the new one is complete."""
        path = self._path(record["session"])
        if not path.exists() and sum(1 for _ in self.folder.glob("session-*.json")) >= MOST_SESSIONS:
            msg = "This study has all the participants that it takes. Your answers are not kept; thank you all the same."
            raise AtlasError(msg)
        new = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            # Only the operator reads it.
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump(record, file, indent=1, ensure_ascii=False)
            new.replace(path)
        except OSError as error:
            msg = "Your answers could not be kept on the server. Save them at the end, and tell whoever sent you here."
            raise AtlasError(msg) from error
        finally:
            new.unlink(missing_ok=True)

    def drop(self, session: str) -> None:
        """Delete what was recorded of a session."""
        try:
            self._path(session).unlink(missing_ok=True)
        except OSError as error:
            msg = "Your answers could not be deleted. Tell whoever sent you here."
            raise AtlasError(msg) from error

    def _path(self, session: Any) -> Path:
        if not isinstance(session, str) or not _SESSION.fullmatch(session):
            msg = "This is no session of a study."
            raise AtlasError(msg)
        return self.folder / f"session-{session}.json"
