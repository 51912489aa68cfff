"""Heads over many texts, on this machine or on a Dask cluster: `run` measures, `atlas.open` reads.

atlas.corpus.run("gpt-mini", "texts.csv", "heads-of-gpt-mini")
atlas.open("heads-of-gpt-mini").heads
"""

from __future__ import annotations

from atlas.corpus.drilling import drills
from atlas.corpus.monitor import Monitor
from atlas.corpus.revisions import Revised, run_revisions
from atlas.corpus.running import SAMPLE, Settings, run
from atlas.corpus.texts import BadEntry, Columns, Entries, Entry, read_entries
from atlas.tracing.drift import Drift, drift
from atlas.tracing.drills import Drills, read_drills
from atlas.tracing.over_time import OverTime, over_time

__all__ = [
    "SAMPLE", "BadEntry", "Columns", "Drift", "Drills", "Entries", "Entry", "Monitor", "OverTime", "Revised", "Settings",
    "drift", "drills", "over_time", "read_drills", "read_entries", "run", "run_revisions",
]  # fmt: skip
