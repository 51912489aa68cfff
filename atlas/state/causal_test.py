"""What the causal test shows: whether the heads that look at flagged words carry the decision on them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import pandas as pd
import param

from atlas.errors import NotCaptured, NothingYet
from atlas.ids import HeadId
from atlas.numbers import listed, three
from atlas.state.asking import Progress, Takes
from atlas.state.detection import FIELDS, thresholds_of
from atlas.state.head_effects import MEAN, ZERO
from atlas.state.lens import counted
from atlas.state.pressed import PressedLens
from atlas.trace import NO_MODEL
from atlas.tracing.causal import CAUSAL_TEST, DOSES, RULES, USUAL_DOSE, CausalTest, doses_of, row_of, runs_of

if TYPE_CHECKING:
    from atlas.tracing.verdict import Verdict

ATTENTION, SELECTED = "attention", "selected"
"""Which heads go: those that look most at flagged words, or the selected ones."""

NONE_SELECTED = "No head is selected. Select heads, or test those that look most at flagged words."

FEW, MANY = 99, 199
"""Random sets at each dose."""


class CausalTestChoices(param.Parameterized):
    """Choices of the causal test."""

    heads = param.Selector[str](objects=[ATTENTION, SELECTED], default=ATTENTION, doc="Which heads are switched off.")
    how = param.Selector[str](objects=[ZERO, MEAN], default=ZERO, doc="What the output of a head becomes.")
    dose = param.Selector[int](objects=list(DOSES), default=USUAL_DOSE, doc="How many heads the sentence is about, at most.")
    draws = param.Selector[int](objects=[FEW, MANY], default=MANY, doc="Random sets of heads at each dose.")


class Request(NamedTuple):
    """What is tested."""

    heads: tuple[HeadId, ...] | None
    """None: those that look most at flagged words."""
    thresholds: tuple[tuple[str, float], ...]
    how: str
    draws: int


class CausalTestLens(PressedLens):
    """The decision without ever more heads, beside as many random ones."""

    key: ClassVar = "causal_test"
    choices_type: ClassVar = CausalTestChoices
    reads: ClassVar = {"selection": ("heads", "focus"), "thresholds": tuple(FIELDS.values())}

    def depends(self) -> Hashable:
        """On what a press would test, and the dose that the sentence is about."""
        return self.request(), self.choices.dose

    def request(self) -> Request:
        """What a press would test."""
        choices, heads = self.choices, None
        if choices.heads == SELECTED:
            heads = tuple(sorted(self.workspace.selection.heads_of(self.kind)))
        return Request(heads, tuple(thresholds_of(self.workspace).items()), choices.how, choices.draws)

    @property
    def can_start(self) -> bool:
        """Not without heads."""
        return self.request().heads != () and super().can_start

    def cost(self) -> int:
        """Runs of the model that a test takes at most."""
        request = self.request()
        count = len(self.trace.head_ids) if request.heads is None else len(request.heads)
        return runs_of(self.trace, doses_of(count, chosen=request.heads is not None), request.draws)

    def shown(self) -> CausalTest | None:
        """The test; None where it was not asked for, or is on its way."""
        return self.attempt(self._found, None)

    def verdict(self) -> Verdict | None:
        """The sentence on the chosen dose, on all heads where they were given."""
        found = self.shown()
        return None if found is None else found.verdict_at(self._dose(found))

    def _dose(self, found: CausalTest) -> int:
        return len(found.heads) if found.chosen else int(self.choices.dose)

    def table(self) -> pd.DataFrame:
        """Every dose, with its heads and what follows from them; before the test the rules that will judge it."""
        found = self._found()
        if found is None:
            return pd.DataFrame([(rule.name, rule.part, rule.condition) for rule in RULES], columns=["rule", "part", "condition"])
        names = [" ".join(map(str, found.dose(int(count)))) for count in found.table["heads"]]
        return found.table.assign(switched_off=names, verdict=found.verdict_at(self._dose(found)).sentence)

    # -- what is found -------------------------------------------------------------------------------------------------

    def _found(self) -> CausalTest | None:
        request, trace = self.request(), self.trace
        task = self.workspace.tasks.get(CAUSAL_TEST)
        if task is None or trace.live is None:
            raise NotCaptured(NO_MODEL)
        if request.heads == ():
            raise NothingYet(NONE_SELECTED)
        if not self.is_pressed:
            self.drop_asked()
            self.line = "not tested yet"
            return None

        def work(progress: Progress) -> CausalTest:
            made: CausalTest = task(
                trace, request.heads, thresholds=dict(request.thresholds), how=request.how, draws=request.draws,
                progress=progress.tell,
            )  # fmt: skip
            return made

        found = self.ask(str(request), work, None, needs_model=True, takes=Takes(self.cost()))
        if found is not None:
            self.line = self._describe(found)
        return found

    def _describe(self, found: CausalTest) -> str:
        row = found.table.to_dict("records")[row_of(found.table, self._dose(found))]
        names = listed([head.label(self.trace.kinds) for head in found.heads[: int(row["heads"])]])
        sets = counted(int(row["sets"]), "random set")
        return f"{names} switched off together, beside {sets}; the decision with all heads is {three(found.whole)}"
