"""Opens whatever Atlas saved: a trace, or a corpus. What it is, it says itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.trace import open_trace
from atlas.tracing.corpus import ROOT, is_corpus, open_corpus
from atlas.tracing.drills import read_drills

if TYPE_CHECKING:
    from atlas.trace import Trace
    from atlas.tracing.corpus import Corpus


def open_saved(path: str | Path) -> Trace | Corpus:
    """Open a saved trace, or a store of `atlas.corpus.run`; nothing in a file is ever run."""
    remote = "://" in str(path)
    if (remote or (Path(path) / ROOT).is_file()) and is_corpus(path):
        found = open_corpus(path)
        read_drills(found)  # damaged ones are refused here, in words about the file, and not later in a view
        return found
    return open_trace(path)
