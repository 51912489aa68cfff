"""What the logit lens shows: the prediction of every layer at every position, and which of them is being explained."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import param

from atlas.errors import NotCaptured, TooLarge
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.asking import Progress
from atlas.state.lens import counted
from atlas.state.outcome_line import percent
from atlas.state.plane import Axis, Marked, Plane, PlaneLens, Thresholded
from atlas.state.prediction_words import outcome_labels
from atlas.state.words import shown_token
from atlas.tracing.logit_lens import (
    LENS_LOGITS,
    LOGIT_LENS,
    TUNED_LENS,
    TUNED_LENS_NAME,
    LogitLens,
    lens_logits,
    stream_kind,
    stream_side,
)
from atlas.tracing.predictions import MASKED, masks_of, task_of

if TYPE_CHECKING:
    from atlas.state.workspace import Workspace

PROBABILITY, RANK, ENTROPY = "probability", "rank", "entropy"
"""What the colour of a cell says."""

READINGS = {
    PROBABILITY: "probability of the final token",
    RANK: "log₁₀ rank of the final token",
    ENTROPY: "entropy of all tokens, in nats",
}


PLAIN, TUNED = "plain", "tuned"
"""By which lens: the model's own unembedding, or a fitted map of each layer before it."""


class LogitLensChoices(Thresholded):
    """Choices of the logit lens."""

    lens = param.Selector[str](
        objects=[PLAIN, TUNED], default=PLAIN, doc="The logit lens, or the tuned lens where one was given."
    )

    show = param.Selector[str](
        objects=[PROBABILITY, RANK, ENTROPY],
        default=PROBABILITY,
        doc="What the colour of a cell says.",
    )


@dataclass(frozen=True)
class LensPlane(Plane):
    """Layers down, positions across."""

    positions: tuple[int, ...] = ()
    """The position of every column."""

    def name(self, axis: Axis, at: int, most: int | None = None) -> str:
        """A layer; a token and its position, because a text may hold a token more than once."""
        name = super().name(axis, at, most)
        return name if axis == "row" else f"{name} ({self.positions[at]})"


