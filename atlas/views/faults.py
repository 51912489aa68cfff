"""What fails in a view is shown in its own card, and the other cards stay.

Views share lenses, so an error of one view's drawing is no problem of its lens. Errors reach a view from five sides: its own
functions, the hooks HoloViews calls (which would only log them), HoloViews drawing what it was given, watchers, gestures.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import param
from holoviews import streams
from holoviews.core.options import AbbreviatedException

from atlas.plots.frame import Hook
from atlas.state.lens import sentence
from atlas.state.pipeline import BUSY

T = TypeVar("T")


class Faults(param.Parameterized):
    """The errors of one view, each under the work that failed; the next success of the same work takes it away."""

    problem = param.String(default="", doc="What could not be drawn; shown where the plot would be.")
    note = param.String(default="", doc="Which gesture failed; shown above the plot, which stands as it was.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._problems: dict[Hashable, str] = {}
        self._notes: dict[Hashable, str] = {}

    def attempt(self, work: Callable[[], T], otherwise: Callable[[], T], key: Hashable = None) -> T:
        """What `work` gives; where it fails, what `otherwise` gives, and the reason is shown where the plot would be."""
        name = work if key is None else key
        try:
            found = work()
        except Exception as error:  # noqa: BLE001  (shown and logged by `sentence`)
            self.report(error, name)
            return otherwise()
        self.mend(name)
        return found

    def report(self, error: Exception, key: Hashable) -> None:
        """Show an error where the plot would be."""
        # HoloViews wraps what its plots raise, and names its own wrapper first.
        original = error.value if isinstance(error, AbbreviatedException) else error
        self._problems[key] = sentence(original)
        self._show()

    def mend(self, key: Hashable) -> None:
        """Take an error away, because the same work succeeded."""
        if self._problems.pop(key, None) is not None:
            self._show()

    def gesture(self, work: Callable[[], T], key: Hashable) -> T | None:
        """What a gesture gives; an error stands above the plot, because a hidden plot could not be tapped again."""
        try:
            found = work()
        except Exception as error:  # noqa: BLE001  (shown and logged by `sentence`)
            self._notes[key] = sentence(error)
            self._show()
            return None
        if self._notes.pop(key, None) is not None:
            self._show()
        return found

    def hooks(self, hooks: Sequence[Hook]) -> list[Hook]:
        """HoloViews hooks whose errors are shown; HoloViews itself would log them and draw a plot that lacks something.

        They hold the view weakly: HoloViews keeps hooks for as long as it lives, in a place that all sessions share.
        """
        return [functools.partial(_caught, weakref.ref(self), hook, at) for at, hook in enumerate(hooks)]

    def _show(self) -> None:
        first = next(iter(self._problems.values()), ""), next(iter(self._notes.values()), "")
        self.param.update(problem=first[0], note=first[1])


def _caught(faults: weakref.ref[Faults], hook: Hook, at: int, plot: Any, element: Any) -> None:
    found = faults()
    if found is not None:
        found.attempt(lambda: hook(plot, element), lambda: None, ("hook", at))


class Follows(streams.Params):
    """The Params a plot is drawn anew with. An error of HoloViews stays in the view, not with whoever changed a Param."""

    faults = param.ClassSelector(class_=Faults, allow_None=True, constant=True, doc="Where errors are shown.")

    @classmethod
    def trigger(cls, streams: Any) -> None:
        """Draw anew all plots that follow some streams."""
        faults = next((stream.faults for stream in streams if isinstance(stream, Follows)), None)
        if faults is None:
            super().trigger(streams)
        else:
            faults.attempt(lambda: super(Follows, cls).trigger(streams), lambda: None, "redraw")


def faulty(problem: str, no_fault: str, fault: str) -> str:
    """What went wrong, in the lens or in the view."""
    return (problem if problem != no_fault else "") or fault


RUNNING = "The text is being analysed."


def calm(empty: str, problem: str, no_fault: str, status: str = "") -> str:
    """What to do to see something, where nothing went wrong; who has pressed Run has done it."""
    if empty and status in BUSY:
        return RUNNING
    return empty or (problem if problem == no_fault else "")
