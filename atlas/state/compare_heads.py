"""What the views of heads on both sides show: how every head differs from the one that stands for it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import param

from atlas.definitions import DEFINITIONS
from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.state.asking import QUICK_CELLS, Progress
from atlas.state.display import METRICS, SELECTED
from atlas.state.head_plane import HeadPlaneLens, three
from atlas.state.plane import Cell, Plane, Thresholded
from atlas.state.second_lens import SecondLens, pairs_in_words
from atlas.tracing.two_heads import are_known, head_differences, partners
from atlas.tracing.two_traces import TwoTraces

MOVED = "moved"
"""How far the pattern of a head differs from that of its partner."""

LISTED = 12
"""Heads in the ranking."""

NO_KEYS = "Select tokens that are looked at, to see how much attention they get on either side, or choose another metric."


def title_of(name: str) -> str:
    """The name of a metric on the screen."""
    if name == SELECTED:
        return "Attention to the selected tokens"
    return "How far attention moved" if name == MOVED else DEFINITIONS[name].title


class CompareHeadsChoices(Thresholded):
    """Choices of the views of heads on both sides."""

    value = param.Selector[str](objects=[MOVED, SELECTED, *METRICS], default=MOVED, doc="What a cell says of its head.")
    metric = param.Selector[str](
        objects=[SELECTED, *METRICS], default="entropy_norm", doc="The metric of the scatter and of the ranking."
    )


class CompareHeadsLens(SecondLens, HeadPlaneLens):
    """The heads of side A, each with its partner."""

    key: ClassVar = "compare_heads"
    choices_type: ClassVar = CompareHeadsChoices
    reads: ClassVar = {**SecondLens.reads, "selection": ("focus", "queries", "keys")}
    missing: ClassVar = "no partner, or not known"

    def depends(self) -> Hashable:
        """On both sides, the selected tokens and the choices; selected heads are marked."""
        selection = self.workspace.selection
        return self.compared(), selection.queries, selection.keys, self.choices.value, self.choices.metric

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
            return two.once(("heads", kind, by, queries, keys), lambda: head_differences(two, kind, by, queries, keys))
        return self.ask(self.key_of(two, "heads", queries, keys), compare, None, keep=False)

    # -- the plane -----------------------------------------------------------------------------------------------------

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
        self._check(self.choices.value)
        self.line = self._describe(found, self.choices.value)
        return self.of_heads(found[self.choices.value].to_numpy(dtype=float))

    def _check(self, name: str) -> None:
        if name == SELECTED and not self.workspace.selection.keys:
            raise NotCaptured(NO_KEYS)

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

    def _describe(self, found: pd.DataFrame, name: str) -> str:
        two = self.both()
        assert two is not None
        values = found[name].to_numpy(dtype=float)
        order = [int(at) for at in np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")[:3] if np.isfinite(values[at])]
        most = ", ".join(f"L{found['layer'].iloc[at]} H{found['head'].iloc[at]} {three(values[at])}" for at in order)
        of = title_of(name) if name == MOVED else f"{title_of(name)}, B − A"
        selection = self.workspace.selection
        chosen = " at the selected tokens" if selection.queries or (selection.keys and name != MOVED) else ""
        chosen = "" if name == MOVED else chosen
        return f"{of}{chosen}: most {most or 'nowhere'}; {self.of_kind()}, {pairs_in_words(partners(two, self.kind, self.by))}"

    # -- the scatter and the ranking -----------------------------------------------------------------------------------

    def shown(self) -> pd.DataFrame | None:
        """The heads with both values of the chosen metric; None where there are none yet."""
        return self.attempt(self._shown, None)

    def _shown(self) -> pd.DataFrame | None:
        found, name = self.found(), self.choices.metric
        if found is None:
            return None
        self._check(name)
        self.line = self._describe(found, name)
        return found

    def points(self) -> pd.DataFrame:
        """A point a head that has a partner: x its value on side A, y on side B, value how far its pattern moved."""
        found, name = self.shown(), self.choices.metric
        columns = ("kind", "layer", "head", "x", "y", "value", "label", "selected", "focus")
        if found is None:
            return pd.DataFrame({column: [] for column in columns})
        selection, heads = self.workspace.selection, _heads(found)
        beside = [partner_name(row) for _, row in found.iterrows()]
        made = pd.DataFrame(
            {
                "kind": found["kind"], "layer": found["layer"], "head": found["head"],
                "x": found[f"{name}_a"], "y": found[f"{name}_b"], "value": found[MOVED],
                "label": [f"A {head}, {partner}" for head, partner in zip(heads, beside, strict=True)],
                "selected": [head in selection.heads for head in heads],
                "focus": [head == selection.focus for head in heads],
            }
        )  # fmt: skip
        return made[np.isfinite(made["x"]) & np.isfinite(made["y"])].reset_index(drop=True)

    def ranking(self) -> list[dict[str, Any]]:
        """The heads that changed most in the metric, as a group of rows."""
        found, name = self.shown(), self.choices.metric
        if found is None:
            return []
        chosen = {(head.layer, head.head) for head in self.shown_heads()}
        values = found[name].to_numpy(dtype=float)
        rows = []
        for at in np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")[:LISTED]:
            if not np.isfinite(values[at]):
                continue
            head = found.iloc[at]
            place = int(head["layer"]), int(head["head"])
            partner = (int(head["layer_b"]), int(head["head_b"]))
            roles = f", {head['role_a'] or 'no role'} → {head['role_b'] or 'no role'}" if head["role_a"] != head["role_b"] else ""
            beside = "" if partner == place and head["kind"] == head["kind_b"] else f" beside {partner_name(head)}"
            rows.append(
                {
                    "key": f"{place[0]}.{place[1]}",
                    "label": f"L{place[0]} H{place[1]}",
                    "number": f"{three(head[f'{name}_a'])} → {three(head[f'{name}_b'])}",
                    "note": f"{'+' if values[at] > 0 else ''}{three(values[at])}{beside}{roles}".replace("_", " "),
                    "state": "chosen" if place in chosen else "",
                }
            )
        return [{"name": f"{title_of(name)}: most changed", "rows": rows}] if rows else []

    def press(self, key: str, origin: str) -> None:
        """Show and select a head of the ranking."""
        layer, _, head = key.partition(".")
        self.workspace.selection.pick(HeadId(self.kind, int(layer), int(head)), origin=origin)

    def choose(self, rows: list[int], origin: str) -> None:
        """Select heads of the scatter, by their rows."""
        points = self.points()
        chosen = _heads(points.iloc[[row for row in rows if row < len(points)]])
        if set(chosen) != set(self.workspace.selection.heads_of(self.kind)):
            self.workspace.selection.select_heads(
                chosen, origin=origin, label="a group of changed heads" if len(chosen) > 1 else ""
            )

    def heads_table(self) -> pd.DataFrame:
        """One row a head with every metric of both sides."""
        found = self.found()
        if found is None:
            raise NotCaptured(self.problem or self.line)
        return found


def partner_name(head: pd.Series[Any]) -> str:
    """'B L2 H3', or that there is none."""
    return "no partner" if pd.isna(head["layer_b"]) else f"B {HeadId(head['kind_b'], int(head['layer_b']), int(head['head_b']))}"


def _heads(table: pd.DataFrame) -> list[HeadId]:
    columns = (table[name].tolist() for name in ("kind", "layer", "head"))
    return [HeadId(str(kind), int(layer), int(head)) for kind, layer, head in zip(*columns, strict=True)]


def _cells(two: TwoTraces, kind: str) -> int:
    """Weights of all heads of both sides: what a selection of tokens may read."""
    total = 0
    for trace, of in ((two.a, kind), (two.b, two.kind_beside(kind))):
        attention = trace.attention_of(of)
        total += trace.n_layers(of) * trace.n_heads(of) * attention.n_queries * attention.n_keys
    return total
