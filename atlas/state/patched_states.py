"""What the view of patched states shows: at which token, and after how many layers, is what the prediction needs."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import param

from atlas.admission import Cost
from atlas.errors import NotCaptured, TooLarge
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.asking import Progress, Takes
from atlas.state.attribution import explained_target, target_in_words
from atlas.state.lens import counted
from atlas.state.other_text import other_text, own_text, quoted
from atlas.state.patched_state_words import chance_in_words, way_in_words
from atlas.state.plane import Axis, Cell, Marked, Plane, PlaneLens, Thresholded
from atlas.state.pressed import PressedLens
from atlas.state.words import shown_token
from atlas.trace import NO_MODEL
from atlas.tracing.explained import COST, LOGIT, MOST_TOKENS_RUN, Target
from atlas.tracing.patched_states import (
    ATTENTION,
    DIRECTIONS,
    DISTURB,
    FEED_FORWARD,
    MOST_TOGETHER,
    PARTS,
    PATCHED_STATES,
    RESTORE,
    STREAM,
    PatchedStates,
    cells_run,
    runs_of,
    streams,
    too_many,
    without_part,
)

if TYPE_CHECKING:
    import pandas as pd

ALL, SELECTED = "all", "selected"

PUT_IN = {
    STREAM: "the residual stream after a layer",
    ATTENTION: "what the attention of a layer puts out",
    FEED_FORWARD: "what the feed-forward block of a layer puts out",
}

READINGS = {RESTORE: "share restored", DISTURB: "share taken away"}

LITTLE = 0.5
"""Logits between the two texts of which shares say little."""

SELECT = "No token is selected. Select tokens in the text or on this plane, or run all positions."


class PatchedStatesChoices(Thresholded):
    """Choices of the view of patched states."""

    quotes: ClassVar[tuple[str, ...]] = ("own",)
    """Choices that quote a text: a link without the text leaves them out."""

    part = param.Selector[str](objects=list(PARTS), default=STREAM, doc="What is put into the run of the other text.")
    direction = param.Selector[str](objects=list(DIRECTIONS), default=RESTORE, doc="Which text is run, and which gives states.")
    where = param.Selector[str](objects=[ALL, SELECTED], default=ALL, doc="At which positions.")
    together = param.Integer(default=1, bounds=(1, MOST_TOGETHER), doc="Neighbouring layers whose blocks are exchanged at once.")
    own = param.String(default="", doc="The other text, of as many tokens; empty: an example, cut or repeated.")


class Request(NamedTuple):
    """What is run."""

    target: Target
    own: str
    """The reader's other text; empty: an example."""
    kind: str
    part: str
    direction: str
    together: int
    positions: tuple[int, ...] | None
    """None: all."""


@dataclass(frozen=True)
class StatesPlane(Plane):
    """Layers down, the last on top; positions across."""

    positions: tuple[int, ...] = ()

    def name(self, axis: Axis, at: int, most: int | None = None) -> str:
        """A layer; a token and its position, because a text may hold a token more than once."""
        name = super().name(axis, at, most)
        return name if axis == "row" else f"{name} ({self.positions[at]})"


