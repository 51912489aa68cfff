"""What the view of heads side by side shows: a metric of every head of A against that of its partner, and the most changed."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import param

from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.compare_heads import MOVED, SecondHeadsLens, most_changed, partner_name, title_of
from atlas.state.display import METRICS, SELECTED

LISTED = 12
"""Heads in the ranking."""


class CompareMetricsChoices(param.Parameterized):
    """Choices of the view of heads side by side."""

    metric = param.Selector[str](objects=[SELECTED, *METRICS], default="entropy_norm", doc="The metric of both axes.")


class CompareMetricsLens(SecondHeadsLens):
    """A metric of every head on both sides."""

    key: ClassVar = "compare_metrics"
    choices_type: ClassVar = CompareMetricsChoices
    marked_by: ClassVar = ("heads", "focus")

    def depends(self) -> Hashable:
        """On both sides, the selected tokens and the metric; selected heads are marked."""
        return self.compared_tokens(), self.choices.metric

    def shown(self) -> pd.DataFrame | None:
        """The heads with both values of the chosen metric; None where there are none yet."""
        return self.attempt(self._shown, None)

    def _shown(self) -> pd.DataFrame | None:
        found, name = self.found(), self.choices.metric
        if found is None:
            return None
        self.check(name)
        self.line = self.describe(found, name)
        return found

    def points(self) -> pd.DataFrame:
        """A point a head that has a partner: x its value on side A, y on side B, value how far its pattern moved."""
        found, name = self.shown(), self.choices.metric
        columns = ("kind", "layer", "head", "x", "y", "value", "label", "selected", "focus")
        if found is None:
            return pd.DataFrame({column: [] for column in columns})
        selection, heads = self.workspace.selection, _heads(found)
        # Not `iterrows`, which makes a table of every row: of 1,200 heads in a twentieth of a second.
        beside = map(partner_name, found[["kind_b", "layer_b", "head_b"]].to_dict("records"))
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
        for at in most_changed(values)[:LISTED]:
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


def _heads(table: pd.DataFrame) -> list[HeadId]:
    columns = (table[name].tolist() for name in ("kind", "layer", "head"))
    return [HeadId(str(kind), int(layer), int(head)) for kind, layer, head in zip(*columns, strict=True)]
