"""Bias benchmarks as plain values: which there are, what a reader of their results gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

BENCHMARK = "benchmark"
"""Name of the task that runs a part of a benchmark."""

STEREOSET, INTERSENTENCE, CROWS, WINOGENDER, WINOBIAS, PAIRS = (
    "stereoset",
    "stereoset_intersentence",
    "crows_pairs",
    "winogender",
    "winobias",
    "pairs",
)


class Kind(NamedTuple):
    """One benchmark."""

    title: str
    file: str
    """The file it reads, in words."""
    triples: bool
    """Whether an example has a stereotype, an anti-stereotype and an unrelated sentence; else it is a pair."""
    defines: str
    """Its name in `definitions`."""

    @property
    def key(self) -> str:
        """The column of the table of scores that says whose they are."""
        return "category" if self.triples else "bias_type"


PAIR_FILE = 'JSONL, a line a pair: {"more": "...", "less": "...", "category": "..."}'

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        STEREOSET: Kind("StereoSet, within sentences", "the authors' dev.json", True, "stereoset"),  # noqa: FBT003  (by place)
        INTERSENTENCE: Kind("StereoSet, next sentences", "the authors' dev.json", True, "stereoset"),  # noqa: FBT003
        CROWS: Kind("CrowS-Pairs", "the authors' CSV, or " + PAIR_FILE, False, "crows_pairs"),  # noqa: FBT003
        WINOGENDER: Kind("Winogender pairs", PAIR_FILE, False, "crows_pairs"),  # noqa: FBT003
        WINOBIAS: Kind("WinoBias pairs", "the authors' type_1.csv or type_2.csv, or " + PAIR_FILE, False, "crows_pairs"),  # noqa: FBT003
        PAIRS: Kind("Pairs of your own", PAIR_FILE, False, "crows_pairs"),  # noqa: FBT003
    }
)
"""Every benchmark by its name."""

SENTENCES: Mapping[bool, Mapping[str, str]] = MappingProxyType(
    {
        True: MappingProxyType(
            {"stereotype": "stereotype", "anti_stereotype": "anti-stereotype", "unrelated": "unrelated sentence"}
        ),
        False: MappingProxyType({"more": "more stereotyped", "less": "less stereotyped"}),
    }
)
"""Triples or not -> columns of `examples` with the sentences, and what they are called; NAME_score beside each."""


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark found."""

    name: str
    model: str
    scores: pd.DataFrame
    """One row a category, the last of all together, with 95 % intervals."""
    targets: pd.DataFrame
    """One row a target term; without rows where examples have none."""
    examples: pd.DataFrame
    """One row an example that was scored, in the order of the file: id, category, target, its sentences, NAME_score of each
    and `difference`, the logarithm of how much likelier the first is than the second."""
    of: int
    """Examples there are to score."""
    notes: tuple[str, ...] = ()
    """How likelihoods were found, and what is to be known of the numbers."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Model, data and settings."""

    @property
    def complete(self) -> bool:
        """Whether all examples are scored."""
        return len(self.examples) == self.of