class LogitLensLens(PlaneLens):
    """The logit lens on screen."""

    key: ClassVar = "lens"
    choices_type: ClassVar = LogitLensChoices
    reads: ClassVar = {"selection": ("queries", "keys")}
    marked_by: ClassVar = ("queries", "keys", "focus")
    marking: ClassVar = ("columns", "cells")
    row_title: ClassVar = "state after"
    column_title: ClassVar = "position (token read)"
    missing: ClassVar = ""
    nothing: ClassVar = LensPlane()

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        workspace.target.param.watch(self._marked, ["position", "outcome"])

    def depends(self) -> Hashable:
        """On the tokens only where the text is too long to be read as a whole."""
        return self.choices.show, self._positions(), self.choices.lens

    @property
    def side(self) -> str:
        """Whose positions are across."""
        return stream_side(self.trace)

    def selected(self) -> tuple[int, ...]:
        """The selected positions of the stream, on whichever axis."""
        selection, trace = self.workspace.selection, self.trace
        chosen = {
            at
            for field, axis in ((selection.queries, "query"), (selection.keys, "key"))
            for at in field
            if trace.side(self.kind, axis) == self.side
        }
        return tuple(sorted(chosen))

    def _positions(self) -> tuple[int, ...]:
        """The positions that are read: all of a text that is short enough, else the selected ones."""
        n = len(self.trace.token_tables[self.side])
        return () if lens_logits(self.trace, n) <= LENS_LOGITS else self.selected()

    def found(self) -> LogitLens | None:
        """What every layer predicts; None while it is being read."""
        trace, positions = self.trace, self._positions()
        n = len(trace.token_tables[self.side])
        too_many = lens_logits(trace, n) > LENS_LOGITS
        if too_many and (not positions or lens_logits(trace, len(positions)) > LENS_LOGITS):
            most = LENS_LOGITS // lens_logits(trace, 1)
            msg = (
                f"{counted(n, 'position')} are {lens_logits(trace, n) / 1e6:,.0f} million logits over all layers, and "
                f"{LENS_LOGITS / 1e6:,.0f} million are the most. Select up to {most:,} tokens; the lens then reads these."
            )
            raise TooLarge(msg)
        tuned = self.choices.lens == TUNED
        task = self.workspace.tasks.get(TUNED_LENS if tuned else LOGIT_LENS)
        if task is None:
            msg = "The logit lens needs the model, which runs in the app alone."
            raise NotCaptured(msg)

        def read(progress: Progress) -> LogitLens:
            made: LogitLens = task(
                trace, positions, lambda done, of: progress.tell("Reading the layers through the unembedding", done / of)
            )
            return made

        # Another lens may have been given for the model since, so what was read through one is kept under its name.
        return self.ask(f"at {positions or 'all'}{self.tuned_name() if tuned else ''}", read, None, needs_model=True)

    def tuned_name(self) -> str:
        """What the fitted lens of the model is called; empty: none was given."""
        task, trace = self.workspace.tasks.get(TUNED_LENS_NAME), self.workspace.trace
        return "" if task is None or trace is None else str(task(trace))

    # -- the plane -----------------------------------------------------------------------------------------------------

    def _build_plane(self) -> LensPlane:
        found = self.found()
        if found is None:
            return LensPlane()
        self.line = self._describe(found)
        tokens = self.trace.token_tables[self.side]["token"]
        columns = tuple(shown_token(str(tokens.iloc[at])) for at in found.positions)
        return LensPlane(layer_names(len(found.ids)), columns, values_of(found, self.choices.show), positions=found.positions)

    def _highest(self) -> float:
        """Probabilities have one scale in every text."""
        return 1.0 if self.choices.show == PROBABILITY else super()._highest()

    def reading(self) -> str:
        """What the colour says."""
        return READINGS[self.choices.show]

    def word(self, row: int, column: int) -> str:
        """The likeliest token of a cell; empty while it is not known."""
        found = self.found()
        return "" if found is None else outcome_labels([str(found.names[row, column, 0])])[0]

    def cell_in_words(self, row: int, column: int) -> str:
        """What a layer predicts at a position, and how far it is from the final prediction."""
        found, plane = self.found(), self.plane()
        if found is None:
            return ""
        labels = outcome_labels([*map(str, found.names[row, column]), str(found.final_names[column])])
        shares = [percent(float(share)) for share in found.probabilities[row, column]]
        likeliest = ", ".join(f"'{label}' {share}" for label, share in zip(labels[:-1], shares, strict=True))
        return (
            f"{plane.name('column', column)}, {plane.name('row', row)}: {likeliest}   final token '{labels[-1]}' "
            f"{percent(float(found.final_probability[row, column]))}, rank {int(found.final_rank[row, column]):,} of "
            f"{found.n_outcomes:,}   entropy {three(found.entropy[row, column])}"
        )

    def table(self) -> pd.DataFrame:
        """One row a cell: the colour's three readings, and the likeliest tokens with their probabilities."""
        found, plane = self.found(), self.plane()
        if found is None or not plane.rows:
            raise NotCaptured(self.problem or self.empty or "The layers are still being read.")
        n_rows, n_columns, n_top = found.ids.shape
        rows, columns = np.repeat(np.arange(n_rows), n_columns), np.tile(np.arange(n_columns), n_rows)
        made = {
            "layer": np.asarray(plane.rows, dtype=object)[rows],
            "position": np.asarray(found.positions)[columns],
            "token": np.asarray(plane.columns, dtype=object)[columns],
            "final_token": found.final_names[columns],
            "final_probability": found.final_probability.ravel(),
            "final_rank": found.final_rank.ravel(),
            "entropy": found.entropy.ravel(),
        }
        for at in range(n_top):
            made |= {
                f"token_{at + 1}": found.names[..., at].ravel(),
                f"probability_{at + 1}": found.probabilities[..., at].ravel(),
            }
        return pd.DataFrame(made)

    # -- selection -----------------------------------------------------------------------------------------------------

    def marked(self) -> Marked:
        """The selected positions, and the layers whose likeliest token is the one being explained."""
        plane, target = self.plane(), self.workspace.target
        if not isinstance(plane, LensPlane) or not plane.rows:
            return Marked()
        places = {position: column for column, position in enumerate(plane.positions)}
        columns = frozenset(places[at] for at in self.selected() if at in places)
        column, found = places.get(target.position), self.found()
        cells = () if column is None or found is None else np.flatnonzero(found.names[:, column, 0] == target.outcome)
        return Marked(columns=columns, cells=frozenset((int(row), int(column)) for row in cells if column is not None))

    def select_cell(self, row: int, column: int, origin: str) -> None:
        """Make the likeliest token of a cell the one that is explained, and select its position; again: let go of both."""
        found, target = self.found(), self.workspace.target
        if found is None:
            return
        position, name = found.positions[column], str(found.names[row, column, 0])
        here = target.position == position
        again = here and target.outcome == name
        if again:
            target.param.update(position=-1, outcome="", against="")
        else:
            held = target.against if here and target.against != name else ""
            target.param.update(position=position, outcome=name, against=held)
        self._select(() if again else (position,), origin)

    def select_name(self, axis: Axis, at: int, origin: str) -> None:
        """Select a position, or the heads of the layer that left a state; what is selected already is cleared."""
        if axis == "column":
            position = self._plane_positions()[at]
            self._select(() if self.selected() == (position,) else (position,), origin)
            return
        trace, selection, layer = self.trace, self.workspace.selection, at - 1
        if layer < 0 or trace.side(self.kind, "query") != self.side:
            return
        heads = [HeadId(self.kind, layer, head) for head in range(trace.n_heads(self.kind))]
        if selection.heads == frozenset(heads):
            selection.clear("heads", origin=origin)
        else:
            selection.select_heads(heads, origin=origin, label=f"layer {layer}")

    def _plane_positions(self) -> tuple[int, ...]:
        plane = self.plane()
        assert isinstance(plane, LensPlane)
        return plane.positions

    def _select(self, positions: tuple[int, ...], origin: str) -> None:
        self.workspace.selection.select_tokens(positions, axis=self.workspace.display.axis, side=self.side, origin=origin)

    def _describe(self, found: LogitLens) -> str:
        trace = self.trace
        what = "next token" if task_of(trace) != MASKED else "token at its own position"
        size = f"{counted(len(found.ids) - 1, 'layer')} and the embedding, {counted(len(found.positions), 'position')}"
        seen = (
            "; nothing is masked, so the model sees the token it predicts"
            if task_of(trace) == MASKED and not masks_of(trace)
            else ""
        )
        stream = f" of the {stream_kind(trace)}" if len(trace.kinds) > 1 else ""
        through = f"; through the tuned lens {self.tuned_name()}" if self.choices.lens == TUNED else ""
        return f"{READINGS[self.choices.show]}: {what}{stream}, {size}{seen}{through}"


def layer_names(n_rows: int) -> tuple[str, ...]:
    """'embedding', then the layers."""
    return ("embedding", *(f"L{layer}" for layer in range(n_rows - 1)))


def values_of(found: LogitLens, show: str) -> np.ndarray:
    """(row, position) what the colours say."""
    if show == RANK:
        return np.log10(found.final_rank.astype(np.float64)).astype(np.float32)
    return found.entropy if show == ENTROPY else found.final_probability
