"""The metrics of heads over some of the rows, and how much of their attention some of the keys get: what a selection asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from atlas.metrics.heads import head_metrics
from atlas.metrics.keysets import key_sets
from atlas.metrics.plan import POSITIONAL, WHOLE_ROW, BoolArray, RowPlan
from atlas.metrics.shared_keys import MIN_ROWS

Positions = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

ROW_STATISTICS = (*WHOLE_ROW, "special", *POSITIONAL)
"""Statistics that are there row by row, so that those of some rows are a part of those of all."""

SELECTED = "selected"
"""Column with the mass on the selected keys; its chance level and its number of rows stand beside it, as for any metric."""


@dataclass(frozen=True, eq=False)
class RowCutter:
    """A plan from which the plans of a few rows are cut, small enough to be kept as long as its text is looked at.

    The templates of a plan take 50 MB at 2,048 tokens; as flags they take a quarter per kind of pair, and distances none.
    """

    plan: RowPlan
    """Without templates: good for what it says of rows, not for reducing weights."""
    pairs: BoolArray
    """(query, pair template, key)."""

    @classmethod
    def of(cls, plan: RowPlan) -> RowCutter:
        """Take what is needed of a full plan; nothing of its templates stays alive."""
        templates = plan.operands.templates
        pairs = np.asarray(templates[:, 1:, :] > 0)
        bare = np.zeros((plan.n_queries, 0, plan.n_keys), dtype=np.float32)
        return cls(replace(plan, operands=replace(plan.operands, templates=bare)), pairs)

    def cut(self, rows: Positions) -> RowPlan:
        """The plan of these rows alone, with all of their keys."""
        plan, operands = self.plan, self.plan.operands
        return replace(
            plan,
            n_queries=len(rows),
            visible=None if plan.visible is None else plan.visible[rows],
            n_visible=plan.n_visible[rows],
            informative=plan.informative[rows],
            counted={name: where[rows] for name, where in plan.counted.items()},
            operands=replace(
                operands,
                n_visible=operands.n_visible[rows],
                near_keys=operands.near_keys[rows],
                near_exists=operands.near_exists[rows],
                templates=self._templates(rows),
                receive=operands.receive[:, rows],
                defined=operands.defined[:, rows],
            ),
        )

    def _templates(self, rows: Positions) -> npt.NDArray[np.float32]:
        stack = np.zeros((len(rows), len(self.plan.template_names), self.plan.n_keys), dtype=np.float32)
        if self.plan.template_names:
            stack[:, 0] = np.abs(rows[:, None] - np.arange(self.plan.n_keys))
            stack[:, 1:] = self.pairs[rows]
        return stack


def cut_plans(cutters: Sequence[RowCutter], rows: Positions) -> list[RowPlan]:
    """The plans of some rows, one a layer; layers that share a plan share the cut."""
    made = {id(cutter): cutter.cut(rows) for cutter in {id(cutter): cutter for cutter in cutters}.values()}
    return [made[id(cutter)] for cutter in cutters]


def selected_metrics(
    stats: Mapping[str, Any],
    plans: Sequence[RowPlan],
    rows: Positions,
    received: Values,
    tokens: pd.DataFrame,
    key_tokens: pd.DataFrame,
) -> pd.DataFrame:
    """The head table of some rows.

    Parameters
    ----------
    stats
        Statistics of all rows, (layer, head, query).
    plans
        The plans of these rows, one a layer (`cut_plans`).
    rows
        Their positions.
    received
        (layer, head, key) mass that keys get from those of these rows that are informative; right at `needed_keys`.
    tokens, key_tokens
        Tables of all queries and keys.
    """
    there = [name for name in ROW_STATISTICS if name in stats]
    cut: dict[str, Any] = {name: np.asarray(stats[name])[..., rows] for name in there}
    return head_metrics(cut | {"received_informative": received}, plans, tokens.iloc[rows], key_tokens)


def needed_keys(key_tokens: pd.DataFrame, keys: Positions, n_rows: int) -> Positions:
    """Keys whose received mass some metric asks for, or the selection does.

    From `MIN_ROWS` rows on these are all: a role is held against what the other keys get.
    """
    if n_rows >= MIN_ROWS:
        return np.arange(len(key_tokens))
    wanted = np.zeros(len(key_tokens), dtype=bool)
    wanted[keys] = True
    for members in key_sets(key_tokens).values():
        if members is not None:
            wanted |= members
    return np.flatnonzero(wanted)


def mass_on(keys: Positions, received: Values, plans: Sequence[RowPlan]) -> pd.DataFrame:
    """The mean mass that some keys get, over the informative rows that may see at least one of them; one row a head.

    Columns: selected, selected_uniform (the same for attention spread evenly over what each row may see) and selected_rows.
    """
    n_heads = received.shape[1]
    facts = {id(plan): _chance(keys, plan) for plan in plans}
    uniform, n_rows = (np.repeat([facts[id(plan)][at] for plan in plans], n_heads) for at in (0, 1))
    mass = received[:, :, keys].sum(-1).reshape(-1)
    selected = np.divide(mass, n_rows, out=np.full(len(mass), np.nan), where=n_rows > 0)
    return pd.DataFrame({SELECTED: selected, f"{SELECTED}_uniform": uniform, f"{SELECTED}_rows": n_rows.astype(np.int64)})


def _chance(keys: Positions, plan: RowPlan) -> tuple[float, float]:
    """(share of the visible keys that are these, in the mean over the rows; number of rows)."""
    seen = np.full(plan.n_queries, len(keys)) if plan.visible is None else plan.visible[:, keys].sum(1)
    rows = plan.informative & (seen > 0)
    return (float((seen[rows] / plan.n_visible[rows]).mean()) if rows.any() else float("nan")), float(rows.sum())
