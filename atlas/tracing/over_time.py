"""Checkpoints of one model over the same texts: every head's figures step by step, and from when on it has a role."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from atlas.definitions import DEFINITIONS
from atlas.errors import UnknownName
from atlas.ids import HEAD, as_head
from atlas.metrics.roles import ROLES
from atlas.numbers import listed
from atlas.tracing.corpus import Corpus, open_corpus
from atlas.tracing.corpus_heads import drills, measured, roles
from atlas.tracing.drills import NAMED

FOLLOWED = ("heads", "layers")

ENDS = {"value": "", "lo": "_lo", "hi": "_hi", "uniform": "_uniform", "n": "_n"}
"""Column of the table -> end of the column of a corpus."""

LEAST = 2
"""Checkpoints from which there is something to follow."""

RULE = (
    "A head has a role at a checkpoint where q ≤ 0.05 and its whole interval is more than half of the way from chance to "
    "everything (retrieval, drilled: at 0.1 or more); the role appears at the first checkpoint from which on the head has it at "
    "every later one."
)

_STEP = re.compile(r"(?:step|checkpoint|ckpt|epoch)[-_ ]?(\d{1,15})|(\d{1,15})$", re.ASCII | re.IGNORECASE)


class Checkpoint(NamedTuple):
    """One corpus of a series."""

    name: str
    step: int
    """Of training, or its place in the series."""
    corpus: Corpus


@dataclass(frozen=True, eq=False)
class OverTime:
    """Every head over checkpoints."""

    checkpoints: tuple[Checkpoint, ...]
    counted: bool
    """Whether the steps are those of training, read from the names; else places in the series."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the checkpoints in order."""
        return tuple(checkpoint.name for checkpoint in self.checkpoints)

    @property
    def same_texts(self) -> bool:
        """Whether all checkpoints read as many texts and tokens of them."""
        return len({(each.corpus.provenance["texts"], each.corpus.provenance["tokens"]) for each in self.checkpoints}) == 1

    @functools.cached_property
    def metrics(self) -> tuple[str, ...]:
        """Figures that all checkpoints have, those of drills among them."""
        tables = [set(measured(each.corpus).columns) for each in self.checkpoints]
        own = measured(self.checkpoints[0].corpus).columns
        return tuple(name for name in own if f"{name}_lo" in own and all(name in table for table in tables))

    def table(self, metrics: Sequence[str] = ()) -> pd.DataFrame:
        """One row a checkpoint, head and metric: step, name, kind, layer, head, metric, value, lo, hi, uniform, n."""
        known = self.metrics
        unknown = [metric for metric in metrics if metric not in known]
        if unknown:
            msg = f"{unknown[0]!r} is not known at every checkpoint; there are {', '.join(known)}."
            raise UnknownName(msg)
        parts = []
        for name, step, corpus in self.checkpoints:
            heads = measured(corpus)
            for metric in metrics or known:
                own = {column: heads[f"{metric}{end}"].to_numpy() for column, end in ENDS.items()}
                parts.append(heads[HEAD].assign(step=step, name=name, metric=metric, **own))
        columns = ["step", "name", *HEAD, "metric", "value", "lo", "hi", "uniform", "n"]
        return pd.concat(parts, ignore_index=True)[columns]

    @functools.cached_property
    def appears(self) -> pd.DataFrame:
        """One row a head and role that it has at some checkpoint, sorted by step; drills count as roles of their names.

        Columns: kind, layer, head, role, first (the first step with it), step and name (from which on it has it at every later
        one; NaN and '' where it does not have it at the last), value, lo, hi (there).
        """
        rows = []
        held = [_held(each.corpus) for each in self.checkpoints]
        for key in dict.fromkeys(key for own in held for key in own):
            has = [key in own for own in held]
            first = has.index(True)
            # The last run of True, if it goes on to the end.
            start = len(has) - has[::-1].index(False) if False in has else 0
            stays = start < len(has)
            at = self.checkpoints[start] if stays else None
            value, lo, hi = held[start][key] if stays else (np.nan,) * 3
            rows.append((*key, self.checkpoints[first].step, np.nan if at is None else at.step, "" if at is None else at.name,
                         value, lo, hi))  # fmt: skip
        found = pd.DataFrame(rows, columns=[*HEAD, "role", "first", "step", "name", "value", "lo", "hi"])
        return found.sort_values(["step", "role", *HEAD], kind="stable", ignore_index=True)

    @functools.cached_property
    def sentence(self) -> str:
        """When roles appear, in words: a role a line, then the rule."""
        found, kinds = self.appears, sorted(set(measured(self.checkpoints[0].corpus)["kind"]))
        new = found[found["step"].notna()]
        lines = [self._line(role, new[new["role"] == role], kinds) for role in dict.fromkeys(new["role"])]
        lost = int(found["step"].isna().sum())
        if lost:
            lines.append(f"{lost:,} {'role was' if lost == 1 else 'roles were'} earned and lost again.")
        return "\n".join([*(lines or ["No head has earned a role at the last checkpoint."]), RULE])

    def _line(self, role: str, rows: pd.DataFrame, kinds: list[str]) -> str:
        ids = rows[[*HEAD, "name"]].itertuples(index=False, name=None)
        said = [f"{as_head((str(kind), int(layer), int(head)), kinds).label(kinds)} at {name}" for kind, layer, head, name in ids]
        return f"{DEFINITIONS[role].title}: {listed(said, NAMED)}."


