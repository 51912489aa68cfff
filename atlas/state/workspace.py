"""Workspace: the state of one reader, wired together. Two of them know nothing of each other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import param

from atlas.state.changes import BiasThresholds, Interventions, Target
from atlas.state.display import Display
from atlas.state.focus_sliders import HeadModel, LayerModel
from atlas.state.pipeline import Kept, OneMessage, Pipeline, Work, nothing_kept
from atlas.state.selection import Selection

if TYPE_CHECKING:
    from atlas.trace import Trace


def immediately(work: Callable[[], None]) -> None:
    """Later is now, where there is no page that could be shown something before."""
    work()


class Workspace(param.Parameterized):
    """Everything one session has: its pipeline, what is selected, how it is drawn."""

    revision = param.Integer(default=0, doc="Counts the traces shown; views redraw on it once the selection fits the new trace.")

    def __init__(
        self,
        work: Work,
        one_message: OneMessage = nullcontext,
        after_paint: Callable[[Callable[[], None]], None] = immediately,
        kept: Kept = nothing_kept,
        **params: Any,
    ) -> None:
        self.one_message, self.after_paint = one_message, after_paint
        self.pipeline = Pipeline(work, one_message, kept)
        self.selection = Selection()
        self.display = Display()
        self.target = Target()
        self.thresholds = BiasThresholds()
        self.layer = LayerModel(selection=self.selection)
        self.head = HeadModel(selection=self.selection)
        super().__init__(**params)
        self.settling = False
        self.pipeline.param.watch(self._fit, "trace")
        self.selection.param.watch(self._fit_sliders, "focus")

    @property
    def trace(self) -> Trace | None:
        """The trace on screen."""
        return self.pipeline.trace

    @property
    def interventions(self) -> Interventions:
        """What runs are made without."""
        found = self.pipeline.interventions
        assert found is not None
        return found

    @property
    def kind(self) -> str:
        """The kind of attention on screen."""
        return self.selection.kind or "encoder"

    def _fit(self, *_: object) -> None:
        """A new trace: the selection is fitted first, then the views are told, once."""
        trace = self.trace
        if trace is None:
            return
        self.settling = True
        try:
            self.selection.clip_to(trace)
            self._fit_sliders()
        finally:
            self.settling = False
        self.revision += 1

    def _fit_sliders(self, *_: object) -> None:
        trace = self.trace
        if trace is not None and self.selection.kind is not None:
            self.layer.fit(trace, self.selection.kind)
            self.head.fit(trace, self.selection.kind)
