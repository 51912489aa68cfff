"""Where recipes read text and where they keep what they make on the way (outside the repository, so a fresh checkout resumes)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
CORPORA = REPO.parent / "shared" / "data" / "corpora"
EMBEDDED = REPO / "assets" / "models"
HELD_OUT_EVERY = 50  # one document in fifty is never trained on: 2 % of 18 million words is plenty to measure a loss on


def work_folder(given: Path | None = None) -> Path:
    """Folder for shards and checkpoints: what is given, $ATLAS_WORK, or the user's cache."""
    if given is not None:
        return given
    if os.environ.get("ATLAS_WORK"):
        return Path(os.environ["ATLAS_WORK"])
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "attention-atlas" / "recipes"


def is_held_out(document: str) -> bool:
    """Decide by the document's own words, so that order, file names and later additions never move one across the line."""
    digest = hashlib.blake2b(document[:2000].encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % HELD_OUT_EVERY == 0
