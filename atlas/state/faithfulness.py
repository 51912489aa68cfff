"""What the faithfulness view shows: how the prediction falls as tokens are taken out in the order of each method."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
import param

from atlas.definitions import DEFINITIONS
from atlas.errors import NotCaptured
from atlas.state.asking import Progress, Takes
from atlas.state.attribution import explained_target, target_in_words
from atlas.state.chosen_methods import ChosenMethods, ChosenMethodsLens
from atlas.state.lens import counted
from atlas.state.outcome_line import percent
from atlas.trace import NO_MODEL
from atlas.tracing.explained import LOGIT, PROBABILITY
from atlas.tracing.faithfulness import (
    ATTENTION,
    COMPREHENSIVENESS,
    CURVES,
    DELETE,
    ESTIMATE,
    MASK,
    RANDOM,
    SUFFICIENCY,
    Curve,
    Curves,
)

if TYPE_CHECKING:
    from atlas.trace import Trace

TOP = 0.2
"""Share of the tokens that a method's chip selects."""

EDGES = (5, 95)
"""Percentiles of the random orders at the edges of their band."""


class FaithfulnessChoices(ChosenMethods):
    """Choices of the faithfulness view."""

    remove = param.Selector[str](objects=[MASK, DELETE, ATTENTION], default=MASK, doc="How a token is taken out.")


