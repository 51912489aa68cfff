"""What the view of residual streams on both sides shows: linear CKA of every layer of A with every layer of B."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

import numpy as np

from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.asking import Progress
from atlas.state.lens import counted
from atlas.state.plane import Axis, Cell, Marked, Plane, PlaneLens, Thresholded
from atlas.state.second_lens import SecondLens
from atlas.tracing.hidden import are_held
from atlas.tracing.two_streams import StreamAlignment, stream_alignment


class CompareStreamsChoices(Thresholded):
    """Choices of the view of residual streams on both sides."""


class CompareStreamsLens(SecondLens, PlaneLens):
    """Layers of A x layers of B."""

    key: ClassVar = "compare_streams"
    choices_type: ClassVar = CompareStreamsChoices
    reads: ClassVar = {**SecondLens.reads, "selection": ("focus",)}
    marked_by: ClassVar = ("heads", "focus")
    marking: ClassVar = ("rows",)
    row_title: ClassVar = "stream of A"
    column_title: ClassVar = "stream of B"
    missing: ClassVar = "all words have one state"

    def depends(self) -> Hashable:
        """On both sides and the kind."""
        return self.compared()

    def found(self) -> StreamAlignment | None:
        """The alignment; None while it is being worked out."""
        two, kind = self.both(), self.kind
        if two is None:
            return None

        def align(progress: Progress) -> StreamAlignment:
            return stream_alignment(two, kind, lambda share: progress.tell("Comparing layers", share))

        runs = not (are_held(two.a) and are_held(two.b))
        return self.ask(self.key_of(two, "streams"), align, None, needs_model=runs, keep=False, takes=self.takes_both(two))

    def reading(self) -> str:
        """What the value of a cell is called."""
        return "CKA"

    def _highest(self) -> float:
        """One scale for all models and texts."""
        return 1.0

    def _build_plane(self) -> Plane:
        found = self.found()
        if found is None:
            return Plane()
        self.line = self._describe(found)
        rows, columns = (tuple(map(_name, range(n), [n - 1] * n)) for n in found.found.values.shape)
        return Plane(rows, columns, found.found.values, found.found.chance)

    def _numbers(self, row: int, column: int) -> Cell:
        numbers, found = super()._numbers(row, column), self.found()
        return numbers if found is None else numbers | {"p": float(found.found.p[row, column])}

    def _describe(self, found: StreamAlignment) -> str:
        n = min(found.found.values.shape)
        words = counted(found.words, "word")
        some = f"{words} of {found.all_words:,}, evenly spread" if found.words < found.all_words else words
        mean, chance = (_mean(np.diag(each[:n, :n])) for each in (found.found.values, found.found.chance))
        return f"Linear CKA over {some}: mean over layers of the same number {three(mean)}, by chance {three(chance)}"

    # -- selection -----------------------------------------------------------------------------------------------------

    def marked(self) -> Marked:
        """The layers of the selected heads, or of the one in focus: their rows are what these heads read."""
        return Marked(rows=frozenset(head.layer for head in self.shown_heads()) if self.plane().rows else frozenset())

    def select_cell(self, row: int, column: int, origin: str) -> None:  # noqa: ARG002  (the selection is of side A)
        """Select the heads that read this state of A."""
        self._select(row, origin)

    def select_name(self, axis: Axis, at: int, origin: str) -> None:
        """Select the heads that read a state of A; those of B cannot be selected."""
        if axis == "row":
            self._select(at, origin)

    def _select(self, layer: int, origin: str) -> None:
        selection, trace = self.workspace.selection, self.trace
        if layer >= trace.n_layers(self.kind):
            return  # what leaves the last layer is read by no head
        heads = {HeadId(self.kind, layer, head) for head in range(trace.n_heads(self.kind))}
        if heads == selection.heads:
            selection.clear("heads", origin=origin)
        else:
            selection.select_heads(heads, origin=origin, label=f"layer {layer}")


def _name(at: int, last: int) -> str:
    return "output" if at == last else f"into L{at}"


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
