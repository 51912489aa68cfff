"""Workspace: the state of one reader, wired together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakSet

import param

from atlas.scheduler import Scheduler
from atlas.state.changes import BiasThresholds, Interventions, Target
from atlas.state.choices import CHOICES
from atlas.state.corpora import Corpora
from atlas.state.display import Display
from atlas.state.findings import Findings
from atlas.state.focus_sliders import HeadModel, LayerModel
from atlas.state.listed_texts import ListedTexts
from atlas.state.pipeline import (
    Kept,
    Load,
    OneMessage,
    Pipeline,
    Prepare,
    Weigh,
    Work,
    nothing_kept,
    nothing_known,
    nothing_to_load,
    nothing_to_prepare,
)
from atlas.state.recent_texts import RecentTexts
from atlas.state.second import SecondSide
from atlas.state.selection import Selection
from atlas.state.written import WrittenRecord

if TYPE_CHECKING:
    from atlas.state.lens import Lens
    from atlas.trace import Trace

LensType = TypeVar("LensType", bound="Lens")


def immediately(work: Callable[[], None]) -> None:
    """Without a page there is nothing to paint first, so run `work` immediately."""
    work()


Tasks = Mapping[str, Callable[..., Any]]
"""What needs torch, by name: attribution, ablation, detectors. The app hands it in, so that state imports no torch."""


class Workspace(param.Parameterized):
    """Everything one session has: its pipeline, what is selected, how it is drawn.

    Two workspaces know nothing of each other, unless they are given one Selection and one Display: two pipelines side by side
    then follow the same gestures.
    """

    revision = param.Integer(default=0, doc="Counts the traces shown; views redraw on it once the selection fits the new trace.")
    window_height = param.Integer(default=900, doc="Pixels of the reader's window, downwards; plots that fill it follow.")
    chosen = param.Integer(default=0, doc="Counts the changes of the choices that concern single views.")

    def __init__(
        self,
        work: Work,
        one_message: OneMessage = nullcontext,
        after_paint: Callable[[Callable[[], None]], None] = immediately,
        kept: Kept = nothing_kept,
        *,
        selection: Selection | None = None,
        display: Display | None = None,
        tasks: Tasks | None = None,
        load: Load = nothing_to_load,
        prepare: Prepare = nothing_to_prepare,
        weigh: Weigh = nothing_known,
        session: Hashable = None,
        scheduler: Scheduler | None = None,
        corpora: Corpora | None = None,
        at_once: bool = False,
        **params: Any,
    ) -> None:
        self.at_once = at_once
        """Whether what lenses ask for is done in the calling thread, also inside the event loop of a notebook."""
        self.one_message, self.after_paint = one_message, after_paint
        self.scheduler = scheduler or Scheduler()
        # One session for all of its pipelines, because they are one reader's.
        self.new_pipeline = partial(
            Pipeline,
            work,
            one_message,
            kept,
            load=load,
            prepare=prepare,
            weigh=weigh,
            scheduler=self.scheduler,
            session=session if session is not None else object(),
        )
        self.pipeline = self.new_pipeline()
        self.selection = selection or Selection()
        self.display = display or Display()
        self.tasks: Tasks = tasks or {}
        self.target = Target()
        self.thresholds = BiasThresholds()
        self.written = WrittenRecord()
        self.findings = Findings()
        self.corpora = corpora or Corpora()
        self.listed, self.recent = ListedTexts(self), RecentTexts(self.pipeline)
        self.second = SecondSide(self.pipeline, self.new_pipeline, one_message)
        self.layer = LayerModel(selection=self.selection)
        self.head = HeadModel(selection=self.selection)
        self.choices: dict[str, param.Parameterized] = {}
        self._lenses: dict[type[Lens], Lens] = {}
        self._all_lenses: WeakSet[Lens] = WeakSet()
        super().__init__(**params)
        self.settling = False
        self.pipeline.param.watch(self._fit, "trace")
        self.selection.param.watch(self._fit_sliders, "focus")

    def lens(self, lens_type: type[LensType]) -> LensType:
        """The lens of a class: one for all views that need it, made when the first asks."""
        if lens_type not in self._lenses:
            self._lenses[lens_type] = lens_type(self)
        return cast("LensType", self._lenses[lens_type])

    def choices_of(self, key: str) -> param.Parameterized:
        """The choices of a lens by its key; they are there before the lens is, because a link may set them first."""
        if key not in self.choices:
            made = self.choices[key] = CHOICES[key]()
            made.param.watch(self._count_choice, [name for name in made.param if name != "name"])
        return self.choices[key]

    @property
    def lenses(self) -> tuple[Lens, ...]:
        """All lenses of this workspace."""
        return tuple(self._all_lenses)

    def register(self, lens: Lens) -> None:
        """Note a lens, also one that is not made by `lens`, so that `leave` reaches it."""
        self._all_lenses.add(lens)

    def leave(self) -> None:
        """The reader has gone: drop the run under way and everything the lenses wait for."""
        self.pipeline.cancel()
        self.second.cancel()
        self.listed.leave()
        for lens in self.lenses:
            lens.leave()

    def _count_choice(self, *_: object) -> None:
        self.chosen += 1

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
            self.written.record = None
            self.selection.clip_to(trace)
            self._fit_sliders()
        finally:
            self.settling = False
        self.revision += 1
        # Called, not bound to `revision`: a link reads from its watchers whether any view was made before it.
        self.second.follow()

    def _fit_sliders(self, *_: object) -> None:
        trace = self.trace
        if trace is not None and self.selection.kind is not None:
            self.layer.fit(trace, self.selection.kind)
            self.head.fit(trace, self.selection.kind)
