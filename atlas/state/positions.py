"""What the view of positions shows: the vectors, the rotation or the bias by which a model knows where a token stands."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import param

from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.asking import Progress
from atlas.state.embeddings import select_tokens
from atlas.state.lens import counted
from atlas.state.plane import Axis, Cell, Marked, Plane, PlaneLens, Thresholded
from atlas.state.stream_writes import selected_positions
from atlas.tracing.embeddings import cosines
from atlas.tracing.positions import (
    BIAS,
    DISTANCES,
    MODEL_POSITIONS,
    NEIGHBOURS,
    ROTATION,
    VECTORS,
    DistanceBias,
    Positions,
    Rotation,
    bias_of,
    by_distance,
    is_sinusoidal,
    turned,
)

AUTO = "auto"
"""The first of bias, rotation and vectors that the model has."""

WAYS = {
    BIAS: "bias by distance alone",
    ROTATION: "rotation of queries and keys",
    VECTORS: "table of position vectors that are added to the embeddings",
}
"""What a model knows positions by, in words."""

READINGS = {BIAS: "bias", ROTATION: "cosine of the angle", VECTORS: "cosine"}

TITLES = {
    BIAS: ("head", "key − query (tokens)"),
    ROTATION: ("pair: tokens per full turn", "distance (tokens)"),
    VECTORS: ("position", "position"),
}
"""Of rows and columns."""


class PositionsChoices(Thresholded):
    """Choices of the view of positions."""

    show = param.Selector[str](
        objects=[AUTO, BIAS, ROTATION, VECTORS], default=AUTO, doc="Which of the ways that a model has to know positions."
    )


class Profile(NamedTuple):
    """One number by distance."""

    label: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class PositionsPlane(Plane):
    """What is on the plane."""

    show: str = VECTORS
    rotation: Rotation | None = None
    bias: DistanceBias | None = None
    profile: Profile | None = None


class PositionsLens(PlaneLens):
    """Positions on screen."""

    key: ClassVar = "positions"
    choices_type: ClassVar = PositionsChoices
    reads: ClassVar = {"selection": ("focus", "heads")}
    marked_by: ClassVar = ("queries", "keys", "focus", "heads")
    missing: ClassVar = "no pair so far apart"
    nothing: ClassVar = PositionsPlane()

    def selected_heads(self) -> tuple[int, ...]:
        """The selected heads of the layer."""
        return tuple(sorted(head.head for head in self.workspace.selection.heads if self._is_shown(head)))

    def _is_shown(self, head: HeadId) -> bool:
        return head.layer == self.layer and head.kind == self.stream

    def depends(self) -> Hashable:
        """On the layer in focus, and on the heads whose mean is drawn; vectors of positions are the same in all layers."""
        made = self._plane
        if isinstance(made, PositionsPlane) and made.rows and made.show == VECTORS:
            return self._everywhere()
        return self.stream, self.layer, self.selected_heads(), self.choices.show

    def _everywhere(self) -> Hashable:
        return self.stream, self.choices.show

    @property
    def signed(self) -> bool:
        """Biases and cosines have two signs."""
        return True

    @property
    def shown(self) -> PositionsPlane:
        """The plane, with what it was made of."""
        found = self.plane()
        assert isinstance(found, PositionsPlane)
        return found

    def titles(self) -> tuple[str, str]:
        """What rows and columns are."""
        return TITLES[self.shown.show]

    def reading(self) -> str:
        """What the value of a cell is called."""
        return READINGS[self.shown.show]

    def whose(self) -> str:
        """The layer, where layers differ."""
        return "" if self.shown.show == VECTORS else f"L{self.layer}"

    def _highest(self) -> float:
        """Cosines have one scale."""
        return super()._highest() if self.shown.show == BIAS else 1.0

    # -- what there is -------------------------------------------------------------------------------------------------

    def found(self) -> Positions | None:
        """What the model knows positions by; None while it is being read."""
        trace, stream = self.trace, self.stream
        task = self.workspace.tasks.get(MODEL_POSITIONS)
        if task is None:
            msg = "How a model knows positions is read from the model, which runs in the app alone."
            raise NotCaptured(msg)

        def read(progress: Progress) -> Positions:
            progress.tell("Reading how the model knows positions")
            made: Positions = task(trace, stream)
            return made

        return self.ask(stream, read, None, needs_model=True)

    def _build_plane(self) -> PositionsPlane:
        show, bias = str(self.choices.show), bias_of(self.trace, self.stream, self.layer)
        found = None if show in (AUTO, BIAS) and bias is not None else self.found()
        if bias is None and found is None:
            return PositionsPlane()  # it is being read
        if bias is None and found is not None and found.biases:
            bias = _measured(found.biases[self.layer])
        there = {
            BIAS: bias is not None,
            ROTATION: found is not None and any(found.rotations),
            VECTORS: found is not None and found.vectors is not None,
        }
        has = [name for name, known in there.items() if known]
        notes = () if found is None else found.notes
        if not has or (show != AUTO and show not in has):
            lack = "no way to know positions that was found" if show == AUTO else f"no {WAYS[show]}"
            other = f" It has a {' and a '.join(WAYS[name] for name in has)}." if has else ""
            what = f"The {self.stream} has {lack}."
            raise NotCaptured(" ".join((what + other, *notes)))
        chosen = has[0] if show == AUTO else show
        if chosen == BIAS and bias is not None:
            made = self._biases(bias)
        elif chosen == ROTATION and found is not None:
            made = self._rotation(found)
        else:
            assert found is not None
            made = self._vectors(found)
            # Known only now: the first head that is picked would draw the same again, for a tenth of a second.
            self._depended = self._everywhere()
        self.line = " ".join((self.line, *notes))
        return made

    def _biases(self, bias: DistanceBias) -> PositionsPlane:
        heads = self.selected_heads() or tuple(range(len(bias.values)))
        several = "all" if len(heads) == len(bias.values) else "the selected"
        which = f"mean of {several} heads" if len(heads) > 1 else f"L{self.layer} H{heads[0]}"
        profile = Profile(f"bias, {which}", bias.distances, bias.values[list(heads)].mean(0))
        same = "; the same as in layer 0" if bias.shared else ""
        self.line = f"Layer {self.layer} of the {self.stream}: what is added to a score, by key − query{same}"
        rows = tuple(f"H{head}" for head in range(len(bias.values)))
        columns = tuple(f"{distance:+d}".replace("-", "−") if distance else "0" for distance in bias.distances.tolist())
        return PositionsPlane(rows, columns, bias.values, show=BIAS, bias=bias, profile=profile)

    def _rotation(self, found: Positions) -> PositionsPlane:
        rotation = found.rotations[self.layer]
        if rotation is None:
            msg = f"Layer {self.layer} turns no queries and keys, unlike others here: it knows positions by its mask alone."
            raise NotCaptured(msg)
        values = turned(rotation.angles)
        size = 2 * len(rotation.angles)
        pairs = {"": "", NEIGHBOURS: ", numbers 2i and 2i + 1"}.get(rotation.pairing, f", numbers i and i + {size // 2}")
        of = f" of {rotation.width}" if rotation.width else ""
        last = "the last " if rotation.first else ""
        scaling = f"; both are also multiplied by {three(rotation.scaling)}" if rotation.scaling != 1.0 else ""
        sure = ", as a run of one token repeated shows" if rotation.pairing else ""
        self.line = (
            f"Layer {self.layer}: {last}{size}{of} numbers of every query and key turn with the position, in "
            f"{counted(size // 2, 'pair')}{pairs}{sure}{scaling}"
        )
        rows = tuple(f"{at}: {turn_in_words(angle)}" for at, angle in enumerate(rotation.angles.tolist()))
        columns = tuple(str(distance) for distance in range(DISTANCES))
        profile = Profile("mean cosine of all pairs", np.arange(DISTANCES), values.mean(0))
        return PositionsPlane(rows, columns, values, show=ROTATION, rotation=rotation, profile=profile)

    def _vectors(self, found: Positions) -> PositionsPlane:
        assert found.vectors is not None
        values = cosines(found.vectors)
        names = tuple(str(at) for at in range(len(values)))
        profile = Profile("mean cosine", np.arange(len(values)), by_distance(values))
        kind = "sines and cosines, not learned" if is_sinusoidal(found.vectors) else "learned"
        whole = found.n_vectors or len(values)
        which = f"the first {len(values):,} of {whole:,}" if whole > len(values) else counted(len(values), "position")
        where = "" if found.n_vectors else " of this text"
        size = f"{found.vectors.shape[1]:,} numbers each"
        self.line = f"Position vectors of the {self.stream}, {kind}: cosines of {which}{where}, {size}"
        return PositionsPlane(names, names, values, show=VECTORS, profile=profile)

    def _numbers(self, row: int, column: int) -> Cell:
        """The value, and how fast a pair turns."""
        found, rotation = super()._numbers(row, column), self.shown.rotation
        if rotation is None:
            return found
        angle = float(rotation.angles[row])
        turns = {"turns": angle * column / (2 * np.pi)}
        return found | {"degrees per token": float(np.degrees(angle))} | turns

    # -- selection -----------------------------------------------------------------------------------------------------

    def _n_tokens(self) -> int:
        return len(self.trace.token_tables[self.trace.side(self.stream, "query")])

    def marked(self) -> Marked:
        """The selected heads of the layer; the positions of the selected tokens."""
        shown = self.shown
        if not shown.rows or shown.show == ROTATION:
            return Marked()
        if shown.show == BIAS:
            heads, focus = self.selected_heads(), self.workspace.selection.focus
            return Marked(rows=frozenset(heads or ({focus.head} if focus is not None and self._is_shown(focus) else ())))
        chosen = frozenset(at for at in selected_positions(self, self.stream) if at < len(shown.rows))
        return Marked(chosen, chosen)

    def select_cell(self, row: int, column: int, origin: str) -> None:
        """Select the head of a row; the tokens at two positions."""
        if self.shown.show == VECTORS:
            self._select({row, column}, origin)
        else:
            self.select_name("row", row, origin)

    def select_name(self, axis: Axis, at: int, origin: str) -> None:
        """Select a head, or the token at a position; a distance and a pair select nothing."""
        if self.shown.show == VECTORS:
            self._select({at}, origin)
        elif self.shown.show == BIAS and axis == "row" and self.stream in self.trace.kinds:
            self.workspace.selection.pick(HeadId(self.stream, self.layer, at), origin=origin)

    def _select(self, positions: set[int], origin: str) -> None:
        """The table of positions may be longer than the text."""
        there = {at for at in positions if at < self._n_tokens()}
        if there:
            select_tokens(self, self.stream, there, origin)


def _measured(values: np.ndarray | None) -> DistanceBias | None:
    """The bias that a run of one token repeated showed, at the distances that it has."""
    if values is None:
        return None
    n = (values.shape[1] + 1) // 2
    seen = np.isfinite(values).any(0)
    return DistanceBias(np.arange(1 - n, n)[seen], values[:, seen].astype(np.float32), shared=False)


def turn_in_words(angle: float) -> str:
    """How many tokens a full turn takes."""
    if angle <= 0:
        return "never"
    tokens = 2 * np.pi / angle
    return three(tokens)
