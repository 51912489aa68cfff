"""What the view of pruning shows: what is left of a prediction when the least important heads go."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import param

from atlas.errors import NotCaptured, TooLarge
from atlas.ids import HeadId
from atlas.state.asking import Progress, Takes
from atlas.state.attribution import explained_target, target_in_words
from atlas.state.head_effects import MEAN, RESAMPLE, ZERO
from atlas.state.lens import Lens, counted
from atlas.state.other_text import other_text
from atlas.state.outcome_line import percent
from atlas.trace import NO_MODEL
from atlas.tracing.explained import LOGIT, MOST_TOKENS_RUN
from atlas.tracing.pruning import ABLATION, GRADIENT, INTEGRATED, PRUNING, RANDOM, Pruning, runs_of

if TYPE_CHECKING:
    import pandas as pd

PROBABILITY, VALUE, KL = "probability", "value", "kl"
"""Columns of the curves."""

LEFT = 0.9
"""Share of the probability that counts as all of it in the line."""

ORDERS = {
    GRADIENT: "by gradient", ABLATION: "by removal", INTEGRATED: "by integrated gradients", RANDOM: "in random orders",
}  # fmt: skip


class PruningChoices(param.Parameterized):
    """Choices of the view of pruning."""

    show = param.Selector[str](objects=[PROBABILITY, VALUE, KL], default=PROBABILITY, doc="What is left of the prediction.")
    how = param.Selector[str](
        objects=[ZERO, MEAN, RESAMPLE], default=ZERO, doc="What the output of a removed head is replaced by."
    )
    integrated = param.Boolean(default=False, doc="Whether heads also go by integrated gradients on their weights.")


class Curve(NamedTuple):
    """One order, from all heads to none."""

    order: str
    removed: np.ndarray
    values: np.ndarray
    """Of several random orders their mean."""
    low: np.ndarray
    high: np.ndarray
    """Of several random orders the lowest and the highest; else the values."""


NO_CURVES: tuple[Curve, ...] = ()


class PruningLens(Lens):
    """The curves of the kind on screen."""

    key: ClassVar = "pruning"
    choices_type: ClassVar = PruningChoices
    reads: ClassVar = {"selection": ("focus",), "target": ("position", "outcome", "against")}

    _curves: tuple[Curve, ...] | None = None

    def depends(self) -> Hashable:
        """On the kind and the target, not on the head in focus."""
        return self.kind, explained_target(self.workspace, LOGIT), self.choices.how, self.choices.show, self.choices.integrated

    def forget(self) -> None:
        """The curves are drawn again."""
        self._curves = None

    def curves(self) -> tuple[Curve, ...]:
        """One for each order; none while heads are being removed."""
        if self._curves is None:
            self._curves = self.attempt(self._work_out, NO_CURVES)
        return self._curves

    def found(self) -> Pruning | None:
        """All numbers; None while heads are being removed."""
        task = self.workspace.tasks.get(PRUNING)
        if task is None:
            raise NotCaptured(NO_MODEL)
        trace, kind, how, target = self.trace, self.kind, self.choices.how, explained_target(self.workspace, LOGIT)
        heads = [head for head in trace.head_ids if head.kind == kind]
        integrated = self.choices.integrated
        runs = runs_of(len(heads), integrated_layers=trace.n_layers(kind) if integrated else 0)
        tokens = runs * sum(map(len, trace.token_tables.values()))
        if tokens > MOST_TOKENS_RUN:
            msg = (
                f"Removing {counted(len(heads), 'head')} step by step takes {runs:,} runs, {tokens:,} tokens in "
                f"all, and {MOST_TOKENS_RUN:,} are the most. Shorten the text, or use atlas.attribution.prune in Python."
            )
            raise TooLarge(msg)
        other = other_text(trace) if how == RESAMPLE else None

        def remove(progress: Progress) -> Pruning:
            made: Pruning = task(trace, target, how, heads, other=other, integrated=integrated, progress=progress.tell)
            return made

        return self.ask(f"{how} {kind} {target} {integrated}", remove, None, needs_model=True, takes=Takes(runs, gradients=True))

    def table(self) -> pd.DataFrame:
        """Every point of every order, and the heads that are left in the orders by importance."""
        found = self.found()
        if found is None:
            raise NotCaptured(self.waiting or self.empty)
        names = [
            " ".join(map(str, found.kept(str(order), int(removed)))) if order in found.orders else ""
            for order, removed in zip(found.table["order"], found.table["removed"], strict=True)
        ]
        return found.table.assign(heads=names)

    def kept(self, order: str, removed: int) -> tuple[HeadId, ...]:
        """The heads that are left at a point of a curve; none of a random order, which is a mean of several."""
        found = self.found()
        return () if found is None or order not in found.orders else found.kept(order, removed)

    # -- what is found -------------------------------------------------------------------------------------------------

    def _work_out(self) -> tuple[Curve, ...]:
        found = self.found()
        if found is None:
            return ()
        show = self.choices.show
        if not np.isfinite(found.table[show]).any():
            msg = "This model gives a number and no probabilities. Choose the logit, which is that number."
            raise NotCaptured(msg)
        self.line = self._describe(found)
        return tuple(_curve(found.table, order, show) for order in self.orders())

    def orders(self) -> dict[str, str]:
        """The orders in which heads go, and what they are called."""
        return {order: said for order, said in ORDERS.items() if order != INTEGRATED or self.choices.integrated}

    def _describe(self, found: Pruning) -> str:
        heads = int(found.table["removed"].max())
        kind = f"{self.kind} head" if len(self.trace.kinds) > 1 else "head"
        target = target_in_words(self.workspace, found.target.words)
        if math.isnan(found.target.probability):
            return f"{target}; {counted(heads, kind)}, removed together"
        needed = ", ".join(
            f"{_needed(_curve(found.table, order, PROBABILITY), heads):,} {said}" for order, said in self.orders().items()
        )
        whole = percent(found.target.probability)
        return f"{target}; probability {whole}. Of {counted(heads, kind)}, those that keep {percent(LEFT)} of it: {needed}"


def _curve(table: pd.DataFrame, order: str, show: str) -> Curve:
    groups = table[table["order"] == order].groupby("removed")[show]
    mean = groups.mean()
    return Curve(
        order, mean.index.to_numpy(), mean.to_numpy(), groups.min().to_numpy(dtype=float), groups.max().to_numpy(dtype=float)
    )


def _needed(curve: Curve, heads: int) -> int:
    """The fewest heads from which on, towards all of them, the probability is never lower than a share of that with all."""
    low = np.flatnonzero(curve.values < LEFT * curve.values[0])
    return heads - int(curve.removed[low[0] - 1] if len(low) else curve.removed[-1])