class PatchedStatesLens(PressedLens, PlaneLens):
    """The share that every state carries, for the chosen prediction and pair of texts."""

    key: ClassVar = "patching"
    choices_type: ClassVar = PatchedStatesChoices
    reads: ClassVar = {"selection": ("focus",), "target": ("position", "outcome", "against")}
    marked_by: ClassVar = ("queries", "keys", "heads")
    marking: ClassVar = ("columns",)
    missing: ClassVar = ""
    row_title: ClassVar = "state after"
    column_title: ClassVar = "token here / in the other text"
    nothing: ClassVar = StatesPlane()

    _run_at: tuple[int, ...] = ()
    """The tokens that were selected at the press: selecting others afterwards leaves what is shown on screen."""

    def depends(self) -> Hashable:
        """On what is run; selected tokens are marked only."""
        return self.request()

    def forget(self) -> None:
        """The plane is built again, and of another trace a press has to come again."""
        if not self.is_of_trace:
            self._run_at = ()
        PlaneLens.forget(self)
        PressedLens.forget(self)

    def request(self) -> Request:
        """What a press would run."""
        choices = self.choices
        return Request(
            explained_target(self.workspace, LOGIT), own_text(choices.own), self.stream, choices.part, choices.direction,
            1 if choices.part == STREAM else choices.together, self._run_at if choices.where == SELECTED else None,
        )  # fmt: skip

    def start(self) -> None:
        """The reader presses: the tokens that are selected now are run, where only these are wanted."""
        if self.choices.where == SELECTED:
            self._run_at = self.selected()
            self._depended = self.depends()
        super().start()

    @property
    def can_start(self) -> bool:
        """Also where other tokens are selected than those that were run."""
        if super().can_start:
            return True
        if self.workspace.trace is None or self.busy or self.choices.where != SELECTED:
            return False
        return bool(self.selected()) and self.selected() != self._run_at

    def handed_over(self) -> Any:
        """What was pressed for, and at which tokens."""
        return super().handed_over(), self._run_at

    def take_over(self, handed: Any) -> None:
        """Show what was pressed for there."""
        pressed, self._run_at = handed
        super().take_over(pressed)

    @property
    def side(self) -> str:
        """Whose positions are across."""
        return self.trace.side(self.stream, "query")

    def selected(self) -> tuple[int, ...]:
        """The selected positions of the stream, on whichever axis."""
        selection, trace = self.workspace.selection, self.trace
        fields = (selection.queries, "query"), (selection.keys, "key")
        chosen = {at for field, axis in fields for at in field if trace.side(self.kind, axis) == self.side}
        return tuple(sorted(chosen))

    # -- what is found -----------------------------------------------------------------------------------------------------

    def other(self) -> str:
        """The text of which states are exchanged."""
        return self.request().own or other_text(self.trace)

    def runs(self) -> int:
        """Runs of the text that a press takes at most."""
        trace = self.trace
        if PATCHED_STATES not in self.workspace.tasks or trace.live is None:
            raise NotCaptured(NO_MODEL)
        return runs_of(trace, self.choices.part, self.stream, self._n_positions())

    def _n_positions(self) -> int:
        return len(self.selected()) if self.choices.where == SELECTED else len(self.trace.token_tables[self.side])

    def cost_in_words(self) -> str:
        """'217 runs of the text, about 3 s'."""
        runs, trace, space = self.runs(), self.trace, self.workspace
        estimate = space.tasks.get(COST)
        cost = Cost() if estimate is None else estimate(trace, runs)
        seconds = space.scheduler.seconds_of(cost, space.pipeline.lane)
        return f"{counted(runs, 'run')} of the text" + ("" if seconds is None else f", about {max(1, round(seconds)):,} s")

    def found(self) -> PatchedStates | None:
        """What every state carries; None where it was not asked for, or is on its way."""
        trace, request, task = self.trace, self.request(), self.workspace.tasks.get(PATCHED_STATES)
        reason = without_part(trace, request.kind, request.part)
        if reason:
            raise NotCaptured(reason)
        self._check_size()
        if not self.is_pressed:
            self.drop_asked()
            hint = "" if request.own else "Best type another text that differs in one word that the prediction hangs on. "
            self.line = f"{hint}{self.cost_in_words()}: one for each layer and token, and some of random changes. Press Run"
            return None
        if task is None:
            raise NotCaptured(NO_MODEL)
        if request.positions == ():
            raise NotCaptured(SELECT)
        other = self.other()

        def work(progress: Progress) -> PatchedStates:
            made: PatchedStates = task(
                trace, request.target, other, request.part, request.direction, request.positions, kind=request.kind,
                together=request.together, fit=not request.own, progress=progress.tell,
            )  # fmt: skip
            return made

        return self.ask(f"{request}", work, None, needs_model=True, takes=Takes(self.runs(), gradients=True))

    def _check_size(self) -> None:
        """Say before a press that there are too many cells."""
        trace, rows = self.trace, self.trace.n_layers(self.stream) + (self.choices.part == STREAM)
        tokens = sum(map(len, trace.token_tables.values()))
        if cells_run(rows, self._n_positions()) * tokens > MOST_TOKENS_RUN and not self.is_pressed:
            raise TooLarge(too_many(rows, self._n_positions(), tokens))

    # -- the plane ---------------------------------------------------------------------------------------------------------

    def _build_plane(self) -> StatesPlane:
        found = self.found()
        if found is None:
            return StatesPlane()
        self.line = self._describe(found)
        own = self._tokens(found)
        columns = tuple(
            one if one == other else f"{one} / {other}"
            for one, other in zip(own, map(shown_token, found.other_tokens), strict=True)
        )
        rows = tuple("embedding" if layer is None else f"L{layer}" for layer in reversed(found.layers))
        return StatesPlane(rows, columns, found.share[::-1], positions=found.positions)

    def _tokens(self, found: PatchedStates) -> list[str]:
        tokens = self.trace.token_tables[self.side]["token"]
        return [shown_token(str(tokens.iloc[at])) for at in found.positions]

    def titles(self) -> tuple[str, str]:
        """Rows are states, or blocks."""
        down = {STREAM: self.row_title, ATTENTION: "attention of", FEED_FORWARD: "feed-forward of"}[self.choices.part]
        return down, self.column_title

    @property
    def signed(self) -> bool:
        """A state can lead away from the text it was taken from."""
        return True

    def _highest(self) -> float:
        """One scale for all texts, unless a share is larger."""
        return max(1.0, super()._highest())

    def reading(self) -> str:
        """What a share is of."""
        return READINGS[self.choices.direction]

    def beyond(self) -> frozenset[tuple[int, int]]:
        """The cells beyond chance: (row, column)."""
        found = self.found() if self.workspace.trace is not None and self.plane().rows else None
        if found is None:
            return frozenset()
        return frozenset((int(row), int(column)) for row, column in np.argwhere(found.beyond[::-1]))

    def _numbers(self, row: int, column: int) -> Cell:
        """The share, and what random changes of the same length stay within."""
        numbers, found = super()._numbers(row, column), self.found()
        if found is None:
            return numbers
        return numbers | {"by chance within ±": float(found.chance[::-1][row, column])}

    def table(self) -> pd.DataFrame:
        """One row a layer and position. Before the run: what it takes."""
        import pandas as pd

        found = self.found() if self.workspace.trace is not None else None
        if found is None:
            return pd.DataFrame({"runs": [self.runs()]})
        return found.table(self._tokens(found))

    # -- selection ---------------------------------------------------------------------------------------------------------

    def marked(self) -> Marked:
        """The selected positions."""
        plane = self.plane()
        if not isinstance(plane, StatesPlane) or not plane.rows:
            return Marked()
        places = {position: column for column, position in enumerate(plane.positions)}
        return Marked(columns=frozenset(places[at] for at in self.selected() if at in places))

    def select_cell(self, row: int, column: int, origin: str) -> None:  # noqa: ARG002  (a state is no head)
        """Select the token of a cell; again: let go of it."""
        self.select_name("column", column, origin)

    def select_name(self, axis: Axis, at: int, origin: str) -> None:
        """Select a token, or the heads of a layer; what is selected already is cleared."""
        plane = self.plane()
        if not isinstance(plane, StatesPlane) or not plane.rows:
            return
        if axis == "column":
            position = plane.positions[at]
            positions = () if self.selected() == (position,) else (position,)
            selection = self.workspace.selection
            selection.select_tokens(positions, axis=self.workspace.display.axis, side=self.side, origin=origin)
        else:
            self._select_layer(plane.rows[at], origin)

    def _select_layer(self, name: str, origin: str) -> None:
        trace, selection = self.trace, self.workspace.selection
        if not name.startswith("L") or trace.side(self.kind, "query") != self.side:
            return
        layer = int(name[1:])
        heads = [HeadId(self.kind, layer, head) for head in range(trace.n_heads(self.kind))]
        if selection.heads == frozenset(heads):
            selection.clear("heads", origin=origin)
        else:
            selection.select_heads(heads, origin=origin, label=f"layer {layer}")

    # -- in words ----------------------------------------------------------------------------------------------------------

    def _describe(self, found: PatchedStates) -> str:
        request = self.request()
        said = target_in_words(self.workspace, found.target.words)
        whose = quoted(self.other())
        whose += "" if request.own else ", an example cut or repeated to as many tokens (one that differs in one word says more)"
        stream = f" of the {found.kind}" if len(streams(self.trace)) > 1 else ""
        around = f", {request.together} layers together" if request.together > 1 else ""
        done = (
            f"the other text is run, and {PUT_IN[found.part]}{stream}{around} put in from this one"
            if found.direction == RESTORE
            else f"this text is run, and {PUT_IN[found.part]}{stream}{around} put in from the other"
        )
        near = abs(found.target.value - found.there) < LITTLE
        little = f". The two texts differ by less than {LITTLE} logits, so their shares say little" if near else ""
        ends = "0: as the other text, 1: as this one" if found.direction == RESTORE else "0: as this text, 1: as the other"
        return (
            f"{said}: {three(found.target.value)} here, {three(found.there)} in {whose}. Token by token {done} ({ends}){little}"
        )

    def notes(self) -> tuple[str, ...]:
        """Where the largest shares are, and what chance is."""
        found = self.found() if self.workspace.trace is not None and self.plane().rows else None
        return () if found is None else (way_in_words(found, self._tokens(found)), chance_in_words(found))
