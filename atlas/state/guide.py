"""Guide: leads a reader through a tour on the real page, and puts back what the reader had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import param

from atlas.errors import AtlasError
from atlas.state.compact import shown
from atlas.state.link import State
from atlas.state.restore import CHOICE, TEXTS, job_of
from atlas.state.share import run_of
from atlas.state.tour import Step, Tour, Value

if TYPE_CHECKING:
    from atlas.state.shared import SharedState
    from atlas.trace import Trace

AWAY = "The page shows something else now. “Show it again” brings back what this step speaks of."
UNTRUE = "This run does not show what the sentences say; another version of the libraries may have computed it."
WAITING = "The text is being analysed."

LONGEST_KEY = 40
"""Letters of a stranger's name of a tour that is looked up; those of ours are shorter."""


class Guide(param.Parameterized):
    """The tour that a reader is on, if any."""

    tour = param.String(default="", doc="Key of the tour; empty: none. `start` and `leave` set it.")
    at = param.Integer(default=0, bounds=(0, None), doc="The step, from 0.")
    words = param.String(default="", doc="What to look for, with the numbers of the trace on screen.")
    note = param.String(default="", doc="What is awaited, or why the words are not true of what is on screen.")
    away = param.Boolean(default=False, doc="Whether the page shows something else than the step speaks of.")
    complaint = param.String(default="", doc="Why a tour that a link names cannot be opened.")

    def __init__(self, shared: SharedState, tours: Sequence[Tour], **params: Any) -> None:
        super().__init__(**params)
        self.shared = shared
        self.tours: Mapping[str, Tour] = {tour.key: tour for tour in tours}
        self._before: _Before | None = None
        self._values: dict[str, Value] = {}
        """Numbers of the steps so far, which later ones may quote."""
        self._putting = False
        workspace = shared.workspace
        workspace.param.watch(self._tell, "revision")
        workspace.pipeline.param.watch(self._tell, "status")

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the tour; none where there is no tour."""
        return self.tours[self.tour].steps if self.tour else ()

    @property
    def step(self) -> Step | None:
        """The step on screen."""
        return self.steps[self.at] if self.tour else None

    def start(self, key: str) -> None:
        """Begin a tour; a key that is none is said. Who goes from one tour to another gets back what was there before both."""
        if key not in self.tours:
            self.complaint = f"There is no tour {shown(key[:LONGEST_KEY])}. There are: {', '.join(self.tours)}."
            return
        if self._before is None:
            self._before = _Before(self.shared)
        self._values = {}
        self.param.update(tour=key, at=0, complaint="")
        self.again()

    def next(self) -> None:
        """One step on."""
        self._go(self.at + 1)

    def back(self) -> None:
        """One step back."""
        self._go(self.at - 1)

    def again(self) -> None:
        """Put the page as the step says."""
        step = self.step
        if step is not None:
            self._putting = True
            try:
                self.shared.put(step.state())
            finally:
                self._putting = False
            self._tell()

    def leave(self) -> None:
        """End the tour and put back what was on the page before it."""
        before, self._before = self._before, None
        if self.tour:
            self.param.update(tour="", at=0, words="", note="", away=False)
            self._values = {}
            if before is not None:
                before.put_back()

    def _go(self, at: int) -> None:
        if 0 <= at < len(self.steps) and at != self.at:
            self.at = at
            self.again()

    def _tell(self, *_: object) -> None:
        step, pipeline, trace = self.step, self.shared.workspace.pipeline, self.shared.workspace.trace
        if step is None or self._putting:
            return
        if trace is not None and pipeline.shown == job_of(step.state()) and not pipeline.busy:
            self.param.update(away=False, **self._said(step, trace))
        elif pipeline.busy:
            self.param.update(away=False, words="", note=WAITING)
        else:
            self.param.update(away=True, words="", note=AWAY)

    def _said(self, step: Step, trace: Trace) -> dict[str, str]:
        try:
            self._values |= step.measured(trace)
        except AtlasError as problem:
            return {"words": step.said(self._values), "note": str(problem)}
        return {"words": step.said(self._values), "note": UNTRUE if step.untrue(self._values) else ""}


class _Before:
    """What was on the page before a tour."""

    def __init__(self, shared: SharedState) -> None:
        workspace = shared.workspace
        self.shared = shared
        self.state: State | None = shared.state()
        self.typed = run_of(workspace.pipeline)
        # A trace that no run brings back: that of a model which this process does not have.
        self.trace = workspace.trace if self.state is not None and self.state.in_memory else None

    def put_back(self) -> None:
        workspace = self.shared.workspace
        pipeline = workspace.pipeline
        if self.state is not None:
            if self.trace is not None and workspace.trace is not self.trace:
                self._type(job_fields(self.state))
                pipeline.show(self.trace)
            self.shared.put(self.state)
        # What was typed and not run is no part of the state.
        self._type(self.typed)

    def _type(self, fields: Mapping[str, Any]) -> None:
        pipeline = self.shared.workspace.pipeline
        # What of the texts was a prompt follows from the texts.
        given = {"name_or_path" if name == "model" else name: value for name, value in fields.items() if name != "spans"}
        for holder in (pipeline.choice, pipeline.input, pipeline.interventions):
            assert holder is not None
            holder.param.update(**{name: value for name, value in given.items() if name in holder.param})


def job_fields(state: State) -> dict[str, Any]:
    """The fields of a state that a run is made of."""
    names = ("model", *CHOICE, *TEXTS, "ablated", "cut", "regenerate")
    return {name: getattr(state, name) for name in names}
