"""A run over many texts as a page asks for it: the names of its tasks, and what they give."""

from __future__ import annotations

from typing import NamedTuple

READ, MEASURE = "corpus_texts", "corpus_run"
"""Names of the tasks."""

ON_WORKERS, REACHES_WORKERS = "corpus_workers", "corpus_reaches_workers"
"""The task that lets other processes measure, and the one that says whether they can load the model of a trace."""


class Given(NamedTuple):
    """What a file of texts holds."""

    texts: tuple[str, ...]
    """Those that can be used, in their order."""
    bad: tuple[tuple[int, str], ...]
    """Row and reason of those that cannot."""
    groups: tuple[str, ...] = ()
    """The group of every text; empty: the file was not asked for any."""