def over_time(corpora: Iterable[Corpus | str | Path] | Mapping[str, Corpus], steps: Sequence[int] = ()) -> OverTime:
    """Follow the heads of one model over its checkpoints.

    Parameters
    ----------
    corpora
        Corpora of checkpoints over the same texts, or their folders; or name -> corpus.
    steps
        The step of each. By default the number in each name (step1000, checkpoint-500); where a name has none, or two have the
        same, the places of the corpora as they are given.
    """
    if isinstance(corpora, Mapping):
        named = list(corpora.items())
    else:
        opened = [each if isinstance(each, Corpus) else open_corpus(each) for each in corpora]
        named = [(_folder(corpus), corpus) for corpus in opened]
    if len(named) < LEAST:
        msg = f"There is nothing to follow: it takes {LEAST} checkpoints, and {len(named)} was given."
        raise UnknownName(msg)
    if steps and len(steps) != len(named):
        msg = f"There are {len(named)} checkpoints and {len(steps)} steps; give one for each."
        raise UnknownName(msg)
    first = named[0][1]
    for _, corpus in named:
        if not measured(corpus)[HEAD].equals(measured(first)[HEAD]):
            msg = f"{corpus.where} and {first.where} are of models of different shape: no head of one is that of the other."
            raise UnknownName(msg)
    read = [step_of(name) for name, _ in named]
    known = [step for step in read if step is not None]
    counted = bool(steps) or len(set(known)) == len(named)
    places = list(steps) or (known if counted else list(range(len(named))))
    made = [Checkpoint(name, int(step), corpus) for step, (name, corpus) in zip(places, named, strict=True)]
    return OverTime(tuple(sorted(made, key=lambda each: each.step)), counted)


def step_of(name: str) -> int | None:
    """The step of training in a name, such as step1000 or checkpoint-500; None where there is none."""
    found = _STEP.search(name)
    return None if found is None else int(found.group(1) or found.group(2))


def in_steps(folders: Sequence[str]) -> list[str]:
    """Folders by the step in their names; those without one first, as they are given."""
    return sorted(folders, key=lambda folder: -1 if (step := step_of(Path(folder).name)) is None else step)


def _folder(corpus: Corpus) -> str:
    return Path(corpus.where.rstrip("/")).name or str(corpus.provenance["model"])


def _held(corpus: Corpus) -> dict[tuple[str, int, int, str], tuple[float, float, float]]:
    """(kind, layer, head, role) -> (value, lo, hi) of the roles that heads have in a corpus, those of drills among them."""
    found = {}
    table = roles(corpus)
    columns = [*HEAD, "role", "value", "lo", "hi"]
    parts = [table[table["earned"] & table["role"].isin(ROLES)][columns]]
    drilled = drills(corpus)
    if drilled is not None:
        has = drilled.found.rename(columns={"drill": "role", "score": "value"})
        parts.append(has[columns])
    for part in parts:
        for kind, layer, head, role, value, lo, hi in part.itertuples(index=False, name=None):
            found[str(kind), int(layer), int(head), str(role)] = float(value), float(lo), float(hi)
    return found
