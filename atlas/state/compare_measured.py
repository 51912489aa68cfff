"""What the views show that measure every head of both sides: attention to flagged words, and agreement with an attribution."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import param

from atlas.definitions import DEFINITIONS
from atlas.errors import NotCaptured, NothingYet
from atlas.state.agreement import check_ranking
from atlas.state.asking import Progress
from atlas.state.attention_bias import ANY, NOTHING_FLAGGED, OTHER_SIDE, flagged_tokens
from atlas.state.attribution import METHODS, explained_target
from atlas.state.compare_heads import NO_DIFFERENCE, largest_in_words
from atlas.state.detection import FIELDS, NO_DETECTOR, thresholds_of
from atlas.state.head_plane import HeadPlaneLens
from atlas.state.lens import counted
from atlas.state.plane import Cell, Plane, Thresholded
from atlas.state.ratio_plane import LEAST_RATIO
from atlas.state.second_lens import SecondLens, pairs_in_words
from atlas.trace import NO_MODEL
from atlas.tracing.explained import AGREEMENT, LOGIT, Target, usual_position
from atlas.tracing.labelled import ATTENTION_BIAS, DETECT
from atlas.tracing.predictions import side_of_predictions
from atlas.tracing.two_heads import Partners, partners

if TYPE_CHECKING:
    import pandas as pd

    from atlas.tracing.two_traces import TwoTraces

NO_POSITION = "The token whose prediction is explained has no partner on side B. Choose another prediction."


class Measured(NamedTuple):
    """A number of every head of A, and of the head of B that stands for it; NaN without partner."""

    a: np.ndarray
    b: np.ndarray
    q_a: np.ndarray
    q_b: np.ndarray
    pairs: Partners
    about: str
    """What was measured on either side, in words."""


class SecondMeasureLens(SecondLens, HeadPlaneLens):
    """B − A of a number that takes a model to measure."""

    reads: ClassVar = {**SecondLens.reads, **HeadPlaneLens.reads}
    missing: ClassVar = "no partner, or not known"

    def found(self) -> Measured | None:
        """Both sides; None while they are being measured."""
        raise NotImplementedError

    @property
    def signed(self) -> bool:
        """More on B, or less."""
        return True

    def reading(self) -> str:
        """What the value of a cell is called."""
        return "B − A"

    def _build_plane(self) -> Plane:
        found = self.found()
        if found is None:
            return Plane()
        change = found.b - found.a
        each = self.trace.n_heads(self.kind)
        most = largest_in_words(change, lambda at: f"L{at // each} H{at % each}")
        said = f"most changed {most}" if most else NO_DIFFERENCE
        self.line = f"{found.about}; {said}; {pairs_in_words(found.pairs)}"
        return self.of_heads(change)

    def _numbers(self, row: int, column: int) -> Cell:
        """The difference, both sides with their q, and how alike the pair is."""
        numbers, found = super()._numbers(row, column), self.found()
        if found is None:
            return numbers
        at = row * self.trace.n_heads(self.kind) + column
        said = {"A": found.a, "q of A": found.q_a, "B": found.b, "q of B": found.q_b, "similarity": found.pairs.similarity}
        return numbers | {name: float(values[at]) for name, values in said.items()}


class CompareBiasChoices(Thresholded):
    """Choices of the view of attention to flagged words on both sides."""

    label = param.Selector[str](objects=[ANY, *FIELDS], default=ANY, doc="Words with this label.")


class CompareBiasLens(SecondMeasureLens):
    """log2 of how much more attention flagged words get than evenly spread attention gives, B − A."""

    key: ClassVar = "compare_bias"
    choices_type: ClassVar = CompareBiasChoices
    reads: ClassVar = {**SecondLens.reads, "selection": ("focus",), "thresholds": tuple(FIELDS.values())}

    def depends(self) -> Hashable:
        """On both sides and on what is flagged."""
        return self.compared(), tuple(thresholds_of(self.workspace).items()), self.choices.label

    def whose(self) -> str:
        """What is subtracted."""
        return "log₂ of attention to flagged words / evenly spread"

    def found(self) -> Measured | None:
        """Both sides, each against the words that are flagged in its own text."""
        two, kind, by, label, tasks = self.both(), self.kind, self.by, self.choices.label, self.workspace.tasks
        if two is None:
            return None
        if DETECT not in tasks or ATTENTION_BIAS not in tasks:
            raise NotCaptured(NO_DETECTOR)
        if two.a.side(kind, "key") != "source":
            raise NotCaptured(OTHER_SIDE)
        thresholds = thresholds_of(self.workspace)

        def work(progress: Progress) -> Measured:
            tables, flagged = [], []
            for name, trace in (("A", two.a), ("B", two.b)):
                tokens, detector = flagged_tokens(trace, tasks[DETECT], thresholds, label, progress)
                if not tokens:
                    with_ = "" if label == ANY else f" with {label}"
                    msg = f"Side {name}: {NOTHING_FLAGGED.format(with_=with_)}"
                    raise NothingYet(msg)
                table = tasks[ATTENTION_BIAS](trace, tokens, report=_told(progress, f"Comparing the heads of {name} with chance"))
                tables.append(table.assign(log=np.log2(np.maximum(table["ratio"].to_numpy(dtype=float), LEAST_RATIO))))
                flagged.append(f"{counted(len(tokens), 'token')} on {name}")
            about = f"Flagged by {detector}: {', '.join(flagged)}"
            return _of_pairs(two, kind, partners(two, kind, by), (tables[0], tables[1]), "log", about)

        key = self.key_of(two, "bias", thresholds, label)
        return self.ask(key, work, None, needs_model=True, keep=False, takes=self.takes_both(two))


class CompareAgreementChoices(Thresholded):
    """Choices of the view of agreement on both sides."""

    method = param.Selector[str](objects=list(METHODS), default="integrated_gradients", doc="What heads are compared with.")


class CompareAgreementLens(SecondMeasureLens):
    """How much more a head of B attends to what matters there than its partner of A does."""

    key: ClassVar = "compare_agreement"
    choices_type: ClassVar = CompareAgreementChoices

    def depends(self) -> Hashable:
        """On both sides, what is explained and how."""
        return self.compared(), explained_target(self.workspace, LOGIT), self.choices.method

    def whose(self) -> str:
        """What is subtracted."""
        return "Spearman's ρ of a head with the attribution"

    def found(self) -> Measured | None:
        """Both sides, each against the attribution of its own prediction."""
        two, kind, by, method = self.both(), self.kind, self.by, self.choices.method
        if two is None:
            return None
        task = self.workspace.tasks.get(AGREEMENT)
        if task is None:
            raise NotCaptured(NO_MODEL)
        for trace in (two.a, two.b):
            check_ranking(trace)
        target = explained_target(self.workspace, LOGIT)
        targets = target, self._target_beside(two, target)

        def work(progress: Progress) -> Measured:
            made = [task(trace, at, method, progress.tell) for trace, at in zip((two.a, two.b), targets, strict=True)]
            said = [f"{name}: {each.target.words}" for name, each in zip("AB", made, strict=True)]
            about = f"{DEFINITIONS[method].title} of {'; '.join(said)}"
            return _of_pairs(two, kind, partners(two, kind, by), (made[0].table, made[1].table), "rho", about)

        takes = self.takes_both(two, [method])
        return self.ask(self.key_of(two, "agreement", targets, method), work, None, needs_model=True, keep=False, takes=takes)

    def _target_beside(self, two: TwoTraces, target: Target) -> Target:
        """The same decision on B: at the token that stands for the chosen one, else where B predicts by itself."""
        chosen = self.workspace.target
        if chosen.position < 0:
            return Target(usual_position(two.b), target.outcome, target.against, target.of)
        at = two.partners(side_of_predictions(two.a), {chosen.position})
        if not at:
            raise NotCaptured(NO_POSITION)
        return Target(max(at), target.outcome, target.against, target.of)


def _of_pairs(
    two: TwoTraces, kind: str, pairs: Partners, tables: tuple[pd.DataFrame, pd.DataFrame], column: str, about: str
) -> Measured:
    """The numbers of paired heads, from a table of either side with one row a head of every kind."""
    one, other = (table[table["kind"] == of] for table, of in zip(tables, (kind, two.kind_beside(kind)), strict=True))
    there = pairs.head >= 0
    beside = np.where(there, pairs.head, 0)
    b, q_b = (np.where(there, other[name].to_numpy(dtype=float)[beside], np.nan) for name in (column, "q"))
    return Measured(one[column].to_numpy(dtype=float), b, one["q"].to_numpy(dtype=float), q_b, pairs, about)


def _told(progress: Progress, what: str) -> Any:
    return lambda done, of: progress.tell(what, done / of)
