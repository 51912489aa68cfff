"""What the view of heads, bias and performance shows: both effects of every head, the composite, and a test of selected heads."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import param

from atlas.errors import AtlasError, BadData, NotCaptured
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.asking import Progress, Takes
from atlas.state.attention_bias import ANY, flagged_tokens
from atlas.state.benchmark import BenchmarkLens
from atlas.state.detection import FIELDS, NO_DETECTOR, thresholds_of
from atlas.state.lens import counted
from atlas.state.model_key import model_key
from atlas.state.pressed import PressedLens
from atlas.tracing.benchmarks import KINDS
from atlas.tracing.labelled import ATTENTION_BIAS, DETECT
from atlas.tracing.tradeoff import (
    ATTENTION,
    BY,
    EXAMPLES,
    FAIRNESS,
    HELD_OUT,
    PARTS,
    PERFORMANCE,
    SCORE,
    TRADEOFF,
    TRADEOFF_COST,
    Cost,
    HeldOut,
    Tradeoff,
    composite,
    named,
)
from atlas.tracing.verdict import ALPHA

if TYPE_CHECKING:
    from atlas.trace import Trace

ZERO, MEAN = "zero", "mean"

APP_ALONE = "Heads are switched off on a benchmark in the app alone."

NOTHING_FLAGGED = "no word of the text on screen is flagged"

WEIGHTS_OFF = "All weights are 0, so there is no composite."

LEAST, MOST = 20, 5_000
"""Examples that may be asked for: fewer say nothing about a head, and more take hours."""

NAMES = {ATTENTION: "attention × bias", PERFORMANCE: "performance", FAIRNESS: "fairness"}
"""What the parts of the composite are called."""

RANKS = {part: f"{part}_rank" for part in PARTS}
"""Columns of the ranking with the parts: `performance` is the model's without the head."""


class TradeoffChoices(param.Parameterized):
    """Choices of the view; which benchmark is a choice of the benchmark view, because both read one file."""

    limit = param.Integer(default=EXAMPLES, bounds=(LEAST, MOST), doc="So many examples at most choose heads.")
    how = param.Selector[str](objects=[ZERO, MEAN], default=ZERO, doc="What the output of a head becomes.")
    by = param.Selector[str](objects=list(BY), default=SCORE, doc="What bias and performance are measured by.")
    attention = param.Number(default=1.0, bounds=(0, 1), doc="Weight of attention x bias in the composite.")
    performance = param.Number(default=1.0, bounds=(0, 1), doc="Weight of performance in the composite.")
    fairness = param.Number(default=1.0, bounds=(0, 1), doc="Weight of fairness in the composite.")


class Request(NamedTuple):
    """What a press runs."""

    model: Hashable
    benchmark: str
    digest: str
    limit: int
    how: str


class Attention(NamedTuple):
    """Attention x bias of every head on the text on screen."""

    table: pd.DataFrame | None
    unknown: str
    """Why there is none."""


