"""Heads over many texts, on this machine or on a Dask cluster: `run` measures, `atlas.open` reads.

atlas.corpus.run("gpt-mini", "texts.csv", "heads-of-gpt-mini")
atlas.open("heads-of-gpt-mini").heads
"""

from __future__ import annotations

from atlas.corpus.monitor import Monitor
from atlas.corpus.running import SAMPLE, Settings, run
from atlas.corpus.texts import BadEntry, Columns, Entries, Entry, read_entries
from atlas.tracing.drift import Drift, drift

__all__ = ["SAMPLE", "BadEntry", "Columns", "Drift", "Entries", "Entry", "Monitor", "Settings", "drift", "read_entries", "run"]
