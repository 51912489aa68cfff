"""A lens: what the views of one kind show now. Marked stale by whatever it depends on, worked out when a view looks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import param

from atlas.errors import AtlasError, NothingYet, fault
from atlas.ids import HeadId, stream_of
from atlas.state.asking import ONE_PASS, Asking, Progress, Takes
from atlas.state.choices import register_choices
from atlas.state.visibility import Revisions
from atlas.trace import Trace

if TYPE_CHECKING:
    from atlas.state.workspace import Workspace

T = TypeVar("T")

EMPTY = "Nothing is analysed yet. Type a text and run it."

log = logging.getLogger(__name__)


def sentence(error: Exception) -> str:
    """What to show of an error; one that nobody foresaw is logged with its traceback."""
    if isinstance(error, AtlasError):
        return str(error)
    log.error("A view failed in a way that was not foreseen.", exc_info=error)
    return fault(error)


class Lens(Revisions):
    """Reads a workspace for the views of one kind; `revision` counts the moments at which what they show became out of date.

    A workspace has one lens of each class, shared by the views that need it. A lens that no view looks at sleeps: it computes
    nothing and tells nobody, and compares once what it depends on when a view comes back.
    """

    line = param.String(default="", doc="Says what is shown now.")
    problem = param.String(default="", doc="Why there is nothing to show, and what to do.")
    no_fault = param.String(default="", doc="The last such reason that is no fault; the card shows it without alarm.")
    empty = param.String(default=EMPTY, doc="What to do to see something; empty once there is a trace.")
    busy = param.Boolean(default=False, doc="Whether a result it asked for is still to come.")
    waiting = param.String(default="", doc="What is happening meanwhile, how long it may take, or how many runs come first.")

    key: ClassVar[str] = ""
    """Under this key a link holds the choices of the lens."""

    choices_type: ClassVar[type[param.Parameterized] | None] = None
    """The Param class of choices that concern this lens alone; every choice has a default."""

    reads: ClassVar[dict[str, tuple[str, ...]]] = {}
    """What it depends on beside the trace: fields of 'selection', 'display', 'target' and other parts of the workspace."""

    marked_by: ClassVar[tuple[str, ...]] = ()
    """Fields of the selection that change no number: they say what is marked."""

    def __init_subclass__(cls, **more: Any) -> None:
        """Make the choices of every lens known to links."""
        super().__init_subclass__(**more)
        if cls.choices_type is not None:
            register_choices(cls.key, cls.choices_type)

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(**params)
        self.workspace = workspace
        self._viewers: dict[int, bool] = {}
        self._stale: set[str] = set()
        self._asking = Asking(self)
        workspace.register(self)
        self._depended: Hashable = self.depends() if workspace.trace is not None else None
        workspace.param.watch(self._new_trace, "revision")
        for part, fields in self.reads.items():
            getattr(workspace, part).param.watch(self._changed, list(fields))
        if self.choices_type is not None:
            self.choices.param.watch(self._changed, [name for name in self.choices.param if name != "name"])
        if self.marked_by:
            workspace.selection.param.watch(self._marked, list(self.marked_by))
        if workspace.trace is not None:  # a view that is opened late finds the trace there
            self.empty = ""
            self.forget()

    @property
    def choices(self) -> Any:
        """The choices that concern this lens alone."""
        return self.workspace.choices_of(self.key)

    @property
    def awake(self) -> bool:
        """Whether some view looks; a lens without views is used from Python and always is."""
        return not self._viewers or any(self._viewers.values())

    def watched_by(self, viewer: object, *, active: bool) -> None:
        """Whether a view looks at this lens; the first one that does makes it catch up."""
        self._viewers[id(viewer)] = active
        stale = self._stale
        if self.awake and stale:
            self._stale = set()
            if "trace" in stale:
                self._new_trace()
            elif "result" in stale:
                self.attempt_drawing(self._take_trace)
            elif "data" in stale:
                self._changed()
            if "marks" in stale:
                self._marked()

    @property
    def trace(self) -> Trace:
        """The trace on screen; asked for only where `problem` has said that there is one."""
        found = self.workspace.trace
        if found is None:
            raise AtlasError(EMPTY)
        return found

    @property
    def kind(self) -> str:
        """The kind of attention on screen."""
        return self.workspace.kind

    @property
    def stream(self) -> str:
        """The stream of tokens that its heads write into: 'encoder' or 'decoder'."""
        return stream_of(self.kind)

    @property
    def layer(self) -> int:
        """The layer of the head in focus."""
        focus = self.workspace.selection.focus
        return 0 if focus is None else focus.layer

    def attempt(self, work: Callable[[], T], otherwise: T) -> T:
        """What `work` gives; where it fails, the reason stands where the plot would be, and `otherwise` is drawn under it.

        Any error is caught here, logged and shown: one that left a lens used to empty every card of the page.
        """
        if self.workspace.trace is None:  # that is no problem, and `empty` says what to do
            return otherwise
        try:
            found = work()
        except Exception as error:  # noqa: BLE001  (shown and logged by `report`)
            self.report(error)
            return otherwise
        self.problem = self.standing_problem
        return found

    @property
    def standing_problem(self) -> str:
        """Why something that is kept could not be made; work that succeeds beside it does not take that back."""
        return self._asking.problem

    def ask(
        self,
        key: str,
        work: Callable[[Progress], T],
        otherwise: T,
        *,
        needs_model: bool = False,
        keep: bool = True,
        takes: Takes = ONE_PASS,
        lane: Hashable = None,
    ) -> T:
        """The result of work that takes long or needs the model; `otherwise` until it is there.

        The work runs in a thread. The lens is `busy` meanwhile and is drawn again when the result comes, which is kept on the
        trace. Asking for another key drops the one under way, and so does a new trace. Without an event loop, as in a script,
        the work runs at once.

        Parameters
        ----------
        key
            Names the result among those of this lens; whatever the result depends on besides the trace is in it.
        work
            Called with the progress it reports to: `progress.tell("Measuring agreement", 0.4)`. It must not read Params, which
            may change meanwhile, and must report often, because a report is where it ends once nobody waits.
        otherwise
            What is drawn while the result is not there, or cannot be had; `problem` then says why.
        needs_model
            Whether it runs the model of the trace: it then waits in the queue of that model.
        keep
            Whether the result is kept on the trace. If not, the lens holds the newest one: for results that are large, and as
            many as there are gestures.
        takes
            What the work takes at most. On a server it is refused, with a sentence, where that is more than its operator allows.
        lane
            What only one task of the server may use at a time, where that is neither its model nor the trace.
        """
        if self.workspace.trace is None:
            return otherwise
        return self._asking.ask(key, work, otherwise, needs_model=needs_model, keep=keep, takes=takes, lane=lane)

    def cancel(self) -> None:
        """The reader wants no more of what the lens waits for."""
        with self.workspace.one_message():
            self._asking.cancel()

    def drop_asked(self) -> None:
        """Stop waiting, without a word."""
        self._asking.drop()

    def leave(self) -> None:
        """The reader has gone."""
        self.drop_asked()

    def arrived(self) -> None:
        """A result that was asked for is there: draw it."""
        if self.awake:
            self.attempt_drawing(self._draw_again)
        else:
            self._stale.add("result")

    def attempt_drawing(self, draw: Callable[[], object]) -> None:
        """Call what draws a view; an error is reported, a problem of the data stays on screen."""
        try:
            draw()
        except Exception as error:  # noqa: BLE001  (shown and logged by `report`)
            self.report(error)

    def report(self, error: Exception) -> None:
        """Show an error where the plot would be; one that nobody foresaw is logged with its traceback."""
        said = sentence(error)
        self.param.update(problem=said, no_fault=said if isinstance(error, NothingYet) else self.no_fault)

    def safely(self, draw: Callable[[], object]) -> None:
        """Call what follows the lens; an error is reported, and whoever else is told of the same change is told."""
        self.attempt_drawing(draw)

    def shown_heads(self) -> tuple[HeadId, ...]:
        """The heads that views of tokens are about: the selected ones of the kind on screen, else the one in focus.

        Not all heads where none is selected: the matrix, whose sliders move the focus, would show something else than the text.
        """
        selection = self.workspace.selection
        chosen = selection.heads_of(self.kind)
        return chosen or (() if selection.focus is None else (selection.focus,))

    def forget(self) -> None:
        """Drop what was worked out: it is out of date."""

    def begin(self) -> None:
        """Start what a reader has to press for; nothing where the lens shows its numbers unasked."""

    def handed_over(self) -> Any:
        """What a lens of this class needs to show the same in another workspace, and what is no choice: what was pressed for."""
        return None

    def take_over(self, handed: Any) -> None:
        """Show what was shown there; the trace is the same."""

    def depends(self) -> Hashable:
        """What the shown numbers depend on; if it is equal after a change, nothing is drawn again. None: on everything it reads.

        A lens that reads the focus for its kind alone needs this, because the focus moves with every tap.
        """
        return None

    def _new_trace(self, *_: object) -> None:
        self._asking.release()
        if not self.awake:
            self._stale.add("trace")
            return
        self.empty = "" if self.workspace.trace is not None else EMPTY
        self.attempt_drawing(self._take_trace)

    def _take_trace(self) -> None:
        self._depended = self.depends() if self.workspace.trace is not None else None
        self._redraw()

    def _changed(self, *_: object) -> None:
        # While a new trace settles, the selection changes too; the views are told once, when all of it fits.
        if self.workspace.settling or self.workspace.trace is None:
            return
        if not self.awake:
            self._stale.add("data")
            return
        # An error must not keep the watchers after this one, the other lenses, from hearing of the change.
        self.attempt_drawing(self._compare)

    def _compare(self) -> None:
        depends = self.depends()
        if depends is None or depends != self._depended:
            self._depended = depends
            self._redraw()

    def _marked(self, *_: object) -> None:
        if self.workspace.settling or self.workspace.trace is None:
            return
        if not self.awake:
            self._stale.add("marks")
            return
        with self.workspace.one_message():
            self.marks += 1

    def _redraw(self) -> None:
        """Draw after a change by the reader, who may try again what failed."""
        self._asking.forget()
        self._draw_again()

    def _draw_again(self) -> None:
        with self.workspace.one_message():
            self.forget()
            self.revision += 1


def counted(count: int, noun: str) -> str:
    """'1 head', '7 heads'."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
