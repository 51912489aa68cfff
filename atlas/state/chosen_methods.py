"""What lenses share that run up to three chosen methods of attribution at a press, and then follow what is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

import param

from atlas.state.attribution import METHODS
from atlas.state.lens import Lens

if TYPE_CHECKING:
    from atlas.trace import Trace

NO_METHOD = ""


class ChosenMethods(param.Parameterized):
    """Which methods."""

    first = param.Selector[str](objects=list(METHODS), default="integrated_gradients", doc="One method.")
    second = param.Selector[str](objects=[NO_METHOD, *METHODS], default="rollout", doc="Another one; '' for none.")
    third = param.Selector[str](objects=[NO_METHOD, *METHODS], default="raw_attention", doc="Another one; '' for none.")


class ChosenMethodsLens(Lens):
    """Runs once the reader has pressed for the text on screen, and again with every change of a choice or the target."""

    _started: ref[Trace] | None = None
    """The trace that the reader has asked for: thousands of passes are not run because a tab is opened. Weakly, because a lens
    that sleeps would keep it in memory."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The chosen methods, each once."""
        chosen = (self.choices.first, self.choices.second, self.choices.third)
        return tuple(dict.fromkeys(name for name in chosen if name))

    def start(self) -> None:
        """Run for the trace on screen, now and whenever a choice or the target changes."""
        trace = self.workspace.trace
        self._started = None if trace is None else ref(trace)
        self._redraw()

    @property
    def is_started(self) -> bool:
        """Whether the reader has asked for the trace on screen."""
        return self._started is not None and self._started() is self.workspace.trace

    def begin(self) -> None:
        """Run for the trace on screen."""
        self.start()

    def handed_over(self) -> Any:
        """The trace for which it was asked."""
        return self._started

    def take_over(self, handed: Any) -> None:
        """Show it where it was asked for there."""
        self._started = handed
        self._redraw()
