"""What the view of randomised weights shows: how far attributions stay the same in a copy that has learnt nothing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
import param

from atlas.definitions import DEFINITIONS
from atlas.errors import NotCaptured
from atlas.state.asking import Progress, Takes
from atlas.state.attribution import METHODS, explained_target, target_in_words
from atlas.state.chosen_methods import NO_METHOD, ChosenMethods, ChosenMethodsLens
from atlas.state.faithfulness import TOP
from atlas.state.lens import counted
from atlas.state.outcome_line import percent
from atlas.trace import NO_MODEL
from atlas.tracing.explained import LOGIT
from atlas.tracing.randomised import (
    ALL,
    BYTES,
    CASCADE,
    ESTIMATE,
    ORDERS,
    RANDOMISED,
    RANKED,
    SCORES,
    SEEDS,
    Kept,
    Randomised,
    Ranks,
)
from atlas.tracing.verdict import p_words, two

if TYPE_CHECKING:
    from atlas.trace import Trace

ABOVE, WITHIN, BELOW, UNKNOWN = "above chance", "within chance", "below chance", "not known"

MEANING: Mapping[str, str] = MappingProxyType({
    ABOVE: "part of its order comes from the text and the architecture, and not from what the model has learnt",
    WITHIN: "nothing of its order is seen to be left without what the model has learnt",
    BELOW: "its order is turned round without what the model has learnt",
    UNKNOWN: "all tokens have equal scores there, so they have no order",
})  # fmt: skip
"""What the last step says of a method."""


class RandomisedChoices(ChosenMethods):
    """Choices of the view of randomised weights."""

    second = param.Selector[str](objects=[NO_METHOD, *METHODS], default="saliency", doc="Another one; '' for none.")
    third = param.Selector[str](objects=[NO_METHOD, *METHODS], default="rollout", doc="Another one; '' for none.")
    order = param.Selector[str](objects=list(ORDERS), default=CASCADE, doc="Whether parts are drawn one after another, or alone.")
    ranked = param.Selector[str](objects=list(RANKED), default=SCORES, doc="Whether scores are ranked with their sign.")


class RandomisedLens(ChosenMethodsLens):
    """The agreement of the chosen methods with themselves, on copies with weights that are drawn anew."""

    key: ClassVar = "randomised"
    choices_type: ClassVar = RandomisedChoices
    reads: ClassVar = {"target": ("position", "outcome", "against")}
    marked_by: ClassVar = ("queries", "keys", "focus")

    def depends(self) -> Hashable:
        """On the target, the methods and how weights are drawn; selected tokens are marked only."""
        return explained_target(self.workspace, LOGIT), self.methods, self.choices.order, self.choices.ranked

    def found(self) -> Randomised | None:
        """The numbers; None while they are worked out, or where they cannot be."""
        return self.attempt(self._ask, None)

    def _ask(self) -> Randomised | None:
        tasks = self.workspace.tasks
        if RANDOMISED not in tasks:
            raise NotCaptured(NO_MODEL)
        work, trace, methods, order = tasks[RANDOMISED], self.trace, self.methods, self.choices.order
        target = explained_target(self.workspace, LOGIT)

        def run(progress: Progress) -> Randomised:
            made: Randomised = work(trace, target, methods, order, progress=progress.tell)
            return made

        if not self.is_started:
            self.line = f"{self._cost(trace)}. Press Run"
            return None
        takes = Takes(self._passes(trace, methods), gradients=True, bytes=tasks[BYTES](trace))
        found = self.ask(f"{methods} {order} {target}", run, None, needs_model=True, takes=takes)
        self.line = self._cost(trace) if found is None else self._describe(found)
        return found

    def _passes(self, trace: Trace, methods: tuple[str, ...]) -> int:
        return int(self.workspace.tasks[ESTIMATE](trace, methods, self.choices.order))

    def _cost(self, trace: Trace) -> str:
        return (
            f"Up to {self._passes(trace, self.methods):,} passes of the text through a copy of the model, whose weights are "
            f"drawn anew {SEEDS} times part by part"
        )

    def _describe(self, found: Randomised) -> str:
        said = target_in_words(self.workspace, found.target.words)
        chances = ""
        if np.isfinite(found.target.probability):
            true, drawn = found.probability[0, 0], found.probability[-1].mean()
            chances = f". Its probability: {percent(true)} as it is, {percent(drawn)} with all weights drawn anew"
        return f"{said}{chances}. {counted(len(found.places), 'token')} are ranked; mean of {SEEDS} draws"

    # -- what is shown -----------------------------------------------------------------------------------------------------

    def ranks(self, kept: Kept) -> Ranks:
        """The correlations of what is ranked."""
        return kept.ranks(self.choices.ranked)

    def outcome(self, kept: Kept) -> str:
        """What the last step says of a method: that with all weights drawn anew."""
        ranks = self.ranks(kept)
        mean, low, high = ranks.mean[-1], ranks.low[-1], ranks.high[-1]
        if not np.isfinite(mean):
            return UNKNOWN
        return ABOVE if mean > high else BELOW if mean < low else WITHIN

    def notes(self) -> tuple[str, ...]:
        """What the last step says of each method, and why one is missing."""
        found = self.found() if self.workspace.trace is not None else None
        if found is None:
            return ()
        said = [self._said(kept) for kept in found.found]
        return (*said, "By chance one method in twenty lies outside; a text of few tokens can hide an agreement that is there.")

    def _said(self, kept: Kept) -> str:
        title = title_of(kept.name)
        if kept.reason:
            return f"{title}: {kept.reason}"
        ranks, outcome = self.ranks(kept), self.outcome(kept)
        if outcome == UNKNOWN:
            return f"{title}, all weights drawn anew: {MEANING[outcome]}."
        numbers = f"{two(ranks.low[-1])} to {two(ranks.high[-1])}, p {p_words(ranks.p[-1])}"
        return f"{title}, all weights drawn anew: ρ {two(ranks.mean[-1])}, {outcome} ({numbers}): {MEANING[outcome]}."

    def groups(self) -> list[dict[str, object]]:
        """Every method as a chip with what is left of it."""
        found = self.found() if self.workspace.trace is not None else None
        if found is None:
            return []
        chips = [
            {
                "key": kept.name,
                "label": f"{title_of(kept.name)}: {two(self.ranks(kept).mean[-1])}, {self.outcome(kept)}",
                "active": self._selected() == self.top(found, kept) != frozenset(),
                "title": f"Select the {counted(many(found), 'token')} that it puts first when all weights are drawn anew",
            }
            for kept in found.found
            if not kept.reason
        ]
        return [{"name": "ρ with all weights drawn anew", "chips": chips}]

    # -- tokens ------------------------------------------------------------------------------------------------------------

    def top(self, found: Randomised, kept: Kept) -> frozenset[int]:
        """Keys of the kind on screen among the tokens that a method puts first when all weights are drawn anew."""
        side = self.trace.side(self.kind, "key")
        first = np.argsort(-kept.random, kind="stable")[: many(found)]
        return frozenset(position for where, position in (found.places[at] for at in first) if where == side)

    def select(self, name: str, origin: str) -> None:
        """Select these tokens as keys; selected ones are cleared."""
        found = self.found()
        kept = next((each for each in found.found if each.name == name and not each.reason), None) if found else None
        if found is None or kept is None:
            return
        selection, tokens = self.workspace.selection, self.top(found, kept)
        if not tokens or tokens == self._selected():
            selection.clear("keys", origin=origin)
        else:
            selection.select_pairs(selection.queries, tokens, origin=origin)

    def _selected(self) -> frozenset[int]:
        return self.workspace.selection.keys

    def table(self) -> pd.DataFrame:
        """Every step of every method, by scores and by their sizes. Before the run: the passes that each method takes at most."""
        found = self.found()
        if found is None:
            known = ESTIMATE in self.workspace.tasks
            passes = [self._passes(self.trace, (name,)) if known else np.nan for name in self.methods]
            return pd.DataFrame({"method": self.methods, "passes": passes})
        return found.table


def many(found: Randomised) -> int:
    """How many tokens a method's chip selects."""
    return max(1, int(np.ceil(TOP * len(found.places) - 1e-9)))


def title_of(name: str) -> str:
    """What the screen calls a method."""
    return DEFINITIONS[name].title


def step_title(step: str, order: str) -> str:
    """What is drawn at a step, in words: 'all weights down to L2', 'the weights of L2 alone'."""
    if step == ALL:
        return "all weights"
    part = {"head": "the output head", "embeddings": "the embeddings"}.get(step, step)
    return f"all weights from the output down to {part}" if order == CASCADE else f"the weights of {part} alone"
