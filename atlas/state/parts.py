"""A lens whose work is long and comes in parts: what is found so far is shown, and other readers have their turn in between."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, ClassVar

from atlas.state.asking import Progress
from atlas.state.lens import Lens


class PartsLens(Lens):
    """Runs for a request once the reader has pressed for it. Results outlive the trace: another text is no reason to run again.

    A run that was stopped goes on from where it was.
    """

    kept_runs: ClassVar[int] = 4
    """Runs that are kept, finished ones and others apart: a reader goes back and forth between models and choices."""

    def __init__(self, workspace: Any, **params: Any) -> None:
        self._wanted: set[Hashable] = set()
        self._results: dict[Hashable, Any] = {}
        self._held: dict[Hashable, dict[Any, Any]] = {}
        """What the parts of a run hand on to each other."""
        self._parts: dict[Hashable, int] = {}
        self._runs: dict[Hashable, None] = {}
        """Runs that were begun, the one that went on last at the end."""
        super().__init__(workspace, **params)

    # -- what a lens says ----------------------------------------------------------------------------------------------

    def request(self) -> Hashable:
        """All that the results depend on."""
        raise NotImplementedError

    def part(self, held: dict[Any, Any]) -> Callable[[Progress], Any]:
        """The work of the next part; `held` is what the parts hand on. Raises where nothing can run."""
        raise NotImplementedError

    def can_begin(self) -> bool:
        """Whether there is anything to run."""
        raise NotImplementedError

    def describe(self) -> str:
        """The line above what is shown."""
        raise NotImplementedError

    def lane(self) -> Hashable:
        """What parts wait for in place of the model, where they do not run it here; None: the model."""
        return None

    def check(self) -> None:
        """Raise where nothing can be shown."""

    # -- what a reader does --------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run, or go on."""
        if self.can_begin():
            self._wanted.add(self.request())
            self._goes_on(self.request())
            self._redraw()

    def cancel(self) -> None:
        """Stop; what was found stays, and a later run goes on from there."""
        self.drop_asked()
        self._wanted.discard(self.request())
        self._redraw()

    @property
    def can_run(self) -> bool:
        """Whether there is something left to do."""
        found = self.found()
        return self.can_begin() and not self.busy and (found is None or not found.complete)

    @property
    def is_begun(self) -> bool:
        """Whether the run was begun, also where it was stopped or is finished."""
        return self.workspace.trace is not None and self.request() in self._runs

    # -- what is found -------------------------------------------------------------------------------------------------

    def found(self) -> Any:
        """What is found so far; None: nothing."""
        return None if self.workspace.trace is None else self._results.get(self.request())

    def shown(self) -> Any:
        """What is on screen, and the next part of the run asked for."""
        return self.attempt(self._advance, None)

    def arrived(self) -> None:
        """A part is there; the next one begins also while nobody looks."""
        if not self.awake:
            self.attempt(self._advance, None)
        super().arrived()

    def held(self) -> dict[Any, Any]:
        """What the parts of the run on screen hand on to each other."""
        return self._held.setdefault(self.request(), {})

    def _advance(self) -> Any:
        self.check()
        key = self.request()
        while key in self._wanted and not ((found := self._results.get(key)) is not None and found.complete):
            # By this lens too: another session on the same trace has results of its own to go on from.
            name = f"{id(self)} {key} {self._parts.get(key, 0)}"
            nothing: Any = None
            work, lane = self.part(self.held()), self.lane()
            part = self.ask(name, work, nothing, needs_model=lane is None, keep=False, lane=lane)
            if part is None:
                break
            self._keep(key, part)
            self._parts[key] = self._parts.get(key, 0) + 1
        self.line = self.describe()
        return self._results.get(key)

    def _keep(self, key: Hashable, part: Any) -> None:
        self._results[key] = part
        if part.complete:
            self._held.pop(key, None)
        self._goes_on(key)

    def _goes_on(self, key: Hashable) -> None:
        """Let go of what went on least lately."""
        self._runs.pop(key, None)
        self._runs[key] = None
        for finished in (True, False):
            alike = [each for each in self._runs if (each in self._results and self._results[each].complete) == finished]
            for old in alike[: -self.kept_runs]:
                self.let_go(old)

    def let_go(self, key: Hashable) -> None:
        """Forget a run and what it found."""
        for kept in (self._runs, self._results, self._held):
            kept.pop(key, None)
        self._wanted.discard(key)
