"""SharedState: the link of a workspace, kept up to date; and the workspace, put as a link says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import param

from atlas.state.link import State
from atlas.state.pipeline import in_script
from atlas.state.restore import RUN_TO_FETCH, Where, on_this_machine, put_inputs, put_selection
from atlas.state.share import Shared, choices_of, decode, encode, run_of, state_of
from atlas.state.validate import differing
from atlas.state.workspace import Workspace

SizeOf = Callable[[str, str], str]
"""Says in words what the download of a model at a revision takes; blocks while it asks the hub."""

SELECTED = ["focus", "heads", "queries", "keys", "label"]


def size_unknown(_: str, __: str) -> str:
    """For a workspace that nothing can be fetched for."""
    return ""


class SharedState(param.Parameterized):
    """The state on screen as a token. What is typed but not run is no part of it: a link shows what its sender sees.

    Set `token`, or call `open`, to go where a token leads: its model, texts and display at once, its selection when the trace is
    there. What the workspace then becomes is written back only where it differs.
    """

    token = param.String(default="", doc="The state as a link holds it; empty: nothing has been run, or it is too long.")
    message = param.String(default="", doc="What the link leaves out, and why.")
    complaint = param.String(default="", doc="What of the link that was opened last could not be restored.")
    private = param.Boolean(default=False, doc="Leave the texts out of the link.")

    def __init__(
        self, workspace: Workspace, where: Where = on_this_machine, size_of: SizeOf = size_unknown, **params: Any
    ) -> None:
        super().__init__(**params)
        self.workspace = workspace
        self.where, self._size_of = where, size_of
        self._asked: Mapping[str, Any] | None = None
        self._shown: Mapping[str, Any] | None = None
        self._waiting: State | None = None
        self._went_on = False
        self._busy = False
        # Whoever hears of a new trace before us has drawn it already, and has to be told of the selection that follows.
        self._first = not workspace.param.watchers.get("revision")
        workspace.param.watch(self._arrive, "revision")
        workspace.pipeline.param.watch(self._ask, "asked")
        workspace.pipeline.param.watch(self._fail, "status")
        workspace.selection.param.watch(self._selected, SELECTED)
        for holder in (workspace.display, workspace.thresholds, workspace.target):
            holder.param.watch(self._renew, [name for name in holder.param if name != "name"])
        workspace.written.param.watch(self._renew, "record")
        workspace.second.param.watch(self._renew, list(workspace.second.settings))
        workspace.param.watch(self._renew, "chosen")
        self.param.watch(self._renew, "private")
        self.param.watch(self._set, "token")

    def open(self, token: str) -> bool:
        """Put the workspace as a token says; False where nothing of it could be used, and then nothing is changed."""
        if not token.strip():
            return False
        state, said = decode(token)
        if state == State():
            self.complaint = " ".join(said)
            return False
        self.put(state, said)
        return True

    def put(self, state: State, said: Iterable[str] = ()) -> None:
        """Put the workspace as a state says: model, texts and display at once, the selection when the trace is there.

        `said` is what is to be said about the state beside what cannot be restored of it.
        """
        with self._alone():
            if state.private:
                # Who was asked to keep the text out of links would put it into the next one.
                self.private = True
            done = put_inputs(state, self.workspace, self._shown, self.where)
            self.complaint = " ".join([*said, *done.said])
            self._waiting, self._went_on = (state if done.then in {"run", "wait"} else None), False
            if done.then == "run":
                self.workspace.pipeline.run()
            else:
                # A run that was under way when the reader went elsewhere would take the page over when it ends.
                self.workspace.pipeline.stay()
                self._asked = None
            if done.then == "select":
                self._select(state)
        if done.fetch and not in_script():
            param.parameterized.async_executor(partial(self._say_size, state))  # type: ignore[attr-defined]  # Panel's own
        self._renew()

    def link(self, *, private: bool | None = None) -> Shared:
        """The token and its message for another choice of what to leave out."""
        return encode(self._state(), private=self.private if private is None else private)

    def state(self) -> State | None:
        """What the link says, texts included whatever is left out of it; None: nothing was run or asked for."""
        return None if self._shown is None and self._waiting is None else self._state()

    # -- what happens in the workspace -----------------------------------------------------------------------------------

    def _ask(self, *_: object) -> None:
        """A run begins; what it is made of is what the link will say once its trace is there."""
        self._asked = run_of(self.workspace.pipeline)
        waiting = self._waiting
        if waiting is not None and not (
            self._asked["model"] == waiting.model and (waiting.private or self._asked["text"] == waiting.text)
        ):
            self._waiting = None

    def _selected(self, *_: object) -> None:
        """Who goes on with the trace on screen, instead of running what a link asks for, wants a link to that."""
        if not self._busy and not self.workspace.settling and not self.workspace.pipeline.busy:
            self._went_on = True
        self._renew()

    def _fail(self, *_: object) -> None:
        """A run ended without a trace: what is on screen stays, and the link says that again."""
        if self.workspace.pipeline.status in {"failed", "cancelled"} and self.workspace.trace is not None:
            self._waiting = None
            self._renew()

    def _arrive(self, *_: object) -> None:
        trace, pipeline = self.workspace.trace, self.workspace.pipeline
        if trace is None:
            return
        asked, self._asked = self._asked, None
        # A trace that was shown, not run, ends the run that was asked for before.
        # The template writes more into the text of a conversation than was asked for.
        ran = asked is not None and (asked["chat"] or asked["text"] == trace.texts.text)
        self._shown = asked if ran else run_of(pipeline)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            with self._alone():
                self.workspace.settling = self._first
                try:
                    self._select(waiting)
                finally:
                    self.workspace.settling = False
        self._renew()

    async def _say_size(self, state: State) -> None:
        """Add to what is said of a model that has to be fetched how large that is, once the hub has answered."""
        size = await asyncio.to_thread(self._size_of, state.model, state.revision)
        if self._waiting is state and size:
            self.complaint = self.complaint.replace(RUN_TO_FETCH, f"{size} {RUN_TO_FETCH}")

    def _select(self, state: State) -> None:
        self.complaint = " ".join(filter(None, [self.complaint, *put_selection(state, self.workspace)]))

    # -- the token ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Changes made here are one change."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    def _state(self) -> State:
        """What is on screen; while a link's run is awaited, what it will be."""
        space = self.workspace
        if self._waiting is not None and not (self._went_on and self._shown is not None):
            return replace(
                self._waiting, display=differing(space.display), thresholds=differing(space.thresholds),
                explained=differing(space.target), choices=choices_of(space), second=space.second.values(),
            )  # fmt: skip
        return state_of(space, self._shown)

    def _renew(self, *_: object) -> None:
        if self._busy or self.workspace.settling:
            return
        with self._alone():
            made = Shared("") if self._shown is None and self._waiting is None else self.link()
            self.param.update(token=made.token, message=made.message)

    def _set(self, event: Any) -> None:
        """Somebody else wrote the token: go there; where it leads nowhere, the token is what it was."""
        if not self._busy and not self.open(event.new):
            self._renew()