class TradeoffLens(PressedLens):
    """The results on the model on screen. Like those of the benchmark view they outlive its text."""

    key: ClassVar = "tradeoff"
    choices_type: ClassVar = TradeoffChoices
    reads: ClassVar = {"thresholds": tuple(FIELDS.values())}
    marked_by: ClassVar = ("heads", "focus")

    def __init__(self, workspace: Any, **params: Any) -> None:
        self.files = workspace.lens(BenchmarkLens)
        self._costs: dict[Hashable, Cost] = {}
        self._results: dict[Hashable, dict[str, Tradeoff]] = {}
        """Request -> the results by each measure: one run gives all of them."""
        self._wanted: dict[Hashable, tuple[HeadId, ...]] = {}
        """Request -> the heads that are tested on held-out examples."""
        self._attention: tuple[Trace, dict[str, float], Attention] | None = None
        self._held: dict[Hashable, dict[str, HeldOut]] = {}
        super().__init__(workspace, **params)
        self.files.param.watch(self._changed, "digest")
        self.files.choices.param.watch(self._changed, "benchmark")

    def depends(self) -> Hashable:
        """On the file, all choices, and what is flagged, which the composite counts."""
        weights = tuple(self.weights().items())
        return self.request(), self.choices.by, weights, tuple(thresholds_of(self.workspace).items())

    def request(self) -> Request:
        """What a press would run."""
        choices = self.choices
        name = self.files.choices.benchmark
        return Request(model_key(self.trace), name, self.files.digest, int(choices.limit), choices.how)

    # -- what is run -------------------------------------------------------------------------------------------------------

    @property
    def can_start(self) -> bool:
        """Whether there is a file whose results are not there."""
        return self.files.data is not None and super().can_start and self.request() not in self._results

    def cost(self) -> Cost | None:
        """What a press would take; None while that is not known."""
        return self._costs.get(self.request())

    def shown(self) -> Tradeoff | None:
        """The effects of all heads; None where they were not asked for, or are on their way."""
        return self.attempt(self._found, None)

    def _found(self) -> Tradeoff | None:
        request = self.request()
        if request in self._results:
            return self._measured(request)
        task, timed, data = self.workspace.tasks.get(TRADEOFF), self.workspace.tasks.get(TRADEOFF_COST), self.files.data
        if task is None or timed is None:
            raise NotCaptured(APP_ALONE)
        kind = KINDS[request.benchmark]
        if data is None:
            self.line = f"{kind.title}: choose a file ({kind.file})"
            return None
        trace = self.trace
        arguments = (trace, request.benchmark, data, request.how, request.limit)
        if not self.is_pressed:
            self._ask_cost(request, lambda _: timed(*arguments))
            self.line = f"{kind.title} on {self.files.file}: not run yet"
            return None

        def work(progress: Progress) -> dict[str, Tradeoff]:
            made: dict[str, Tradeoff] = task(*arguments, _reporting(progress))
            return made

        nothing: dict[str, Tradeoff] = {}
        known = self.cost()
        takes = Takes(seconds=None if known is None else known.seconds)
        found = self.ask(f"{request}", work, nothing, needs_model=True, keep=False, takes=takes)
        if not found:
            return None
        self._results[request] = found
        return self._measured(request)

    def _measured(self, request: Request) -> Tradeoff:
        found = self._results[request][self.choices.by]
        self.line = self._describe(found)
        return found

    def _ask_cost(self, request: Request, work: Any) -> None:
        if request not in self._costs:
            nothing: Cost | None = None
            found = self.ask(f"cost {request}", work, nothing, needs_model=True, keep=False)
            if found is not None:
                self._costs[request] = found

    def handed_over(self) -> Any:
        """The file and the results."""
        results = dict(self._costs), dict(self._results), dict(self._wanted), dict(self._held), self._attention
        return self.files.handed_over(), results

    def take_over(self, handed: Any) -> None:
        """Show the results there; nothing is run."""
        file, results = handed
        self.files.take_over(file)
        self._costs, self._results, self._wanted, self._held, self._attention = results
        self._redraw()

    # -- chosen heads on held-out examples ---------------------------------------------------------------------------------

    def chosen(self) -> tuple[HeadId, ...]:
        """The selected heads that were measured."""
        found = None if self.workspace.trace is None else self._results.get(self.request())
        if not found or found[SCORE].units == 1:  # of one term there are no other examples
            return ()
        return tuple(sorted(set(found[SCORE].heads) & set(self.workspace.selection.heads)))

    @property
    def can_test(self) -> bool:
        """Whether a press would test heads on held-out examples."""
        heads = self.chosen()
        return bool(heads) and not self.busy and (self._wanted.get(self.request()) != heads or bool(self.problem))

    def test(self) -> None:
        """The reader presses to test the selected heads."""
        heads = self.chosen()
        if heads:
            self._wanted[self.request()] = heads
            self._redraw()

    def cancel(self) -> None:
        """Stop what is under way."""
        request = self.request()
        if request in self._results:
            self._wanted.pop(request, None)
            self.drop_asked()
        else:
            super().cancel()

    def tested(self) -> HeldOut | None:
        """The heads that were tested last; None: none were, or they are on their way."""
        return self.attempt(self._tested, None)

    def _tested(self) -> HeldOut | None:
        request = self.request()
        heads = self._wanted.get(request)
        if heads is None or request not in self._results:
            return None
        if (request, heads) in self._held:
            return self._held[request, heads][self.choices.by]
        task, trace, data = self.workspace.tasks[HELD_OUT], self.trace, self.files.data
        if data is None:
            raise BadData(APP_ALONE)

        def work(progress: Progress) -> dict[str, HeldOut]:
            arguments = (trace, request.benchmark, data, heads, request.how, request.limit)
            made: dict[str, HeldOut] = task(*arguments, _reporting(progress))
            return made

        nothing: dict[str, HeldOut] = {}
        found = self.ask(f"held out {heads} {request}", work, nothing, needs_model=True, keep=False)
        if not found:
            return None
        self._held[request, heads] = found
        return found[self.choices.by]

    # -- composite ---------------------------------------------------------------------------------------------------------

    def weights(self) -> dict[str, float]:
        """The weights of the composite."""
        return {part: float(getattr(self.choices, part)) for part in PARTS}

    def attention(self) -> Attention:
        """Attention x bias on the text on screen, for the composite."""
        trace, tasks, thresholds = self.trace, self.workspace.tasks, thresholds_of(self.workspace)
        if DETECT not in tasks or ATTENTION_BIAS not in tasks:
            return Attention(None, NO_DETECTOR)
        if self._attention is not None and self._attention[:2] == (trace, thresholds):
            return self._attention[2]
        request = self.request()
        heads = self._wanted.get(request)
        if heads is not None and (request, heads) not in self._held:
            # A lens waits for one thing at a time, and the reader has pressed for the other.
            return Attention(None, "waits for the test of heads")

        def work(progress: Progress) -> Attention:
            try:
                tokens, _ = flagged_tokens(trace, tasks[DETECT], thresholds, ANY, progress)
            except AtlasError as error:  # the other parts are known without it
                return Attention(None, str(error))
            if not tokens:
                return Attention(None, NOTHING_FLAGGED)
            return Attention(tasks[ATTENTION_BIAS](trace, tokens), "")

        nothing: Attention | None = None
        found = self.ask(f"attention {thresholds}", work, nothing, needs_model=True, keep=False)
        if found is None:
            return Attention(None, "on its way")
        self._attention = trace, thresholds, found
        return found

    def ranking(self) -> pd.DataFrame:
        """All numbers of every head and its composite, the highest first; those without one last."""
        return self.attempt(self._ranking, pd.DataFrame())

    def _ranking(self) -> pd.DataFrame:
        found = self._found()
        if found is None:
            return pd.DataFrame()
        weights = self.weights()
        known = self.attention() if weights[ATTENTION] > 0 else Attention(None, "")
        parts = composite(found.table, known.table, weights).drop(columns=["kind", "layer", "head"])
        table = pd.concat([found.table, parts.rename(columns=RANKS)], axis=1)
        return table.sort_values("composite", ascending=False, kind="stable", ignore_index=True)

    def composite_words(self) -> str:
        """The composite as it is now: its weights, and what is left out."""
        found = self.attempt(self._found, None)
        if found is None:
            return ""
        weights = self.weights()
        known = self.attention() if weights[ATTENTION] > 0 else Attention(None, "")
        used = {part: weight for part, weight in weights.items() if weight > 0 and (part != ATTENTION or known.table is not None)}
        if not used:
            return WEIGHTS_OFF
        total = sum(used.values())
        shares = " + ".join(f"{weight / total:.2f} · {NAMES[part]}" for part, weight in used.items())
        left_out = f" {NAMES[ATTENTION].capitalize()} is left out: {known.unknown.rstrip('.')}." if known.unknown else ""
        return f"Composite = {shares}; every part is the share of heads below it, so a head by chance has 0.5.{left_out}"

    # -- what is drawn -----------------------------------------------------------------------------------------------------

    def points(self) -> pd.DataFrame:
        """The heads in the order of the results, with what marks them."""
        found = self.shown()
        if found is None:
            return pd.DataFrame()
        selection = self.workspace.selection
        focus = () if selection.focus is None else (selection.focus,)
        return found.table.assign(selected=named(tuple(selection.heads), found.table), focus=named(focus, found.table))

    def at(self, rows: list[int]) -> list[HeadId]:
        """The heads of some points."""
        found = self.shown()
        return [] if found is None else [found.heads[row] for row in rows if row < len(found.heads)]

    def table(self) -> pd.DataFrame:
        """Every head with all its numbers; the benchmarks that can be run where none was."""
        found = self.ranking()
        if found.empty:
            rows = [{"benchmark": name, "title": kind.title, "file": kind.file} for name, kind in KINDS.items()]
            return pd.DataFrame(rows)
        return found

    # -- in words ----------------------------------------------------------------------------------------------------------

    def _describe(self, found: Tradeoff) -> str:
        whole, table = found.whole, found.table
        edges = "" if np.isnan(whole["score_lo"]) else f" ({three(whole['score_lo'])} to {three(whole['score_hi'])})"
        score = f"{found.measures.score} {three(whole['score'])}{edges}"
        performance = f"{found.measures.performance} {three(whole['performance'])}"
        beyond = int((table["score_change_q"] <= ALPHA).sum())
        costly = int((table["performance_change_q"] <= ALPHA).sum())
        return (
            f"{KINDS[found.name].title} on {found.model}, {counted(len(found.chosen_on), 'example')} of "
            f"{counted(found.units, found.unit)}: {score}, {performance}. Of {counted(len(table), 'head')} "
            f"{beyond:,} {'changes' if beyond == 1 else 'change'} the score beyond chance and {costly:,} performance (q ≤ 0.05); "
            f"{len(found.front):,} on the front"
        )

    def notes(self) -> str:
        """What is to be known of the numbers."""
        found = self.shown()
        return "" if found is None else " ".join(filter(None, found.notes))


def _reporting(progress: Progress) -> Any:
    def report(done: int, of: int) -> None:
        progress.tell(f"{done:,} of {of:,} texts", done / max(1, of))

    return report
