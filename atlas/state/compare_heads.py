"""What the views of heads on both sides show: how every head differs from the one that stands for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import param

from atlas.definitions import DEFINITIONS
from atlas.errors import NothingYet
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.asking import QUICK_CELLS, Progress
from atlas.state.display import METRICS, SELECTED
from atlas.state.head_plane import HeadPlaneLens
from atlas.state.lens import counted
from atlas.state.plane import Cell, Plane, Thresholded
from atlas.state.second_lens import SecondLens, pairs_in_words
from atlas.tracing.two_heads import are_known, head_differences, partners
from atlas.tracing.two_traces import TwoTraces

MOVED = "moved"
"""How far the pattern of a head differs from that of its partner."""

NO_DIFFERENCE = "no difference"

SAID = 3
"""Heads that a line names."""

NO_KEYS = "Select tokens that are looked at, to see how much attention they get on either side, or choose another metric."


def title_of(name: str) -> str:
    """The name of a metric on the screen."""
    if name == SELECTED:
        return "Attention to the selected tokens"
    return "How far attention moved" if name == MOVED else DEFINITIONS[name].title


class CompareHeadsChoices(Thresholded):
    """Choices of the view of heads that differ."""

    value = param.Selector[str](objects=[MOVED, SELECTED, *METRICS], default=MOVED, doc="What a cell says of its head.")


class SecondHeadsLens(SecondLens):
    """The heads of side A, each with its partner."""

    reads: ClassVar = {**SecondLens.reads, "selection": ("focus", "queries", "keys")}

    _quick: tuple[Hashable, pd.DataFrame] | None = None
    """The newest heads, and what they were measured for."""

    def compared_tokens(self) -> Hashable:
        """What the numbers of heads depend on: both sides and the selected tokens."""
        selection = self.workspace.selection
        return self.compared(), selection.queries, selection.keys

    def found(self) -> pd.DataFrame | None:
        """The heads of both sides; None while they are being worked out."""
        two = self.both()
        if two is None:
            return None
        kind, by, selection = self.kind, self.by, self.workspace.selection
        queries, keys = tuple(sorted(selection.queries)), tuple(sorted(selection.keys))

        def compare(progress: Progress) -> pd.DataFrame:
            partners(two, kind, by, lambda share: progress.tell("Pairing heads", share))
            progress.tell("Measuring every head")
            return head_differences(two, kind, by, queries, keys)

        if are_known(two, kind, by) and _cells(two, kind) <= QUICK_CELLS:
            key = two, kind, by, queries, keys
            if self._quick is None or self._quick[0] != key:
                self._quick = key, head_differences(two, kind, by, queries, keys)
            return self._quick[1]
        return self.ask(self.key_of(two, "heads", queries, keys), compare, None, keep=False)

    def check(self, name: str) -> None:
        """Raise where a metric needs selected tokens and there are none."""
        if name == SELECTED and not self.workspace.selection.keys:
            raise NothingYet(NO_KEYS)

    def describe(self, found: pd.DataFrame, name: str) -> str:
        """The heads that differ most in a metric, and how heads are paired."""
        two = self.both()
        assert two is not None
        values = found[name].to_numpy(dtype=float)
        most = largest_in_words(values, lambda at: f"L{found['layer'].iloc[at]} H{found['head'].iloc[at]}")
        selection = self.workspace.selection
        chosen = " at the selected tokens" if selection.queries or selection.keys else ""
        of = title_of(name) if name == MOVED else f"{title_of(name)}{chosen}, B − A"
        heads = counted(len(found), f"{self.kind} head" if len(self.trace.kinds) > 1 else "head")
        return (
            f"{of}: {f'most {most}' if most else 'no difference'}; {heads}, {pairs_in_words(partners(two, self.kind, self.by))}"
        )


def largest_in_words(values: np.ndarray, name: Callable[[int], str]) -> str:
    """'L0 H1 0.21, L2 H0 −0.1': the largest differences; empty where nothing differs."""
    return ", ".join(f"{name(at)} {three(values[at])}" for at in most_changed(values)[:SAID] if values[at])


def most_changed(values: np.ndarray) -> list[int]:
    """Rows by falling size of a difference; those where it is not known are left out."""
    order = np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")
    return [int(at) for at in order if np.isfinite(values[at])]


class CompareHeadsLens(SecondHeadsLens, HeadPlaneLens):
    """How far every head of side A differs from its partner."""

    key: ClassVar = "compare_heads"
    choices_type: ClassVar = CompareHeadsChoices
    missing: ClassVar = "no partner, or not known"

    def depends(self) -> Hashable:
        """On both sides, the selected tokens and the choice; selected heads are marked."""
        return self.compared_tokens(), self.choices.value

    @property
    def signed(self) -> bool:
        """A metric can be lower on side B; how far attention moved has no sign."""
        return bool(self.choices.value != MOVED)

    def reading(self) -> str:
        """What the value of a cell is called."""
        return "B − A" if self.signed else "moved"

    def whose(self) -> str:
        """The metric."""
        return title_of(self.choices.value) if self.signed else ""

    def _build_plane(self) -> Plane:
        found = self.found()
        if found is None:
            return Plane()
        self.check(self.choices.value)
        self.line = self.describe(found, self.choices.value)
        return self.of_heads(found[self.choices.value].to_numpy(dtype=float))

    def _numbers(self, row: int, column: int) -> Cell:
        """The difference, both sides' values, and the partner's similarity."""
        numbers, found = super()._numbers(row, column), self.found()
        if found is None:
            return numbers
        head, name = found.iloc[row * self.trace.n_heads(self.kind) + column], self.choices.value
        both = {} if name == MOVED else {"A": float(head[f"{name}_a"]), "B": float(head[f"{name}_b"])}
        also = {"similarity": "similarity", "unpaired_a": "without partner, A", "unpaired_b": "without partner, B"}
        return numbers | both | {said: float(head[column]) for column, said in also.items()}

    def cell(self, row: int, column: int) -> Cell:
        """The numbers of a head under its name and that of its partner."""
        found, table = super().cell(row, column), self.found() if self.plane().rows else None
        if not found or table is None:
            return found
        return found | {"row": f"A {found['row']}", "column": partner_name(table.iloc[row * len(self.plane().columns) + column])}


def partner_name(head: Mapping[Any, Any] | pd.Series[Any]) -> str:
    """'B L2 H3', or that there is none."""
    return "no partner" if pd.isna(head["layer_b"]) else f"B {HeadId(head['kind_b'], int(head['layer_b']), int(head['head_b']))}"


def _cells(two: TwoTraces, kind: str) -> int:
    """Weights of all heads of both sides: what a selection of tokens may read."""
    total = 0
    for trace, of in ((two.a, kind), (two.b, two.kind_beside(kind))):
        attention = trace.attention_of(of)
        total += trace.n_layers(of) * trace.n_heads(of) * attention.n_queries * attention.n_keys
    return total