class FaithfulnessLens(ChosenMethodsLens):
    """The curves and scores of the chosen methods for the prediction that is explained."""

    key: ClassVar = "faithfulness"
    choices_type: ClassVar = FaithfulnessChoices
    reads: ClassVar = {"target": ("position", "outcome", "against")}
    marked_by: ClassVar = ("queries", "keys", "focus")

    def depends(self) -> Hashable:
        """On the target, the methods and the operator; selected tokens are marked only."""
        return explained_target(self.workspace, LOGIT), self.methods, self.choices.remove

    def found(self) -> Curves | None:
        """The curves; None while they are worked out, or where they cannot be."""
        return self.attempt(self._ask, None)

    def _ask(self) -> Curves | None:
        tasks = self.workspace.tasks
        if CURVES not in tasks:
            raise NotCaptured(NO_MODEL)
        work, trace, methods, remove = tasks[CURVES], self.trace, self.methods, self.choices.remove
        target = explained_target(self.workspace, LOGIT)

        def run(progress: Progress) -> Curves:
            made: Curves = work(trace, target, methods, remove, 0, progress.tell)
            return made

        if not self.is_started:
            self.line = f"{self._cost(trace)}. Press Run"
            return None
        found = self.ask(
            f"{methods} {remove} {target}", run, None, needs_model=True, takes=Takes(self._passes(trace), gradients=True)
        )
        self.line = self._cost(trace) if found is None else self._describe(found)
        return found

    def _passes(self, trace: Trace) -> int:
        return int(self.workspace.tasks[ESTIMATE](trace, self.methods))

    def _cost(self, trace: Trace) -> str:
        passes = self._passes(trace)
        tokens = sum(map(len, trace.token_tables.values()))
        return f"About {passes:,} passes of {counted(tokens, 'token')} at most, because a set of tokens is run once"

    def _describe(self, found: Curves) -> str:
        said = found.target.words.removeprefix(f"{LOGIT} ")
        what = f"{found.of} {said}"
        if found.of == PROBABILITY and found.target.against_id is None:
            what += f": {percent(found.target.probability)} with all tokens"
        return (
            f"{target_in_words(self.workspace, what)}. {counted(len(found.places), 'token')} can be taken out, each "
            f"{found.removal}; {found.passes:,} different sets were run"
        )

    # -- what is shown -----------------------------------------------------------------------------------------------------

    def band(self, found: Curves, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(low, mean, high) of the random orders at each step; `part` is 'deletion' or 'insertion'."""
        values = np.array([getattr(curve, part) for curve in found.random])
        low, high = np.percentile(values, EDGES, axis=0)
        return low, values.mean(axis=0), high

    def chance(self, found: Curves, score: str) -> tuple[float, float, float]:
        """(low, mean, high) of a score of the random orders."""
        values = np.array([getattr(curve, score) for curve in found.random])
        low, high = np.percentile(values, EDGES)
        return float(low), float(values.mean()), float(high)

    def notes(self) -> tuple[str, ...]:
        """What has to be known about the curves."""
        found = self.found() if self.workspace.trace is not None else None
        if found is None:
            return ()
        missing = [f"{DEFINITIONS[curve.name].title}: {curve.reason}" for curve in found.found if curve.reason]
        said = []
        for score in (COMPREHENSIVENESS, SUFFICIENCY):
            low, mean, high = self.chance(found, score)
            said.append(f"{score} {decimals(mean)} ({decimals(low)} to {decimals(high)} in nine of ten)")
        return (*missing, f"{len(found.random)} random orders: {' and '.join(said)}.", found.searched)

    def groups(self) -> list[dict[str, object]]:
        """Every method as a chip with its scores."""
        found = self.found() if self.workspace.trace is not None else None
        if found is None:
            return []
        chips = [
            {
                "key": curve.name,
                "label": f"{title_of(curve.name)}: {decimals(curve.comprehensiveness)} · {decimals(curve.sufficiency)}",
                "active": self._selected() == self.top(found, curve) != frozenset(),
                "title": f"Select the {counted(self.many(found), 'token')} that it puts first",
            }
            for curve in (*found.found, *found.bounds)
            if not curve.reason
        ]
        return [{"name": "Comprehensiveness · sufficiency", "chips": chips}]

    # -- tokens ------------------------------------------------------------------------------------------------------------

    @staticmethod
    def many(found: Curves) -> int:
        """How many tokens a method's chip selects."""
        return max(1, int(np.ceil(TOP * len(found.places) - 1e-9)))

    def top(self, found: Curves, curve: Curve, many: int | None = None) -> frozenset[int]:
        """Positions of the first tokens of a curve among the keys of the kind on screen."""
        side = self.trace.side(self.kind, "key")
        first = [found.places[at] for at in curve.order[: self.many(found) if many is None else many]]
        return frozenset(position for where, position in first if where == side)

    def select(self, name: str, many: int | None, origin: str) -> None:
        """Select the first tokens of a method as keys; selected ones are cleared."""
        found = self.found()
        curve = next((each for each in (*found.found, *found.bounds) if each.name == name), None) if found else None
        if found is None or curve is None:
            return
        selection, tokens = self.workspace.selection, self.top(found, curve, many)
        if not tokens or tokens == self._selected():
            selection.clear("keys", origin=origin)
        else:
            selection.select_pairs(selection.queries, tokens, origin=origin)

    def _selected(self) -> frozenset[int]:
        return self.workspace.selection.keys

    def table(self) -> pd.DataFrame:
        """Every step of every order: what is left of the target without, and with nothing but, its first tokens.

        Before the run: the passes that each method would take by itself.
        """
        found = self.found()
        if found is None:
            estimate = self.workspace.tasks.get(ESTIMATE)
            passes = [np.nan if estimate is None else estimate(self.trace, [name]) for name in self.methods]
            return pd.DataFrame({"order": self.methods, "passes": passes})
        columns = ["order", "tokens", "deletion", "insertion", COMPREHENSIVENESS, SUFFICIENCY]
        rows = []
        for curve in (*found.found, *found.bounds, *found.random):
            rows += [
                (curve.name, step, without, alone, curve.comprehensiveness, curve.sufficiency)
                for step, without, alone in zip(found.steps, curve.deletion, curve.insertion, strict=False)
            ]
        return pd.DataFrame(rows, columns=columns)


def decimals(score: float) -> str:
    """A score to a thousandth, because probabilities are told apart no further."""
    return f"{score:.3f}".replace("-0.000", "0.000").replace("-", "−")


def title_of(name: str) -> str:
    """What the screen calls an order."""
    if name in DEFINITIONS:
        return DEFINITIONS[name].title
    return "random order" if name == RANDOM else name
